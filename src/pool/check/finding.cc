#include "pool/check/finding.h"

namespace cairn::pool::check {

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kNote:
      return "note";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      break;
  }
  return "error";
}

std::string_view problem_name(Problem problem) {
  switch (problem) {
    case Problem::kNoPool:
      return "no_pool";
    case Problem::kSuperBlock:
      return "super_block";
    case Problem::kUnclean:
      return "unclean";
    case Problem::kTornPage:
      return "torn_page";
    case Problem::kTransient:
      return "transient";
    case Problem::kReadError:
      return "read_error";
    case Problem::kSuperBlob:
      return "super_blob";
    case Problem::kMask:
      return "mask";
    case Problem::kPageLeaked:
      return "page_leaked";
    case Problem::kPageUnmarked:
      return "page_unmarked";
    case Problem::kClusterLeaked:
      return "cluster_leaked";
    case Problem::kClusterUnmarked:
      return "cluster_unmarked";
    case Problem::kBlobMissing:
      return "blob_missing";
    case Problem::kGhostBlob:
      return "ghost_blob";
    case Problem::kBrokenChain:
      return "broken_chain";
    case Problem::kExtentPage:
      return "extent_page";
    case Problem::kClusterOutside:
      return "cluster_outside";
    case Problem::kClusterMissing:
      return "cluster_missing";
    case Problem::kBeyondEnd:
      return "beyond_end";
    case Problem::kClusterShared:
      return "cluster_shared";
    case Problem::kPageShared:
      return "page_shared";
    case Problem::kFlags:
      return "flags";
    case Problem::kUnknownDescriptor:
      return "unknown_descriptor";
    case Problem::kDanglingParent:
      return "dangling_parent";
    case Problem::kParentWritable:
      return "parent_writable";
    case Problem::kParentCycle:
      return "parent_cycle";
    case Problem::kPendingSnapshot:
      return "pending_snapshot";
    case Problem::kPendingRemoval:
      return "pending_removal";
    case Problem::kAttributes:
      return "attributes";
    case Problem::kDuplicateName:
      return "duplicate_name";
    case Problem::kDuplicateUuid:
      return "duplicate_uuid";
    case Problem::kDanglingCloneSource:
      return "dangling_clone_source";
    case Problem::kDamagedRoot:
      return "damaged_root";
    case Problem::kDamagedPage:
      return "damaged_page";
    case Problem::kOrphanPage:
      break;
  }
  return "orphan_page";
}

}  // namespace cairn::pool::check
