// For tests: a simulated node with disks, a process on it that makes nexuses over them, and one that loads them.
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
#include "block/malloc_device.h"
#include "block/test_world.h"
#include "nexus/child_health_file.h"
#include "nexus/nexus_registry.h"
#include "runtime/sim/run_task.h"
#include "runtime/sim/world.h"

namespace cairn::nexus {

// Files on the node; may be slow, or fail, as the test wants.
class SiteStore final : public ChildHealthStore {
 public:
  runtime::Task<Result<>> save(std::string key, HealthRecord record) override {
    ++num_calls;
    while (blocked) {
      if (auto waited = co_await opened.wait(); !waited) co_return waited;
    }
    if (broken) co_return fail(Code::kUnavailable, "the store is gone");
    co_return co_await files.save(std::move(key), std::move(record));
  }
  void open() {
    blocked = false;
    opened.pulse();
  }
  ChildHealthFile files{"/var/nexus"};
  bool blocked = false;
  bool broken = false;
  size_t num_calls = 0;
  runtime::Event opened;
};

class SiteProcess final : public runtime::sim::NodeProgram {
 public:
  SiteProcess(runtime::sim::Node& node, NexusOptions options, bool with_store) {
    block::add_aio_scheme(devices);
    block::add_malloc_scheme(devices);
    for (unsigned i = 0; i < node.num_reactors(); ++i) options.reactors.push_back(&node.reactor(i));
    if (with_store) options.store = &store;
    nexuses = std::make_unique<NexusRegistry>(devices, options);
  }
  SiteStore store;
  block::Registry devices;
  std::unique_ptr<NexusRegistry> nexuses;
  std::shared_ptr<Nexus> nexus;
  std::vector<std::unique_ptr<block::Channel>> channels;  // to the nexus, one on each reactor
};

struct SiteOptions {
  uint64_t seed = 1;
  unsigned num_reactors = 2;
  size_t num_disks = 3;
  bool trace_text = false;
  bool with_store = true;
  NexusOptions nexus = {};
};

class NexusSite {
 public:
  static constexpr Duration kLimit = std::chrono::minutes(30);
  static constexpr uint64_t kDiskBytes = 8 << 20;
  static constexpr uint64_t kDataStart = 10240;  // blocks of 512
  static constexpr uint64_t kNumBlocks = 6110;   // of the nexus

  explicit NexusSite(const SiteOptions& options)
      : options_(options),
        world_({.seed = options.seed, .trace_text = options.trace_text}),
        node_(world_.add_node({.num_reactors = options.num_reactors})) {
    if (std::getenv("CAIRN_SIM_LOG") == nullptr) log::set_level(log::Level::kOff);
    for (size_t i = 0; i < options.num_disks; ++i) {
      disks_.push_back(&node_.files().add_block_device(disk_path(i), {.size_bytes = kDiskBytes}));
    }
    start();
  }
  ~NexusSite() { log::set_level(log::Level::kInfo); }

  void set_nexus_options(const NexusOptions& options) { options_.nexus = options; }
  void start() {
    node_.start([options = options_](runtime::sim::Node& node) {
      return std::make_unique<SiteProcess>(node, options.nexus, options.with_store);
    });
  }
  static std::string disk_path(size_t disk) { return fmt::format("/dev/sd{}", static_cast<char>('a' + disk)); }
  static std::string child_uuid(size_t disk) { return fmt::format("{:08x}-0000-4000-8000-000000000000", disk + 1); }
  static std::string uri(size_t disk) { return fmt::format("aio://{}?uuid={}", disk_path(disk), child_uuid(disk)); }
  static Uuid uuid() { return *Uuid::parse("11111111-2222-4333-8444-555555555555"); }

  runtime::sim::World& world() { return world_; }
  runtime::sim::Node& node() { return node_; }
  runtime::sim::Disk& disk(size_t index) { return *disks_.at(index); }
  SiteProcess& process() { return node_.program<SiteProcess>(); }
  SiteStore& store() { return process().store; }
  Nexus& nexus() { return *process().nexus; }
  block::Channel& channel(size_t reactor = 0) { return *process().channels.at(reactor); }

  bool run_until(const std::function<bool()>& done, Duration limit = kLimit) {
    const auto result = world_.run_until(done, limit);
    EXPECT_EQ(result, runtime::sim::RunResult::kDone) << runtime::sim::run_result_name(result) << "\n"
                                                      << world_.waiting_tasks();
    return result == runtime::sim::RunResult::kDone;
  }
  template <typename T>
  T run(runtime::Task<T> task) {
    return runtime::sim::run_task(world_, node_, std::move(task), kLimit);
  }
  void run_plain(runtime::Task<> task) {
    const auto result = world_.run_task(node_, "test", std::move(task), kLimit);
    EXPECT_EQ(result, runtime::sim::RunResult::kDone) << runtime::sim::run_result_name(result) << "\n"
                                                      << world_.waiting_tasks();
  }

  NexusRequest request(const std::vector<size_t>& disks, uint64_t size_bytes = kDiskBytes) const {
    NexusRequest request;
    request.name = "nexus-1";
    request.uuid = uuid();
    request.size_bytes = size_bytes;
    for (const size_t disk : disks) request.children.push_back(uri(disk));
    return request;
  }
  Result<> create(const std::vector<size_t>& disks) { return create(request(disks)); }
  Result<> create(NexusRequest request) {
    auto created = run(process().nexuses->create(std::move(request)));
    if (!created) return fail(std::move(created.error()));
    process().nexus = std::move(*created);
    for (unsigned i = 0; i < node_.num_reactors(); ++i) {
      auto channel = run(call_on(node_.reactor(i), [this] { return process().nexus->open_channel(); }));
      CAIRN_CHECK(channel.has_value());
      process().channels.push_back(std::move(*channel));
    }
    return {};
  }
  void close_channels() {
    for (unsigned i = 0; i < process().channels.size(); ++i) {
      const runtime::Reactor::Scope scope(node_.reactor(i));
      process().channels[i].reset();
    }
    process().channels.clear();
  }
  // Ends nexus, devices and process in an orderly way.
  void end() {
    close_channels();
    process().nexus.reset();
    run_plain(process().nexuses->destroy_all());
    EXPECT_TRUE(process().nexuses->list().empty());
    run_plain(process().devices.remove_all());
    EXPECT_TRUE(process().devices.empty());
    node_.stop();
  }
  void crash(runtime::sim::CrashKind kind) { node_.crash(kind); }

  nvme::Status io(block::IoRequest request, std::vector<std::byte>* data = nullptr, size_t reactor = 0) {
    iovec piece{};
    if (data != nullptr) {
      piece = {data->data(), data->size()};
      request.data = {&piece, 1};
      request.num_blocks = data->size() / 512;
    }
    return run(call_on(node_.reactor(static_cast<unsigned>(reactor)), [this, request, reactor] {
      return [](block::Channel& channel, block::IoRequest what) -> runtime::Task<nvme::Status> {
        co_return co_await block::perform(channel, what);
      }(channel(reactor), request);
    }));
  }
  nvme::Status write(uint64_t lba, uint64_t num_blocks, uint8_t value, size_t reactor = 0) {
    std::vector<std::byte> data(num_blocks * 512, std::byte{value});
    return io({.type = block::IoType::kWrite, .lba = lba}, &data, reactor);
  }
  // What the blocks hold, if they all hold the same.
  std::optional<uint8_t> read(uint64_t lba, uint64_t num_blocks, size_t reactor = 0) {
    std::vector<std::byte> data(num_blocks * 512, std::byte{0xee});
    if (!io({.type = block::IoType::kRead, .lba = lba}, &data, reactor).is_success()) return std::nullopt;
    for (const std::byte byte : data) {
      if (byte != data.front()) return std::nullopt;
    }
    return static_cast<uint8_t>(data.front());
  }

  const ChildInfo& child(size_t disk) {
    infos_ = nexus().children();
    for (const ChildInfo& info : infos_) {
      if (info.uri == uri(disk)) return info;
    }
    CAIRN_CHECK(!"no such child");
    return infos_.front();
  }
  bool healthy(size_t disk) {
    const ChildInfo& info = child(disk);
    return info.state == ChildState::kOpen && info.in_sync;
  }
  void wait_healthy(size_t disk) {
    run_until([&] { return healthy(disk) && nexus().num_rebuilds() == 0; });
  }
  std::optional<HealthRecord> record() {
    auto loaded = run(process().store.files.load(uuid().to_string()));
    if (!loaded) return std::nullopt;
    return *loaded;
  }
  // The whole disk, as it would be read now.
  std::vector<std::byte> content(size_t disk) { return *node_.files().content(disk_path(disk)); }
  // Whether the data areas are the same.
  bool identical(size_t a, size_t b) {
    const auto one = content(a), other = content(b);
    return std::equal(one.begin() + kDataStart * 512, one.begin() + (kDataStart + kNumBlocks) * 512,
                      other.begin() + kDataStart * 512);
  }

 private:
  SiteOptions options_;
  runtime::sim::World world_;
  runtime::sim::Node& node_;
  std::vector<runtime::sim::Disk*> disks_;
  std::vector<ChildInfo> infos_;
};

// An I/O that nobody waits for.
struct Pending {
  Pending(NexusSite& site, block::IoType type, uint64_t lba, uint64_t num_blocks, uint8_t value = 0, size_t reactor = 0)
      : data(has_data(type) ? num_blocks * 512 : 0, std::byte{value}), piece{data.data(), data.size()} {
    io.type = type;
    io.lba = lba;
    io.num_blocks = num_blocks;
    if (has_data(type)) io.data = {&piece, 1};
    io.may_deallocate = type == block::IoType::kWriteZeroes;
    const runtime::Reactor::Scope scope(site.node().reactor(static_cast<unsigned>(reactor)));
    site.channel(reactor).submit(io);
  }
  static bool has_data(block::IoType type) { return type == block::IoType::kRead || type == block::IoType::kWrite; }
  std::vector<std::byte> data;
  iovec piece;
  block::TestIo io;
};

// An operation that nobody waits for.
struct Call {
  Call(NexusSite& site, runtime::Task<Result<>> task) {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.node().reactor(0).spawn("operation",
                                 [](runtime::Task<Result<>> body, std::optional<Result<>>& out) -> runtime::Task<> {
                                   out.emplace(co_await std::move(body));
                                 }(std::move(task), result));
  }
  std::optional<Result<>> result;
};

}  // namespace cairn::nexus
