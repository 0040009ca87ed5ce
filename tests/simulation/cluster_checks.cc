// What must hold at the end, and whenever a node has crashed.
#include "nexus/geometry.h"
#include "nvmf/target/controller.h"
#include "pool/check/pool_check.h"
#include "simulation/cluster.h"

namespace cairn::simulation {

namespace {

// What is on a node's disk while no process uses it.
class DiskReader final : public pool::check::DeviceReader {
 public:
  explicit DiskReader(sim::Node& node) : node_(node) {}
  uint64_t size_bytes() const override { return Cluster::kDiskBytes; }
  Result<> read(uint64_t offset, std::span<std::byte> out) override {
    node_.files().read_content(kDisk, offset, out);
    return {};
  }

 private:
  sim::Node& node_;
};

// The part of a replica that holds the data of the nexus.
Task<Result<std::vector<std::byte>>> read_replica(EngineProgram& engine, std::string name, uint64_t num_blocks) {
  const auto device = engine.devices.find(name);
  if (device == nullptr) co_return fail(Code::kNotFound, fmt::format("no replica {}", name));
  auto channel = co_await device->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  std::vector<std::byte> data(num_blocks * device->block_size());
  const uint64_t step = 256;
  for (uint64_t at = 0; at < num_blocks; at += step) {
    const uint64_t count = std::min(step, num_blocks - at);
    iovec piece{data.data() + at * device->block_size(), count * device->block_size()};
    const auto status = co_await block::perform(
        **channel, {.lba = nexus::data_start(device->block_size()) + at, .num_blocks = count, .data = {&piece, 1}});
    if (!status.is_success()) co_return fail(Code::kInternal, fmt::format("{}: {}", name, status.to_string()));
  }
  co_return data;
}

Task<Result<bool>> end_engine(EngineProgram& engine) {
  co_await engine.nexuses->destroy_all();
  co_await engine.pools->export_all();
  co_await engine.target.stop();
  co_await engine.devices.remove_all();
  co_return engine.devices.empty() && engine.nexuses->list().empty() && engine.pools->list().empty();
}

}  // namespace

std::string Cluster::check_pool_on_disk(size_t index, bool clean) {
  DiskReader reader(*storage_[index]);
  const auto report = pool::check::check_pool(reader);
  // Before the pool is made there is nothing.
  if (!clean && volume_.instance == 0) return {};
  const auto at_least = clean ? pool::check::Severity::kWarning : pool::check::Severity::kError;
  if (!report.has(at_least)) return {};
  return fmt::format("pool of {} {}:\n{}", storage_[index]->name(), clean ? "after its export" : "after a crash",
                     report.text(at_least));
}

// With the nexus gone, all children hold the same.
std::string Cluster::check_replicas() {
  client_state_.closing = true;
  if (!wait_until([this] { return client_state_.closed; }, kOperationLimit)) {
    return "the client does not disconnect\n" + world_.waiting_tasks();
  }
  control_->crash(sim::CrashKind::kKill);
  const auto destroyed = run_on(*storage_[*volume_.target], engine(*volume_.target).destroy_nexus(volume_.spec));
  if (!destroyed || !*destroyed) {
    return fmt::format("the nexus cannot be destroyed: {}\n{}",
                       destroyed ? destroyed->error().to_string() : "it takes for ever", world_.waiting_tasks());
  }
  const auto record = store_content_.records.find(volume_.health_key());
  if (record == store_content_.records.end() || !record->second.clean_shutdown) return "no record of the clean end";
  std::vector<std::vector<std::byte>> all;
  for (const ReplicaEntry& replica : volume_.replicas) {
    const auto healthy =
        std::ranges::find(record->second.children, replica.uuid.to_string(), &nexus::HealthRecord::Child::uuid);
    if (healthy == record->second.children.end() || !healthy->healthy) {
      return fmt::format("{} is not healthy in the last record", replica.name);
    }
    auto data = run_on(*storage_[replica.node], read_replica(engine(replica.node), replica.name, num_blocks()));
    if (!data || !*data) {
      return fmt::format("{} cannot be read: {}", replica.name, data ? data->error().to_string() : "it takes for ever");
    }
    all.push_back(std::move(**data));
  }
  for (size_t i = 1; i < all.size(); ++i) {
    for (uint64_t block = 0; block < num_blocks(); ++block) {
      const auto at = static_cast<ptrdiff_t>(block * 512);
      if (!std::equal(all[0].begin() + at, all[0].begin() + at + 512, all[i].begin() + at)) {
        return fmt::format("{} and {} differ at block {}", volume_.replicas[0].name, volume_.replicas[i].name, block);
      }
    }
  }
  return {};
}

std::string Cluster::check_fences() {
  for (const auto& [name, hosts] : given_to_) {
    const auto replica = std::ranges::find(volume_.replicas, name, &ReplicaEntry::name);
    if (!storage_[replica->node]->running()) continue;
    auto* subsystem = engine(replica->node).target.find_subsystem(engine::Shares::nqn_of(name));
    if (subsystem == nullptr) continue;
    for (const auto& [id, controller] : subsystem->controllers()) {
      if (std::ranges::find(hosts, controller->host_nqn()) != hosts.end()) continue;
      return fmt::format("{} is connected to {}, which was given to somebody else", controller->host_nqn(), name);
    }
  }
  return {};
}

// Everything ends in an orderly way, with nothing left.
std::string Cluster::shut_down() {
  for (size_t i = 0; i < kNumStorage; ++i) {
    const auto ended = run_on(*storage_[i], end_engine(engine(i)));
    if (!ended || !*ended || !**ended) {
      return fmt::format("{} does not come to an end\n{}", storage_[i]->name(), world_.waiting_tasks());
    }
  }
  auto quiet = [this] {
    for (size_t i = 0; i < kNumStorage; ++i) {
      for (unsigned r = 0; r < storage_[i]->num_reactors(); ++r) {
        if (storage_[i]->reactor(r).num_tasks() != 0 || storage_[i]->reactor(r).buffers().bytes_in_use() != 0) {
          return false;
        }
      }
    }
    return world_.network().num_connections() == 0;
  };
  if (!wait_until(quiet, kOperationLimit)) {
    std::string left;
    for (size_t i = 0; i < kNumStorage; ++i) {
      for (unsigned r = 0; r < storage_[i]->num_reactors(); ++r) {
        left += fmt::format("{}/{}: {} bytes of buffers\n", storage_[i]->name(), r,
                            storage_[i]->reactor(r).buffers().bytes_in_use());
      }
    }
    return fmt::format("left at the end: {} connections\n{}{}", world_.network().num_connections(), left,
                       world_.waiting_tasks());
  }
  for (size_t i = 0; i < kNumStorage; ++i) {
    storage_[i]->stop();
    if (auto wrong = check_pool_on_disk(i, true); !wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace cairn::simulation
