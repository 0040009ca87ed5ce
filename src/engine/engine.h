// The io-engine's parts and their order: what is started first is stopped last.
//
//   start: reactors -> devices -> target (listeners) -> store -> JSON-RPC -> gRPC
//   stop:  gRPC and nexuses (destroyed) -> JSON-RPC -> pools (exported) -> target (hosts are disconnected) -> devices
//          -> reactors
// After a start that failed half way, stop() undoes what was done.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/uuid.h"
#include "block/registry.h"
#include "engine/nexus_turns.h"
#include "engine/options.h"
#include "engine/shares.h"
#include "nexus/nexus_registry.h"
#include "nexus/snapshot_rebuild.h"
#include "nvmf/target/target.h"
#include "pool/pool_registry.h"
#include "runtime/reactor_group.h"

namespace cairn::engine {

class GrpcServer;
class JsonRpcServer;

class Engine {
 public:
  explicit Engine(EngineOptions options);
  ~Engine();  // stopped

  // On the main thread. The error says which part failed and why.
  Result<> start();
  // What is served where, in a few lines.
  std::string banner() const;
  // Orderly; on the main thread.
  void stop();

  const EngineOptions& options() const { return options_; }
  const Uuid& instance_uuid() const { return instance_uuid_; }
  const std::string& backend_description() const { return backend_description_; }  // of the reactors' I/O
  const runtime::SocketAddress& grpc_address() const { return grpc_address_; }     // with the real port
  runtime::ReactorGroup& reactors() { return *reactors_; }
  runtime::Reactor& primary() { return reactors_->reactor(0); }

  // Primary reactor only.
  block::Registry& registry() { return *registry_; }
  nvmf::target::Target& target() { return *target_; }
  Shares& shares() { return *shares_; }
  pool::PoolRegistry& pools() { return *pools_; }
  nexus::NexusRegistry& nexuses() { return *nexuses_; }
  NexusTurns& nexus_turns() { return nexus_turns_; }
  nexus::SnapshotRebuilds& snapshot_rebuilds() { return *snapshot_rebuilds_; }
  // Ends its export, then the nexus. INTERNAL when others hold its device.
  runtime::Task<Result<>> destroy_nexus(std::shared_ptr<nexus::Nexus> nexus);

 private:
  pool::ReplicaExports replica_exports();
  runtime::Task<Result<>> start_on_primary();
  runtime::Task<> destroy_nexuses();
  runtime::Task<> stop_on_primary();

  EngineOptions options_;
  Uuid instance_uuid_;
  std::string backend_description_;
  runtime::SocketAddress grpc_address_;
  std::vector<runtime::SocketAddress> target_addresses_;
  std::unique_ptr<runtime::ReactorGroup> reactors_;
  std::unique_ptr<block::Registry> registry_;
  std::unique_ptr<nvmf::target::Target> target_;
  std::unique_ptr<Shares> shares_;
  std::unique_ptr<pool::PoolRegistry> pools_;
  std::unique_ptr<nexus::ChildHealthStore> health_store_;  // nullptr: none
  std::unique_ptr<nexus::NexusRegistry> nexuses_;
  NexusTurns nexus_turns_;
  std::unique_ptr<nexus::SnapshotRebuilds> snapshot_rebuilds_;
  std::unique_ptr<JsonRpcServer> json_rpc_;
  std::unique_ptr<GrpcServer> grpc_;
};

}  // namespace cairn::engine
