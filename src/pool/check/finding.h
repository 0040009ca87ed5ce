// What a check of a pool can find (docs/pool-format.md, "Checking").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "pool/format/page.h"

namespace cairn::pool::check {

enum class Severity : uint8_t {
  kNote,     // as it is after a crash; the next import deals with it
  kWarning,  // space or an attribute is lost, no data
  kError,    // data is lost or in danger
};
std::string_view severity_name(Severity severity);  // "error"

enum class Problem : uint8_t {
  kNoPool,               // no super block
  kSuperBlock,           // a super block that cannot be used
  kUnclean,              // not exported; masks are void
  kTornPage,             // a copy in the page journal mends it
  kTransient,            // a pool was being made or destroyed: nothing here is of use
  kReadError,            // a page of the device cannot be read
  kSuperBlob,            // none, not there, or without the pool's identity
  kMask,                 // type or length of a mask
  kPageLeaked,           // marked, used by nobody
  kPageUnmarked,         // used, but free for the mask
  kClusterLeaked,        //
  kClusterUnmarked,      //
  kBlobMissing,          // blob id marked, no root
  kGhostBlob,            // a root whose blob id is not marked: a recovery would bring the blob back
  kBrokenChain,          // of metadata pages
  kExtentPage,           // unreadable or not what the table says
  kClusterOutside,       // an entry outside of the data clusters
  kClusterMissing,       // thick blob without a cluster
  kBeyondEnd,            // an extent page holds clusters behind the end of its blob
  kClusterShared,        // owned twice
  kPageShared,           //
  kFlags,                // unknown ones
  kUnknownDescriptor,    //
  kDanglingParent,       // SNAP names no snapshot
  kParentWritable,       // ... one that is not read-only
  kParentCycle,          // ancestors form a ring
  kPendingSnapshot,      // SNAPTMP: creation was interrupted
  kPendingRemoval,       // SNAPRM: removal was interrupted
  kAttributes,           // an lvol without name
  kDuplicateName,        //
  kDuplicateUuid,        //
  kDanglingCloneSource,  // the snapshot that a clone names is gone
  kDamagedRoot,          // a page that looks like a root but is damaged
  kDamagedPage,          // any other damaged page, used by nobody
  kOrphanPage,           // chain or extent page that nobody uses
};
std::string_view problem_name(Problem problem);  // "cluster_shared"

struct Finding {
  Problem problem;
  Severity severity;
  std::string message;
  std::optional<format::BlobId> blob{};
  std::optional<uint32_t> md_page{};
  std::optional<uint32_t> cluster{};  // of the device, the first one if there are several
};

}  // namespace cairn::pool::check
