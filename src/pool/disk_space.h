// What of a pool's disk is taken: clusters and metadata pages. Home reactor.
//
// `Zeroed` clusters are free ones that are known to read as zeroes, durably. It is not known of any cluster when a pool
// is loaded; whoever clears free clusters says so here.
#pragma once

#include <cstdint>
#include <optional>

#include "pool/bitmap.h"

namespace cairn::pool {

class DiskSpace {
 public:
  DiskSpace() = default;
  // Nothing is taken but the clusters that hold metadata.
  DiskSpace(uint32_t total_clusters, uint32_t md_clusters, uint32_t md_pages)
      : clusters_(total_clusters), zeroed_(total_clusters), pages_(md_pages) {
    for (uint32_t cluster = 0; cluster < md_clusters; ++cluster) clusters_.set(cluster);
  }

  uint32_t total_clusters() const { return clusters_.size(); }
  uint32_t free_clusters() const { return clusters_.size() - clusters_.count(); }
  uint32_t md_pages() const { return pages_.size(); }
  uint32_t used_md_pages() const { return pages_.count(); }
  const Bitmap& clusters() const { return clusters_; }
  const Bitmap& pages() const { return pages_; }

  void grow(uint32_t total_clusters) {
    clusters_.resize(total_clusters);
    zeroed_.resize(total_clusters);
  }

  // The lowest free one, now taken. Who takes a cluster for data asks is_zeroed() before and forget_zeroed() then.
  std::optional<uint32_t> take_cluster() {
    const auto cluster = clusters_.first_clear();
    if (cluster) clusters_.set(*cluster);
    return cluster;
  }
  std::optional<uint32_t> lowest_free_cluster() { return clusters_.first_clear(); }
  bool is_taken(uint32_t cluster) const { return clusters_.test(cluster); }
  void mark_taken(uint32_t cluster) {
    if (!clusters_.test(cluster)) clusters_.set(cluster);
  }
  void free_cluster(uint32_t cluster) { clusters_.clear(cluster); }

  bool is_zeroed(uint32_t cluster) const { return zeroed_.test(cluster); }
  void set_zeroed(uint32_t cluster) {
    if (!zeroed_.test(cluster)) zeroed_.set(cluster);
  }
  void forget_zeroed(uint32_t cluster) {
    if (zeroed_.test(cluster)) zeroed_.clear(cluster);
  }

  // `from` 1 for extent pages, which never use page 0.
  std::optional<uint32_t> take_page(uint32_t from = 0) {
    const auto page = pages_.first_clear(from);
    if (page) pages_.set(*page);
    return page;
  }
  bool is_page_taken(uint32_t page) const { return pages_.test(page); }
  void mark_page_taken(uint32_t page) {
    if (!pages_.test(page)) pages_.set(page);
  }
  void free_page(uint32_t page) { pages_.clear(page); }

 private:
  Bitmap clusters_;
  Bitmap zeroed_;
  Bitmap pages_;
};

}  // namespace cairn::pool
