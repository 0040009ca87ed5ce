// What a check has read and found.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pool/check/finding.h"
#include "pool/format/blob_metadata.h"
#include "pool/format/layout.h"
#include "pool/format/lvol_attributes.h"
#include "pool/format/super_block.h"

namespace cairn::pool::check {

struct BlobReport {
  format::BlobId id = format::kNoBlob;
  bool live = true;      // false: a root that the mask of a clean pool does not know
  bool readable = true;  // chain and extent pages are whole; otherwise what could be read is here
  format::BlobMetadata metadata;
  std::vector<uint32_t> chain;          // metadata pages, root first
  std::vector<format::ClusterRun> map;  // metadata.num_clusters altogether, unless not readable
  uint64_t allocated_clusters = 0;
  std::optional<format::BlobId> parent;           // SNAP
  std::optional<format::BlobId> snapshot_origin;  // SNAPTMP
  std::optional<format::BlobId> removal_clone;    // SNAPRM
  std::optional<format::LvolAttributes> lvol;     // unless super blob or without name
};

struct MaskReport {
  uint32_t length = 0;  // bits it claims
  uint64_t set = 0;     // bits
};

struct PoolReport {
  std::optional<format::SuperBlock> super;  // as found; there may be findings about it
  std::optional<format::Layout> layout;     // nothing further is known without it
  std::optional<format::PoolIdentity> identity;
  // On disk, when the super block says that they are valid.
  std::optional<MaskReport> used_pages;
  std::optional<MaskReport> used_clusters;
  std::optional<MaskReport> used_blobids;
  // By the blobs, metadata's own clusters included.
  uint64_t pages_in_use = 0;
  uint64_t clusters_in_use = 0;
  std::vector<BlobReport> blobs;  // ascending ids
  std::vector<Finding> findings;  // in the order in which they were met

  bool has(Severity severity) const;  // a finding of at least this severity
  const BlobReport* blob(format::BlobId id) const;
  // All findings of at least this severity, one a line: "error: cluster_shared: ...".
  std::string text(Severity at_least = Severity::kNote) const;
};

}  // namespace cairn::pool::check
