#include "runtime/cycle_clock.h"

#include <gtest/gtest.h>

#include "runtime/kernel_clock.h"

namespace cairn::runtime {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kStart = 1'000'000;
constexpr TimePoint kEpoch{seconds(5)};

// Of a counter with 2 GHz.
constexpr uint64_t cycles_at(Duration since) {
  return kStart + 2 * static_cast<uint64_t>(since.count());
}

void set(CycleClock& clock, Duration since) {
  clock.set(kEpoch + since, cycles_at(since) - 100, cycles_at(since));
}

void expect_near(TimePoint said, Duration since, Duration tolerance) {
  EXPECT_GE(said, kEpoch + since - tolerance);
  EXPECT_LE(said, kEpoch + since + tolerance);
}

TEST(CycleClock, KnowsTheRateAfterSomeTime) {
  CycleClock clock;
  EXPECT_FALSE(clock.ready());
  set(clock, {});
  set(clock, milliseconds(1));
  EXPECT_FALSE(clock.ready());
  set(clock, milliseconds(20));
  ASSERT_TRUE(clock.ready());
  expect_near(clock.at(cycles_at(milliseconds(21))), milliseconds(21), Duration(2));
  expect_near(clock.at(cycles_at(seconds(3600))), seconds(3600), microseconds(2));
  set(clock, seconds(3600));
  expect_near(clock.at(cycles_at(seconds(3601))), seconds(3601), Duration(2));
}

TEST(CycleClock, WhatTookLongIsNotBelieved) {
  CycleClock clock;
  set(clock, {});
  set(clock, milliseconds(20));
  clock.set(kEpoch + seconds(1), cycles_at(seconds(1)), cycles_at(seconds(1) + milliseconds(3)));
  EXPECT_FALSE(clock.ready());
  set(clock, seconds(2));
  ASSERT_TRUE(clock.ready());
  expect_near(clock.at(cycles_at(seconds(2))), seconds(2), Duration(2));
}

TEST(CycleClock, ACounterThatBeginsAnew) {
  CycleClock clock;
  set(clock, {});
  set(clock, milliseconds(20));
  EXPECT_EQ(clock.at(7), kEpoch + milliseconds(20));
  clock.set(kEpoch + seconds(1), 5000, 5100);
  EXPECT_FALSE(clock.ready());
  clock.set(kEpoch + seconds(2), 2'000'005'000, 2'000'005'100);
  ASSERT_TRUE(clock.ready());
  expect_near(clock.at(2'000'005'100 + 2000), seconds(2) + microseconds(1), Duration(2));
}

TEST(CycleClock, SaysWhatTheKernelSays) {
  if (!CycleClock::usable()) GTEST_SKIP() << "the kernel does not take its time from the counter";
  CycleClock clock;
  const TimePoint begin = kernel_now();
  size_t compared = 0;
  for (TimePoint last = begin; last - begin < milliseconds(60) || compared == 0; last = kernel_now()) {
    ASSERT_LT(last - begin, seconds(10));
    const uint64_t before = CycleClock::counter();
    const TimePoint now = kernel_now();
    clock.set(now, before, CycleClock::counter());
    if (!clock.ready()) continue;
    for (int i = 0; i < 100; ++i, ++compared) {
      // The machine may do something else in between; what is said is of a moment within.
      const TimePoint from = kernel_now();
      const TimePoint said = clock.now();
      const TimePoint to = kernel_now();
      const Duration tolerance = microseconds(2) + (to - now) / 1000;
      EXPECT_GE(said, from - tolerance);
      EXPECT_LE(said, to + tolerance);
    }
  }
}

}  // namespace
}  // namespace cairn::runtime
