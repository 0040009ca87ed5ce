// The time by the processor's cycle counter, which is cheaper than to ask the kernel. One thread.
//
// It is told the kernel's time from time to time and says what that has become since; the rate follows from all that it
// was told. Of use only where the kernel itself takes its time from the counter (usable()), which then neither stops
// nor differs between cores.
#pragma once

#include <cstdint>

#include "base/duration.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace cairn::runtime {

class CycleClock {
 public:
  static bool usable();

  static uint64_t counter() {
#if defined(__x86_64__)
    return __rdtsc();
#else
    return 0;
#endif
  }
  // `now`: of the kernel, who was asked between the two values of counter(). Not ready() until the next time when that
  // took long: the thread may have had to stand still, nobody knows how long before or after.
  void set(TimePoint now, uint64_t before, uint64_t after) {
    set_ = after - before <= kMostForAsking;
    if (!set_) return;
    if (first_cycles_ == 0 || after < last_cycles_) {  // also when the machine was suspended, and the counter with it
      first_ = now;
      first_cycles_ = after;
      next_rating_ = kFirstRating;
      rate_ = 0;
    } else if (after - first_cycles_ >= next_rating_) {
      rate(now, after);
    }
    last_ = now;
    last_cycles_ = after;
  }
  // Whether set() has been called over a time that is long enough to know the rate, which is 10 ms or so.
  bool ready() const { return set_ && rate_ != 0; }
  // ready(). Off by a microsecond and a thousandth of the time since set(), or less.
  TimePoint now() const { return at(counter()); }
  TimePoint at(uint64_t cycles) const {
    if (cycles <= last_cycles_) return last_;
    const auto passed = static_cast<unsigned __int128>(cycles - last_cycles_) * rate_ >> kRateBits;
    return last_ + Duration(static_cast<int64_t>(passed));
  }

 private:
  static constexpr unsigned kRateBits = 32;
  static constexpr uint64_t kMostForAsking = 3000;  // cycles, about 1 us
  static constexpr uint64_t kFirstRating = uint64_t{1} << 25;
  void rate(TimePoint now, uint64_t cycles);

  TimePoint first_{}, last_{};
  uint64_t first_cycles_ = 0, last_cycles_ = 0;
  uint64_t next_rating_ = kFirstRating;  // cycles since the first; then at twice that, and so on
  uint64_t rate_ = 0;                    // ns in a cycle, times 2^kRateBits
  bool set_ = false;
};

}  // namespace cairn::runtime
