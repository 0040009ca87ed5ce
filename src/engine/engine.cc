#include "engine/engine.h"

#include <fmt/format.h>

#include <thread>

#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "engine/grpc_server.h"
#include "engine/health_store.h"
#include "engine/json_rpc_server.h"
#include "engine/node_identity.h"
#include "engine/snapshot_command.h"
#include "engine/target_interface.h"
#include "engine/version.h"
#include "nvmf/host/nvmf_scheme.h"
#include "runtime/backend.h"
#include "runtime/external_call.h"
#include "runtime/task_waits.h"

namespace cairn::engine {

namespace {

std::string health_store_text(const EngineOptions& options) {
  if (!options.child_health_dir.empty()) return options.child_health_dir;
  if (options.etcd.endpoints.empty()) return "of nexus children is not kept (no -p, no --child-health-dir)";
  return fmt::format("etcd at {}", fmt::join(options.etcd.endpoints, ", "));
}

}  // namespace

Engine::Engine(EngineOptions options) : options_(std::move(options)) {}

Engine::~Engine() {
  CAIRN_CHECK(reactors_ == nullptr);
}

Result<> Engine::start() {
  if (!options_.target_interface.empty()) {
    auto address = resolve_target_interface(options_.target_interface);
    if (!address) return fail(std::move(address.error()));
    options_.target_address = std::move(*address);
  }
  auto group = runtime::ReactorGroup::start(options_.reactors);
  if (!group) return fail(Error(group.error().code(), "cannot start the reactors", group.error()));
  reactors_ = std::move(*group);
  if (auto started = runtime::run_on(primary(), "engine start", [this] { return start_on_primary(); }).get(); !started)
    return started;

  auto grpc = GrpcServer::start(*this, options_.grpc_address);
  if (!grpc) return fail(std::move(grpc.error()));
  grpc_ = std::move(*grpc);
  grpc_address_ = grpc_->address();
  return {};
}

runtime::Task<Result<>> Engine::start_on_primary() {
  instance_uuid_ = primary().random().uuid();
  backend_description_ = primary().backend().description();
  registry_ = std::make_unique<block::Registry>();
  registry_->set_node_identity(node_identity(options_.node_name));
  block::add_malloc_scheme(*registry_);
  block::add_null_scheme(*registry_);
  block::add_aio_scheme(*registry_);
  block::add_uring_scheme(*registry_);
  nvmf::host::ConnectionOptions initiator;
  initiator.host = nvmf::host::make_host_identity(options_.host_nqn, options_.host_id);
  nvmf::host::add_nvmf_schemes(*registry_, initiator);

  nvmf::target::Options target_options = options_.target;
  target_options.boot_id = boot_id();
  target_ = std::make_unique<nvmf::target::Target>(std::move(target_options), reactors_->reactors());
  // Subsystems are reached on both ports; the replica port is the one that URIs and the discovery log name.
  for (const auto& [port, advertised] :
       {std::pair(options_.replica_port, true), std::pair(options_.nexus_port, false)}) {
    runtime::SocketAddress address = options_.target_address;
    address.port = port;
    auto listening = target_->listen_tcp(address, advertised);
    if (!listening)
      co_return fail(Error(listening.error().code(), "cannot start the NVMe-oF target", listening.error()));
    target_addresses_.push_back(*listening);
  }
  shares_ = std::make_unique<Shares>(*target_, ShareOptions{.address = target_addresses_.front(),
                                                            .ptpl_dir = options_.ptpl_dir,
                                                            .ana_reporting = options_.ana_enabled});
  if (!options_.ptpl_dir.empty()) {
    for (const char* kind : {"bdev", "nexus", "pool"}) {
      auto made = co_await primary().backend().make_directories(fmt::format("{}/{}", options_.ptpl_dir, kind));
      if (!made) co_return fail(Error(made.error().code(), "cannot use the directory of --ptpl-dir", made.error()));
    }
  }
  pool::PoolOptions pool_options;
  pool_options.exports = replica_exports();
  pools_ = std::make_unique<pool::PoolRegistry>(*registry_, std::move(pool_options));
  auto store = co_await make_health_store(options_);
  if (!store) co_return fail(std::move(store.error()));
  health_store_ = std::move(*store);
  nexus::NexusOptions nexus_options;
  nexus_options.reactors = reactors_->reactors();
  nexus_options.store = health_store_.get();
  nexus_options.save_attempts = options_.save_attempts;
  nexus_options.partial_rebuild = options_.partial_rebuild;
  nexus_options.intent_log.enabled = options_.intent_log;
  nexus_options.child_timeout = options_.child_timeout;
  nexus_options.rebuild = options_.rebuild;
  nexus_options.local_snapshot = take_replica_snapshot;
  snapshot_rebuilds_ = std::make_unique<nexus::SnapshotRebuilds>(*registry_, nexus_options.rebuild);
  nexuses_ = std::make_unique<nexus::NexusRegistry>(*registry_, std::move(nexus_options));
  auto json_rpc = JsonRpcServer::listen(*this, options_.json_rpc_socket);
  if (!json_rpc) co_return fail(Error(json_rpc.error().code(), "cannot start the JSON-RPC server", json_rpc.error()));
  json_rpc_ = std::move(*json_rpc);
  co_return Result<>{};
}

pool::ReplicaExports Engine::replica_exports() {
  return {.share = [this](std::shared_ptr<pool::Replica> replica,
                          std::vector<std::string> hosts) { return shares_->share_replica(replica, std::move(hosts)); },
          .unshare = [this](std::string name) { return shares_->unshare(std::move(name)); },
          .forget = [this](const std::string& reservation_file) { shares_->forget_reservations(reservation_file); }};
}

std::string Engine::banner() const {
  std::string cores;
  for (const unsigned core : options_.reactors.cores) cores += (cores.empty() ? "" : ",") + std::to_string(core);
  std::string text = fmt::format("{} {} on node {}\n", kProgramName, version_text(), options_.node_name);
  text += fmt::format(
      "  reactors  cores {}, {}, spin budget {}\n", cores, backend_description_,
      options_.reactors.spin_budget == runtime::kSpinForever
          ? std::string("unlimited (poll)")
          : fmt::format("{} us",
                        std::chrono::duration_cast<std::chrono::microseconds>(options_.reactors.spin_budget).count()));
  text += fmt::format("  gRPC      {} (v1, reflection, health)\n", grpc_address_.to_string());
  for (size_t i = 0; i < target_addresses_.size(); ++i) {
    text += fmt::format("  NVMe/TCP  {}{}\n", target_addresses_[i].to_string(),
                        i == 0 ? " (discovery, all subsystems)" : "");
  }
  text += fmt::format("  JSON-RPC  {}\n", options_.json_rpc_socket);
  text +=
      fmt::format("  limits    {} queue pairs a controller, {} entries a queue, {} KiB an I/O, {} bytes in a capsule\n",
                  options_.target.max_queue_pairs, options_.target.max_queue_depth, options_.target.max_io_size >> 10,
                  options_.target.in_capsule_data_size);
  text += fmt::format("  health    {}\n", health_store_text(options_));
  text += fmt::format("  PTPL      {}\n", options_.ptpl_dir.empty() ? "off (no --ptpl-dir)" : options_.ptpl_dir);
  return text;
}

runtime::Task<Result<>> Engine::destroy_nexus(std::shared_ptr<nexus::Nexus> nexus) {
  // I/O that waits, or hangs in a child, would hold up the end of the export: it ends with the nexus.
  co_await shares_->unshare(nexus->name(), [nexus] { return nexus->close(); });
  const Uuid uuid = nexus->nexus_uuid();
  nexus.reset();
  co_return co_await nexuses_->destroy(uuid);
}

runtime::Task<> Engine::destroy_nexuses() {
  if (nexuses_ == nullptr) co_return;
  std::vector<Uuid> all;
  for (const auto& nexus : nexuses_->list()) all.push_back(nexus->nexus_uuid());
  for (const Uuid& uuid : all) {
    auto destroy = [this, uuid]() -> runtime::Task<Result<>> {
      auto nexus = nexuses_->find(uuid);
      if (nexus == nullptr) co_return Result<>{};  // by a call that was under way
      co_return co_await destroy_nexus(std::move(nexus));
    };
    auto destroyed = co_await nexus_turns_.run(uuid.to_string(), NexusTurns::kPatience, destroy);
    if (!destroyed && destroyed.error().code() == Code::kDeadlineExceeded) destroyed = co_await destroy();
    if (!destroyed) log::error("{}", destroyed.error().to_string());
  }
}

runtime::Task<> Engine::stop_on_primary() {
  if (json_rpc_ != nullptr) co_await json_rpc_->stop();
  json_rpc_.reset();
  co_await destroy_nexuses();  // those that the last calls made, or that were children of others
  if (snapshot_rebuilds_ != nullptr) co_await snapshot_rebuilds_->stop();
  snapshot_rebuilds_.reset();
  if (pools_ != nullptr) co_await pools_->export_all();
  pools_.reset();
  if (target_ != nullptr) co_await target_->stop();
  co_await destroy_nexuses();  // those that were shared as something else
  nexuses_.reset();
  health_store_.reset();
  shares_.reset();
  target_.reset();
  if (registry_ != nullptr) co_await registry_->remove_all();
  registry_.reset();
}

void Engine::stop() {
  if (grpc_ != nullptr) {
    // Calls that wait for the I/O of a nexus end with it.
    std::thread calls_end([this] { grpc_->stop(); });
    runtime::run_on(primary(), "nexuses end", [this]() -> runtime::Task<Result<>> {
      co_await destroy_nexuses();
      co_return Result<>{};
    }).get();
    calls_end.join();
  }
  grpc_.reset();
  if (reactors_ == nullptr) return;
  runtime::run_on(primary(), "engine stop", [this]() -> runtime::Task<Result<>> {
    co_await stop_on_primary();
    co_return Result<>{};
  }).get();
  reactors_->stop();
  reactors_.reset();
}

}  // namespace cairn::engine
