#include "pool/check/blob_survey.h"

#include <fmt/format.h>

#include "pool/format/blob_chain.h"

namespace cairn::pool::check {
namespace {

using format::BlobId;
using format::ClusterRun;
using format::kNoCluster;
using format::kNoPage;

class BlobSurvey {
 public:
  BlobSurvey(const MetadataArea& area, const format::Layout& layout, uint32_t root, std::vector<Finding>& findings)
      : area_(area), layout_(layout), findings_(findings) {
    blob_.id = format::blob_id_of(root);
  }

  BlobReport run() {
    read_chain();
    if (blob_.metadata.flags.uses_extent_table()) {
      read_extent_pages();
    } else {
      blob_.map = blob_.metadata.runs;
    }
    for (const ClusterRun& run : blob_.map) {
      if (run.first != kNoCluster) blob_.allocated_clusters += run.length;
    }
    read_links();
    if (auto known = format::check_openable(blob_.metadata.flags); !known) {
      add(Problem::kFlags, known.error().message());
    }
    for (const format::UnknownDescriptor& unknown : blob_.metadata.unknown) {
      add(Problem::kUnknownDescriptor, fmt::format("descriptor of unknown type {}", unknown.type));
    }
    return std::move(blob_);
  }

 private:
  void add(Problem problem, std::string_view what, std::optional<uint32_t> md_page = {},
           std::optional<uint32_t> cluster = {}) {
    findings_.push_back({.problem = problem,
                         .severity = problem == Problem::kBeyondEnd ? Severity::kWarning : Severity::kError,
                         .message = fmt::format("blob {:#x}: {}", blob_.id, what),
                         .blob = blob_.id,
                         .md_page = md_page,
                         .cluster = cluster});
  }

  void read_chain() {
    format::ChainDecoder decoder(blob_.id, layout_);
    uint32_t at = format::root_page_of(blob_.id);
    while (at != kNoPage) {
      const format::Page* page = area_.page(at);
      if (page == nullptr) {
        add(Problem::kBrokenChain,
            fmt::format("page {} of its chain, metadata page {}, is {}", blob_.chain.size(), at,
                        page_state_name(area_.state(at))),
            at);
        return break_chain(decoder);
      }
      const auto next = decoder.add(page->view());
      if (!next) {
        add(Problem::kBrokenChain, next.error().to_string(), at);
        return break_chain(decoder);
      }
      blob_.chain.push_back(at);
      at = *next;
    }
    blob_.metadata = decoder.partial();
    if (auto whole = decoder.finish(); !whole) {
      add(Problem::kBrokenChain, whole.error().to_string());
      blob_.readable = false;
    }
  }

  void break_chain(const format::ChainDecoder& decoder) {
    blob_.metadata = decoder.partial();
    blob_.readable = false;
  }

  void read_extent_pages() {
    const format::BlobMetadata& metadata = blob_.metadata;
    for (uint32_t i = 0; i < metadata.extent_table.size(); ++i) {
      const uint32_t expected = format::clusters_in_extent_page(metadata.num_clusters, i);
      if (metadata.extent_table[i] == format::kNoExtentPage) {
        append(kNoCluster, expected);
      } else {
        read_extent_page(i, expected);
      }
    }
  }

  void read_extent_page(uint32_t index, uint32_t expected) {
    const uint32_t md_page = blob_.metadata.extent_table[index];
    const auto damaged = [&](std::string_view what) {
      add(Problem::kExtentPage, fmt::format("extent page {}, metadata page {}: {}", index, md_page, what), md_page);
      blob_.readable = false;
      append(kNoCluster, expected);
    };
    const format::Page* page = area_.page(md_page);
    if (page == nullptr) return damaged(page_state_name(area_.state(md_page)));
    const auto view = format::decode_extent_page(page->view());
    if (!view) return damaged(view.error().to_string());
    const uint64_t start = uint64_t{index} * format::kClustersPerExtentPage;
    if (view->start_cluster() != start) {
      return damaged(fmt::format("start_cluster_idx is {}, not {}", view->start_cluster(), start));
    }
    if (view->size() < expected) return damaged(fmt::format("{} entries, not {}", view->size(), expected));
    if (view->size() > expected) {
      add(Problem::kBeyondEnd,
          fmt::format("extent page {}, metadata page {}: {} entries, the blob ends after {}", index, md_page,
                      view->size(), expected),
          md_page);
    }
    for (uint32_t i = 0; i < expected; ++i) read_entry((*view)[i], start + i, md_page);
  }

  void read_entry(uint32_t cluster, uint64_t index, uint32_t md_page) {
    if (cluster != kNoCluster && !layout_.is_data_cluster(cluster)) {
      add(Problem::kClusterOutside,
          fmt::format("its cluster {} is cluster {} of the device, accepted are {} to {}", index, cluster,
                      layout_.md_clusters, layout_.total_clusters - 1),
          md_page, cluster);
      blob_.readable = false;
      cluster = kNoCluster;
    } else if (cluster == kNoCluster && !blob_.metadata.flags.thin()) {
      add(Problem::kClusterMissing, fmt::format("its cluster {} is unallocated although it is thick", index), md_page);
    }
    append(cluster, 1);
  }

  void append(uint32_t first, uint32_t length) {
    if (!blob_.map.empty()) {
      ClusterRun& last = blob_.map.back();
      const bool continues = first == kNoCluster ? last.first == kNoCluster
                                                 : last.first != kNoCluster && last.first + last.length == first;
      if (continues) {
        last.length += length;
        return;
      }
    }
    blob_.map.push_back({.first = first, .length = length});
  }

  void read_links() {
    const auto read = [this](std::string_view name, std::optional<BlobId>& out) {
      auto link = blob_.metadata.link(name);
      if (link) {
        out = *link;
      } else {
        add(Problem::kBrokenChain, link.error().message());
        blob_.readable = false;
      }
    };
    read(format::kParentLink, blob_.parent);
    read(format::kSnapshotInProgressLink, blob_.snapshot_origin);
    read(format::kSnapshotRemovalLink, blob_.removal_clone);
  }

  const MetadataArea& area_;
  const format::Layout& layout_;
  std::vector<Finding>& findings_;
  BlobReport blob_;
};

}  // namespace

BlobReport survey_blob(const MetadataArea& area, const format::Layout& layout, uint32_t root,
                       std::vector<Finding>& findings) {
  return BlobSurvey(area, layout, root, findings).run();
}

std::vector<uint32_t> clusters_beyond_end(const MetadataArea& area, const BlobReport& blob) {
  std::vector<uint32_t> beyond;
  const std::vector<uint32_t>& table = blob.metadata.extent_table;
  for (uint32_t index = 0; index < table.size(); ++index) {
    const format::Page* page = table[index] == format::kNoExtentPage ? nullptr : area.page(table[index]);
    if (page == nullptr) continue;
    const auto view = format::decode_extent_page(page->view());
    if (!view) continue;
    for (uint32_t i = format::clusters_in_extent_page(blob.metadata.num_clusters, index); i < view->size(); ++i) {
      if ((*view)[i] != kNoCluster) beyond.push_back((*view)[i]);
    }
  }
  return beyond;
}

}  // namespace cairn::pool::check
