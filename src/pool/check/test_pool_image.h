// Small pools in memory for tests: blobs put together page by page, then damaged at will.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/check.h"
#include "pool/check/device_reader.h"
#include "pool/check/ownership.h"
#include "pool/format/blob_chain.h"
#include "pool/format/lvol_attributes.h"
#include "pool/format/mask.h"
#include "pool/format/super_block.h"

namespace cairn::pool::check {

class TestPoolImage {
 public:
  explicit TestPoolImage(uint64_t device_bytes = 4u << 20, uint32_t cluster_size = 64u << 10)
      : layout(format::plan_layout({.device_bytes = device_bytes, .cluster_size = cluster_size}).value()),
        super(format::make_super_block(layout)),
        device_(std::vector<std::byte>(device_bytes)),
        used_pages_(format::mask_words(layout.md_len)),
        used_clusters_(format::mask_words(layout.total_clusters)),
        used_blobids_(format::mask_words(layout.md_len)) {
    for (uint32_t i = 0; i < layout.md_clusters; ++i) set_bit(used_clusters_, i);
    format::BlobMetadata blob;
    blob.id = format::blob_id_of(0);
    blob.flags.invalid = format::BlobFlags::kExtentTable;
    const auto uuid = Uuid::parse("0a0b0c0d-0102-4304-8506-070809101112").value();
    CAIRN_CHECK(format::set_pool_identity(blob.xattrs, {.name = "pool0", .uuid = uuid}).has_value());
    super.super_blob = blob.id;
    put(blob);
  }

  // An lvol without clusters; changes are made with put().
  format::BlobMetadata lvol(uint32_t root, const std::string& name, uint64_t num_clusters = 0) {
    format::BlobMetadata blob;
    blob.id = format::blob_id_of(root);
    blob.flags.invalid = format::BlobFlags::kExtentTable | format::BlobFlags::kThin;
    CAIRN_CHECK(format::set_lvol_identity(blob.xattrs, name, Uuid::random_v4(root, root)).has_value());
    blob.num_clusters = num_clusters;
    blob.extent_table.resize(format::extent_pages_for(num_clusters));
    return blob;
  }

  // Writes the chain (further pages where given) and marks its pages.
  void put(const format::BlobMetadata& blob, const std::vector<uint32_t>& further = {}) {
    std::vector<format::Page> pages(format::chain_length(blob));
    format::encode_chain(blob, further, {pages[0].bytes.data(), pages.size() * format::kPageSize});
    const uint32_t root = format::root_page_of(blob.id);
    for (size_t i = 0; i < pages.size(); ++i) put_page(i == 0 ? root : further[i - 1], pages[i]);
    set_bit(used_blobids_, root);
  }

  // Writes extent page `index` of the blob at `md_page` and marks it and its clusters.
  void put_extent_page(const format::BlobMetadata& blob, uint32_t index, uint32_t md_page,
                       const std::vector<uint32_t>& clusters) {
    format::Page page;
    format::encode_extent_page(blob.id, index * format::kClustersPerExtentPage, clusters, page.span());
    put_page(md_page, page);
    for (const uint32_t cluster : clusters) {
      if (cluster < layout.total_clusters) set_bit(used_clusters_, cluster);
    }
  }

  void put_page(uint32_t md_page, const format::Page& page) {
    std::memcpy(md_page_bytes(md_page).data(), page.bytes.data(), format::kPageSize);
    set_bit(used_pages_, md_page);
  }

  std::span<std::byte> md_page_bytes(uint32_t md_page) {
    return device_.bytes().subspan(layout.md_page_offset(md_page), format::kPageSize);
  }

  void flip_bit(uint64_t offset) { device_.bytes()[offset] ^= std::byte{1}; }
  void mark_cluster(uint32_t cluster) { set_bit(used_clusters_, cluster); }
  void unmark_cluster(uint32_t cluster) { used_clusters_[cluster / 64] &= ~(uint64_t{1} << cluster % 64); }
  void mark_page(uint32_t page) { set_bit(used_pages_, page); }
  void unmark_page(uint32_t page) { used_pages_[page / 64] &= ~(uint64_t{1} << page % 64); }
  void mark_blobid(uint32_t page) { set_bit(used_blobids_, page); }
  void unmark_blobid(uint32_t page) { used_blobids_[page / 64] &= ~(uint64_t{1} << page % 64); }

  // Writes masks and super block.
  MemoryDevice& finish(bool clean = true) {
    if (clean) {
      put_mask(format::MaskType::kUsedPages, layout.used_page_mask, used_pages_, layout.md_len);
      put_mask(format::MaskType::kUsedClusters, layout.used_cluster_mask, used_clusters_, layout.total_clusters);
      put_mask(format::MaskType::kUsedBlobIds, layout.used_blobid_mask, used_blobids_, layout.md_len);
    }
    super.clean = clean;
    format::encode_super_block(super, device_.bytes().first<format::kPageSize>());
    return device_;
  }

  format::Layout layout;
  format::SuperBlock super;

 private:
  void put_mask(format::MaskType type, format::PageRange range, std::span<const uint64_t> words, uint32_t bits) {
    const auto region = device_.bytes().subspan(uint64_t{range.start} * format::kPageSize);
    for (uint32_t i = 0; i < range.length; ++i) {
      format::encode_mask_page(type, words, bits, i, format::page_at(region, i));
    }
  }

  MemoryDevice device_;
  std::vector<uint64_t> used_pages_;
  std::vector<uint64_t> used_clusters_;
  std::vector<uint64_t> used_blobids_;
};

}  // namespace cairn::pool::check
