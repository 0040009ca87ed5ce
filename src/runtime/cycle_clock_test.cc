#include "runtime/cycle_clock.h"

#include <gtest/gtest.h>

#include "runtime/kernel_clock.h"

namespace cairn::runtime {
namespace {

TEST(CycleClock, SaysWhatTheKernelSays) {
  if (!CycleClock::usable()) GTEST_SKIP() << "the kernel does not take its time from the counter";
  CycleClock clock;
  const TimePoint begin = kernel_now();
  TimePoint last = begin;
  while (last - begin < std::chrono::milliseconds(60)) {
    // The machine may do something else in between; what is said is of a moment within.
    const uint64_t asked_at = CycleClock::counter();
    const TimePoint before = kernel_now();
    clock.set(before, asked_at);
    if (!clock.ready()) {
      last = before;
      ASSERT_LT(last - begin, std::chrono::seconds(1));
      continue;
    }
    for (int i = 0; i < 100; ++i) {
      const TimePoint from = kernel_now();
      const TimePoint said = clock.now();
      const TimePoint to = kernel_now();
      const Duration tolerance = std::chrono::microseconds(2) + (to - before) / 1000;
      EXPECT_GE(said, from - tolerance);
      EXPECT_LE(said, to + tolerance);
      last = to;
    }
  }
  EXPECT_TRUE(clock.ready());
}

}  // namespace
}  // namespace cairn::runtime
