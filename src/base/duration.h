// Time spans and points. All of the engine's time is nanoseconds of a monotonic clock that the runtime brings (real or
// virtual).
#pragma once

#include <chrono>

namespace cairn {

using Duration = std::chrono::nanoseconds;

// Nanoseconds since an arbitrary start. Only a Reactor makes them.
struct MonotonicClock {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<MonotonicClock, duration>;
  static constexpr bool is_steady = true;
};
using TimePoint = MonotonicClock::time_point;

inline constexpr TimePoint kNever = TimePoint::max();

}  // namespace cairn
