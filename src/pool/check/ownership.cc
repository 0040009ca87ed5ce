#include "pool/check/ownership.h"

#include <fmt/format.h>

#include <bit>

#include "pool/check/blob_survey.h"
#include "pool/format/mask.h"

namespace cairn::pool::check {
namespace {

using format::kNoCluster;

constexpr uint32_t kNobody = ~uint32_t{0};

// A row of clusters that two blobs claim.
struct Conflict {
  uint32_t owner = kNobody;  // index of the blob that came first
  uint32_t first = 0;
  uint32_t count = 0;
  bool explained = false;
};

bool is_pending_pair(const BlobReport& a, const BlobReport& b) {
  return a.snapshot_origin == b.id || a.removal_clone == b.id || b.snapshot_origin == a.id || b.removal_clone == a.id;
}

class Owners {
 public:
  Owners(const MetadataArea& area, PoolReport& report)
      : area_(area),
        report_(report),
        page_owner_(report.layout->md_len, kNobody),
        cluster_owner_(report.layout->total_clusters, kNobody),
        cluster_index_(report.layout->total_clusters) {}

  Usage run() {
    for (uint32_t i = 0; i < report_.blobs.size(); ++i) {
      if (report_.blobs[i].live) claim_pages(i);
    }
    for (uint32_t i = 0; i < report_.blobs.size(); ++i) {
      if (report_.blobs[i].live) claim_clusters(i);
    }
    return usage();
  }

 private:
  void claim_pages(uint32_t blob) {
    const BlobReport& report = report_.blobs[blob];
    for (const uint32_t page : report.chain) claim_page(page, blob);
    for (const uint32_t page : report.metadata.extent_table) {
      if (page != format::kNoExtentPage) claim_page(page, blob);
    }
  }

  void claim_page(uint32_t page, uint32_t blob) {
    uint32_t& owner = page_owner_[page];
    if (owner == kNobody) {
      owner = blob;
      return;
    }
    const bool explained = owner != blob && is_pending_pair(report_.blobs[owner], report_.blobs[blob]);
    report_.findings.push_back(
        {.problem = Problem::kPageShared,
         .severity = explained ? Severity::kNote : Severity::kError,
         .message = fmt::format("metadata page {} belongs to blob {:#x} and to blob {:#x}{}", page,
                                report_.blobs[owner].id, report_.blobs[blob].id, explanation(explained)),
         .blob = report_.blobs[blob].id,
         .md_page = page});
  }

  void claim_clusters(uint32_t blob) {
    Conflict conflict;
    uint64_t index = 0;
    for (const format::ClusterRun& run : report_.blobs[blob].map) {
      if (run.first != kNoCluster) {
        for (uint32_t i = 0; i < run.length; ++i) claim_cluster(run.first + i, index + i, blob, conflict);
      }
      index += run.length;
    }
    for (const uint32_t cluster : clusters_beyond_end(area_, report_.blobs[blob])) {
      if (report_.layout->is_data_cluster(cluster)) claim_cluster(cluster, index, blob, conflict);
    }
    report_conflict(conflict, blob);
  }

  void claim_cluster(uint32_t cluster, uint64_t index, uint32_t blob, Conflict& conflict) {
    uint32_t& owner = cluster_owner_[cluster];
    if (owner == kNobody) {
      owner = blob;
      cluster_index_[cluster] = static_cast<uint32_t>(index);
      return;
    }
    const bool explained =
        owner != blob && cluster_index_[cluster] == index && is_pending_pair(report_.blobs[owner], report_.blobs[blob]);
    if (conflict.owner == owner && conflict.first + conflict.count == cluster && conflict.explained == explained) {
      ++conflict.count;
      return;
    }
    report_conflict(conflict, blob);
    conflict = {.owner = owner, .first = cluster, .count = 1, .explained = explained};
  }

  void report_conflict(const Conflict& conflict, uint32_t blob) {
    if (conflict.count == 0) return;
    report_.findings.push_back(
        {.problem = Problem::kClusterShared,
         .severity = conflict.explained ? Severity::kNote : Severity::kError,
         .message = fmt::format("{} clusters from {} on belong to blob {:#x} and to blob {:#x}{}", conflict.count,
                                conflict.first, report_.blobs[conflict.owner].id, report_.blobs[blob].id,
                                explanation(conflict.explained)),
         .blob = report_.blobs[blob].id,
         .cluster = conflict.first});
  }

  static std::string_view explanation(bool explained) {
    return explained ? ", whose snapshot was being made or removed" : "";
  }

  Usage usage() {
    const format::Layout& layout = *report_.layout;
    Usage usage = {.pages = std::vector<uint64_t>(format::mask_words(layout.md_len)),
                   .clusters = std::vector<uint64_t>(format::mask_words(layout.total_clusters)),
                   .blobids = std::vector<uint64_t>(format::mask_words(layout.md_len))};
    for (uint32_t page = 0; page < layout.md_len; ++page) {
      if (page_owner_[page] != kNobody) set_bit(usage.pages, page);
    }
    for (uint32_t cluster = 0; cluster < layout.total_clusters; ++cluster) {
      if (cluster < layout.md_clusters || cluster_owner_[cluster] != kNobody) set_bit(usage.clusters, cluster);
    }
    for (const BlobReport& blob : report_.blobs) {
      if (blob.live) set_bit(usage.blobids, format::root_page_of(blob.id));
    }
    for (const uint64_t word : usage.pages) report_.pages_in_use += std::popcount(word);
    for (const uint64_t word : usage.clusters) report_.clusters_in_use += std::popcount(word);
    return usage;
  }

  const MetadataArea& area_;
  PoolReport& report_;
  std::vector<uint32_t> page_owner_;
  std::vector<uint32_t> cluster_owner_;
  std::vector<uint32_t> cluster_index_;  // the position in its owner
};

}  // namespace

Usage check_owners(const MetadataArea& area, PoolReport& report) {
  return Owners(area, report).run();
}

}  // namespace cairn::pool::check
