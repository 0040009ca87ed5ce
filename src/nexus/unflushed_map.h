// The segments that a child with a volatile cache might lose in a power failure: written since the last flush that all
// children did. A partial rebuild of a child that was away has to copy them too.
//
// Two maps in turn. A completed write is noted in the present one before it is acknowledged. A flush takes the other
// one for what comes from now on; when it succeeds, what was noted before it began is stable. A write that is noted
// late lands in the newer map, which only means that it is copied without need. Any reactor.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "nexus/dirty_map.h"

namespace cairn::nexus {

class UnflushedMap {
 public:
  UnflushedMap(uint64_t num_blocks, uint32_t segment_blocks)
      : maps_{DirtyMap(num_blocks, segment_blocks), DirtyMap(num_blocks, segment_blocks)} {}

  void note(uint64_t lba, uint64_t num_blocks) { maps_[current_.load(std::memory_order_seq_cst)].set(lba, num_blocks); }
  // Before a flush is sent. False: another one is under way, and this one settles nothing.
  bool begin_flush() {
    if (flushing_.exchange(true, std::memory_order_seq_cst)) return false;
    current_.store(1 - current_.load(std::memory_order_seq_cst), std::memory_order_seq_cst);
    return true;
  }
  // After one for which begin_flush() was true.
  void end_flush(bool succeeded) {
    // Else it stays, and the flush after the next one settles it.
    if (succeeded) maps_[1 - current_.load(std::memory_order_seq_cst)].clear();
    flushing_.store(false, std::memory_order_seq_cst);
  }
  // What is noted there. This one is not smaller.
  void add(const UnflushedMap& other) { other.copy_to(maps_[current_.load(std::memory_order_seq_cst)]); }
  void copy_to(DirtyMap& map) const {
    for (const DirtyMap& one : maps_) one.copy_to(map);
  }

 private:
  std::array<DirtyMap, 2> maps_;
  std::atomic<unsigned> current_{0};
  std::atomic<bool> flushing_{false};
};

}  // namespace cairn::nexus
