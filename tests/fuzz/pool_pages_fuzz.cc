// A pool's pages as anybody may have left them on a disk: super blocks, masks, chains, extent pages. The input is cut
// into pages (the last one filled up with zeroes); what must be sealed to be looked at at all gets a correct CRC.
#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "base/check.h"
#include "pool/check/pool_check.h"
#include "pool/check/repair.h"
#include "pool/format/blob_chain.h"
#include "pool/format/extent_page.h"
#include "pool/format/lvol_attributes.h"
#include "pool/format/mask.h"
#include "pool/format/super_block.h"

namespace cairn::pool::format {
namespace {

constexpr uint64_t kDeviceBytes = 1u << 20;
constexpr uint32_t kClusterSize = 16u << 10;

void try_super_block(const Page& page) {
  const auto super = decode_super_block(page.view(), kDeviceBytes);
  if (!super) return;
  const Layout layout = layout_of(*super);
  CAIRN_CHECK(layout.md_clusters <= layout.total_clusters);
  CAIRN_CHECK(layout.md_page_offset(layout.md_len) <= kDeviceBytes);
  Page again = page;
  encode_super_block(*super, again.span());
  CAIRN_CHECK(decode_super_block(again.view(), kDeviceBytes).value() == *super);
}

void try_extent_page(const Page& page) {
  const auto view = decode_extent_page(page.view());
  if (!view) return;
  std::vector<uint32_t> clusters;
  for (uint32_t i = 0; i < view->size(); ++i) clusters.push_back((*view)[i]);
  Page again;
  encode_extent_page(view->writer(), view->start_cluster(), clusters, again.span());
  const auto same = decode_extent_page(again.view());
  CAIRN_CHECK(same && same->size() == view->size() && same->start_cluster() == view->start_cluster());
}

void try_chain(std::span<Page> pages, const Layout& layout) {
  const BlobId id = read_md_header(pages[0].view()).blob_id;
  ChainDecoder decoder(id, layout);
  uint32_t next = 0;
  for (size_t i = 0; i < pages.size() && next != kNoPage; ++i) {
    const auto added = decoder.add(pages[i].view());
    if (!added) return;
    next = *added;
  }
  if (next != kNoPage) return;
  const auto blob = decoder.finish();
  if (!blob) return;
  std::vector<Page> again(chain_length(*blob));
  encode_chain(*blob, std::vector<uint32_t>(again.size() - 1, 3), {again[0].bytes.data(), again.size() * kPageSize});
  ChainDecoder second(id, layout);
  for (const Page& page : again) CAIRN_CHECK(second.add(page.view()).has_value());
  CAIRN_CHECK(second.finish().value() == *blob);
  (void)decode_pool_identity(blob->xattrs);
  (void)decode_lvol_attributes(blob->xattrs);
  (void)blob->link(kParentLink);
  (void)check_openable(blob->flags);
}

// The pages as a whole pool: the first is laid over a good super block, the others are the metadata.
void try_pool(std::span<const Page> pages, const Layout& layout) {
  std::vector<std::byte> device(kDeviceBytes);
  SuperBlock super = make_super_block(layout);
  super.super_blob = blob_id_of(0);
  super.clean = std::to_integer<int>(pages[0].bytes[0]) % 2 == 1;
  encode_super_block(super, std::span(device).first<kPageSize>());
  for (uint32_t i = 0; i < pages.size() && i < layout.md_start + layout.md_len - 1; ++i) {
    std::memcpy(device.data() + (i + 1) * kPageSize, pages[i].bytes.data(), kPageSize);
  }
  check::MemoryDevice memory(std::move(device));
  const check::PoolReport report = check::check_pool(memory);
  const auto plan = check::plan_repair(memory, {.separate_shared = true});
  if (!plan) return;
  // What a plan promises comes true, and nothing is left that another one would do.
  CAIRN_CHECK(check::apply_repair(memory, *plan).has_value());
  CAIRN_CHECK(check::check_pool(memory).findings.size() == plan->left.size());
  const auto again = check::plan_repair(memory, {.separate_shared = true});
  CAIRN_CHECK(again && again->empty());
}

void run(std::span<const std::byte> input) {
  if (input.empty()) return;
  static const Layout layout = plan_layout({.device_bytes = kDeviceBytes, .cluster_size = kClusterSize}).value();
  std::vector<Page> pages(std::min<size_t>(divide_up(input.size(), kPageSize), 16));
  for (size_t i = 0; i < pages.size(); ++i) {
    const auto piece = input.subspan(i * kPageSize, std::min(kPageSize, input.size() - i * kPageSize));
    std::memcpy(pages[i].bytes.data(), piece.data(), piece.size());
  }
  try_super_block(pages[0]);
  std::vector<uint64_t> words(mask_words(layout.total_clusters));
  (void)decode_mask_length(pages[0].view(), MaskType::kUsedClusters, layout.total_clusters, 1);
  decode_mask_page(pages[0].view(), 0, layout.total_clusters, words);
  for (Page& page : pages) seal(page.span());
  try_super_block(pages[0]);
  try_extent_page(pages[0]);
  try_chain(pages, layout);
  try_pool(pages, layout);
}

}  // namespace
}  // namespace cairn::pool::format

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::pool::format::run(std::as_bytes(std::span(data, size)));
  return 0;
}
