// Repairs of a pool that nobody uses: first a plan, which changes nothing, then its execution.
//
// Without being asked for more, a plan only does what loses nothing: it recomputes a super block's checksum and its
// link to the super blob, makes the masks of a clean pool true, cuts extent pages at the end of their blob, and erases
// pages that nobody uses and roots that should be gone. Everything that gives data up has to be named.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pool/check/device_reader.h"
#include "pool/check/finding.h"
#include "pool/format/layout.h"
#include "pool/format/page.h"
#include "pool/format/super_block.h"

namespace cairn::pool::check {

struct RepairOptions {
  // Blobs to give up: root and chain are erased, what they own is free afterwards. Also for damaged roots.
  std::vector<format::BlobId> drop_blobs{};
  // Blobs to cut from a parent that does not exist: their unallocated clusters read as zeroes afterwards.
  std::vector<format::BlobId> detach_blobs{};
  // Blobs that share clusters with another one get copies of their own.
  bool separate_shared = false;
  // A super block to make from scratch where there is none: what the pool was created with.
  std::optional<format::LayoutRequest> rebuild_super_block{};
};

struct PageChange {
  uint64_t offset = 0;  // bytes
  format::Page before;
  format::Page after;
};

struct ClusterCopy {
  uint32_t from = 0;
  uint32_t to = 0;
};

struct RepairPlan {
  std::vector<std::string> steps;   // what will be done, for people
  std::vector<ClusterCopy> copies;  // done first
  std::vector<PageChange> changes;  // without the super block
  std::optional<PageChange> super;  // the last change; none if the super block stays
  uint32_t cluster_size = 0;
  bool was_clean = false;     // the pool is marked unclean while pages are written
  std::vector<Finding> left;  // what a check finds afterwards

  bool empty() const { return copies.empty() && changes.empty() && !super; }
};

// INVALID_ARGUMENT: an option names a blob that is not there or that needs nothing of the kind; FAILED_PRECONDITION:
// there is no pool, or not enough of one; RESOURCE_EXHAUSTED: no free clusters for copies. Reads only.
Result<RepairPlan> plan_repair(DeviceReader& device, const RepairOptions& options);

// Writes the plan: data, flush, (super block marked unclean, flush,) pages, flush, super block, flush. May be repeated
// after an interruption by making a new plan. The device must be the one of the plan, unchanged: ABORTED, without a
// change, otherwise.
Result<> apply_repair(DeviceWriter& device, const RepairPlan& plan);

}  // namespace cairn::pool::check
