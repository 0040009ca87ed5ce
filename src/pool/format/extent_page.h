// Extent pages: the clusters of 512 consecutive clusters of a blob (docs/pool-format.md, "Extent pages").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "pool/format/metadata_page.h"

namespace cairn::pool::format {

inline constexpr uint32_t kClustersPerExtentPage = 512;
inline constexpr uint32_t kNoCluster = 0;     // an entry without a cluster: cluster 0 always holds metadata
inline constexpr uint32_t kNoExtentPage = 0;  // in an extent table: metadata page 0 is never an extent page

constexpr uint64_t extent_pages_for(uint64_t num_clusters) {
  return divide_up(num_clusters, kClustersPerExtentPage);
}
// Entries of extent page `index` of a blob of so many clusters: 512, fewer in the last one.
constexpr uint32_t clusters_in_extent_page(uint64_t num_clusters, uint64_t index) {
  const uint64_t left = num_clusters - index * kClustersPerExtentPage;
  return left < kClustersPerExtentPage ? static_cast<uint32_t>(left) : kClustersPerExtentPage;
}

// A view into the page, which must outlive it.
class ExtentPageView {
 public:
  ExtentPageView(BlobId writer, uint32_t start_cluster, std::span<const std::byte> entries)
      : writer_(writer), start_cluster_(start_cluster), entries_(entries) {}
  // The blob that first wrote the page; after snapshots it may belong to another one.
  BlobId writer() const { return writer_; }
  uint32_t start_cluster() const { return start_cluster_; }  // of the blob, a multiple of 512
  uint32_t size() const { return static_cast<uint32_t>(entries_.size() / 4); }
  uint32_t operator[](uint32_t i) const;  // cluster of the device, kNoCluster if unallocated

 private:
  BlobId writer_;
  uint32_t start_cluster_;
  std::span<const std::byte> entries_;
};

// DATA_LOSS unless CRC, sequence 0, no next page and a single descriptor of 1 to 512 entries. The clusters themselves
// are not checked.
Result<ExtentPageView> decode_extent_page(PageView page);
// The descriptor alone.
Result<ExtentPageView> decode_extent_page_body(BlobId writer, std::span<const std::byte> body);

// Writes the whole page with CRC: `clusters` (1 to 512) are those of the blob from `start_cluster` (a multiple of 512)
// on.
void encode_extent_page(BlobId writer, uint32_t start_cluster, std::span<const uint32_t> clusters, PageSpan page);

}  // namespace cairn::pool::format
