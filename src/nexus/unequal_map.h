// The segments in which healthy children may differ: what was under way when the engine of the nexus before ended.
// Reads of them wait until they are equal (Resync), so that nobody sees a block of one child and later one of another.
// Any reactor.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "nexus/dirty_map.h"

namespace cairn::nexus {

class UnequalMap {
 public:
  UnequalMap(uint64_t num_blocks, uint32_t segment_blocks) : map_(num_blocks, segment_blocks) {}

  DirtyMap& map() { return map_; }
  const DirtyMap& map() const { return map_; }
  // Whether any of these blocks may differ; such a segment is to be the next then.
  bool holds(uint64_t lba, uint64_t num_blocks) {
    const uint64_t last = (lba + num_blocks - 1) / map_.segment_blocks();
    for (uint64_t segment = lba / map_.segment_blocks(); segment <= last; ++segment) {
      if (!map_.test(segment)) continue;
      urgent_.store(segment, std::memory_order_relaxed);
      return true;
    }
    return false;
  }
  // A segment that somebody wants to read, and no longer wanted afterwards; num_segments() or more: none.
  uint64_t take_urgent() { return urgent_.exchange(UINT64_MAX, std::memory_order_relaxed); }

 private:
  DirtyMap map_;
  std::atomic<uint64_t> urgent_{UINT64_MAX};
};

}  // namespace cairn::nexus
