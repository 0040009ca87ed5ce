// Copies of snapshots into replicas of this node (reference grpc-v1.md, section 11): how a new replica gets the history
// of a volume.
//
// A RebuildJob without a nexus: the destination is claimed, nobody else writes to it, so nothing is locked. What is
// unwritten in the snapshot is released in the destination unless it is unwritten there too (a segment at a time:
// clusters that it had stay, as zeroes). Jobs live in memory, until they are destroyed. Primary reactor.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "block/registry.h"
#include "nexus/rebuild_job.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

struct SnapshotRebuildRequest {
  Uuid uuid;  // of the job and the destination
  std::shared_ptr<block::Device> destination;
  std::string snapshot_uri;  // the source; its device is made for the job, and others of this URI, unless there is one
  // Only told to those who ask.
  std::string replica_uuid, snapshot_uuid, replica_uri;
};

struct SnapshotRebuildInfo {
  Uuid uuid;
  std::string replica_uuid, snapshot_uuid, replica_uri, snapshot_uri;
  RebuildState state = RebuildState::kInit;
  RebuildStatistics statistics;
};

class SnapshotRebuilds {
 public:
  SnapshotRebuilds(block::Registry& devices, const RebuildOptions& options);
  ~SnapshotRebuilds();  // stop() was called
  SnapshotRebuilds(const SnapshotRebuilds&) = delete;
  SnapshotRebuilds& operator=(const SnapshotRebuilds&) = delete;

  // Starts a job, or gives the one that has this UUID, whatever became of it.
  //   NOT_FOUND         the snapshot cannot be opened
  //   INVALID_ARGUMENT  the snapshot is the destination
  //   OUT_OF_RANGE      the destination is smaller, or has other blocks
  //   FAILED_PRECONDITION  it is in use: the child of a nexus, or exported
  runtime::Task<Result<SnapshotRebuildInfo>> create(SnapshotRebuildRequest request);
  // Stops it if it runs. NOT_FOUND.
  runtime::Task<Result<>> destroy(Uuid uuid);
  runtime::Task<> stop();

  std::optional<SnapshotRebuildInfo> find(const Uuid& uuid) const;
  std::vector<SnapshotRebuildInfo> list() const;

 private:
  class Job;
  // The device of a URI while anybody copies from it.
  struct Source {
    std::shared_ptr<block::Device> device;  // nullptr: not open
    bool made = false;                      // for us: it goes with the last user
    size_t num_users = 0;                   // with those that open it
    uint64_t num_failures = 0;              // of attempts to open it
    std::optional<Error> failure;           // of the last one
    runtime::Mutex changing;
  };
  runtime::Task<Result<std::shared_ptr<block::Device>>> open_source(std::string uri);
  // Undoes open_source(); the caller has let go of the device.
  runtime::Task<> close_source(std::string uri);

  block::Registry& devices_;
  const RebuildOptions options_;
  std::map<std::string, std::shared_ptr<Source>> sources_;
  std::map<Uuid, std::shared_ptr<Job>> jobs_;
};

}  // namespace cairn::nexus
