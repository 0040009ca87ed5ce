// Which cluster of the disk holds which cluster of a volume.
//
// Written on the pool's home reactor only; read by the channels of every reactor without a lock. An entry becomes
// non-zero only when the allocation is durable, so who sees a cluster may use it. What else may change in a chain
// (another parent, fewer clusters) goes by way of a new MapChain that is published to the channels (replica.h).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/check.h"

namespace cairn::pool {

class ClusterMap {
 public:
  explicit ClusterMap(uint64_t num_clusters)
      : size_(num_clusters), entries_(std::make_unique<std::atomic<uint32_t>[]>(num_clusters)) {}

  uint64_t size() const { return size_; }
  uint64_t allocated() const { return allocated_; }  // home reactor

  // 0: not allocated.
  uint32_t at(uint64_t index) const { return entries_[index].load(std::memory_order_acquire); }
  // Home reactor.
  void set(uint64_t index, uint32_t cluster) {
    CAIRN_CHECK(index < size_);
    allocated_ += cluster != 0 ? 1 : 0;
    allocated_ -= entries_[index].load(std::memory_order_relaxed) != 0 ? 1 : 0;
    entries_[index].store(cluster, std::memory_order_release);
  }

 private:
  const uint64_t size_;
  uint64_t allocated_ = 0;
  std::unique_ptr<std::atomic<uint32_t>[]> entries_;
};

// A volume's own map and those of the snapshots beneath it, nearest first. Immutable but for the entries of the maps.
struct MapChain {
  std::shared_ptr<ClusterMap> own;
  std::vector<std::shared_ptr<const ClusterMap>> ancestors;
  bool thin = false;  // whether unallocated clusters are allowed

  // The cluster that a read of an unallocated cluster goes to; 0: it reads as zeroes. A snapshot may be smaller than
  // what was made of it.
  uint32_t inherited(uint64_t index) const {
    for (const auto& map : ancestors) {
      if (index >= map->size()) return 0;
      if (const uint32_t cluster = map->at(index); cluster != 0) return cluster;
    }
    return 0;
  }
};

}  // namespace cairn::pool
