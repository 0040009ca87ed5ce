// Latencies in fixed memory: log-linear buckets, so that every quantile is known to better than one percent of itself.
//
//   0 .. 255 ns      a bucket for each nanosecond
//   2^n .. 2^(n+1)   128 buckets of equal width, for n from 8 to 41
//   2^42 ns (73 min) and above share the last bucket
// About 36 KiB; adding is a few instructions and allocates nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/duration.h"

namespace cairn::cli {

class LatencyHistogram {
 public:
  void add(Duration latency);
  LatencyHistogram& operator+=(const LatencyHistogram& other);

  uint64_t count() const { return count_; }
  // Exact. All zero when nothing was added.
  Duration min() const { return Duration(count_ == 0 ? 0 : min_); }
  Duration max() const { return Duration(max_); }
  Duration mean() const { return Duration(count_ == 0 ? 0 : sum_ / count_); }
  // The latency that `share` (0 to 1) of what was added did not exceed: the upper edge of its bucket, never beyond
  // max().
  Duration quantile(double share) const;

 private:
  static constexpr unsigned kLinearBits = 8;  // below 2^8 each value has its bucket
  static constexpr unsigned kPerOctave = 1u << (kLinearBits - 1);
  static constexpr unsigned kTopBits = 42;
  static constexpr size_t kNumBuckets = (1u << kLinearBits) + (kTopBits - kLinearBits) * kPerOctave;

  static size_t bucket_of(uint64_t nanoseconds);
  static uint64_t upper_edge(size_t bucket);  // the largest value of the bucket

  std::array<uint64_t, kNumBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t sum_ = 0;
  uint64_t min_ = UINT64_MAX;
  uint64_t max_ = 0;
};

}  // namespace cairn::cli
