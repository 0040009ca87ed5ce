// The clock of the kernel back-ends.
#pragma once

#include <time.h>

#include "base/duration.h"

namespace cairn::runtime {

inline TimePoint kernel_now() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return TimePoint(std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec));
}

}  // namespace cairn::runtime
