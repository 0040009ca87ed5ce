// A simulated cluster for snapshots of a nexus: an engine with a replica of its own and replicas on storage nodes that
// it reaches by NVMe/TCP, and writers whose data shows what a snapshot holds.
//
// A writer writes numbers 1, 2, 3 ... to kSlots places in turn, each after the one before was acknowledged. So an image
// of one moment holds, for some number, exactly the last kSlots numbers up to it.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/io_wait.h"
#include "engine/snapshot_command.h"
#include "nexus/nexus_registry.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/target.h"
#include "pool/pool_registry.h"
#include "runtime/sim/run_task.h"
#include "runtime/sim/world.h"

namespace cairn::nexus {

using runtime::Task;
namespace sim = runtime::sim;

inline constexpr const char* kDisk = "/dev/sda";
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kReplicaBytes = 16 * kMiB;
inline constexpr uint16_t kPort = 8420;

inline std::vector<runtime::Reactor*> reactors_of(sim::Node& node) {
  std::vector<runtime::Reactor*> reactors;
  for (unsigned i = 0; i < node.num_reactors(); ++i) reactors.push_back(&node.reactor(i));
  return reactors;
}

// An engine without its APIs: a pool with one replica, which is exported but for that of the first node.
class SnapshotProcess final : public sim::NodeProgram {
 public:
  SnapshotProcess(sim::Node& node, NexusOptions options)
      : target(nvmf::target::Options{}, reactors_of(node)), pools(devices, pool::PoolOptions{}) {
    block::add_aio_scheme(devices);
    nvmf::host::ConnectionOptions defaults;
    defaults.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:node-name:engine", {});
    nvmf::host::add_nvmf_schemes(devices, defaults);
    options.reactors = reactors_of(node);
    options.local_snapshot = engine::take_replica_snapshot;
    nexuses = std::make_unique<NexusRegistry>(devices, options);
    runtime::Reactor::current().spawn("set up", set_up(node));
  }
  static Uuid replica_uuid(const sim::Node& node) { return Uuid::of_name(Uuid(), node.name()); }
  static std::string nqn(const sim::Node& node) { return "nqn.2019-05.io.openebs:" + replica_uuid(node).to_string(); }

  bool ready = false;
  block::Registry devices;
  nvmf::target::Target target;
  pool::PoolRegistry pools;
  std::unique_ptr<NexusRegistry> nexuses;
  std::shared_ptr<Nexus> nexus;
  std::vector<std::unique_ptr<block::Channel>> channels;

 private:
  Task<> set_up(sim::Node& node) {
    auto made = co_await pools.create({.name = "pool",
                                       .uuid = {},
                                       .disks = {fmt::format("aio://{}", kDisk)},
                                       .cluster_size = static_cast<uint32_t>(kMiB),
                                       .md_resv_ratio = {}});
    CAIRN_CHECK(made.has_value());
    auto replica = pools.find_volume(replica_uuid(node));
    if (replica == nullptr) {
      auto created = co_await made->pool->create_replica({.name = replica_uuid(node).to_string(),
                                                          .uuid = replica_uuid(node),
                                                          .size_bytes = kReplicaBytes,
                                                          .thin = true,
                                                          .entity_id = {}});
      CAIRN_CHECK(created.has_value());
      replica = *created;
    }
    if (node.index() == 0) {
      ready = true;  // a child of its nexus
      co_return;
    }
    nvmf::target::SubsystemOptions options;
    options.nqn = nqn(node);
    options.vendor_command = engine::snapshot_command();
    const auto subsystem = target.add_subsystem(std::move(options));
    CAIRN_CHECK(subsystem.has_value());
    CAIRN_CHECK((co_await (*subsystem)->add_namespace(replica)).has_value());
    CAIRN_CHECK(target.listen_tcp(*runtime::SocketAddress::ip(node.addresses().front(), kPort), true).has_value());
    ready = true;
  }
};

class SnapshotSite {
 public:
  static constexpr size_t kNumChildren = 3;
  static constexpr size_t kWriters = 6;
  static constexpr uint64_t kSlots = 12;
  static constexpr uint64_t kSlotBytes = 4096;
  static constexpr Duration kLimit = std::chrono::minutes(60);

  explicit SnapshotSite(uint64_t seed, const NexusOptions& options = {})
      : options_(options), world_({.seed = seed}), random_(seed * 31 + 7) {
    if (std::getenv("CAIRN_SIM_LOG") == nullptr) log::set_level(log::Level::kOff);
    for (size_t i = 0; i < kNumChildren; ++i) {
      sim::Node& node = world_.add_node({.name = fmt::format("node{}", i), .num_reactors = i == 0 ? 2u : 1u});
      node.files().add_block_device(kDisk, {.size_bytes = 96 * kMiB, .disk = {.can_unmap = true}});
      nodes_.push_back(&node);
      node.start(
          [&options = options_](sim::Node& its_node) { return std::make_unique<SnapshotProcess>(its_node, options); });
    }
    run_until([this] {
      return std::ranges::all_of(nodes_, [](sim::Node* node) { return node->program<SnapshotProcess>().ready; });
    });
    NexusRequest request;
    request.name = "nexus-1";
    request.uuid = *Uuid::parse("11111111-2222-4333-8444-555555555555");
    request.size_bytes = kReplicaBytes;
    for (size_t i = 0; i < kNumChildren; ++i) request.children.push_back(uri(i));
    auto made = run(process().nexuses->create(std::move(request)));
    if (!made) fmt::print(stderr, "{}\n", made.error().to_string());
    CAIRN_CHECK(made.has_value());
    process().nexus = *made;
    for (unsigned i = 0; i < 2; ++i) {
      auto channel = run(call_on(node(0).reactor(i), [this] { return nexus().open_channel(); }));
      CAIRN_CHECK(channel.has_value());
      process().channels.push_back(std::move(*channel));
    }
  }
  ~SnapshotSite() { log::set_level(log::Level::kInfo); }

  sim::World& world() { return world_; }
  sim::Node& node(size_t child) { return *nodes_.at(child); }
  sim::Disk& disk(size_t child) { return node(child).files().disk_of(kDisk); }
  SnapshotProcess& process(size_t child = 0) { return node(child).program<SnapshotProcess>(); }
  Nexus& nexus() { return *process().nexus; }
  runtime::Random& random() { return random_; }
  std::string replica_uuid(size_t child) { return SnapshotProcess::replica_uuid(node(child)).to_string(); }
  std::string uri(size_t child) {
    const std::string uuid = replica_uuid(child);
    if (child == 0) return fmt::format("bdev:///{}?uuid={}", uuid, uuid);
    return fmt::format("nvmf://{}:{}/{}?uuid={}", node(child).addresses().front(), kPort,
                       SnapshotProcess::nqn(node(child)), uuid);
  }

  void run_until(const std::function<bool()>& done) {
    const auto result = world_.run_until(done, kLimit);
    if (result != sim::RunResult::kDone) fmt::print(stderr, "{}\n", world_.waiting_tasks());
    CAIRN_CHECK(result == sim::RunResult::kDone);
  }
  template <typename T>
  T run(Task<T> task, size_t on = 0) {
    return sim::run_task(world_, node(on), std::move(task), kLimit);
  }

  static std::string snapshot_uuid(uint64_t number, size_t child) {
    return Uuid::of_name(Uuid(), fmt::format("snapshot {} of {}", number, child)).to_string();
  }
  SnapshotRequest request(uint64_t number) {
    SnapshotRequest request{.name = fmt::format("snapshot-{}", number),
                            .entity_id = "volume",
                            .txn_id = fmt::format("{}", number),
                            .create_time = "2024-05-17 09:30:00.123456789 UTC",
                            .create_time_seconds = 1715938200,
                            .replicas = {}};
    for (size_t i = 0; i < kNumChildren; ++i) {
      request.replicas.push_back({.replica_uuid = replica_uuid(i), .snapshot_uuid = snapshot_uuid(number, i)});
    }
    return request;
  }

  // ---- Writers ----

  void start_writers() {
    stopping_ = false;
    for (size_t i = 0; i < kWriters; ++i) {
      const unsigned reactor = static_cast<unsigned>(i % 2);
      const runtime::Reactor::Scope scope(node(0).reactor(reactor));
      ++num_running_;
      node(0).reactor(reactor).spawn("writer", write(i, *process().channels[reactor]));
    }
  }
  void stop_writers() {
    stopping_ = true;
    run_until([this] { return num_running_ == 0; });
  }
  struct Marks {
    std::array<uint64_t, kWriters> submitted{};
    std::array<uint64_t, kWriters> acknowledged{};
  };
  const Marks& marks() const { return marks_; }
  uint64_t num_errors() const { return num_errors_; }
  uint64_t num_written() const {
    uint64_t sum = 0;
    for (const uint64_t number : marks_.acknowledged) sum += number;
    return sum;
  }

  // The data area of a volume, by the UUID.
  std::vector<std::byte> content(size_t child, const std::string& uuid) {
    std::vector<std::byte> data(kWriters * kSlots * kSlotBytes);
    auto volume = process(child).pools.find_volume(*Uuid::parse(uuid));
    if (volume == nullptr) return {};
    const auto status = run(
        [](std::shared_ptr<block::Device> device, std::span<std::byte> out) -> Task<nvme::Status> {
          auto channel = co_await device->open_channel();
          CAIRN_CHECK(channel.has_value());
          iovec piece{out.data(), out.size()};
          co_return co_await block::perform(
              **channel,
              {.type = block::IoType::kRead, .lba = 10240, .num_blocks = out.size() / 512, .data = {&piece, 1}});
        }(std::move(volume), data),
        child);
    EXPECT_TRUE(status.is_success()) << status.to_string();
    return data;
  }
  // What is wrong with an image of one moment between the two marks; empty: nothing.
  static std::string check(std::span<const std::byte> image, const Marks& before, const Marks& after) {
    for (size_t writer = 0; writer < kWriters; ++writer) {
      std::array<uint64_t, kSlots> numbers{};
      for (uint64_t slot = 0; slot < kSlots; ++slot) {
        const std::byte* data = image.data() + (writer * kSlots + slot) * kSlotBytes;
        std::memcpy(&numbers[slot], data, 8);
        for (uint64_t at = 8; at < kSlotBytes; at += 8) {
          if (std::memcmp(data, data + at, 8) != 0) return fmt::format("writer {}: slot {} is torn", writer, slot);
        }
      }
      const uint64_t last = *std::ranges::max_element(numbers);
      if (last < before.acknowledged[writer]) {
        return fmt::format("writer {}: {} was acknowledged before, {} is the last", writer, before.acknowledged[writer],
                           last);
      }
      if (last > after.submitted[writer]) return fmt::format("writer {}: {} came later", writer, last);
      for (uint64_t slot = 0; slot < kSlots; ++slot) {
        const uint64_t age = (last + kSlots - slot) % kSlots;
        const uint64_t expected = age > last ? 0 : last - age;
        if (numbers[slot] != expected) {
          return fmt::format("writer {}: {} is there, slot {} has {}, not {}", writer, last, slot, numbers[slot],
                             expected);
        }
      }
    }
    return "";
  }

  void end() {
    for (unsigned i = 0; i < process().channels.size(); ++i) {
      const runtime::Reactor::Scope scope(node(0).reactor(i));
      process().channels[i].reset();
    }
    process().channels.clear();
    process().nexus.reset();
    run([](NexusRegistry& nexuses) -> Task<bool> {
      co_await nexuses.destroy_all();
      co_return true;
    }(*process().nexuses));
    EXPECT_TRUE(process().nexuses->list().empty());
    for (size_t i = 0; i < kNumChildren; ++i) {
      if (node(i).running()) node(i).crash(sim::CrashKind::kKill);
    }
  }

 private:
  Task<> write(size_t writer, block::Channel& channel) {
    std::vector<std::byte> data(kSlotBytes);
    iovec piece{data.data(), data.size()};
    runtime::Random& random = runtime::Reactor::current().random();
    uint64_t number = marks_.submitted[writer];
    while (!stopping_) {
      marks_.submitted[writer] = ++number;
      for (uint64_t at = 0; at < kSlotBytes; at += 8) std::memcpy(data.data() + at, &number, 8);
      const auto status = co_await block::perform(channel, {.type = block::IoType::kWrite,
                                                            .lba = (writer * kSlots + number % kSlots) * 8,
                                                            .num_blocks = 8,
                                                            .data = {&piece, 1}});
      if (!status.is_success()) {
        ++num_errors_;
        break;
      }
      marks_.acknowledged[writer] = number;
      if (random.one_in(4) && !(co_await runtime::sleep_for(std::chrono::microseconds(random.below(300))))) break;
    }
    --num_running_;
  }

  const NexusOptions options_;
  sim::World world_;
  std::vector<sim::Node*> nodes_;
  runtime::Random random_;
  Marks marks_;
  size_t num_running_ = 0;
  bool stopping_ = false;
  uint64_t num_errors_ = 0;
};

}  // namespace cairn::nexus
