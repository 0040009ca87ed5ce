// Making pools and loading them: from the masks when the pool was closed cleanly, otherwise from the metadata pages
// alone.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"
#include "block/page_memory.h"
#include "pool/format/blob_chain.h"
#include "pool/metadata_change.h"
#include "pool/pool.h"
#include "pool/pool_disk.h"

namespace cairn::pool {

using format::BlobId;
using format::kPageSize;
using format::Page;
using runtime::Task;

namespace {

constexpr uint32_t kWindowPages = 4096;  // read at a time
constexpr uint32_t kMaxGapPages = 32;    // unused pages that are rather read than skipped

std::unexpected<Error> damaged(std::string what) {
  return fail(Code::kDataLoss, std::move(what));
}

}  // namespace

// The metadata pages that may matter, in a short form.
struct Pool::LoadedPages {
  struct Extent {
    uint32_t start_cluster = 0;
    std::vector<uint32_t> clusters;
  };
  std::vector<uint32_t> roots;                                // ascending
  std::unordered_map<uint32_t, std::unique_ptr<Page>> chain;  // roots and what continues them
  std::unordered_map<uint32_t, Extent> extents;

  // `root`: the mask says that it is one (or nothing does).
  void take(format::PageView page, uint32_t md_page) {
    if (!format::crc_matches(page)) return;
    const auto header = format::read_md_header(page);
    if (header.sequence == 0 && header.blob_id != format::blob_id_of(md_page)) {
      if (const auto extent = format::decode_extent_page(page)) {
        Extent entry{extent->start_cluster(), std::vector<uint32_t>(extent->size())};
        for (uint32_t i = 0; i < extent->size(); ++i) entry.clusters[i] = (*extent)[i];
        extents.emplace(md_page, std::move(entry));
      }
      return;
    }
    auto copy = std::make_unique<Page>();
    std::ranges::copy(page, copy->bytes.begin());
    chain.emplace(md_page, std::move(copy));
    if (header.sequence == 0) roots.push_back(md_page);
  }
};

Task<Result<>> Pool::format_disk(block::Channel& disk, const NewPool& request) {
  auto layout = format::plan_layout({.device_bytes = disk.device().size_bytes(),
                                     .block_size = disk.device().block_size(),
                                     .cluster_size = request.cluster_size,
                                     .md_ratio_percent = request.md_ratio_percent});
  if (!layout) co_return fail(std::move(layout.error()));
  format::BlobMetadata super_blob;
  super_blob.id = format::blob_id_of(0);
  super_blob.flags.invalid = format::BlobFlags::kExtentTable;
  if (auto set = format::set_pool_identity(super_blob.xattrs, {request.name, request.uuid}); !set) co_return set;
  std::vector<MetadataWrite::Item> pages(1);
  pages[0].page = std::make_unique<Page>();
  CAIRN_CHECK(format::chain_length(super_blob) == 1);
  format::encode_chain(super_blob, {}, pages[0].page->bytes);
  format::SuperBlock super = format::make_super_block(*layout);
  super.super_blob = super_blob.id;
  co_return co_await MetadataStore::write_empty_pool(disk, *layout, super, pages);
}

Task<Result<>> Pool::load(std::shared_ptr<block::Device> disk, bool fresh) {
  device_ = disk;
  disk_ = std::make_unique<PoolDisk>(std::move(disk));
  auto port = co_await disk_->port_here();
  if (!port) co_return fail(std::move(port.error()));
  home_port_ = *port;

  auto finding = co_await MetadataStore::find_super_block(*home_port_->channel);
  if (finding.disk_error) co_return fail(std::move(*finding.disk_error));
  if (finding.fault) co_return fail(finding.fault->to_error());
  const format::SuperBlock super = finding.found->super;
  const bool masks_valid = super.masks_valid();
  if (super.io_unit_size % device_->block_size() != 0) {
    co_return damaged(fmt::format("the pool was made for blocks of {} bytes, the disk has blocks of {}",
                                  super.io_unit_size, device_->block_size()));
  }
  store_ = std::make_unique<MetadataStore>(*home_port_->channel, super, std::move(finding.found->page),
                                           finding.found->mended);
  layout_ = store_->layout();
  if (!masks_valid) {
    if (!fresh) log::info("{}: the pool was not closed cleanly, its metadata pages are read", device_->name());
    if (auto mended = co_await store_->mend_torn_pages(); !mended) co_return mended;
  }
  {
    LoadedPages pages;
    if (auto read = co_await read_pages(pages, masks_valid); !read) co_return read;
    if (auto assembled = assemble_volumes(pages, masks_valid); !assembled) co_return assembled;
  }
  if (auto finished = co_await finish_interrupted_snapshots(); !finished) co_return finished;
  store_->set_used_pages(space_.pages());
  for (const auto& [id, volume] : volumes_) index_volume(*volume);
  co_return Result<>{};
}

Task<Result<>> Pool::read_pages(LoadedPages& pages, bool masks_valid) {
  Bitmap wanted(layout_.md_len);
  uint32_t end = layout_.md_len;
  if (masks_valid) {
    auto words = co_await store_->read_mask(format::MaskType::kUsedPages, layout_.used_page_mask, layout_.md_len);
    if (!words) co_return fail(std::move(words.error()));
    wanted.assign(std::move(*words));
    end = wanted.end_of_set();
  } else {
    const auto watermark = co_await store_->read_watermark();
    if (!watermark) co_return fail(watermark.error());
    end = *watermark;
  }
  const auto memory = block::allocate_pages(size_t{std::min(end, kWindowPages)} * kPageSize + kPageSize);
  auto is_wanted = [&](uint32_t page) { return !masks_valid || wanted.test(page); };
  for (uint32_t first = 0; first < end;) {
    if (!is_wanted(first)) {
      ++first;
      continue;
    }
    uint32_t last = first;  // wanted
    for (uint32_t page = first; page < end && page - first < kWindowPages && page - last <= kMaxGapPages; ++page) {
      if (is_wanted(page)) last = page;
    }
    const uint32_t count = last - first + 1;
    const std::span<std::byte> window(memory.get(), size_t{count} * kPageSize);
    if (auto read = co_await store_->read_md_pages(first, window); !read) co_return read;
    for (uint32_t i = 0; i < count; ++i) {
      if (is_wanted(first + i)) pages.take(format::page_at(std::span<const std::byte>(window), i), first + i);
    }
    first = last + 1;
  }
  if (masks_valid && layout_.used_blobid_mask.length > 0) {
    auto words = co_await store_->read_mask(format::MaskType::kUsedBlobIds, layout_.used_blobid_mask, layout_.md_len);
    if (!words) co_return fail(std::move(words.error()));
    Bitmap blob_ids(layout_.md_len);
    blob_ids.assign(std::move(*words));
    std::vector<uint32_t> roots;
    const uint32_t end_of_roots = blob_ids.end_of_set();
    for (uint32_t page = 0; page < end_of_roots; ++page) {
      if (blob_ids.test(page)) roots.push_back(page);
    }
    pages.roots = std::move(roots);
  }
  co_return Result<>{};
}

Result<> Pool::assemble_volumes(LoadedPages& pages, bool masks_valid) {
  std::unordered_set<uint32_t> claimed;  // what cannot be the root of anything else
  for (const uint32_t root : pages.roots) {
    if (!masks_valid && claimed.contains(root)) continue;
    auto volume = std::make_unique<Volume>();
    format::ChainDecoder decoder(format::blob_id_of(root), layout_);
    for (uint32_t page = root; page != format::kNoPage;) {
      const auto found = pages.chain.find(page);
      if (found == pages.chain.end()) {
        return damaged(
            fmt::format("blob {:#x}: metadata page {} is missing or damaged", format::blob_id_of(root), page));
      }
      if (page != root) volume->chain_pages.push_back(page);
      if (volume->chain_pages.size() > layout_.md_len) return damaged("a chain of metadata pages without end");
      const auto next = decoder.add(found->second->view());
      if (!next) return fail(Error(next.error()));
      page = *next;
    }
    auto metadata = decoder.finish();
    if (!metadata) return fail(std::move(metadata.error()));
    if (auto openable = format::check_openable(metadata->flags); !openable) return openable;
    volume->metadata = std::move(*metadata);
    const format::BlobMetadata& blob = volume->metadata;
    volume->map = std::make_shared<ClusterMap>(blob.num_clusters);

    for (size_t number = 0; number < blob.extent_table.size(); ++number) {
      const uint32_t md_page = blob.extent_table[number];
      if (md_page == format::kNoExtentPage) continue;
      const auto extent = pages.extents.find(md_page);
      if (extent == pages.extents.end()) {
        return damaged(fmt::format("blob {:#x}: extent page {} is missing or damaged", blob.id, md_page));
      }
      const uint64_t start = uint64_t{number} * format::kClustersPerExtentPage;
      const auto& clusters = extent->second.clusters;
      if (extent->second.start_cluster != start) {
        return damaged(fmt::format("blob {:#x}: extent page {} begins at cluster {}, expected {}", blob.id, md_page,
                                   extent->second.start_cluster, start));
      }
      for (uint64_t i = 0; i < clusters.size() && start + i < blob.num_clusters; ++i) {
        if (clusters[i] == format::kNoCluster) continue;
        if (!layout_.is_data_cluster(clusters[i])) {
          return damaged(fmt::format("blob {:#x}: extent page {} names cluster {} (accepted: {} to {})", blob.id,
                                     md_page, clusters[i], layout_.md_clusters, layout_.total_clusters - 1));
        }
        volume->map->set(start + i, clusters[i]);
      }
      claimed.insert(md_page);
    }
    uint64_t index = 0;
    for (const format::ClusterRun& run : blob.runs) {
      for (uint32_t i = 0; i < run.length; ++i, ++index) {
        if (run.first != format::kNoCluster) volume->map->set(index, run.first + i);
      }
    }
    if (!volume->thin() && volume->map->allocated() != blob.num_clusters) {
      return damaged(fmt::format("blob {:#x} is thick, but {} of its {} clusters are missing", blob.id,
                                 blob.num_clusters - volume->map->allocated(), blob.num_clusters));
    }
    claimed.insert(volume->chain_pages.begin(), volume->chain_pages.end());
    for (const uint32_t page : volume->chain_pages) pages.chain.erase(page);

    if (blob.id == store_->super().super_blob) {
      auto identity = format::decode_pool_identity(blob.xattrs);
      if (!identity) return fail(std::move(identity.error()));
      name_ = identity->name;
      uuid_ = identity->uuid;
      super_volume_ = std::move(*volume);
      continue;
    }
    auto attributes = format::decode_lvol_attributes(blob.xattrs);
    if (!attributes) return fail(std::move(attributes.error()));
    volume->attributes = std::move(*attributes);
    volumes_.emplace(blob.id, std::move(volume));
  }
  if (super_volume_.map == nullptr) return damaged("the blob with the pool's name and UUID is missing");
  return {};
}

Result<> Pool::link_volumes() {
  for (auto& [id, volume] : volumes_) {
    const auto link = volume->metadata.link(format::kParentLink);
    if (!link) return fail(Error(link.error()));
    if (!*link) continue;
    const auto parent = volumes_.find(**link);
    if (parent == volumes_.end()) {
      return damaged(
          fmt::format("volume '{}' was made of blob {:#x}, which does not exist", volume->attributes.name, **link));
    }
    volume->parent = parent->second.get();
    volume->parent->children.push_back(volume.get());
  }
  for (auto& [id, volume] : volumes_) {
    size_t depth = 0;
    for (const Volume* ancestor = volume->parent; ancestor != nullptr; ancestor = ancestor->parent) {
      if (++depth > volumes_.size())
        return damaged(fmt::format("volume '{}' is its own ancestor", volume->attributes.name));
    }
  }
  return {};
}

// Snapshots whose making or removal a crash has interrupted (reference lvs-ondisk.md, section 9): the snapshot stays
// when the other volume still (or already) reads through it, or any other does, otherwise that owns everything and the
// snapshot goes.
Task<Result<>> Pool::finish_interrupted_snapshots() {
  std::vector<std::unique_ptr<Volume>> leftovers;
  std::vector<Volume*> kept;
  std::unordered_set<BlobId> parents;
  for (const auto& [id, volume] : volumes_) {
    const auto parent = volume->metadata.link(format::kParentLink);
    if (parent && *parent) parents.insert(**parent);
  }
  for (auto position = volumes_.begin(); position != volumes_.end();) {
    Volume& volume = *position->second;
    auto removal = volume.metadata.link(format::kSnapshotRemovalLink);
    if (!removal) co_return fail(std::move(removal.error()));
    auto creation = volume.metadata.link(format::kSnapshotInProgressLink);
    if (!creation) co_return fail(std::move(creation.error()));
    if (!*removal && !*creation) {
      ++position;
      continue;
    }
    const auto other = volumes_.find(*removal ? **removal : **creation);
    if (other == volumes_.end() || parents.contains(volume.id())) {
      kept.push_back(&volume);
      ++position;
    } else {
      log::info("pool '{}': removing what is left of snapshot '{}'", name_, volume.attributes.name);
      leftovers.push_back(std::move(position->second));
      position = volumes_.erase(position);
    }
  }
  if (auto linked = link_volumes(); !linked) co_return linked;

  // The original may have merged extent pages of the snapshot into its clone's before the crash: what both have belongs
  // to the snapshot.
  std::map<Volume*, std::map<uint64_t, uint32_t>, ByBlobId> merged;
  for (Volume* snapshot : kept) {
    for (Volume* child : snapshot->children) {
      for (uint64_t index = 0; index < std::min(child->num_clusters(), snapshot->num_clusters()); ++index) {
        const uint32_t cluster = child->map->at(index);
        if (cluster == 0 || snapshot->map->at(index) != cluster) continue;
        child->map->set(index, 0);
        merged[child].emplace(index, 0);
      }
    }
  }
  if (auto counted = count_space(); !counted) co_return counted;
  if (leftovers.empty() && kept.empty()) co_return Result<>{};
  store_->set_used_pages(space_.pages());

  MetadataChange change(space_, *store_);
  for (const auto& leftover : leftovers) {
    change.erase_root(leftover->root_page());
    space_.mark_page_taken(leftover->root_page());
    for (const uint32_t page : leftover->chain_pages) {
      space_.mark_page_taken(page);
      change.erase_page(page);
    }
    for (const uint32_t page : leftover->metadata.extent_table) {
      if (page == format::kNoExtentPage || space_.is_page_taken(page)) continue;
      space_.mark_page_taken(page);
      change.erase_page(page);
    }
  }
  // First the volumes stop naming what is the snapshots', then the marks go: a crash in between begins here again.
  std::map<Volume*, std::pair<format::BlobMetadata, std::vector<uint32_t>>, ByBlobId> changed;
  MetadataChange merge(space_, *store_);
  for (const auto& [volume, indices] : merged) {
    if (std::ranges::find(kept, volume) != kept.end())
      co_return damaged(fmt::format("volume '{}' takes part in two interrupted changes", volume->attributes.name));
    std::vector<uint64_t> extent_pages;
    for (const auto& [index, cluster] : indices) {
      const uint64_t number = index / format::kClustersPerExtentPage;
      if (extent_pages.empty() || extent_pages.back() != number) extent_pages.push_back(number);
    }
    format::BlobMetadata metadata = volume->metadata;
    auto chain = put_volume(merge, *volume, metadata, {*volume->map, volume->num_clusters(), indices}, extent_pages);
    if (!chain) co_return fail(std::move(chain.error()));
    changed.emplace(volume, std::pair(std::move(metadata), std::move(*chain)));
  }
  if (!merged.empty()) {
    if (auto done = co_await merge.commit(); !done) co_return done;
  }
  for (Volume* snapshot : kept) {
    format::BlobMetadata metadata = snapshot->metadata;
    metadata.remove_link(format::kSnapshotRemovalLink);
    metadata.remove_link(format::kSnapshotInProgressLink);
    metadata.flags.data_ro |= format::BlobFlags::kReadOnly;
    auto chain = change.put_chain(metadata, snapshot->chain_pages);
    if (!chain) co_return fail(std::move(chain.error()));
    changed.emplace(snapshot, std::pair(std::move(metadata), std::move(*chain)));
  }
  if (auto done = co_await change.commit(); !done) co_return done;
  for (auto& [volume, now] : changed) {
    volume->metadata = std::move(now.first);
    volume->chain_pages = std::move(now.second);
  }
  co_return Result<>{};
}

Result<> Pool::count_space() {
  space_ = DiskSpace(layout_.total_clusters, layout_.md_clusters, layout_.md_len);
  auto take_page = [&](uint32_t page, const Volume& volume) -> Result<> {
    if (space_.is_page_taken(page)) {
      return damaged(
          fmt::format("metadata page {} of volume '{}' belongs to another one as well", page, volume.attributes.name));
    }
    space_.mark_page_taken(page);
    return {};
  };
  auto count = [&](const Volume& volume) -> Result<> {
    if (auto taken = take_page(volume.root_page(), volume); !taken) return taken;
    for (const uint32_t page : volume.chain_pages) {
      if (auto taken = take_page(page, volume); !taken) return taken;
    }
    for (const uint32_t page : volume.metadata.extent_table) {
      if (page == format::kNoExtentPage) continue;
      if (auto taken = take_page(page, volume); !taken) return taken;
    }
    for (uint64_t index = 0; index < volume.num_clusters(); ++index) {
      const uint32_t cluster = volume.map->at(index);
      if (cluster == 0) continue;
      if (space_.is_taken(cluster)) {
        return damaged(
            fmt::format("cluster {} of volume '{}' belongs to another one as well", cluster, volume.attributes.name));
      }
      space_.mark_taken(cluster);
    }
    return {};
  };
  if (auto counted = count(super_volume_); !counted) return counted;
  for (const auto& [id, volume] : volumes_) {
    if (auto counted = count(*volume); !counted) return counted;
  }
  return {};
}

}  // namespace cairn::pool
