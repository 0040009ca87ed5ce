// A pool: one disk with volumes on it, in the format of the original (docs/pool-format.md).
//
// Home reactor only (the primary one), except for what replicas' channels do. One task at a time changes the metadata;
// how each change is written, so that a crash at any moment leaves a pool that can be imported, is told in
// docs/architecture.md
// ("Pools"). The I/O of allocated clusters never comes here.
//
// Errors carry the code of the reference's tables (grpc-v1.md, section 15) and its texts. A failed operation has
// changed nothing, unless its error says that the disk failed in the middle (INTERNAL, DATA_LOSS).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/uuid.h"
#include "block/device.h"
#include "block/registry.h"
#include "pool/disk_space.h"
#include "pool/format/layout.h"
#include "pool/metadata_store.h"
#include "pool/replica.h"
#include "pool/volume.h"
#include "runtime/task_waits.h"

namespace cairn::pool {

class ClusterReservation;
class DiskPort;
class MetadataChange;
struct FutureMap;
class PoolDisk;
class ReplicaStep;

// The export of replicas over a fabric, which is not the pool's business but has to follow it. Functions may be empty.
struct ReplicaExports {
  // Exports or, when it is exported already, replaces the list of hosts (empty: all).
  std::function<runtime::Task<Result<>>(std::shared_ptr<Replica>, std::vector<std::string> allowed_hosts)> share;
  // Ends the export. Idempotent. Must have let go of the device when it returns.
  std::function<runtime::Task<>(std::string replica_name)> unshare;
  // The replica is gone for good: files that belong to it (reservations) may go.
  std::function<void(const std::string& reservation_file)> forget;
};

struct PoolOptions {
  // Unmap of whole clusters of a thin replica returns their space. false: as the original does by default, the space
  // stays allocated.
  bool unmap_releases_clusters = true;
  ReplicaExports exports;
};

struct PoolInfo {
  std::string name;
  Uuid uuid;
  std::string disk_uri;        // canonical, with ?uuid=
  uint64_t capacity = 0;       // bytes of data clusters
  uint64_t used = 0;           // bytes
  uint64_t committed = 0;      // bytes: snapshots by what they hold, others by their size
  uint64_t disk_capacity = 0;  // bytes
  uint32_t cluster_size = 0;
  uint32_t page_size = 4096;
  uint32_t md_page_size = 4096;
  uint64_t md_pages = 0;
  uint64_t md_used_pages = 0;
  bool needs_import = false;  // metadata was written half way: nothing can be changed before the next import
};

struct CreateReplicaRequest {
  std::string name;
  Uuid uuid;
  uint64_t size_bytes = 0;  // rounded up to whole clusters
  bool thin = false;
  std::optional<std::string> entity_id;
};

struct CreateSnapshotRequest {
  std::string name;
  std::string uuid;  // text, as clients send it
  std::string entity_id;
  std::string txn_id;
  std::string create_time;  // shows that it is a snapshot (Pool does not know the time of day: the caller fills it)
};

struct CreateCloneRequest {
  std::string name;
  std::string uuid;
  std::string create_time;
};

class Pool : public std::enable_shared_from_this<Pool> {
 public:
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  const std::string& name() const { return name_; }
  const Uuid& uuid() const { return uuid_; }
  const std::string& disk_uri() const { return disk_uri_; }
  block::Device& disk() const;
  const format::Layout& layout() const { return layout_; }
  PoolInfo info() const;
  // Of the disk's I/O: what the original reports as the pool's.
  block::Device::Statistics statistics() const;

  // Replicas, snapshots and clones, in the order of their making as far as it is known (by blob id).
  std::vector<std::shared_ptr<Replica>> volumes() const;

  // Makes a replica and adds it to the block registry. ALREADY_EXISTS: name or UUID is used by any device.
  // RESOURCE_EXHAUSTED: less than 8 MiB free, or not enough for a thick one. INVALID_ARGUMENT: no size, larger than the
  // pool, bad name, no free metadata page. Nothing that was on the disk before can be read through it.
  runtime::Task<Result<std::shared_ptr<Replica>>> create_replica(CreateReplicaRequest request);

  // Destroys a replica or clone that is not a snapshot: unshares it, waits until nobody uses it, frees its space. When
  // it was the last clone of a discarded snapshot, that goes too. The caller's references must be gone (they are waited
  // for). NOT_FOUND when it is being removed already; INTERNAL when it stays in use.
  runtime::Task<Result<>> destroy_replica(std::shared_ptr<Replica> replica);

  // To at least `size_bytes`, whole clusters, smaller or larger. RESOURCE_EXHAUSTED, INVALID_ARGUMENT (0 or beyond the
  // pool's capacity), PERMISSION_DENIED for a snapshot.
  runtime::Task<Result<>> resize_replica(std::shared_ptr<Replica> replica, uint64_t size_bytes);

  runtime::Task<Result<>> set_entity_id(std::shared_ptr<Replica> replica,
                                        std::string entity_id);  // DATA_LOSS: not written
  // Sets any attribute of the volume (snapshots too) and writes it. INVALID_ARGUMENT when it is too large.
  runtime::Task<Result<>> set_attribute(std::shared_ptr<Replica> replica, std::string name, std::string value);

  // Exports the replica and stores that (with the hosts) unless it is a snapshot. When it is exported already, the list
  // of hosts is replaced. unshare: the reverse; idempotent.
  runtime::Task<Result<>> share(std::shared_ptr<Replica> replica, std::vector<std::string> allowed_hosts);
  runtime::Task<Result<>> unshare(std::shared_ptr<Replica> replica);

  // The snapshot holds what was written by I/O that had completed before the call. INTERNAL: a parameter is missing
  // ("Snapshot parameters for replica ... is not correct"), the name is used, `source` is a snapshot, no metadata page
  // is free. ALREADY_EXISTS: the UUID is used.
  runtime::Task<Result<std::shared_ptr<Replica>>> create_snapshot(std::shared_ptr<Replica> source,
                                                                  CreateSnapshotRequest request);
  // With clones: it is only marked as discarded, and goes with its last clone. Otherwise its space is freed, what
  // others still see through it moves to its successor.
  runtime::Task<Result<>> destroy_snapshot(std::shared_ptr<Replica> snapshot);
  // A thin replica that begins with what the snapshot holds. NOT_FOUND: not a snapshot, or discarded. ALREADY_EXISTS:
  // the UUID is used. INVALID_ARGUMENT: a parameter is missing. INTERNAL: the name is used.
  runtime::Task<Result<std::shared_ptr<Replica>>> create_clone(std::shared_ptr<Replica> snapshot,
                                                               CreateCloneRequest request);

  // Takes in what the disk has grown by. Nothing to do: success. RESOURCE_EXHAUSTED when the room for the mask does not
  // allow it.
  runtime::Task<Result<>> grow();

  const PoolOptions& options() const { return options_; }  // any reactor

 private:
  friend class PoolRegistry;
  friend class Replica;
  friend class ReplicaPort;

  // An operation that is under way: export and destroy wait for its end.
  class Use {
   public:
    explicit Use(Pool& pool) : pool_(pool.shared_from_this()) { ++pool_->uses_; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    ~Use();

   private:
    std::shared_ptr<Pool> pool_;
  };

  Pool(block::Registry& devices, const PoolOptions& options, std::string disk_uri);

  // --- pool_load.cc
  struct NewPool {
    std::string name;
    Uuid uuid;
    uint32_t cluster_size;
    uint32_t md_ratio_percent;
  };
  // Writes an empty pool to the disk; load() takes it from there.
  static runtime::Task<Result<>> format_disk(block::Channel& disk, const NewPool& request);
  // Reads everything and mends what a crash has left. The disk is claimed. `fresh`: it was just made. Errors name the
  // damage.
  runtime::Task<Result<>> load(std::shared_ptr<block::Device> disk, bool fresh);
  struct LoadedPages;
  runtime::Task<Result<>> read_pages(LoadedPages& pages, bool masks_valid);
  Result<> assemble_volumes(LoadedPages& pages, bool masks_valid);
  Result<> link_volumes();
  runtime::Task<Result<>> finish_interrupted_snapshots();
  Result<> count_space();

  // --- pool.cc
  void index_volume(Volume& volume);
  void forget_volume(Volume& volume);
  Volume* find_volume(std::string_view uuid) const;
  uint32_t num_clones(const Volume& volume) const;
  bool is_forsaken(const Volume& volume) const;  // a discarded snapshot without clones: to be deleted
  runtime::Task<> delete_forsaken_snapshots();
  // Makes the device of a volume and adds it to the registry.
  Result<std::shared_ptr<Replica>> add_replica(Volume& volume);
  // Ends the export and takes the device out of the registry.
  runtime::Task<Result<>> remove_replica(Volume& volume);
  Result<> check_new_name(std::string_view name) const;
  runtime::Task<Result<>> persist_metadata(Volume& volume, format::BlobMetadata metadata);
  runtime::Task<> publish(Volume& volume);  // to it and everything above it
  // After removal of all replicas. `clean`: writes the masks. Lets go of the disk in any case.
  runtime::Task<Result<>> close(bool clean);
  runtime::Task<Result<>> export_pool();
  runtime::Task<Result<>> destroy();
  runtime::Task<Result<>> remove_all_replicas();
  // The caller has ending_. From here on nothing new begins; waits for what is under way, then removes all replicas.
  // When one of them stays, the pool is open as before.
  runtime::Task<Result<>> begin_closing();
  // The disk has vanished: everything goes without being written.
  runtime::Task<> abandon();
  runtime::Task<> wait_until_unused();

  // --- pool_allocation.cc
  void accept(ReplicaStep& step);
  runtime::Task<> serve_steps();
  // Waits, for a fraction of what a change of the metadata takes, until as many steps wait as were served last time.
  runtime::Task<> gather_steps();
  runtime::Task<> allocate(std::vector<ReplicaStep*> steps);
  runtime::Task<> release(std::vector<ReplicaStep*> steps);
  // Sees to it that the lowest `count` free clusters are zeroed; at least `count` must be free.
  runtime::Task<Result<>> prepare_free_clusters(uint64_t count);
  runtime::Task<Result<>> zero_clusters(std::vector<uint32_t> clusters);
  // Brings a reservation nearer to `count` cleared clusters. true: it has them. false: `turn`, which is that of
  // changing_, was given up and taken again meanwhile, so the caller looks again at all it depends on and comes back.
  // ENOSPC when there are not so many.
  runtime::Task<Result<bool>> reserve_clusters(ClusterReservation& reserved, uint64_t count,
                                               runtime::Mutex::Guard& turn);
  // What these clusters hold is of no use to anybody: cleared where that is cheap, and free from then on.
  runtime::Task<> discard_clusters(std::vector<uint32_t> clusters);
  // Puts extent pages (by number) and, if it changes or its table does, the chain of a volume into a change. `metadata`
  // gets new table entries. Gives the further pages of the chain.
  Result<std::vector<uint32_t>> put_volume(MetadataChange& change, const Volume& volume, format::BlobMetadata& metadata,
                                           const FutureMap& map, std::span<const uint64_t> extent_pages,
                                           bool chain_changes = false);

  // --- pool_volumes.cc, pool_snapshots.cc
  // Takes a root page and writes it all, with the first `num_allocated` clusters out of `reserved`. `metadata`: flags,
  // attributes and links.
  runtime::Task<Result<Volume*>> make_volume(format::BlobMetadata metadata, uint64_t num_clusters,
                                             uint64_t num_allocated, ClusterReservation& reserved);
  struct SizeInClusters {
    uint64_t all = 0;
    uint64_t allocated = 0;  // from the beginning
  };
  // Whether a replica may be made now, when `reserved` clusters have been taken for it already.
  Result<SizeInClusters> check_new_replica(const CreateReplicaRequest& request, uint64_t reserved) const;
  format::BlobMetadata new_metadata(bool thin) const;
  runtime::Task<Result<>> remove_marks(Volume& snapshot);  // of its making or removal, if they have stayed
  Result<> check_removable(const Volume& volume) const;    // EBUSY: several volumes were made of it
  // Without device; by one of the next two. May give the turn up meanwhile, as reserve_clusters().
  runtime::Task<Result<>> remove_volume(Volume& volume, runtime::Mutex::Guard& turn);
  runtime::Task<Result<>> delete_volume(Volume& volume);  // without device and children; the caller changes metadata
  // Likewise, with one child. `reserved` has clusters for all of hidden_by().
  runtime::Task<Result<>> merge_into_child(Volume& volume, ClusterReservation& reserved);
  // What the only child of a snapshot must not see when that goes, by index: the child is larger and reads zeroes
  // there, but something lies further down.
  std::vector<uint64_t> hidden_by(const Volume& volume) const;
  runtime::Task<Result<>> delete_snapshot(Volume& volume);  // takes its turn itself

  block::Registry& devices_;
  const PoolOptions options_;
  const std::string disk_uri_;
  runtime::Reactor& home_;
  std::string name_;
  Uuid uuid_;
  std::shared_ptr<block::Device> device_;
  std::unique_ptr<PoolDisk> disk_;
  DiskPort* home_port_ = nullptr;
  format::Layout layout_;
  std::unique_ptr<MetadataStore> store_;
  DiskSpace space_;

  std::map<format::BlobId, std::unique_ptr<Volume>> volumes_;
  Volume super_volume_;                                  // the pool's own metadata
  std::unordered_map<std::string, Volume*> by_uuid_;     // text
  std::unordered_map<std::string, uint32_t> clones_of_;  // by the UUID of the source snapshot

  runtime::Mutex ending_;             // who exports, destroys or abandons the pool
  runtime::Mutex changing_;           // who changes metadata, the maps or the space
  IntrusiveList<block::Io> waiting_;  // steps
  size_t num_waiting_ = 0;
  bool serving_ = false;
  struct ServedBatch {
    size_t size = 0;
    Duration took{};
    TimePoint ended{};
  };
  ServedBatch last_batch_;
  runtime::Event gathered_;  // as many steps wait as the last batch had
  uint32_t uses_ = 0;
  runtime::Event unused_;  // pulsed
  bool closing_ = false;
};

}  // namespace cairn::pool
