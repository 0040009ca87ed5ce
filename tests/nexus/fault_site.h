// A simulated cluster for a nexus: one engine with a local disk, storage nodes whose disks it reaches by NVMe/TCP,
// hosts' I/O on each reactor of the engine with a checker that knows what every block may read as, somebody who mends
// children, and faults by chance.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <list>
#include <memory>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/io_wait.h"
#include "nexus/child_health_file.h"
#include "nexus/geometry.h"
#include "nexus/nexus_registry.h"
#include "nexus/test_site.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/block_history.h"
#include "nvmf/target/target.h"
#include "runtime/sim/run_task.h"
#include "runtime/sim/world.h"

namespace cairn::nexus {

using nvmf::target::BlockHistory;
using runtime::Task;
namespace sim = runtime::sim;

inline constexpr const char* kDisk = "/dev/sda";
inline constexpr uint64_t kDiskBytes = 6 << 20;  // 1 MiB less 17 KiB of it for data
inline constexpr uint16_t kPort = 8420;

inline std::vector<runtime::Reactor*> reactors_of(sim::Node& node) {
  std::vector<runtime::Reactor*> reactors;
  for (unsigned i = 0; i < node.num_reactors(); ++i) reactors.push_back(&node.reactor(i));
  return reactors;
}

// Exports its disk.
class StorageProcess final : public sim::NodeProgram {
 public:
  explicit StorageProcess(sim::Node& node) : target({.boot_id = node.boot_id()}, reactors_of(node)) {
    block::add_aio_scheme(devices);
    runtime::Reactor::current().spawn("set up", set_up(node));
  }
  static std::string nqn(const sim::Node& node) { return "nqn.2019-05.io.openebs:" + node.name(); }

  bool ready = false;
  block::Registry devices;
  nvmf::target::Target target;

 private:
  Task<> set_up(sim::Node& node) {
    const auto uuid = Uuid::of_name(Uuid(), node.name()).to_string();
    auto device = co_await devices.create(fmt::format("aio://{}?uuid={}", kDisk, uuid));
    CAIRN_CHECK(device.has_value());
    nvmf::target::SubsystemOptions options;
    options.nqn = nqn(node);
    const auto subsystem = target.add_subsystem(std::move(options));
    CAIRN_CHECK(subsystem.has_value());
    CAIRN_CHECK((co_await (*subsystem)->add_namespace(*device)).has_value());
    CAIRN_CHECK(target.listen_tcp(*runtime::SocketAddress::ip(node.addresses().front(), kPort), true).has_value());
    ready = true;
  }
};

class EngineProcess final : public sim::NodeProgram {
 public:
  explicit EngineProcess(sim::Node& node) {
    block::add_aio_scheme(devices);
    nvmf::host::ConnectionOptions defaults;
    defaults.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:node-name:engine", {});
    nvmf::host::add_nvmf_schemes(devices, defaults);
    NexusOptions options;
    options.reactors = reactors_of(node);
    options.store = &store;
    options.child_timeout = std::chrono::seconds(4);
    options.intent_log.min_region_bytes = kSegmentBytes;
    options.first_zeroing_bytes = 8 << 10;
    options.intent_log.idle_after = std::chrono::milliseconds(500);
    nexuses = std::make_unique<NexusRegistry>(devices, options);
  }
  SiteStore store;
  block::Registry devices;
  std::unique_ptr<NexusRegistry> nexuses;
  std::shared_ptr<Nexus> nexus;
  std::vector<std::unique_ptr<block::Channel>> channels;
};

class FaultSite {
 public:
  static constexpr size_t kNumChildren = 3;
  static constexpr Duration kLimit = std::chrono::minutes(60);

  explicit FaultSite(uint64_t seed, bool trace_text = false)
      : world_({.seed = seed, .trace_text = trace_text}),
        engine_(world_.add_node({.name = "engine", .num_reactors = 2})),
        random_(seed * 77 + 1) {
    if (std::getenv("CAIRN_SIM_LOG") == nullptr) log::set_level(log::Level::kOff);
    engine_.files().add_block_device(kDisk, {.size_bytes = kDiskBytes});
    for (size_t i = 1; i < kNumChildren; ++i) {
      sim::Node& node = world_.add_node({.name = fmt::format("storage{}", i), .num_reactors = 1});
      node.files().add_block_device(kDisk, {.size_bytes = kDiskBytes});
      storage_.push_back(&node);
      start_storage(node);
    }
    world_.run_until([this] { return storage_ready(); }, kLimit);
    start_engine({0, 1, 2});
    history_ = std::make_unique<BlockHistory>(nexus().num_blocks());
  }
  ~FaultSite() { log::set_level(log::Level::kInfo); }

  sim::World& world() { return world_; }
  sim::Node& engine() { return engine_; }
  sim::Node& storage(size_t child) { return *storage_.at(child - 1); }
  EngineProcess& process() { return engine_.program<EngineProcess>(); }
  Nexus& nexus() { return *process().nexus; }
  runtime::Random& random() { return random_; }

  std::string uuid(size_t child) const { return fmt::format("{:08x}-0000-4000-8000-000000000000", child + 1); }
  std::string uri(size_t child) {
    if (child == 0) return fmt::format("aio://{}?uuid={}", kDisk, uuid(0));
    sim::Node& node = storage(child);
    return fmt::format("nvmf://{}:{}/{}?uuid={}", node.addresses().front(), kPort, StorageProcess::nqn(node),
                       uuid(child));
  }
  static Uuid nexus_uuid() { return *Uuid::parse("11111111-2222-4333-8444-555555555555"); }

  void run_until(const std::function<bool()>& done) {
    const auto result = world_.run_until(done, kLimit);
    if (result != sim::RunResult::kDone) {
      fmt::print(stderr, "{}\n{}\n", sim::run_result_name(result), world_.waiting_tasks());
      for (const ChildInfo& child : nexus().children()) {
        fmt::print(stderr, "{} {} {} sync {} faulting {}\n", child.uri, to_text(child.state), to_text(child.reason),
                   child.in_sync, child.faulting);
      }
    }
    CAIRN_CHECK(result == sim::RunResult::kDone);
  }
  template <typename T>
  T run(Task<T> task) {
    return sim::run_task(world_, engine_, std::move(task), kLimit);
  }

  void start_storage(sim::Node& node) {
    node.start([](sim::Node& its_node) { return std::make_unique<StorageProcess>(its_node); });
  }
  bool storage_ready() {
    return std::ranges::all_of(
        storage_, [](sim::Node* node) { return node->running() && node->program<StorageProcess>().ready; });
  }
  void start_engine(const std::vector<size_t>& children, const std::function<void()>& meanwhile = nullptr) {
    const auto made = try_start_engine(children, meanwhile);
    if (!made) fmt::print(stderr, "{}\n", made.error().to_string());
    CAIRN_CHECK(made.has_value());
  }
  // `meanwhile`: while the nexus is made, which takes more than half a second then. On an error the engine is there,
  // and no nexus.
  Result<> try_start_engine(const std::vector<size_t>& children, const std::function<void()>& meanwhile) {
    engine_.start([](sim::Node& node) { return std::make_unique<EngineProcess>(node); });
    NexusRequest request;
    request.name = "nexus-1";
    request.uuid = nexus_uuid();
    request.size_bytes = kDiskBytes;
    for (const size_t child : children) request.children.push_back(uri(child));
    std::optional<Result<std::shared_ptr<Nexus>>> result;
    {
      const runtime::Reactor::Scope scope(engine_.reactor(0));
      engine_.reactor(0).spawn("create", create(std::move(request), result));
    }
    if (meanwhile != nullptr) {
      world_.run_for(std::chrono::milliseconds(500));
      CAIRN_CHECK(!result);
      meanwhile();
    }
    CAIRN_CHECK(world_.run_until([&] { return result.has_value(); }, kLimit) == sim::RunResult::kDone);
    if (!*result) return fail(std::move(result->error()));
    process().nexus = std::move(**result);
    for (unsigned i = 0; i < engine_.num_reactors(); ++i) {
      auto channel = run(call_on(engine_.reactor(i), [this] { return process().nexus->open_channel(); }));
      CAIRN_CHECK(channel.has_value());
      process().channels.push_back(std::move(*channel));
    }
    return {};
  }
  // Kills the engine; the next one reads the record and takes the children that it calls healthy, or one of them, and
  // adds the others. Where they differ in what was under way, the write-intent log knows.
  void restart_engine() {
    engine_.crash(sim::CrashKind::kKill);
    num_workers_ = 0;
    writing_.clear();
    mending_ = false;
    history_->crash(false);
    // What the old engine sent must not be written under the new one. Reservations are to see to that.
    run_until([this] {
      return std::ranges::all_of(
          storage_, [](sim::Node* node) { return node->program<StorageProcess>().target.num_connections() == 0; });
    });
    engine_.start();
    const auto record = [this] {
      const ChildHealthFile files("/var/nexus");
      return *run(files.load(nexus_uuid().to_string()));
    }();
    engine_.stop();
    std::vector<size_t> taken;
    for (size_t i = 0; i < kNumChildren; ++i) {
      for (const auto& child : record.children) {
        if (child.uuid == uuid(i) && child.healthy) taken.push_back(i);
      }
    }
    CAIRN_CHECK(!taken.empty());
    if (random_.one_in(2)) taken.resize(1);
    start_engine(taken);
    for (size_t i = 0; i < kNumChildren; ++i) {
      if (std::ranges::find(taken, i) != taken.end()) continue;
      const auto added = run(nexus().add_child(uri(i), true));
      if (!added) fmt::print(stderr, "{}\n", added.error().to_string());
      CAIRN_CHECK(added.has_value());
    }
  }

  void start_load(size_t workers_per_reactor) {
    stopping_ = false;
    for (unsigned i = 0; i < engine_.num_reactors(); ++i) {
      const runtime::Reactor::Scope scope(engine_.reactor(i));
      for (size_t n = 0; n < workers_per_reactor; ++n) {
        ++num_workers_;
        engine_.reactor(i).spawn("load", work(*process().channels[i]));
      }
    }
    mending_ = true;
    const runtime::Reactor::Scope scope(engine_.reactor(0));
    engine_.reactor(0).spawn("mend", mend(process().nexus));
  }
  void stop_load() {
    stopping_ = true;
    run_until([this] { return num_workers_ == 0; });
  }
  bool whole() {
    return nexus().status() == NexusStatus::kOnline && nexus().num_rebuilds() == 0 &&
           nexus().children().size() == kNumChildren;
  }
  void wait_whole() {
    run_until([this] { return whole(); });
  }
  void end_mending() {
    mend_stop_ = true;
    run_until([this] { return !mending_; });
    mend_stop_ = false;
  }

  // Reads everything, and compares the children.
  void verify() {
    run([](FaultSite& site) -> Task<bool> {
      const uint64_t step = 64;
      std::vector<std::byte> data(step * 512);
      for (uint64_t lba = 0; lba < site.history_->num_blocks(); lba += step) {
        const uint64_t count = std::min(step, site.history_->num_blocks() - lba);
        iovec piece{data.data(), count * 512};
        const uint64_t begin = site.history_->begin_read();
        const auto status = co_await block::perform(
            *site.process().channels[0],
            {.type = block::IoType::kRead, .lba = lba, .num_blocks = count, .data = {&piece, 1}});
        EXPECT_TRUE(status.is_success()) << status.to_string();
        site.note(site.history_->check_read(begin, lba, std::span(data).first(count * 512)));
      }
      co_return true;
    }(*this));
    EXPECT_EQ(failure_, "");
    const auto local = *engine_.files().content(kDisk);
    const size_t start = 5 << 20, size = nexus().num_blocks() * 512;
    for (size_t i = 1; i < kNumChildren; ++i) {
      const auto remote = *storage(i).files().content(kDisk);
      EXPECT_TRUE(std::equal(local.begin() + start, local.begin() + start + size, remote.begin() + start)) << i;
    }
  }
  void end() {
    end_mending();
    for (unsigned i = 0; i < engine_.num_reactors(); ++i) {
      const runtime::Reactor::Scope scope(engine_.reactor(i));
      process().channels[i].reset();
    }
    process().channels.clear();
    process().nexus.reset();
    run([](EngineProcess& engine) -> Task<bool> {
      co_await engine.nexuses->destroy_all();
      co_await engine.devices.remove_all();
      co_return true;
    }(process()));
    EXPECT_TRUE(process().devices.empty());
    engine_.stop();
  }

  const std::string& failure() const { return failure_; }
  uint64_t num_writes() const { return history_->num_writes(); }
  uint64_t num_reads() const { return history_->num_reads(); }
  uint64_t num_errors() const { return num_errors_; }
  uint64_t num_mended() const { return num_mended_; }

 private:
  Task<> create(NexusRequest request, std::optional<Result<std::shared_ptr<Nexus>>>& result) {
    result = co_await process().nexuses->create(std::move(request));
  }
  void note(std::string what) {
    if (failure_.empty() && !what.empty()) failure_ = std::move(what);
  }

  Task<> work(block::Channel& channel) {
    runtime::Random& random = runtime::Reactor::current().random();
    std::vector<std::byte> data;
    while (!stopping_) {
      const uint64_t num_blocks = 1 + random.below(random.one_in(4) ? 160 : 8);
      const uint64_t lba = random.below(history_->num_blocks() - num_blocks + 1);
      iovec piece{};
      block::IoRequest request{.lba = lba, .num_blocks = num_blocks};
      const uint64_t kind = random.below(10);
      nvme::Status status;
      if (kind < 5) {
        // Of writes to the same blocks at the same time, each child may have another one last.
        auto overlaps = [&](const auto& other) {
          return lba < other.first + other.second && other.first < lba + num_blocks;
        };
        if (std::ranges::any_of(writing_, overlaps)) continue;
        const auto range = writing_.emplace(writing_.end(), lba, num_blocks);
        const bool zero = random.one_in(5);
        const auto write = history_->begin_write(lba, num_blocks, zero, false);
        data = BlockHistory::data_of(write);
        piece = {data.data(), data.size()};
        request.type =
            zero ? (random.one_in(2) ? block::IoType::kUnmap : block::IoType::kWriteZeroes) : block::IoType::kWrite;
        if (!zero) request.data = {&piece, 1};
        status = co_await block::perform(channel, request);
        status.is_success() ? history_->acknowledge(write) : history_->fail(write);
        writing_.erase(range);
      } else if (kind < 9) {
        data.assign(num_blocks * 512, std::byte{0xee});
        piece = {data.data(), data.size()};
        request.data = {&piece, 1};
        const uint64_t begin = history_->begin_read();
        status = co_await block::perform(channel, request);
        if (status.is_success()) note(history_->check_read(begin, lba, data));
      } else {
        status = co_await block::perform(channel, {.type = block::IoType::kFlush});
      }
      if (!status.is_success()) ++num_errors_;
      if (!(co_await runtime::sleep_for(std::chrono::microseconds(random.below(20000))))) break;
    }
    --num_workers_;
  }

  // Brings children back, as a control plane does.
  Task<> mend(std::shared_ptr<Nexus> nexus) {
    while (!mend_stop_) {
      if (!(co_await runtime::sleep_for(std::chrono::milliseconds(700)))) break;
      for (const ChildInfo& child : nexus->children()) {
        if (child.state != ChildState::kFaulted || child.faulting) continue;
        if ((co_await nexus->online_child(child.uri)).has_value()) ++num_mended_;
      }
    }
    mending_ = false;
  }

  sim::World world_;
  sim::Node& engine_;
  std::vector<sim::Node*> storage_;
  runtime::Random random_;
  std::unique_ptr<BlockHistory> history_;
  std::list<std::pair<uint64_t, uint64_t>> writing_;  // LBA and blocks
  size_t num_workers_ = 0;
  bool stopping_ = false;
  bool mending_ = false;
  bool mend_stop_ = false;
  std::string failure_;
  uint64_t num_errors_ = 0;
  uint64_t num_mended_ = 0;
};

}  // namespace cairn::nexus
