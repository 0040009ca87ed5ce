#include "simulation/engine_program.h"

#include <algorithm>

#include "base/log.h"
#include "base/seeded_bug.h"
#include "block/file_device.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/controller.h"

namespace cairn::simulation {

namespace {

std::vector<runtime::Reactor*> reactors_of(sim::Node& node) {
  std::vector<runtime::Reactor*> reactors;
  for (unsigned i = 0; i < node.num_reactors(); ++i) reactors.push_back(&node.reactor(i));
  return reactors;
}

pool::PoolOptions pool_options(engine::Shares& shares) {
  pool::PoolOptions options;
  options.exports = {
      .share = [&shares](std::shared_ptr<pool::Replica> replica,
                         std::vector<std::string> hosts) { return shares.share_replica(replica, hosts); },
      .unshare = [&shares](std::string name) { return shares.unshare(std::move(name)); },
      .forget = {}};
  return options;
}

}  // namespace

EngineProgram::EngineProgram(sim::Node& node, sim::Node& store_node, uint64_t boot, const EngineOptions& drawn)
    : target({.boot_id = node.boot_id()}, reactors_of(node)),
      shares(target, {.address = *runtime::SocketAddress::ip(node.addresses().front(), kTargetPort),
                      .ptpl_dir = {},
                      .ana_reporting = true}),
      store(node, store_node),
      node_(node),
      boot_(boot) {
  devices.set_node_identity(node.name());
  block::add_aio_scheme(devices);
  nvmf::host::ConnectionOptions initiator;
  initiator.host = nvmf::host::make_host_identity(host_nqn(node), {});
  nvmf::host::add_nvmf_schemes(devices, initiator);
  CAIRN_CHECK(target.listen_tcp(*runtime::SocketAddress::ip(node.addresses().front(), kTargetPort), true).has_value());
  pools = std::make_unique<pool::PoolRegistry>(devices, pool_options(shares));
  nexus::NexusOptions options;
  options.reactors = reactors_of(node);
  options.store = &store;
  options.save_attempts = 5;
  options.rebuild.limits = drawn.rebuild_limits;
  options.intent_log.min_region_bytes = drawn.log_region_bytes;
  options.first_zeroing_bytes = drawn.first_zeroing_bytes;
  nexuses = std::make_unique<nexus::NexusRegistry>(devices, options);
}

Task<Result<bool>> EngineProgram::open_pool() {
  if (const auto pool = pools->find(kPoolName); pool != nullptr) {
    if (pool->info().needs_import) co_return fail(Code::kDataLoss, "the pool has to be imported again");
    co_return false;
  }
  auto made = co_await pools->create({.name = kPoolName,
                                      .uuid = {},
                                      .disks = {std::string("aio://") + kDisk},
                                      .cluster_size = 1u << 20,
                                      .md_resv_ratio = {}});
  if (!made) co_return fail(std::move(made.error()));
  co_return true;
}

Task<Result<bool>> EngineProgram::make_replica(VolumeSpec volume, std::string name) {
  const auto pool = pools->find(kPoolName);
  if (pool == nullptr) co_return fail(Code::kFailedPrecondition, "no pool");
  if (pools->find_volume(name) != nullptr) co_return false;
  auto made = co_await pool->create_replica({.name = name,
                                             .uuid = Uuid::of_name(volume.uuid, name),
                                             .size_bytes = volume.size_bytes,
                                             .thin = volume.thin,
                                             .entity_id = {}});
  if (!made) co_return fail(std::move(made.error()));
  co_return true;
}

Task<Result<bool>> EngineProgram::destroy_replica(std::string name) {
  auto replica = pools->find_volume(name);
  if (replica == nullptr) co_return false;
  pool::Pool& pool = replica->pool();
  auto destroyed = co_await pool.destroy_replica(std::move(replica));
  if (!destroyed) co_return fail(std::move(destroyed.error()));
  co_return true;
}

Task<Result<bool>> EngineProgram::share_replica(std::string name, std::vector<std::string> hosts) {
  auto replica = pools->find_volume(name);
  if (replica == nullptr) co_return fail(Code::kNotFound, fmt::format("no replica {}", name));
  pool::Pool& pool = replica->pool();
  if (hosts.empty()) {
    auto unshared = co_await pool.unshare(std::move(replica));
    if (!unshared) co_return fail(std::move(unshared.error()));
    co_return true;
  }
  auto shared = co_await pool.share(std::move(replica), hosts);
  if (!shared) co_return fail(std::move(shared.error()));
  if (seeded(SeededBug::kForgetToFence)) co_return true;
  for (;;) {
    auto* subsystem = target.find_subsystem(engine::Shares::nqn_of(name));
    if (subsystem == nullptr) co_return fail(Code::kAborted, "not shared any more");
    const auto& all = subsystem->controllers();
    const auto other = std::ranges::find_if(
        all, [&](const auto& entry) { return std::ranges::find(hosts, entry.second->host_nqn()) == hosts.end(); });
    if (other == all.end()) co_return true;
    const auto controller = other->second;
    if (auto waited = co_await controller->gone().wait(); !waited) co_return fail(waited.error());
  }
}

Task<Result<bool>> EngineProgram::make_nexus(VolumeSpec volume, uint64_t instance, std::string health_key,
                                             std::vector<std::string> children) {
  const auto turn = co_await nexus_operations_.lock();
  if (!turn) co_return fail(turn.error());
  const std::string name = nexus_name(volume);
  if (nexuses->find(name) != nullptr) co_return fail(Code::kFailedPrecondition, "there is a nexus already");
  nexus::NexusRequest request;
  request.name = name;
  request.uuid = volume.uuid;
  request.size_bytes = volume.size_bytes;
  request.children = std::move(children);
  request.health_key = std::move(health_key);
  auto made = co_await nexuses->create(std::move(request));
  if (!made) co_return fail(std::move(made.error()));
  instances_[name] = instance;
  if (auto shared = co_await shares.share_nexus(std::move(*made), {}); !shared) {
    co_return fail(std::move(shared.error()));
  }
  co_return true;
}

Task<Result<bool>> EngineProgram::destroy_nexus(VolumeSpec volume) {
  const auto turn = co_await nexus_operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (nexuses->find(nexus_name(volume)) == nullptr) co_return false;
  co_await shares.unshare_nexus(nexuses->find(nexus_name(volume)));
  if (auto destroyed = co_await nexuses->destroy(volume.uuid); !destroyed) {
    co_return fail(std::move(destroyed.error()));
  }
  co_return true;
}

Task<Result<NexusView>> EngineProgram::view_nexus(VolumeSpec volume) {
  const auto turn = co_await nexus_operations_.lock();
  if (!turn) co_return fail(turn.error());
  const std::string name = nexus_name(volume);
  const auto found = nexuses->find(name);
  if (found == nullptr) co_return fail(Code::kNotFound, "no nexus");
  co_return NexusView{.boot = boot_,
                      .instance = instances_[name],
                      .status = found->status(),
                      .frozen = found->frozen(),
                      .num_rebuilds = found->num_rebuilds(),
                      .children = found->children()};
}

Task<Result<bool>> EngineProgram::change_child(VolumeSpec volume, ChildChange change, std::string uri) {
  const auto found = nexuses->find(nexus_name(volume));
  if (found == nullptr) co_return fail(Code::kNotFound, "no nexus");
  Result<> done;
  switch (change) {
    case ChildChange::kAdd:
      done = co_await found->add_child(std::move(uri), true);
      break;
    case ChildChange::kOnline:
      done = co_await found->online_child(std::move(uri));
      break;
    case ChildChange::kRemove:
      done = co_await found->remove_child(std::move(uri));
      break;
    case ChildChange::kRebuild:
      done = co_await found->start_rebuild(std::move(uri));
      break;
    case ChildChange::kOffline:
      done = co_await found->fault_child(std::move(uri), nexus::FaultReason::kOffline);
      break;
  }
  if (!done) co_return fail(std::move(done.error()));
  co_return true;
}

}  // namespace cairn::simulation
