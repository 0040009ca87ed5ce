#include "cli/casperf/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cairn::cli {

size_t LatencyHistogram::bucket_of(uint64_t nanoseconds) {
  if (nanoseconds < (1u << kLinearBits)) return nanoseconds;
  if (nanoseconds >= uint64_t{1} << kTopBits) return kNumBuckets - 1;
  const unsigned octave = static_cast<unsigned>(std::bit_width(nanoseconds)) - 1;  // kLinearBits .. kTopBits - 1
  const unsigned shift = octave - (kLinearBits - 1);
  const uint64_t within = (nanoseconds >> shift) - kPerOctave;  // 0 .. kPerOctave - 1
  return (1u << kLinearBits) + (octave - kLinearBits) * kPerOctave + within;
}

uint64_t LatencyHistogram::upper_edge(size_t bucket) {
  if (bucket < (1u << kLinearBits)) return bucket;
  const size_t above = bucket - (1u << kLinearBits);
  const auto octave = static_cast<unsigned>(kLinearBits + above / kPerOctave);
  const unsigned shift = octave - (kLinearBits - 1);
  const uint64_t start = (kPerOctave + above % kPerOctave) << shift;
  return start + (uint64_t{1} << shift) - 1;
}

void LatencyHistogram::add(Duration latency) {
  const uint64_t nanoseconds = latency.count() < 0 ? 0 : static_cast<uint64_t>(latency.count());
  ++buckets_[bucket_of(nanoseconds)];
  ++count_;
  sum_ += nanoseconds;
  min_ = std::min(min_, nanoseconds);
  max_ = std::max(max_, nanoseconds);
}

LatencyHistogram& LatencyHistogram::operator+=(const LatencyHistogram& other) {
  for (size_t i = 0; i < kNumBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  return *this;
}

Duration LatencyHistogram::quantile(double share) const {
  if (count_ == 0) return Duration(0);
  const auto wanted =
      std::clamp<uint64_t>(static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_))), 1, count_);
  uint64_t seen = 0;
  for (size_t bucket = 0; bucket < kNumBuckets; ++bucket) {
    seen += buckets_[bucket];
    if (seen >= wanted) {
      const bool is_last = bucket == kNumBuckets - 1;
      return Duration(is_last ? max_ : std::min(upper_edge(bucket), max_));
    }
  }
  return Duration(max_);
}

}  // namespace cairn::cli
