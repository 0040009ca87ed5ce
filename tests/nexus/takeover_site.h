// A simulated cluster in which one nexus takes over from another one: two engines, two storage nodes whose disks both
// reach by NVMe/TCP.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/io_wait.h"
#include "block/test_world.h"
#include "nexus/child_health_file.h"
#include "nexus/nexus_registry.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/target.h"
#include "runtime/sim/run_task.h"
#include "runtime/sim/world.h"

namespace cairn::nexus {

using runtime::Task;
namespace sim = runtime::sim;

// An engine: a target that may export its disk, and nexuses.
class TakeoverProcess final : public sim::NodeProgram {
 public:
  static constexpr const char* kDisk = "/dev/sda";
  static constexpr uint16_t kPort = 8420;

  TakeoverProcess(sim::Node& node, bool persistent)
      : node_(node), persistent_(persistent), target(nvmf::target::Options{}, {&node.reactor(0)}) {
    block::add_aio_scheme(devices);
    nvmf::host::ConnectionOptions defaults;
    defaults.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:node-name:" + node.name(), {});
    nvmf::host::add_nvmf_schemes(devices, defaults);
    NexusOptions options;
    options.reactors = {&node.reactor(0)};
    options.store = &store;
    nexuses = std::make_unique<NexusRegistry>(devices, options);
    CAIRN_CHECK(target.listen_tcp(*runtime::SocketAddress::ip(node.addresses().front(), kPort), true).has_value());
  }
  std::string nqn() const { return "nqn.2019-05.io.openebs:" + node_.name(); }
  std::string disk_uri() const {
    return fmt::format("aio://{}?uuid={}", kDisk, Uuid::of_name(Uuid(), node_.name()).to_string());
  }
  std::string remote_uri() const {
    return fmt::format("nvmf://{}:{}/{}?uuid={}", node_.addresses().front(), kPort, nqn(),
                       Uuid::of_name(Uuid(), node_.name()).to_string());
  }
  Task<Result<>> share_disk() {
    auto device = co_await devices.create(disk_uri());
    if (!device) co_return fail(std::move(device.error()));
    nvmf::target::SubsystemOptions options;
    options.nqn = nqn();
    if (persistent_) options.ptpl_path = "/ptpl/disk.json";
    const auto subsystem = target.add_subsystem(std::move(options));
    if (!subsystem) co_return fail(subsystem.error());
    co_return co_await (*subsystem)->add_namespace(*device);
  }
  Task<Result<>> unshare_disk() {
    if (auto removed = co_await target.remove_subsystem(nqn()); !removed) co_return removed;
    co_return co_await devices.destroy(disk_uri());
  }

 private:
  sim::Node& node_;
  const bool persistent_;

 public:
  ChildHealthFile store{"/var/nexus"};
  block::Registry devices;
  nvmf::target::Target target;
  std::unique_ptr<NexusRegistry> nexuses;
  std::shared_ptr<Nexus> nexus;
  std::unique_ptr<block::Channel> channel;
};

struct TakeoverOptions {
  uint64_t seed = 1;
  bool persistent = false;  // reservations, through a restart of a storage node's engine
};

class TakeoverSite {
 public:
  static constexpr Duration kLimit = std::chrono::minutes(10);
  static constexpr uint64_t kDiskBytes = 6 << 20;
  static constexpr uint64_t kDataStart = 10240;  // blocks

  explicit TakeoverSite(const TakeoverOptions& options) : options_(options), world_({.seed = options.seed}) {
    if (std::getenv("CAIRN_SIM_LOG") == nullptr) log::set_level(log::Level::kOff);
    for (const char* name : {"a", "b", "s1", "s2"}) {
      sim::Node& node = world_.add_node({.name = name, .num_reactors = 1});
      node.files().add_block_device(TakeoverProcess::kDisk, {.size_bytes = kDiskBytes});
      nodes_.push_back(&node);
      start(node);
    }
    for (sim::Node* node : {&s1(), &s2()}) EXPECT_TRUE(run(*node, process(*node).share_disk()).has_value());
  }
  ~TakeoverSite() { log::set_level(log::Level::kInfo); }

  sim::World& world() { return world_; }
  sim::Node& a() { return *nodes_[0]; }
  sim::Node& b() { return *nodes_[1]; }
  sim::Node& s1() { return *nodes_[2]; }
  sim::Node& s2() { return *nodes_[3]; }
  TakeoverProcess& process(sim::Node& node) { return node.program<TakeoverProcess>(); }
  Nexus& nexus(sim::Node& node) { return *process(node).nexus; }

  void start(sim::Node& node) {
    node.start([persistent = options_.persistent](sim::Node& its_node) {
      return std::make_unique<TakeoverProcess>(its_node, persistent);
    });
  }
  // kill -9, and everything is exported again.
  void restart_storage(sim::Node& node) {
    node.crash(sim::CrashKind::kKill);
    start(node);
    EXPECT_TRUE(run(node, process(node).share_disk()).has_value());
  }
  // A node with the storage nodes.
  void cut(sim::Node& node) {
    for (sim::Node* storage : {&s1(), &s2()}) world_.network().cut_both(node, *storage);
  }
  void heal(sim::Node& node) {
    for (sim::Node* storage : {&s1(), &s2()}) world_.network().heal_both(node, *storage);
  }

  bool run_until(const std::function<bool()>& done) {
    const auto result = world_.run_until(done, kLimit);
    EXPECT_EQ(result, sim::RunResult::kDone) << sim::run_result_name(result) << "\n" << world_.waiting_tasks();
    return result == sim::RunResult::kDone;
  }
  template <typename T>
  T run(sim::Node& node, Task<T> task) {
    return sim::run_task(world_, node, std::move(task), kLimit);
  }

  NexusRequest request(NvmeParameters nvme, std::vector<std::string> children = {}) {
    NexusRequest request;
    request.name = "nexus-1";
    request.uuid = *Uuid::parse("11111111-2222-4333-8444-555555555555");
    request.size_bytes = kDiskBytes;
    request.nvme = nvme;
    request.children = std::move(children);
    if (request.children.empty()) request.children = {process(s1()).remote_uri(), process(s2()).remote_uri()};
    return request;
  }
  // A nexus on the node, over both storage nodes.
  Result<> create(sim::Node& node, NvmeParameters nvme) { return create(node, request(nvme)); }
  Result<> create(sim::Node& node, NexusRequest request) {
    auto made = run(node, process(node).nexuses->create(std::move(request)));
    if (!made) return fail(std::move(made.error()));
    process(node).nexus = *made;
    auto channel = run(node, (*made)->open_channel());
    if (!channel) return fail(std::move(channel.error()));
    process(node).channel = std::move(*channel);
    return {};
  }
  void destroy(sim::Node& node) {
    {
      const runtime::Reactor::Scope scope(node.reactor(0));
      process(node).channel.reset();
    }
    const Uuid uuid = nexus(node).nexus_uuid();
    process(node).nexus.reset();
    EXPECT_TRUE(run(node, process(node).nexuses->destroy(uuid)).has_value());
  }

  // One block at the beginning of the nexus.
  nvme::Status io(sim::Node& node, block::IoType type, std::vector<std::byte>& data) {
    return run(node,
               [](block::Channel& channel, block::IoType what, std::vector<std::byte>& memory) -> Task<nvme::Status> {
                 iovec piece{memory.data(), memory.size()};
                 co_return co_await block::perform(channel, {.type = what, .num_blocks = 1, .data = {&piece, 1}});
               }(*process(node).channel, type, data));
  }
  nvme::Status write(sim::Node& node, uint8_t value) {
    std::vector<std::byte> data(512, std::byte{value});
    return io(node, block::IoType::kWrite, data);
  }
  std::optional<uint8_t> read(sim::Node& node) {
    std::vector<std::byte> data(512);
    if (!io(node, block::IoType::kRead, data).is_success()) return std::nullopt;
    return static_cast<uint8_t>(data.front());
  }
  // What that block holds on the disk of a storage node.
  uint8_t on_disk(sim::Node& node) {
    return static_cast<uint8_t>((*node.files().content(TakeoverProcess::kDisk))[kDataStart * 512]);
  }
  bool is_shut_down(sim::Node& node) { return nexus(node).state() == NexusState::kShutdown; }

 private:
  const TakeoverOptions options_;
  sim::World world_;
  std::vector<sim::Node*> nodes_;
};

// A write of one block that nobody waits for.
class PendingWrite {
 public:
  PendingWrite(TakeoverSite& site, sim::Node& node, uint8_t value)
      : data_(512, std::byte{value}), piece_{data_.data(), data_.size()} {
    io.type = block::IoType::kWrite;
    io.num_blocks = 1;
    io.data = {&piece_, 1};
    const runtime::Reactor::Scope scope(node.reactor(0));
    site.process(node).channel->submit(io);
  }

 private:
  std::vector<std::byte> data_;
  iovec piece_;

 public:
  block::TestIo io;
};

}  // namespace cairn::nexus
