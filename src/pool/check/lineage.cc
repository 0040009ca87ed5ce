#include "pool/check/lineage.h"

#include <fmt/format.h>

#include <map>
#include <set>

namespace cairn::pool::check {
namespace {

using format::BlobId;

void add(PoolReport& report, Problem problem, Severity severity, const BlobReport& blob, std::string_view what) {
  report.findings.push_back({.problem = problem,
                             .severity = severity,
                             .message = fmt::format("blob {:#x}: {}", blob.id, what),
                             .blob = blob.id});
}

void check_parent(PoolReport& report, const BlobReport& blob) {
  const BlobReport* parent = report.blob(*blob.parent);
  if (parent == nullptr || !parent->live) {
    add(report, Problem::kDanglingParent, Severity::kError, blob,
        fmt::format("its parent {:#x} does not exist", *blob.parent));
    return;
  }
  // A snapshot gets read-only as the last step of its creation.
  const bool unfinished = parent->snapshot_origin || parent->removal_clone;
  if (!parent->metadata.read_only() && !unfinished) {
    add(report, Problem::kParentWritable, Severity::kError, blob,
        fmt::format("its parent {:#x} is not read-only", *blob.parent));
  }
  std::set<BlobId> seen = {blob.id};
  for (const BlobReport* at = parent; at != nullptr; at = at->parent ? report.blob(*at->parent) : nullptr) {
    if (at->id == blob.id) {
      add(report, Problem::kParentCycle, Severity::kError, blob, "is its own ancestor");
      return;
    }
    if (!seen.insert(at->id).second) return;  // a ring further up, reported by its members
  }
}

void check_pending(PoolReport& report, const BlobReport& blob) {
  // At the end of an export nothing is pending.
  const Severity severity = report.super->clean ? Severity::kWarning : Severity::kNote;
  if (blob.snapshot_origin) {
    add(report, Problem::kPendingSnapshot, severity, blob,
        fmt::format("its creation as a snapshot of {:#x} was interrupted", *blob.snapshot_origin));
  }
  if (blob.removal_clone) {
    add(report, Problem::kPendingRemoval, severity, blob,
        fmt::format("its removal in favour of {:#x} was interrupted", *blob.removal_clone));
  }
}

void check_identities(PoolReport& report) {
  std::map<std::string, BlobId> names;
  std::map<std::string, BlobId> uuids;
  for (const BlobReport& blob : report.blobs) {
    if (!blob.live || !blob.lvol) continue;
    if (const auto [other, is_new] = names.emplace(blob.lvol->name, blob.id); !is_new) {
      add(report, Problem::kDuplicateName, Severity::kError, blob,
          fmt::format("has the name of blob {:#x}: {}", other->second, blob.lvol->name));
    }
    if (blob.lvol->uuid.is_nil()) {
      add(report, Problem::kAttributes, Severity::kWarning, blob, "has no uuid");
      continue;
    }
    if (const auto [other, is_new] = uuids.emplace(blob.lvol->uuid.to_string(), blob.id); !is_new) {
      add(report, Problem::kDuplicateUuid, Severity::kError, blob,
          fmt::format("has the uuid of blob {:#x}: {}", other->second, other->first));
    }
  }
  for (const BlobReport& blob : report.blobs) {
    if (!blob.live || !blob.lvol || !blob.lvol->clone || uuids.contains(blob.lvol->clone->source_uuid)) continue;
    add(report, Problem::kDanglingCloneSource, Severity::kNote, blob,
        fmt::format("the snapshot {} that it was cloned from is gone", blob.lvol->clone->source_uuid));
  }
}

void check_super_blob(PoolReport& report) {
  const BlobId id = report.super->super_blob;
  // An interrupted creation may have got no further than here.
  const bool others = report.blobs.size() > (report.blob(id) == nullptr ? 0 : 1);
  const Severity severity = report.super->clean || others ? Severity::kError : Severity::kNote;
  const auto add_missing = [&](std::string message) {
    report.findings.push_back({.problem = Problem::kSuperBlob, .severity = severity, .message = std::move(message)});
  };
  if (id == format::kNoBlob) return add_missing("the super block names no super blob");
  const BlobReport* blob = report.blob(id);
  if (blob == nullptr || !blob->live) return add_missing(fmt::format("the super blob {:#x} does not exist", id));
  if (blob->metadata.num_clusters != 0) {
    return add_missing(fmt::format("the super blob {:#x} has clusters: it is an lvol", id));
  }
  auto identity = format::decode_pool_identity(blob->metadata.xattrs);
  if (!identity) return add_missing(identity.error().to_string());
  report.identity = std::move(*identity);
}

}  // namespace

void check_attributes(PoolReport& report) {
  check_super_blob(report);
  for (BlobReport& blob : report.blobs) {
    if (blob.id == report.super->super_blob) continue;
    auto lvol = format::decode_lvol_attributes(blob.metadata.xattrs);
    if (lvol) {
      blob.lvol = std::move(*lvol);
    } else if (blob.live && blob.readable) {
      add(report, Problem::kAttributes, Severity::kError, blob, lvol.error().message());
    }
  }
  check_identities(report);
}

void check_lineage(PoolReport& report) {
  for (const BlobReport& blob : report.blobs) {
    if (!blob.live) continue;
    if (blob.parent) check_parent(report, blob);
    check_pending(report, blob);
  }
}

}  // namespace cairn::pool::check
