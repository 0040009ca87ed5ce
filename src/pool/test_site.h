// For tests: pools on a simulated machine with a disk that can lose power.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "block/file_device.h"
#include "block/io_wait.h"
#include "block/malloc_device.h"
#include "block/page_memory.h"
#include "block/registry.h"
#include "pool/check/pool_check.h"
#include "pool/pool_registry.h"
#include "runtime/sim/run_task.h"
#include "runtime/sim/world.h"

namespace cairn::pool {

namespace sim = runtime::sim;

inline constexpr uint64_t kMiB = uint64_t{1} << 20;

// The part of an engine that knows devices and pools.
class TestEngine final : public sim::NodeProgram {
 public:
  explicit TestEngine(const PoolOptions& options) : pools(std::make_unique<PoolRegistry>(registry, options)) {
    block::add_aio_scheme(registry);
    block::add_malloc_scheme(registry);
  }
  block::Registry registry;
  std::unique_ptr<PoolRegistry> pools;
  std::unique_ptr<block::Channel> channel;
};

struct SiteOptions {
  uint64_t seed = 1;
  unsigned num_reactors = 1;
  uint64_t disk_bytes = 100 * kMiB;
  uint32_t block_size = 512;
  uint32_t tear_unit = 512;
  bool can_unmap = true;
  PoolOptions pool = {};
};

class TestSite {
 public:
  static constexpr const char* kDisk = "/dev/sda";
  static constexpr Duration kPatience = std::chrono::hours(24);

  explicit TestSite(const SiteOptions& options = {}) : options_(options) {
    world_ = std::make_unique<sim::World>(sim::WorldOptions{.seed = options.seed});
    node_ = &world_->add_node({.num_reactors = options.num_reactors, .buffer_pool_bytes = size_t{1} << 20});
    disk_ = &node_->files().add_block_device(
        kDisk, {.size_bytes = options.disk_bytes,
                .logical_block_size = options.block_size,
                .disk = {.tear_unit = options.tear_unit, .can_unmap = options.can_unmap}});
    start();
  }
  ~TestSite() {
    if (!node_->running()) return;
    {
      const runtime::Reactor::Scope scope(reactor());
      engine().channel.reset();
    }
    run(engine().pools->export_all());
    run(engine().registry.remove_all());
    EXPECT_TRUE(engine().registry.empty());
    node_->stop();
  }

  void start() {
    node_->start([options = options_.pool](sim::Node&) { return std::make_unique<TestEngine>(options); });
  }
  void crash(sim::CrashKind kind) { node_->crash(kind); }
  void restart() { node_->restart(); }

  sim::World& world() { return *world_; }
  sim::Node& node() { return *node_; }
  sim::Disk& disk() { return *disk_; }
  TestEngine& engine() { return node_->program<TestEngine>(); }
  PoolRegistry& pools() { return *engine().pools; }
  runtime::Reactor& reactor(unsigned index = 0) { return node_->reactor(index); }

  void run(runtime::Task<> task) {
    const auto result = world_->run_task(*node_, "test", std::move(task), kPatience);
    ASSERT_EQ(result, sim::RunResult::kDone) << world_->waiting_tasks();
  }
  template <typename T>
  T run(runtime::Task<T> task) {
    return sim::run_task(*world_, *node_, std::move(task), kPatience);
  }
  void run_until(const std::function<bool()>& done) {
    ASSERT_EQ(world_->run_until(done, kPatience), sim::RunResult::kDone) << world_->waiting_tasks();
  }

  std::string disk_uri() const { return std::string("aio://") + kDisk; }
  std::shared_ptr<Pool> create(std::string name = "tpool", uint32_t cluster_size = 4 * kMiB) {
    auto created = run(pools().create({.name = std::move(name),
                                       .uuid = {},
                                       .disks = {disk_uri()},
                                       .cluster_size = cluster_size,
                                       .md_resv_ratio = {}}));
    EXPECT_TRUE(created) << created.error().to_string();
    return created ? created->pool : nullptr;
  }
  std::shared_ptr<Pool> import(std::string name = "tpool") {
    auto imported = run(pools().import({.name = std::move(name), .uuid = {}, .disks = {disk_uri()}}));
    EXPECT_TRUE(imported) << imported.error().to_string();
    return imported ? *imported : nullptr;
  }
  static Uuid uuid_of(uint64_t number) { return Uuid::random_v4(number, 0x1234567890); }
  // Replicas of tests are named r<number>.
  Result<> create_replica(Pool& pool, uint64_t number, uint64_t size, bool thin) {
    auto made = run(pool.create_replica({.name = fmt::format("r{}", number),
                                         .uuid = uuid_of(number),
                                         .size_bytes = size,
                                         .thin = thin,
                                         .entity_id = {}}));
    if (!made) return fail(std::move(made.error()));
    return {};
  }
  std::shared_ptr<Replica> replica(std::string_view name) { return pools().find_volume(name); }

  // One I/O to a device by name, on a channel of its own.
  nvme::Status io(const std::string& device, block::IoRequest request, std::vector<std::byte>* data = nullptr) {
    return run(perform_once(engine().registry.find(device), request, data));
  }
  nvme::Status write(const std::string& device, uint64_t offset, const std::vector<std::byte>& data) {
    auto copy = data;
    return io(device, at(block::IoType::kWrite, offset, data.size()), &copy);
  }
  std::vector<std::byte> read(const std::string& device, uint64_t offset, size_t size) {
    std::vector<std::byte> data(size);
    const auto status = io(device, at(block::IoType::kRead, offset, size), &data);
    EXPECT_TRUE(status.is_success()) << status.to_string();
    return data;
  }
  // Shows all of a device's first `size` bytes, a piece at a time.
  using PieceReader = std::function<void(uint64_t offset, std::span<const std::byte> piece)>;
  void read_pieces(const std::string& device, uint64_t size, const PieceReader& show) {
    run(read_pieces_of(engine().registry.find(device), size, show));
  }
  bool reads_as_zeroes(const std::string& device, uint64_t size) {
    static constexpr std::array<std::byte, kPieceBytes> kZeroes{};
    bool all = true;
    read_pieces(device, size, [&](uint64_t, std::span<const std::byte> piece) {
      all = all && std::memcmp(piece.data(), kZeroes.data(), piece.size()) == 0;
    });
    return all;
  }
  block::IoRequest at(block::IoType type, uint64_t offset, uint64_t size) const {
    return {.type = type, .lba = offset / options_.block_size, .num_blocks = size / options_.block_size};
  }
  // Changes the disk behind everybody's back, stable; the pool is not loaded.
  void put_on_disk(uint64_t offset, const std::vector<std::byte>& data) {
    auto device = run(engine().registry.create(disk_uri()));
    ASSERT_TRUE(device) << device.error().to_string();
    device->reset();
    EXPECT_TRUE(write(kDisk, offset, data).is_success());
    EXPECT_TRUE(io(kDisk, {.type = block::IoType::kFlush}).is_success());
    ASSERT_TRUE(run(engine().registry.destroy(disk_uri())));
  }
  std::vector<std::byte> page_on_disk(uint64_t offset) {
    std::vector<std::byte> data(format::kPageSize);
    node_->files().read_content(kDisk, offset, data);
    return data;
  }
  // The disk gets another size, as a LUN does.
  void resize_disk(uint64_t bytes) {
    node_->files().resize_device(kDisk, bytes);
    options_.disk_bytes = bytes;
  }
  uint64_t disk_bytes() const { return options_.disk_bytes; }
  // FNV-1a of what the disk holds for a program.
  uint64_t disk_checksum() {
    const auto content = node_->files().content(kDisk);
    uint64_t hash = 0xcbf29ce484222325;
    for (const std::byte byte : *content) hash = (hash ^ static_cast<uint64_t>(byte)) * 0x100000001b3;
    return hash;
  }

 private:
  static constexpr size_t kPieceBytes = 256 << 10;

  runtime::Task<> read_pieces_of(std::shared_ptr<block::Device> device, uint64_t size, const PieceReader& show) {
    CAIRN_CHECK(device != nullptr);
    auto channel = co_await device->open_channel();
    CAIRN_CHECK(channel.has_value());
    const auto memory = block::allocate_pages(kPieceBytes);
    for (uint64_t offset = 0; offset < size; offset += kPieceBytes) {
      iovec piece{memory.get(), std::min<size_t>(kPieceBytes, size - offset)};
      auto request = at(block::IoType::kRead, offset, piece.iov_len);
      request.data = {&piece, 1};
      const auto status = co_await block::perform(**channel, request);
      EXPECT_TRUE(status.is_success()) << status.to_string();
      show(offset, {memory.get(), piece.iov_len});
    }
  }
  static runtime::Task<nvme::Status> perform_once(std::shared_ptr<block::Device> device, block::IoRequest request,
                                                  std::vector<std::byte>* data) {
    CAIRN_CHECK(device != nullptr);
    auto channel = co_await device->open_channel();
    CAIRN_CHECK(channel.has_value());
    iovec piece{};
    block::PageMemory memory;  // its alignment must not differ between runs
    if (data != nullptr) {
      memory = block::allocate_pages(data->size());
      if (request.type != block::IoType::kRead) std::memcpy(memory.get(), data->data(), data->size());
      piece = {memory.get(), data->size()};
      request.data = {&piece, 1};
    }
    const auto status = co_await block::perform(**channel, request);
    if (data != nullptr && request.type == block::IoType::kRead) {
      std::memcpy(data->data(), memory.get(), data->size());
    }
    co_return status;
  }

  SiteOptions options_;
  std::unique_ptr<sim::World> world_;
  sim::Node* node_ = nullptr;
  sim::Disk* disk_ = nullptr;
};

// What is on the site's disk, for the offline checker.
class SimDisk final : public check::DeviceReader {
 public:
  explicit SimDisk(TestSite& site) : site_(site) {}
  uint64_t size_bytes() const override { return site_.disk_bytes(); }
  Result<> read(uint64_t offset, std::span<std::byte> out) override {
    site_.node().files().read_content(TestSite::kDisk, offset, out);
    return {};
  }

 private:
  TestSite& site_;
};

// Random bytes, none of them zero.
inline std::vector<std::byte> pattern(size_t size, uint64_t seed) {
  runtime::Random random(seed);
  std::vector<std::byte> data(size);
  for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
    const uint64_t word = random.next() | 0x0101010101010101;
    std::memcpy(&data[at], &word, std::min(sizeof(word), size - at));
  }
  return data;
}
inline std::vector<std::byte> zeroes(size_t size) {
  return std::vector<std::byte>(size);
}

}  // namespace cairn::pool
