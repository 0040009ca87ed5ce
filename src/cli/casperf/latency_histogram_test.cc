#include "cli/casperf/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/random.h"

namespace cairn::cli {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;

TEST(LatencyHistogram, EmptyIsZero) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.min(), Duration(0));
  EXPECT_EQ(histogram.max(), Duration(0));
  EXPECT_EQ(histogram.mean(), Duration(0));
  EXPECT_EQ(histogram.quantile(0.5), Duration(0));
}

TEST(LatencyHistogram, SmallValuesAreExact) {
  LatencyHistogram histogram;
  for (int ns = 1; ns <= 200; ++ns) histogram.add(Duration(ns));
  EXPECT_EQ(histogram.min(), Duration(1));
  EXPECT_EQ(histogram.max(), Duration(200));
  EXPECT_EQ(histogram.mean(), Duration(100));  // 100.5
  EXPECT_EQ(histogram.quantile(0), Duration(1));
  EXPECT_EQ(histogram.quantile(0.5), Duration(100));
  EXPECT_EQ(histogram.quantile(0.99), Duration(198));
  EXPECT_EQ(histogram.quantile(1), Duration(200));
}

// Against sorted values, over the whole range of magnitudes.
TEST(LatencyHistogram, QuantilesAreWithinOnePercent) {
  runtime::Random random(7);
  LatencyHistogram histogram;
  std::vector<int64_t> values;
  for (int i = 0; i < 100'000; ++i) {
    const auto magnitude = random.below(36);
    const auto value = static_cast<int64_t>(random.below(uint64_t{2} << magnitude));
    values.push_back(value);
    histogram.add(Duration(value));
  }
  std::ranges::sort(values);
  for (const double share : {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999}) {
    const auto exact = values[static_cast<size_t>(std::ceil(share * static_cast<double>(values.size()))) - 1];
    const auto seen = histogram.quantile(share).count();
    EXPECT_GE(seen, exact) << share;
    EXPECT_LE(static_cast<double>(seen), static_cast<double>(exact) * 1.01 + 1) << share;
  }
}

// Every bucket boundary: the next value is never told as smaller.
TEST(LatencyHistogram, IsMonotonicAtBucketEdges) {
  for (int64_t base = 128; base < int64_t{1} << 41; base *= 2) {
    for (const int64_t value : {base - 1, base, base + 1, base + base / 128, base + base / 2 - 1}) {
      LatencyHistogram histogram;
      histogram.add(Duration(value));
      histogram.add(Duration(int64_t{1} << 45));
      EXPECT_GE(histogram.quantile(0.5).count(), value);
      EXPECT_LE(static_cast<double>(histogram.quantile(0.5).count()), static_cast<double>(value) * 1.01);
    }
  }
}

TEST(LatencyHistogram, TheLastBucketTellsTheMaximum) {
  LatencyHistogram histogram;
  histogram.add(hours(2));
  histogram.add(Duration(-5));  // a clock that stepped back counts as nothing
  EXPECT_EQ(histogram.max(), hours(2));
  EXPECT_EQ(histogram.quantile(1), hours(2));
  EXPECT_EQ(histogram.min(), Duration(0));
}

TEST(LatencyHistogram, AddsUp) {
  LatencyHistogram one, other;
  one.add(microseconds(10));
  other.add(microseconds(30));
  other.add(microseconds(50));
  one += other;
  EXPECT_EQ(one.count(), 3u);
  EXPECT_EQ(one.min(), microseconds(10));
  EXPECT_EQ(one.max(), microseconds(50));
  EXPECT_EQ(one.mean(), microseconds(30));
  one += LatencyHistogram();
  EXPECT_EQ(one.min(), microseconds(10));
}

}  // namespace
}  // namespace cairn::cli
