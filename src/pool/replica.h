// A replica, snapshot or clone of a pool: a logical volume as a block device, known to the block registry by its name,
// by the alias "<pool>/<name>" and by its UUID.
//
// Lives on the pool's home reactor; made and removed by Pool only. What this header gives out is for the home reactor;
// the I/O goes through channels on any reactor (replica_channel.h).
//
// I/O: reads of what was never written give zeroes or what the snapshots beneath hold. A write to an unallocated
// cluster waits for its allocation, which is durable before the write begins. Statuses besides those of the disk:
// Capacity Exceeded (0/81h, do not retry) when no cluster or metadata page is left for an allocation, Namespace Is
// Write Protected (0/20h, do not retry) for writes to a snapshot, Deallocated or Unwritten Logical Block (2/87h) for
// reads with "unwritten" flags. Unmap gives back the space of whole clusters (PoolOptions::unmap_releases_clusters);
// everything unmapped reads as zeroes.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/device.h"
#include "pool/cluster_map.h"
#include "pool/format/blob_metadata.h"
#include "runtime/task_waits.h"

namespace cairn::pool {

class Pool;
struct Volume;
class ReplicaPort;

// What the original reports as ReplicaSpaceUsage (reference pool-replica.md, section 6).
struct SpaceUsage {
  uint64_t capacity_bytes = 0;
  uint64_t allocated_bytes = 0;  // of this volume alone
  uint64_t cluster_size = 0;
  uint64_t num_clusters = 0;
  uint64_t num_allocated_clusters = 0;
  uint64_t allocated_bytes_snapshots = 0;  // of all snapshots beneath
  uint64_t num_allocated_clusters_snapshots = 0;
  std::optional<uint64_t> allocated_bytes_snapshot_from_clone;
};

// What a snapshot's attributes say; empty strings for those that are missing.
struct SnapshotAttributes {
  std::string entity_id;
  std::string txn_id;
  std::string parent_id;    // UUID of the replica it was taken from
  std::string create_time;  // "YYYY-MM-DD HH:MM:SS[.fraction] UTC"
  bool discarded = false;
  bool valid = false;  // none is missing
};

class Replica final : public block::Device {
 public:
  Replica(Pool& pool, Volume& volume, block::DeviceIdentity identity, const block::Geometry& geometry);
  ~Replica() override;

  Pool& pool() const { return pool_; }
  bool thin() const;
  bool read_only() const;    // snapshots
  bool is_snapshot() const;  // has a creation time among its attributes
  bool is_clone() const;     // names a source snapshot that exists
  SpaceUsage usage() const;
  std::optional<std::string> entity_id() const;

  // What the disk says: whether it shall be exported when the pool is imported, and to whom (NQNs; empty: all hosts).
  // Always not shared for snapshots, whose state is not stored.
  bool share_wanted() const;
  std::vector<std::string> allowed_hosts() const;

  SnapshotAttributes snapshot_attributes() const;  // of a snapshot
  uint32_t num_clones() const;                     // of a snapshot: volumes that name it as their source
  // Of a snapshot: the UUID of the volume it was taken from if that still exists, else empty.
  std::string source_uuid() const;
  // Of a clone: the UUID of its source snapshot.
  std::optional<std::string> source_snapshot_uuid() const;
  // Any attribute as it is stored, without trailing NULs; nothing when it is absent or empty.
  std::optional<std::string> attribute(std::string_view name) const;

  // Where NVMe reservations of this replica are kept, relative to the directory for them: "pool/<pool
  // uuid>/replica/<uuid>.json".
  std::string reservation_file() const;

  bool has_volatile_cache() const override;
  runtime::Task<Result<>> rescan() override { co_return Result<>{}; }
  runtime::Task<> stop() override;

 protected:
  bool supports_natively(block::IoType type) const override;  // any reactor
  runtime::Task<Result<std::unique_ptr<block::Channel>>> make_channel() override;

 private:
  friend class Pool;
  friend class ReplicaPort;
  friend class ReplicaChannel;
  class Publication;

  // The way of this replica to the disk on the calling reactor; made when first needed.
  runtime::Task<Result<ReplicaPort*>> port_here();
  // Home reactor, one at a time. Gives every port the chain; returns when no I/O is under way any more that was started
  // under an older one. Also without a new chain: whatever was read from the maps before has come to its end then.
  runtime::Task<> publish(std::shared_ptr<const MapChain> chain);

  Pool& pool_;
  Volume& volume_;
  const bool read_only_;  // any reactor

  mutable std::mutex ports_mutex_;  // taken when a channel opens and when a chain is published
  std::shared_ptr<const MapChain> chain_;
  std::vector<std::unique_ptr<ReplicaPort>> ports_;
};

}  // namespace cairn::pool
