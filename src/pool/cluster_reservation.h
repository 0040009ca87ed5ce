// Free clusters that are taken for a volume which is being made or grows, and cleared, before any metadata is changed.
// Home reactor.
//
// Where the disk has to write zeroes, clearing takes long: it is done without the pool's turn, a portion at a time
// (Pool::reserve_clusters()). Nothing on the disk says that these clusters are taken; a crash leaves them free.
#pragma once

#include <cstdint>
#include <vector>

#include "base/abandonment.h"
#include "base/check.h"
#include "pool/disk_space.h"
#include "pool/metadata_change.h"

namespace cairn::pool {

class ClusterReservation {
 public:
  explicit ClusterReservation(DiskSpace& space) : space_(space) {}
  ClusterReservation(const ClusterReservation&) = delete;
  ClusterReservation& operator=(const ClusterReservation&) = delete;
  // In the pool's turn: clusters that were not handed out are free again.
  ~ClusterReservation() {
    if (abandoning()) return;
    for (size_t i = handed_out_; i < clusters_.size(); ++i) space_.free_cluster(clusters_[i]);
  }

  uint64_t size() const { return clusters_.size() - handed_out_; }

  // In the pool's turn; one must be free.
  void take_one() {
    const auto cluster = space_.take_cluster();
    CAIRN_CHECK(cluster.has_value());
    clusters_.push_back(*cluster);
  }
  // At most `max` of those that are not known to read as zeroes; none when all are.
  std::vector<uint32_t> next_uncleared(uint64_t max) {
    std::vector<uint32_t> portion;
    while (all_cleared_before_ < clusters_.size() && space_.is_zeroed(clusters_[all_cleared_before_])) {
      ++all_cleared_before_;
    }
    for (size_t i = all_cleared_before_; i < clusters_.size() && portion.size() < max; ++i) {
      if (!space_.is_zeroed(clusters_[i])) portion.push_back(clusters_[i]);
    }
    return portion;
  }
  void set_cleared(const std::vector<uint32_t>& clusters) {
    for (const uint32_t cluster : clusters) space_.set_zeroed(cluster);
  }
  // In the pool's turn: a cleared cluster, which belongs to `change` from now on.
  uint32_t hand_out(MetadataChange& change) {
    CAIRN_CHECK(size() > 0 && space_.is_zeroed(clusters_[handed_out_]));
    const uint32_t cluster = clusters_[handed_out_++];
    space_.forget_zeroed(cluster);
    change.adopt_cluster(cluster);
    return cluster;
  }
  // The turn could not be taken again: the clusters stay taken until the pool is closed.
  void leave() { handed_out_ = clusters_.size(); }

 private:
  DiskSpace& space_;
  std::vector<uint32_t> clusters_;
  size_t all_cleared_before_ = 0;
  size_t handed_out_ = 0;
};

}  // namespace cairn::pool
