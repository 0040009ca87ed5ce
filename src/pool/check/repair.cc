#include "pool/check/repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "pool/check/mask_check.h"
#include "pool/check/overlay_device.h"
#include "pool/check/ownership.h"
#include "pool/check/pool_check.h"
#include "pool/format/blob_chain.h"
#include "pool/format/mask.h"

namespace cairn::pool::check {
namespace {

using format::BlobId;
using format::kNoCluster;
using format::kPageSize;
using format::Page;

bool has_problem(const PoolReport& report, Problem problem, std::optional<BlobId> blob = {}) {
  return std::ranges::any_of(report.findings, [&](const Finding& finding) {
    return finding.problem == problem && (!blob || finding.blob == blob);
  });
}

// Like the blob that a pool begins with: its identity in the order in which it is written, and no clusters.
bool looks_like_super_blob(const BlobReport& blob) {
  const auto& xattrs = blob.metadata.xattrs.all();
  return blob.live && blob.readable && blob.metadata.num_clusters == 0 && xattrs.size() >= 2 &&
         xattrs[0].name == format::kUuidXattr && xattrs[1].name == format::kNameXattr &&
         format::decode_pool_identity(blob.metadata.xattrs).has_value();
}

class Planner {
 public:
  Planner(DeviceReader& device, const RepairOptions& options) : device_(device), overlay_(device), options_(options) {}

  Result<RepairPlan> run() {
    if (auto done = repair_super_block(); !done) return fail(std::move(done.error()));
    if (auto done = drop_blobs(); !done) return fail(std::move(done.error()));
    if (auto done = detach_blobs(); !done) return fail(std::move(done.error()));
    if (auto done = trim_extent_pages(); !done) return fail(std::move(done.error()));
    if (auto done = separate_shared(); !done) return fail(std::move(done.error()));
    if (auto done = erase_unused_pages(); !done) return fail(std::move(done.error()));
    if (auto done = rewrite_masks(); !done) return fail(std::move(done.error()));
    return finish();
  }

 private:
  const PoolReport& report() const { return survey_.report; }
  const format::Layout& layout() const { return *survey_.report.layout; }
  void look_again() { survey_ = survey_pool(overlay_); }

  template <typename... Args>
  void step(fmt::format_string<Args...> text, Args&&... args) {
    plan_.steps.push_back(fmt::format(text, std::forward<Args>(args)...));
  }

  Result<> write_md_page(uint32_t md_page, const Page& page) {
    return overlay_.write(layout().md_page_offset(md_page), page.bytes);
  }

  Result<> write_super_block(const format::SuperBlock& super) {
    Page page;
    if (auto done = overlay_.read(0, page.span()); !done) return done;
    format::encode_super_block(super, page.span());
    return overlay_.write(0, page.bytes);
  }

  Result<> repair_super_block() {
    look_again();
    if (!report().layout) {
      if (auto done = rebuild_super_block(); !done) return done;
    } else if (options_.rebuild_super_block) {
      return fail(Code::kInvalidArgument, "the super block is there; it is not made anew");
    }
    format::SuperBlock super = *report().super;
    const bool damaged = has_problem(report(), Problem::kSuperBlock);
    if (has_problem(report(), Problem::kTornPage)) {
      return fail(Code::kFailedPrecondition,
                  "a crash has torn pages that the next import mends: import and export the pool first");
    }
    if (has_problem(report(), Problem::kSuperBlob)) {
      std::vector<BlobId> candidates;
      for (const BlobReport& blob : report().blobs) {
        if (looks_like_super_blob(blob)) candidates.push_back(blob.id);
      }
      if (candidates.size() == 1 && candidates[0] != super.super_blob) {
        super.super_blob = candidates[0];
        step("super block: super_blob is {:#x}", super.super_blob);
      }
    }
    if (!damaged && super == *report().super) return {};
    if (damaged && !report().identity && super.super_blob == report().super->super_blob) {
      return fail(Code::kFailedPrecondition,
                  "the super block is damaged, and no super blob confirms what it still says; nothing is written");
    }
    if (damaged) {
      super.clean = false;
      step("super block: CRC recomputed, marked as not exported");
    }
    if (auto done = write_super_block(super); !done) return done;
    look_again();
    return {};
  }

  Result<> rebuild_super_block() {
    if (!options_.rebuild_super_block) {
      return fail(Code::kFailedPrecondition, report().text(Severity::kError));
    }
    format::LayoutRequest request = *options_.rebuild_super_block;
    request.device_bytes = device_.size_bytes();
    const auto layout = format::plan_layout(request);
    if (!layout) return fail(layout.error());
    format::SuperBlock super = format::make_super_block(*layout);
    super.super_blob = format::blob_id_of(0);
    const PoolReport seen = check_pool(device_, super);
    const auto confirmed = masks_confirm(*layout);
    if (!seen.identity || seen.has(Severity::kError) || !confirmed) {
      return fail(
          Code::kFailedPrecondition,
          fmt::format("with clusters of {} bytes, {} % of metadata and blocks of {} bytes the device makes no pool: "
                      "{}; nothing is written",
                      request.cluster_size, request.md_ratio_percent, request.block_size,
                      !confirmed       ? confirmed.error().message()
                      : !seen.identity ? fmt::format("no super blob at byte {}", layout->md_page_offset(0))
                                       : seen.text(Severity::kError)));
    }
    if (!*confirmed)
      step("attention: the device has no masks that confirm the size of clusters, {} bytes", request.cluster_size);
    step("super block: made anew for pool {}, {} clusters of {} bytes", seen.identity->name, layout->total_clusters,
         layout->cluster_size);
    Page page;
    format::encode_super_block(super, page.span());
    if (auto done = overlay_.write(0, page.bytes); !done) return done;
    look_again();
    return {};
  }

  // Whether the masks of an earlier export fit the layout. false: there are none. FAILED_PRECONDITION: they do not.
  Result<bool> masks_confirm(const format::Layout& layout) {
    struct Mask {
      format::MaskType type;
      format::PageRange range;
      uint32_t bits;
    };
    const Mask masks[] = {{format::MaskType::kUsedPages, layout.used_page_mask, layout.md_len},
                          {format::MaskType::kUsedClusters, layout.used_cluster_mask, layout.total_clusters},
                          {format::MaskType::kUsedBlobIds, layout.used_blobid_mask, layout.md_len}};
    size_t found = 0;
    for (const Mask& mask : masks) {
      Page page;
      if (auto done = device_.read(uint64_t{mask.range.start} * kPageSize, page.span()); !done)
        return fail(done.error());
      if (format::is_blank(page.view())) continue;
      // The engine uses the first page of this one while a pool is not clean.
      if (mask.type == format::MaskType::kUsedPages && page.bytes[0] != std::byte{0}) continue;
      ++found;
      const auto length = format::decode_mask_length(page.view(), mask.type, mask.bits, mask.range.length);
      if (!length) return fail(Code::kFailedPrecondition, length.error().message());
      if (*length != mask.bits) {
        return fail(Code::kFailedPrecondition,
                    fmt::format("the mask at page {} has {} bits, not {}", mask.range.start, *length, mask.bits));
      }
    }
    return found == std::size(masks);
  }

  Result<> erase(uint32_t md_page) { return write_md_page(md_page, Page()); }

  Result<> drop_blobs() {
    for (const BlobId id : options_.drop_blobs) {
      const uint32_t root = format::root_page_of(id);
      if (!format::is_blob_id(id) || !layout().is_md_page(root)) {
        return fail(Code::kInvalidArgument, fmt::format("no blob id of this pool: {:#x}", id));
      }
      if (id == report().super->super_blob) {
        return fail(Code::kInvalidArgument, "the super blob cannot be dropped: it is the pool");
      }
      const BlobReport* blob = report().blob(id);
      if (blob == nullptr && survey_.area->state(root) == PageState::kBlank &&
          !has_problem(report(), Problem::kBlobMissing)) {
        return fail(Code::kInvalidArgument, fmt::format("no such blob: {:#x}", id));
      }
      for (const BlobReport& other : report().blobs) {
        if (other.live && other.parent == id) {
          return fail(Code::kInvalidArgument,
                      fmt::format("blob {:#x} is the parent of {:#x}: drop or detach that first", id, other.id));
        }
      }
      if (auto done = erase(root); !done) return done;
      if (blob != nullptr) {
        for (const uint32_t page : blob->chain) {
          if (auto done = erase(page); !done) return done;
        }
      }
      dropped_.insert(root);
      step("blob {:#x}: dropped", id);
      look_again();
    }
    return {};
  }

  // Writes a blob's metadata over its old chain, which must have room enough.
  Result<> rewrite_chain(const BlobReport& blob, const format::BlobMetadata& metadata) {
    const size_t pages = format::chain_length(metadata);
    if (pages > blob.chain.size()) {
      return fail(Code::kResourceExhausted, fmt::format("blob {:#x}: {} metadata pages needed, its chain has {}",
                                                        blob.id, pages, blob.chain.size()));
    }
    std::vector<Page> out(pages);
    const std::span<const uint32_t> chain(blob.chain);
    format::encode_chain(metadata, chain.subspan(1, pages - 1), {out[0].bytes.data(), pages * kPageSize});
    for (size_t i = 0; i < blob.chain.size(); ++i) {
      if (auto done = write_md_page(blob.chain[i], i < pages ? out[i] : Page()); !done) return done;
    }
    return {};
  }

  Result<> detach_blobs() {
    for (const BlobId id : options_.detach_blobs) {
      const BlobReport* blob = report().blob(id);
      if (blob == nullptr || !blob->live || !blob->readable) {
        return fail(Code::kInvalidArgument, fmt::format("no such blob, or it cannot be read: {:#x}", id));
      }
      if (!has_problem(report(), Problem::kDanglingParent, id) && !has_problem(report(), Problem::kParentCycle, id)) {
        return fail(Code::kInvalidArgument, fmt::format("blob {:#x} has no parent, or one that exists", id));
      }
      format::BlobMetadata metadata = blob->metadata;
      metadata.remove_link(format::kParentLink);
      if (auto done = rewrite_chain(*blob, metadata); !done) return done;
      step("blob {:#x}: detached from {:#x}; its unallocated clusters read as zeroes", id, *blob->parent);
      look_again();
    }
    return {};
  }

  // The clusters of extent page `index` as the blob's map has them.
  static std::vector<uint32_t> entries_of(const BlobReport& blob, uint32_t index) {
    std::vector<uint32_t> entries(format::clusters_in_extent_page(blob.metadata.num_clusters, index));
    const uint64_t start = uint64_t{index} * format::kClustersPerExtentPage;
    uint64_t at = 0;
    for (const format::ClusterRun& run : blob.map) {
      for (uint64_t i = std::max(at, start); i < std::min(at + run.length, start + entries.size()); ++i) {
        if (run.first != kNoCluster) entries[i - start] = static_cast<uint32_t>(run.first + (i - at));
      }
      at += run.length;
    }
    return entries;
  }

  Result<> write_extent_page(const BlobReport& blob, uint32_t index, std::span<const uint32_t> entries) {
    Page page;
    format::encode_extent_page(blob.id, index * format::kClustersPerExtentPage, entries, page.span());
    return write_md_page(blob.metadata.extent_table[index], page);
  }

  Result<> trim_extent_pages() {
    bool changed = false;
    for (const BlobReport& blob : report().blobs) {
      if (!blob.live || !blob.readable || !has_problem(report(), Problem::kBeyondEnd, blob.id)) continue;
      const uint32_t last = static_cast<uint32_t>(blob.metadata.extent_table.size() - 1);
      if (auto done = write_extent_page(blob, last, entries_of(blob, last)); !done) return done;
      step("blob {:#x}: extent page {} ends with its blob", blob.id, last);
      changed = true;
    }
    if (changed) look_again();
    return {};
  }

  uint32_t take_free_cluster() {
    for (uint32_t cluster = layout().md_clusters; cluster < layout().total_clusters; ++cluster) {
      if (bit_of(survey_.usage.clusters, cluster)) continue;
      set_bit(survey_.usage.clusters, cluster);
      return cluster;
    }
    return kNoCluster;
  }

  // The blob that comes first keeps a shared cluster, the others get copies.
  Result<> separate_shared() {
    if (!options_.separate_shared) return {};
    std::vector<bool> taken(layout().total_clusters);
    const std::vector<BlobReport> blobs = report().blobs;
    for (const BlobReport& blob : blobs) {
      if (!blob.live) continue;
      std::vector<uint32_t> clusters;  // of the blob, in order
      bool changed = false;
      for (const format::ClusterRun& run : blob.map) {
        for (uint32_t i = 0; i < run.length; ++i) {
          uint32_t cluster = run.first == kNoCluster ? kNoCluster : run.first + i;
          if (cluster != kNoCluster && taken[cluster]) {
            const uint32_t copy = take_free_cluster();
            if (copy == kNoCluster) return fail(Code::kResourceExhausted, "no free cluster for a copy of a shared one");
            plan_.copies.push_back({.from = cluster, .to = copy});
            step("blob {:#x}: cluster {} gets a copy of the shared cluster {}", blob.id, copy, cluster);
            cluster = copy;
            changed = true;
          }
          if (cluster != kNoCluster) taken[cluster] = true;
          clusters.push_back(cluster);
        }
      }
      if (!changed) continue;
      if (!blob.readable || blob.snapshot_origin || blob.removal_clone || has_problem(report(), Problem::kPageShared)) {
        return fail(Code::kFailedPrecondition,
                    fmt::format("blob {:#x} shares clusters, but cannot be rewritten as it is", blob.id));
      }
      if (auto done = write_clusters(blob, clusters); !done) return done;
    }
    if (!plan_.copies.empty()) look_again();
    return {};
  }

  Result<> write_clusters(const BlobReport& blob, std::span<const uint32_t> clusters) {
    if (blob.metadata.flags.uses_extent_table()) {
      for (uint32_t i = 0; i < blob.metadata.extent_table.size(); ++i) {
        if (blob.metadata.extent_table[i] == format::kNoExtentPage) continue;
        const auto entries = clusters.subspan(size_t{i} * format::kClustersPerExtentPage,
                                              format::clusters_in_extent_page(clusters.size(), i));
        if (auto done = write_extent_page(blob, i, entries); !done) return done;
      }
      return {};
    }
    format::BlobMetadata metadata = blob.metadata;
    metadata.runs.clear();
    for (const uint32_t cluster : clusters) metadata.runs.push_back({.first = cluster, .length = 1});
    return rewrite_chain(blob, metadata);
  }

  // Whether every live blob is known as a whole, so that what is not known to be used is free.
  bool everything_is_known() const {
    return std::ranges::all_of(report().blobs, [](const BlobReport& blob) { return !blob.live || blob.readable; }) &&
           !has_problem(report(), Problem::kReadError) && !has_problem(report(), Problem::kDamagedRoot) &&
           std::ranges::none_of(report().findings, [this](const Finding& finding) {
             return finding.problem == Problem::kBlobMissing && !dropped_.contains(*finding.md_page);
           });
  }

  Result<> erase_unused_pages() {
    if (!everything_is_known()) return {};
    uint32_t erased = 0;
    for (uint32_t page = 0; page < layout().md_len; ++page) {
      if (bit_of(survey_.usage.pages, page) || survey_.area->state(page) == PageState::kBlank) continue;
      if (auto done = erase(page); !done) return done;
      ++erased;
    }
    if (erased == 0) return {};
    step("{} metadata pages that nobody uses: erased", erased);
    look_again();
    return {};
  }

  Result<> rewrite_masks() {
    const bool wrong = std::ranges::any_of(report().findings, [](const Finding& finding) {
      switch (finding.problem) {
        case Problem::kMask:
        case Problem::kPageLeaked:
        case Problem::kPageUnmarked:
        case Problem::kClusterLeaked:
        case Problem::kClusterUnmarked:
        case Problem::kBlobMissing:
          return true;
        default:
          return false;
      }
    });
    if (!report().super->masks_valid() || !wrong || !everything_is_known()) return {};
    struct Mask {
      format::MaskType type;
      format::PageRange range;
      const std::vector<uint64_t>& words;
      uint32_t bits;
    };
    const Mask masks[] = {
        {format::MaskType::kUsedPages, layout().used_page_mask, survey_.usage.pages, layout().md_len},
        {format::MaskType::kUsedClusters, layout().used_cluster_mask, survey_.usage.clusters, layout().total_clusters},
        {format::MaskType::kUsedBlobIds, layout().used_blobid_mask, survey_.usage.blobids, layout().md_len}};
    for (const Mask& mask : masks) {
      for (uint32_t i = 0; i < mask.range.length; ++i) {
        Page page;
        format::encode_mask_page(mask.type, mask.words, mask.bits, i, page.span());
        if (auto done = overlay_.write((uint64_t{mask.range.start} + i) * kPageSize, page.bytes); !done) return done;
      }
    }
    step("masks: written anew from what the blobs use");
    look_again();
    return {};
  }

  Result<RepairPlan> finish() {
    plan_.cluster_size = layout().cluster_size;
    for (const auto& [offset, after] : overlay_.pages()) {
      PageChange change{.offset = offset, .before = {}, .after = after};
      if (auto done = device_.read(offset, change.before.span()); !done) change.before = Page();
      if (change.before.bytes == change.after.bytes) continue;
      if (offset == 0) {
        plan_.super = change;
      } else {
        plan_.changes.push_back(change);
      }
    }
    Page page;
    if (auto done = device_.read(0, page.span()); !done) return fail(std::move(done.error()));
    const auto before = format::decode_super_block(page.view(), device_.size_bytes());
    plan_.was_clean = before && before->clean;
    plan_.left = std::move(survey_.report.findings);
    return std::move(plan_);
  }

  DeviceReader& device_;
  OverlayDevice overlay_;
  const RepairOptions& options_;
  PoolSurvey survey_;
  std::set<uint32_t> dropped_;
  RepairPlan plan_;
};

Result<> check_unchanged(DeviceWriter& device, const PageChange& change) {
  Page page;
  if (!device.read(change.offset, page.span())) return {};  // unreadable then and now
  if (page.bytes == change.before.bytes) return {};
  return fail(Code::kAborted, fmt::format("the device has changed at byte {} since the plan was made", change.offset));
}

Result<> copy_cluster(DeviceWriter& device, const ClusterCopy& copy, uint32_t cluster_size) {
  std::vector<Page> buffer(cluster_size / kPageSize);
  const std::span<std::byte> bytes(buffer[0].bytes.data(), cluster_size);
  if (auto done = device.read(uint64_t{copy.from} * cluster_size, bytes); !done) return done;
  return device.write(uint64_t{copy.to} * cluster_size, bytes);
}

}  // namespace

Result<RepairPlan> plan_repair(DeviceReader& device, const RepairOptions& options) {
  return Planner(device, options).run();
}

Result<> apply_repair(DeviceWriter& device, const RepairPlan& plan) {
  if (plan.empty()) return {};
  Page super;
  if (auto done = device.read(0, super.span()); !done) return done;
  if (plan.super) {
    if (auto done = check_unchanged(device, *plan.super); !done) return done;
  }
  for (const PageChange& change : plan.changes) {
    if (auto done = check_unchanged(device, change); !done) return done;
  }
  for (const ClusterCopy& copy : plan.copies) {
    if (auto done = copy_cluster(device, copy, plan.cluster_size); !done) return done;
  }
  if (auto done = device.flush(); !done) return done;
  const Page last = plan.super ? plan.super->after : super;
  if (plan.was_clean) {
    auto unclean = format::decode_super_block(super.view(), device.size_bytes());
    if (!unclean || !unclean->clean) return fail(Code::kAborted, "the super block has changed since the plan was made");
    unclean->clean = false;
    format::encode_super_block(*unclean, super.span());
    if (auto done = device.write(0, super.bytes); !done) return done;
    if (auto done = device.flush(); !done) return done;
  }
  for (const PageChange& change : plan.changes) {
    if (auto done = device.write(change.offset, change.after.bytes); !done) return done;
  }
  if (auto done = device.flush(); !done) return done;
  if (auto done = device.write(0, last.bytes); !done) return done;
  return device.flush();
}

}  // namespace cairn::pool::check
