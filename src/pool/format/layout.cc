#include "pool/format/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "pool/format/mask.h"

namespace cairn::pool::format {

Result<Layout> plan_layout(const LayoutRequest& request) {
  if (!is_valid_block_size(request.block_size)) {
    return fail(Code::kInvalidArgument, fmt::format("block size {} is not a power of two between {} and {}",
                                                    request.block_size, kMinBlockSize, kPageSize));
  }
  if (request.cluster_size < kPageSize || request.cluster_size % kPageSize != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("cluster size {} is not a multiple of {}", request.cluster_size, kPageSize));
  }
  const uint64_t usable = request.device_bytes / request.block_size * request.block_size;
  const uint64_t clusters = usable / request.cluster_size;
  if (clusters < 1 || clusters > kMaxClusters) {
    return fail(Code::kResourceExhausted,
                fmt::format("a device of {} bytes has {} clusters of {} bytes, accepted are 1 to {}",
                            request.device_bytes, clusters, request.cluster_size, kMaxClusters));
  }
  const uint32_t ratio = request.md_ratio_percent == 0 ? kDefaultMdRatioPercent : request.md_ratio_percent;
  // Both factors are below 2^32. Page numbers must stay below it too, with room for the masks.
  const uint64_t md_len = clusters * ratio / 100;
  constexpr uint64_t kMaxMdLen = kMaxClusters / 2;
  if (md_len < 1 || md_len > kMaxMdLen) {
    return fail(
        Code::kInvalidArgument,
        fmt::format("metadata ratio of {} % makes {} metadata pages, accepted are 1 to {}", ratio, md_len, kMaxMdLen));
  }

  Layout layout;
  layout.size = usable;
  layout.block_size = request.block_size;
  layout.cluster_size = request.cluster_size;
  layout.total_clusters = static_cast<uint32_t>(clusters);
  layout.md_len = static_cast<uint32_t>(md_len);
  const uint32_t md_mask_pages = mask_pages(md_len);
  layout.used_page_mask = {1, md_mask_pages};
  layout.used_cluster_mask = {1 + md_mask_pages, mask_pages(clusters)};
  layout.reserved_cluster_mask_pages = std::max(layout.used_cluster_mask.length, md_mask_pages);
  layout.used_blobid_mask = {layout.used_cluster_mask.start + layout.reserved_cluster_mask_pages, md_mask_pages};
  layout.md_start = static_cast<uint32_t>(layout.used_blobid_mask.end());
  const uint64_t md_clusters = divide_up((uint64_t{layout.md_start} + md_len) * kPageSize, request.cluster_size);
  if (md_clusters > clusters) {
    return fail(Code::kResourceExhausted, fmt::format("metadata needs {} clusters of {} bytes, the device has {}",
                                                      md_clusters, request.cluster_size, clusters));
  }
  layout.md_clusters = static_cast<uint32_t>(md_clusters);
  return layout;
}

Layout layout_of(const SuperBlock& super) {
  Layout layout;
  layout.size = super.size;
  layout.block_size = super.io_unit_size;
  layout.cluster_size = super.cluster_size;
  layout.total_clusters = static_cast<uint32_t>(super.size / super.cluster_size);
  layout.md_clusters =
      static_cast<uint32_t>(divide_up((uint64_t{super.md_start} + super.md_len) * kPageSize, super.cluster_size));
  layout.used_page_mask = super.used_page_mask;
  layout.used_cluster_mask = super.used_cluster_mask;
  layout.used_blobid_mask = super.used_blobid_mask;
  layout.reserved_cluster_mask_pages = super.used_blobid_mask.start > super.used_cluster_mask.start
                                           ? super.used_blobid_mask.start - super.used_cluster_mask.start
                                           : super.used_cluster_mask.length;
  layout.md_start = super.md_start;
  layout.md_len = super.md_len;
  return layout;
}

SuperBlock make_super_block(const Layout& layout) {
  return {.cluster_size = layout.cluster_size,
          .used_page_mask = layout.used_page_mask,
          .used_cluster_mask = layout.used_cluster_mask,
          .used_blobid_mask = layout.used_blobid_mask,
          .md_start = layout.md_start,
          .md_len = layout.md_len,
          .size = layout.size,
          .io_unit_size = layout.block_size};
}

Result<Layout> grow_layout(const Layout& layout, uint64_t device_bytes) {
  const uint64_t usable = device_bytes / layout.block_size * layout.block_size;
  const uint64_t clusters = usable / layout.cluster_size;
  if (usable < layout.size) {
    return fail(Code::kResourceExhausted,
                fmt::format("the device has {} bytes, the pool uses {}", device_bytes, layout.size));
  }
  if (clusters > max_clusters(layout)) {
    return fail(Code::kResourceExhausted,
                fmt::format("{} clusters; the room that was reserved at creation is enough for {}", clusters,
                            max_clusters(layout)));
  }
  Layout grown = layout;
  grown.size = usable;
  grown.total_clusters = static_cast<uint32_t>(clusters);
  grown.used_cluster_mask.length = mask_pages(clusters);
  return grown;
}

uint64_t max_clusters(const Layout& layout) {
  const uint64_t room = uint64_t{layout.reserved_cluster_mask_pages} * kPageSize;
  return std::min((room - kMaskHeaderSize) * 8, kMaxClusters);
}

}  // namespace cairn::pool::format
