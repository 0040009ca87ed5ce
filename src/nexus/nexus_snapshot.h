// Snapshots of all replicas of a nexus at one moment (reference nexus.md, section 15).
//
//   1. Flush the children: taking a snapshot flushes its disk again, and is to find little to do.
//   2. Hold back all writes on all reactors; wait until those under way have ended. Reads go on.
//   3. Take the snapshots, all at once: in this process through NexusOptions::local_snapshot, elsewhere by the vendor's
//      admin command C1h.
//   4. Let the writes go on: when all have answered, or when NexusOptions::snapshot_limit has passed since step 2.
// So the snapshots hold every write that was acknowledged before the call and none that was submitted after it
// returned; what lies between is in all of them or in none.
//
// A replica that is not healthy any more after step 2 may miss a write: no snapshot is taken of it (ENODEV). One that
// does not answer in time has failed (ETIMEDOUT); should it take its snapshot later on, that one is not of the same
// moment and is to be destroyed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/duration.h"

namespace cairn::nexus {

struct SnapshotRequest {
  struct Replica {
    std::string replica_uuid;
    std::optional<std::string> snapshot_uuid;  // may be missing only with `skip`
    bool skip = false;
  };
  std::string name;
  std::string entity_id;
  std::string txn_id;
  std::string create_time;           // as the attribute of the snapshots has it
  uint64_t create_time_seconds = 0;  // since the epoch
  std::vector<Replica> replicas;     // every child, in any order
};

struct SnapshotOutcome {
  struct Replica {
    std::string replica_uuid;
    uint32_t error = 0;  // an errno value; 0: done
    friend bool operator==(const Replica&, const Replica&) = default;
  };
  std::vector<Replica> done;  // in the order of the request
  std::vector<std::string> skipped;
  Duration held{};  // for how long writes were held back
};

}  // namespace cairn::nexus
