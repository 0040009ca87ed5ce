// Counters of a device's I/O: each channel counts for itself, without a lock or a shared cache line; the device adds up
// when asked.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/duration.h"
#include "base/intrusive_list.h"
#include "block/io.h"

namespace cairn::block {

// Of successful I/O, but for `errors`. Latencies from submit to completion.
struct IoStatistics {
  struct PerType {
    uint64_t operations = 0, bytes = 0, errors = 0;
    uint64_t latency_total_ns = 0, latency_max_ns = 0, latency_min_ns = 0;  // min is 0 before the first operation
    PerType& operator+=(const PerType& other);
  };
  PerType read, write, unmap, flush, write_zeroes, other;
};

// Counters of one channel: written by its reactor only, read by any thread.
class ChannelStatistics : public ListLink<> {
 public:
  void count(IoType type, uint64_t bytes, Duration latency, bool success, uint32_t epoch);

 private:
  friend class StatisticsLedger;
  struct Counters {
    std::atomic<uint64_t> operations{0}, bytes{0}, errors{0};
    std::atomic<uint64_t> latency_total{0}, latency_max{0}, latency_min{0};
  };
  enum Group : uint8_t { kRead, kWrite, kUnmap, kFlush, kWriteZeroes, kOther, kNumGroups };
  static Group group_of(IoType type);
  void clear();
  void add_to(IoStatistics& sum) const;

  std::array<Counters, kNumGroups> groups_;
  std::atomic<uint32_t> epoch_{0};
};

// The counters of all channels of a device, closed ones included. Thread safe.
//
// reset() only begins a new epoch: a channel clears its counters itself when it first counts in the new epoch, and
// until then counts as zero. So a counter has one writer.
class StatisticsLedger {
 public:
  void open(ChannelStatistics& channel);
  void close(ChannelStatistics& channel);
  IoStatistics sum() const;
  void reset();
  uint32_t epoch() const { return epoch_.load(std::memory_order_relaxed); }

 private:
  mutable std::mutex mutex_;  // taken when a channel opens or closes and when somebody asks, never by I/O
  mutable IntrusiveList<ChannelStatistics> open_;
  IoStatistics closed_;
  std::atomic<uint32_t> epoch_{0};
};

}  // namespace cairn::block
