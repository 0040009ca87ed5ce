// The process on a storage node: what io-engine runs, without its gRPC front and its configuration. All parts are the
// engine's own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "block/registry.h"
#include "engine/shares.h"
#include "nexus/nexus_registry.h"
#include "nvmf/target/target.h"
#include "pool/pool_registry.h"
#include "simulation/health_store.h"

namespace cairn::simulation {

inline constexpr uint16_t kTargetPort = 8420;
inline constexpr const char* kDisk = "/dev/sda";
inline constexpr const char* kPoolName = "pool";

struct VolumeSpec {
  Uuid uuid;
  uint64_t size_bytes = 0;  // of replicas
  bool thin = true;
};

struct NexusView {
  uint64_t boot = 0;      // of the process
  uint64_t instance = 0;  // which of the volume's nexuses
  nexus::NexusStatus status = nexus::NexusStatus::kFaulted;
  bool frozen = false;
  size_t num_rebuilds = 0;
  std::vector<nexus::ChildInfo> children;
};

enum class ChildChange : uint8_t { kAdd, kOnline, kRemove, kRebuild, kOffline };

// What differs from run to run.
struct EngineOptions {
  nexus::RebuildLimits rebuild_limits;
  uint64_t log_region_bytes = 4 << 20;  // at least, of the write-intent log
  uint64_t first_zeroing_bytes = 1 << 20;
};

class EngineProgram final : public sim::NodeProgram {
 public:
  EngineProgram(sim::Node& node, sim::Node& store, uint64_t boot, const EngineOptions& options);

  static std::string host_nqn(const sim::Node& node) { return "nqn.2019-05.io.openebs:node-name:" + node.name(); }
  static std::string nexus_name(const VolumeSpec& volume) { return volume.uuid.to_string(); }
  static std::string nexus_nqn(const VolumeSpec& volume) { return engine::Shares::nqn_of(nexus_name(volume)); }

  // What the control plane asks for. Idempotent.

  // Imports the pool, or makes it when the disk is blank. DATA_LOSS: it is there, and has to be imported again.
  Task<Result<bool>> open_pool();
  // Makes the replica if there is none. Gives whether it was made.
  Task<Result<bool>> make_replica(VolumeSpec volume, std::string name);
  Task<Result<bool>> destroy_replica(std::string name);
  // Exports the replica to these hosts only (none: not at all), and returns when nobody else is connected any more.
  Task<Result<bool>> share_replica(std::string name, std::vector<std::string> hosts);
  // A nexus for the volume with these children, exported. FAILED_PRECONDITION when there is one already.
  Task<Result<bool>> make_nexus(VolumeSpec volume, uint64_t instance, std::string health_key,
                                std::vector<std::string> children);
  Task<Result<bool>> destroy_nexus(VolumeSpec volume);
  // NOT_FOUND: no nexus here. Waits while one is being made or destroyed.
  Task<Result<NexusView>> view_nexus(VolumeSpec volume);
  Task<Result<bool>> change_child(VolumeSpec volume, ChildChange change, std::string uri);

  uint64_t boot() const { return boot_; }
  uint64_t instance_of(const std::string& nexus) { return instances_[nexus]; }
  sim::Node& node() { return node_; }

  block::Registry devices;
  nvmf::target::Target target;
  engine::Shares shares;
  HealthStoreClient store;
  std::unique_ptr<pool::PoolRegistry> pools;
  std::unique_ptr<nexus::NexusRegistry> nexuses;

 private:
  sim::Node& node_;
  const uint64_t boot_;
  std::map<std::string, uint64_t> instances_;  // of nexuses, by name
  runtime::Mutex nexus_operations_;            // making and destroying
};

}  // namespace cairn::simulation
