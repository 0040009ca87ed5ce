// All pools of the process, and the replicas in them by name and UUID. Primary reactor.
//
// Operations on one pool are for their callers to keep apart where the order matters; two that make or end a pool of
// the same name or on the same disk at a time are refused with ABORTED.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/uuid.h"
#include "block/registry.h"
#include "pool/pool.h"

namespace cairn::pool {

struct CreatePoolRequest {
  std::string name;
  std::optional<Uuid> uuid;        // default: random
  std::vector<std::string> disks;  // exactly one URI; what is no URI is the path of an aio:// disk
  std::optional<uint32_t> cluster_size;
  std::optional<float> md_resv_ratio;  // metadata pages per cluster
  // Makes a pool even if the disk carries a foreign signature or a damaged pool. Never over a healthy one.
  bool overwrite = false;
};

struct ImportPoolRequest {
  std::string name;
  std::optional<Uuid> uuid;  // INVALID_ARGUMENT when the pool on the disk has another
  std::vector<std::string> disks;
};

struct GrowOutcome {
  PoolInfo before;
  PoolInfo after;
};

class PoolRegistry {
 public:
  PoolRegistry(block::Registry& devices, PoolOptions options);
  ~PoolRegistry();  // no pool is left
  PoolRegistry(const PoolRegistry&) = delete;
  PoolRegistry& operator=(const PoolRegistry&) = delete;

  // Imports the pool that is on the disk, or makes a new one if the disk is blank. `imported` says which it was.
  //   INTERNAL            cluster size, metadata ratio (what clients of the original know)
  //   INVALID_ARGUMENT    number of disks, URI; a pool of that name on another disk; the disk is in use;
  //                       another name or UUID on the disk; a damaged pool, another version, a shrunk disk; foreign
  //                       data (the message says what was found and that `overwrite` would ignore it)
  //   ALREADY_EXISTS      the pool is loaded from this disk
  //   RESOURCE_EXHAUSTED  the disk is too small
  // A disk that was refused has not been written to; a device that was made for it is gone again.
  struct Created {
    std::shared_ptr<Pool> pool;
    bool imported = false;
  };
  runtime::Task<Result<Created>> create(CreatePoolRequest request);
  // Only imports: INVALID_ARGUMENT also when there is no pool on the disk.
  runtime::Task<Result<std::shared_ptr<Pool>>> import(ImportPoolRequest request);
  // Ends all exports and closes the pool cleanly; its disk's device goes too. NOT_FOUND, INTERNAL.
  runtime::Task<Result<>> export_pool(std::string name);
  // Destroys everything in the pool and the pool. NOT_FOUND, INTERNAL.
  runtime::Task<Result<>> destroy(std::string name);
  // NOT_FOUND, INTERNAL, RESOURCE_EXHAUSTED; ABORTED while the pool is being made or ended.
  runtime::Task<Result<GrowOutcome>> grow(std::string name);
  // For shutdown; what cannot be exported is logged.
  runtime::Task<> export_all();

  std::shared_ptr<Pool> find(std::string_view name) const;  // nullptr
  std::shared_ptr<Pool> find(const Uuid& uuid) const;
  std::vector<std::shared_ptr<Pool>> list() const;  // by name

  // A replica, snapshot or clone of any pool. Not to be held across its destruction.
  std::shared_ptr<Replica> find_volume(std::string_view name) const;
  std::shared_ptr<Replica> find_volume(const Uuid& uuid) const;
  std::vector<std::shared_ptr<Replica>> volumes() const;  // of all pools

 private:
  class DiskClaim;
  class DiskWatch;
  class NameLock;
  struct Loaded {
    std::shared_ptr<Pool> pool;
    std::unique_ptr<DiskWatch> watch;
  };
  struct Disk {
    std::shared_ptr<block::Device> device;
    bool made = false;  // for this operation: to be removed again when it fails
  };

  static Result<std::string> disk_uri(const std::vector<std::string>& disks);
  runtime::Task<Result<Disk>> open_disk(std::string uri);
  runtime::Task<> drop_disk(Disk disk);
  // Whether the disk, which is claimed, may be formatted: nothing, or what speaks against it.
  runtime::Task<Result<std::optional<std::string>>> foreign_data(block::Device& disk);
  // Takes the claim over, and lets go of it when it fails.
  runtime::Task<Result<std::shared_ptr<Pool>>> load(Disk& disk, DiskClaim& claim, const std::string& name,
                                                    const std::optional<Uuid>& uuid, bool fresh);
  runtime::Task<> share_again(Pool& pool);
  runtime::Task<Result<>> end(std::string name, bool destroy);
  void disk_vanished(const std::string& name);

  block::Registry& devices_;
  const PoolOptions options_;
  std::map<std::string, Loaded, std::less<>> pools_;
  std::set<std::string, std::less<>> busy_;  // names of pools that are being made or ended
};

}  // namespace cairn::pool
