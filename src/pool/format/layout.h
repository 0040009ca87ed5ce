// Where everything of a pool lies on its device (docs/pool-format.md, "Layout").
#pragma once

#include <cstdint>

#include "base/error.h"
#include "pool/format/page.h"
#include "pool/format/super_block.h"

namespace cairn::pool::format {

inline constexpr uint64_t kMaxClusters = 0xffffffff;  // clusters are numbered with 32 bits
inline constexpr uint32_t kMinBlockSize = 512;
inline constexpr uint32_t kDefaultClusterSize = 4u << 20;
inline constexpr uint32_t kDefaultMdRatioPercent = 100;  // metadata pages for 100 clusters

// Blocks of the device: a power of two, at most a page.
constexpr bool is_valid_block_size(uint32_t bytes) {
  return bytes >= kMinBlockSize && bytes <= kPageSize && (bytes & (bytes - 1)) == 0;
}

struct LayoutRequest {
  uint64_t device_bytes = 0;
  uint32_t block_size = 512;  // of the device
  uint32_t cluster_size = kDefaultClusterSize;
  uint32_t md_ratio_percent = kDefaultMdRatioPercent;  // 0 means the default
};

struct Layout {
  uint64_t size = 0;  // bytes of the device that the pool uses
  uint32_t block_size = 0;
  uint32_t cluster_size = 0;
  uint32_t total_clusters = 0;  // with those that hold metadata
  uint32_t md_clusters = 0;     // clusters 0 to md_clusters - 1 hold metadata and belong to nobody
  PageRange used_page_mask;
  PageRange used_cluster_mask;
  PageRange used_blobid_mask;                // length 0 in old versions
  uint32_t reserved_cluster_mask_pages = 0;  // room of the cluster mask; bounds growth
  uint32_t md_start = 0;                     // pages
  uint32_t md_len = 0;                       // pages

  uint32_t data_clusters() const { return total_clusters - md_clusters; }
  uint64_t capacity_bytes() const { return uint64_t{data_clusters()} * cluster_size; }
  uint64_t md_page_offset(uint32_t md_page) const { return (uint64_t{md_start} + md_page) * kPageSize; }
  uint64_t cluster_offset(uint32_t cluster) const { return uint64_t{cluster} * cluster_size; }
  // Whether blobs may own the cluster.
  bool is_data_cluster(uint32_t cluster) const { return cluster >= md_clusters && cluster < total_clusters; }
  bool is_md_page(uint32_t md_page) const { return md_page < md_len; }
  friend bool operator==(const Layout&, const Layout&) = default;
};

// The layout of a new pool. INVALID_ARGUMENT: block size, cluster size or ratio; RESOURCE_EXHAUSTED: the device is too
// small (or so large that its clusters cannot be numbered).
Result<Layout> plan_layout(const LayoutRequest& request);

// The layout of an existing pool, whose super block has been decoded or validated.
Layout layout_of(const SuperBlock& super);

// The super block of a new pool: not clean, without a super blob.
SuperBlock make_super_block(const Layout& layout);

// The layout after the device has grown to `device_bytes`: only size, clusters and the length of their mask change.
// RESOURCE_EXHAUSTED when the device is smaller than before or the mask would outgrow its room.
Result<Layout> grow_layout(const Layout& layout, uint64_t device_bytes);
// The largest number of clusters that the pool can ever grow to.
uint64_t max_clusters(const Layout& layout);

}  // namespace cairn::pool::format
