#include "block/statistics.h"

#include <algorithm>

namespace cairn::block {

namespace {

// One writer: no read-modify-write needed.
void add(std::atomic<uint64_t>& counter, uint64_t value) {
  counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
}

}  // namespace

IoStatistics::PerType& IoStatistics::PerType::operator+=(const PerType& other) {
  if (other.operations > 0) {
    latency_min_ns = operations > 0 ? std::min(latency_min_ns, other.latency_min_ns) : other.latency_min_ns;
    latency_max_ns = std::max(latency_max_ns, other.latency_max_ns);
  }
  operations += other.operations;
  bytes += other.bytes;
  errors += other.errors;
  latency_total_ns += other.latency_total_ns;
  return *this;
}

ChannelStatistics::Group ChannelStatistics::group_of(IoType type) {
  switch (type) {
    case IoType::kRead:
      return kRead;
    case IoType::kWrite:
      return kWrite;
    case IoType::kUnmap:
      return kUnmap;
    case IoType::kFlush:
      return kFlush;
    case IoType::kWriteZeroes:
      return kWriteZeroes;
    case IoType::kCompare:
    case IoType::kCompareAndWrite:
    case IoType::kCopy:
    case IoType::kReset:
      return kOther;
  }
  return kOther;
}

void ChannelStatistics::count(IoType type, uint64_t bytes, Duration latency, bool success, uint32_t epoch) {
  if (epoch_.load(std::memory_order_relaxed) != epoch) {
    clear();
    epoch_.store(epoch, std::memory_order_release);
  }
  Counters& counters = groups_[group_of(type)];
  if (!success) {
    add(counters.errors, 1);
    return;
  }
  const auto nanoseconds = static_cast<uint64_t>(latency.count());
  const bool first = counters.operations.load(std::memory_order_relaxed) == 0;
  if (first || nanoseconds < counters.latency_min.load(std::memory_order_relaxed)) {
    counters.latency_min.store(nanoseconds, std::memory_order_relaxed);
  }
  if (nanoseconds > counters.latency_max.load(std::memory_order_relaxed)) {
    counters.latency_max.store(nanoseconds, std::memory_order_relaxed);
  }
  add(counters.operations, 1);
  add(counters.bytes, bytes);
  add(counters.latency_total, nanoseconds);
}

void ChannelStatistics::clear() {
  for (Counters& counters : groups_) {
    for (auto* counter : {&counters.operations, &counters.bytes, &counters.errors, &counters.latency_total,
                          &counters.latency_max, &counters.latency_min}) {
      counter->store(0, std::memory_order_relaxed);
    }
  }
}

void ChannelStatistics::add_to(IoStatistics& sum) const {
  IoStatistics::PerType* const targets[kNumGroups] = {&sum.read,  &sum.write,        &sum.unmap,
                                                      &sum.flush, &sum.write_zeroes, &sum.other};
  for (size_t i = 0; i < kNumGroups; ++i) {
    const Counters& counters = groups_[i];
    IoStatistics::PerType values;
    values.operations = counters.operations.load(std::memory_order_relaxed);
    values.bytes = counters.bytes.load(std::memory_order_relaxed);
    values.errors = counters.errors.load(std::memory_order_relaxed);
    values.latency_total_ns = counters.latency_total.load(std::memory_order_relaxed);
    values.latency_max_ns = counters.latency_max.load(std::memory_order_relaxed);
    values.latency_min_ns = counters.latency_min.load(std::memory_order_relaxed);
    *targets[i] += values;
  }
}

void StatisticsLedger::open(ChannelStatistics& channel) {
  const std::lock_guard lock(mutex_);
  channel.epoch_.store(epoch(), std::memory_order_relaxed);
  open_.push_back(channel);
}

void StatisticsLedger::close(ChannelStatistics& channel) {
  const std::lock_guard lock(mutex_);
  channel.unlink();
  if (channel.epoch_.load(std::memory_order_relaxed) == epoch()) channel.add_to(closed_);
}

IoStatistics StatisticsLedger::sum() const {
  const std::lock_guard lock(mutex_);
  IoStatistics sum = closed_;
  for (const ChannelStatistics& channel : open_) {
    if (channel.epoch_.load(std::memory_order_acquire) == epoch()) channel.add_to(sum);
  }
  return sum;
}

void StatisticsLedger::reset() {
  const std::lock_guard lock(mutex_);
  epoch_.fetch_add(1, std::memory_order_relaxed);
  closed_ = {};
}

}  // namespace cairn::block
