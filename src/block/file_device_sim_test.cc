// File devices on simulated disks: faults, power loss, and what real disks do only rarely.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <utility>

#include "block/file_device.h"
#include "block/io_wait.h"
#include "block/model_runner.h"
#include "block/registry.h"
#include "block/test_world.h"
#include "runtime/sim/world.h"

namespace cairn::block {
namespace {

namespace sim = runtime::sim;
using runtime::Task;

// One node with a registry and one open channel.
class Engine final : public sim::NodeProgram {
 public:
  Engine() {
    add_aio_scheme(registry);
    add_uring_scheme(registry);
  }
  Registry registry;
  std::unique_ptr<Channel> channel;
};

class FileDeviceSimTest : public testing::Test {
 protected:
  void build(uint64_t seed, const sim::BlockDeviceOptions& disk = {.size_bytes = 4 << 20}) {
    world_ = std::make_unique<sim::World>(sim::WorldOptions{.seed = seed});
    node_ = &world_->add_node({.buffer_pool_bytes = size_t{1} << 20});
    disk_ = &node_->files().add_block_device("/dev/sda", disk);
    start();
  }
  void start() {
    node_->start([](sim::Node&) { return std::make_unique<Engine>(); });
  }
  void TearDown() override {
    if (world_ == nullptr) return;
    {
      const runtime::Reactor::Scope scope(reactor());
      engine().channel.reset();
    }
    run_plain(engine().registry.remove_all());
    EXPECT_TRUE(engine().registry.empty());
    node_->stop();
    world_.reset();
  }

  Engine& engine() { return node_->program<Engine>(); }
  runtime::Reactor& reactor() { return node_->reactor(0); }
  void run_until(const std::function<bool()>& done) {
    ASSERT_EQ(world_->run_until(done, std::chrono::seconds(600)), sim::RunResult::kDone) << world_->waiting_tasks();
  }
  void run_plain(Task<> task) {
    ASSERT_EQ(world_->run_task(*node_, "test", std::move(task), std::chrono::seconds(600)), sim::RunResult::kDone);
  }
  template <typename T>
  T run(Task<T> task) {
    std::optional<T> result;
    run_plain([](Task<T> body, std::optional<T>& out) -> Task<> { out.emplace(co_await std::move(body)); }(
                                                          std::move(task), result));
    return std::move(*result);
  }
  Device& open(std::string uri) {
    auto device = run(engine().registry.create(std::move(uri)));
    CAIRN_CHECK(device.has_value());
    engine().channel = *run((*device)->open_channel());
    return engine().channel->device();
  }
  nvme::Status io(IoRequest request, std::vector<std::byte>* data = nullptr) {
    iovec piece{};
    if (data != nullptr) {
      piece = {data->data(), data->size()};
      request.data = {&piece, 1};
      request.num_blocks = data->size() / engine().channel->device().block_size();
    }
    return run([](Channel& channel, IoRequest what) -> Task<nvme::Status> {
      co_return co_await perform(channel, what);
    }(*engine().channel, request));
  }

  std::unique_ptr<sim::World> world_;
  sim::Node* node_ = nullptr;
  sim::Disk* disk_ = nullptr;
};

TEST_F(FileDeviceSimTest, Model) {
  struct Variant {
    const char* name;
    const char* parameters;
    sim::BlockDeviceOptions disk;
  };
  const Variant table[] = {
      {"512", "", {.size_bytes = 4 << 20}},
      {"4096 on 512", "?blk_size=4096", {.size_bytes = 4 << 20}},
      {"4096", "", {.size_bytes = 4 << 20, .logical_block_size = 4096}},
      {"without unmap", "", {.size_bytes = 4 << 20, .disk = {.can_unmap = false}}},
      {"buffered", "", {.size_bytes = 4 << 20, .disk = {.supports_direct = false}}},
  };
  uint64_t seed = 1;
  for (const Variant& variant : table) {
    SCOPED_TRACE(variant.name);
    build(seed++, variant.disk);
    open(fmt::format("aio:///dev/sda{}", variant.parameters));
    const runtime::Reactor::Scope scope(reactor());
    ModelRunner(*engine().channel, [this](const auto& done) { run_until(done); }, {.num_operations = 800}).run();
    TearDown();
  }
}

// Direct I/O in units of 4096 cannot reach a block of 512: the file is then used without.
TEST_F(FileDeviceSimTest, SmallBlocksOnAFileWithLargeDirectUnits) {
  world_ = std::make_unique<sim::World>(sim::WorldOptions{.seed = 3});
  node_ = &world_->add_node({.root_disk = {.direct_alignment = 4096}});
  start();
  node_->files().put_content("/data/disk", std::vector<std::byte>(1 << 20));
  open("aio:///data/disk");
  const runtime::Reactor::Scope scope(reactor());
  ModelRunner(*engine().channel, [this](const auto& done) { run_until(done); }, {.num_operations = 500}).run();
}

TEST_F(FileDeviceSimTest, Opening) {
  build(1, {.size_bytes = 4 << 20, .logical_block_size = 4096});
  const auto small = run(engine().registry.create("aio:///dev/sda?blk_size=512"));
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(small.error().to_string(),
            "Failed to create a BDEV '/dev/sda': /dev/sda: blocks of 512 bytes, smaller than the disk's 4096: Invalid "
            "argument");
  node_->files().add_block_device("/dev/sdb", {.in_use = true});
  for (const std::string scheme : {"aio", "uring"}) {
    const auto busy = run(engine().registry.create(scheme + ":///dev/sdb"));
    ASSERT_FALSE(busy);
    EXPECT_EQ(busy.error().code(), scheme == "aio" ? Code::kInvalidArgument : Code::kNotFound);
  }
}

TEST_F(FileDeviceSimTest, FlushIsSharedButNeverEarly) {
  build(1);
  open("aio:///dev/sda");
  const runtime::Reactor::Scope scope(reactor());
  const uint64_t before = disk_->counters().flushes;
  std::array<TestIo, 20> early, late;
  for (TestIo& io : early) io.type = IoType::kFlush;
  for (TestIo& io : late) io.type = IoType::kFlush;
  engine().channel->submit(early[0]);  // begins at once
  for (size_t i = 1; i < early.size(); ++i) engine().channel->submit(early[i]);
  run_until([&] { return early[0].done; });
  EXPECT_FALSE(early[1].done);  // what came after it began waits for the next one
  for (TestIo& io : late) engine().channel->submit(io);
  run_until([&] { return std::ranges::all_of(late, &TestIo::done); });
  EXPECT_TRUE(std::ranges::all_of(early, &TestIo::done));
  EXPECT_EQ(disk_->counters().flushes - before, 3u);
}

struct MediaErrors final : DeviceListener {
  void on_media_error(Device&, uint64_t lba, uint64_t num_blocks) override { ranges.emplace_back(lba, num_blocks); }
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
};

TEST_F(FileDeviceSimTest, MediaErrors) {
  build(1);
  Device& device = open("aio:///dev/sda");
  MediaErrors listener;
  device.add_listener(listener);
  std::vector<std::byte> data(8 * 512, std::byte{1});
  node_->files().fail_reads("/dev/sda", 20 * 512, 512);
  EXPECT_TRUE(io({.lba = 8}, &data).is_success());
  EXPECT_TRUE(io({.lba = 16}, &data).is(nvme::MediaStatus::kUnrecoveredReadError));
  EXPECT_TRUE(io({.type = IoType::kCompare, .lba = 16}, &data).is(nvme::MediaStatus::kUnrecoveredReadError));
  EXPECT_TRUE(io({.type = IoType::kWrite, .lba = 16}, &data).is_success());
  EXPECT_TRUE(io({.lba = 16}, &data).is_success());

  disk_->set_faults({.write_error = -EIO});
  EXPECT_TRUE(io({.type = IoType::kWrite, .lba = 40}, &data).is(nvme::MediaStatus::kWriteFault));
  disk_->set_faults({.flush_error = -EIO});
  EXPECT_TRUE(io({.type = IoType::kFlush}).is(nvme::MediaStatus::kWriteFault));
  EXPECT_TRUE(io({.type = IoType::kWrite, .lba = 48, .fua = true}, &data).is(nvme::MediaStatus::kWriteFault));
  EXPECT_TRUE(io({.type = IoType::kWrite, .lba = 48}, &data).is_success());
  disk_->set_faults({.write_error = -ENOSPC});
  const auto full = io({.type = IoType::kWrite, .lba = 0}, &data);
  EXPECT_TRUE(full.is(nvme::GenericStatus::kCapacityExceeded) && full.do_not_retry());
  disk_->set_faults({});
  run_until([&] { return listener.ranges.size() == 4; });
  EXPECT_THAT(listener.ranges, testing::ElementsAre(testing::Pair(16, 8), testing::Pair(16, 8), testing::Pair(40, 8),
                                                    testing::Pair(48, 8)));
  EXPECT_EQ(device.statistics().read.errors, 1u);
  EXPECT_EQ(device.statistics().write.errors, 3u);
  EXPECT_EQ(device.statistics().other.errors, 1u);
  listener.unlink();
}

TEST_F(FileDeviceSimTest, WithoutUnmap) {
  build(1, {.size_bytes = 4 << 20, .disk = {.can_unmap = false}});
  Device& device = open("aio:///dev/sda");
  std::vector<std::byte> data(512, std::byte{1});
  ASSERT_TRUE(io({.type = IoType::kWrite}, &data).is_success());
  EXPECT_TRUE(io({.type = IoType::kUnmap, .num_blocks = 1}).is(nvme::GenericStatus::kInvalidOpcode));
  EXPECT_FALSE(device.supports(IoType::kUnmap));
  EXPECT_TRUE(io({.type = IoType::kWriteZeroes, .num_blocks = 1, .may_deallocate = true}).is_success());
  ASSERT_TRUE(io({}, &data).is_success());
  EXPECT_EQ(data, std::vector<std::byte>(512));
}

TEST_F(FileDeviceSimTest, RemovalOfAHungDisk) {
  build(1);
  open("aio:///dev/sda");
  disk_->set_faults({.hang = true});
  std::vector<std::byte> data(512);
  iovec piece{data.data(), data.size()};
  TestIo read;
  read.num_blocks = 1;
  read.data = {&piece, 1};
  {
    const runtime::Reactor::Scope scope(reactor());
    engine().channel->submit(read);
  }
  const auto removed = run(engine().registry.remove("/dev/sda"));
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().to_string(), "Failed to destroy a BDEV '/dev/sda': still in use after 10 s");
  EXPECT_FALSE(read.done);
  disk_->set_faults({});
  run_until([&] { return read.done; });
  EXPECT_TRUE(read.status.is_success());
  {
    const runtime::Reactor::Scope scope(reactor());
    engine().channel.reset();
  }
  EXPECT_TRUE(run(engine().registry.remove("/dev/sda")));
}

// What the sectors of a disk may show after a loss of power: everything written since what was last made stable.
class SectorHistory {
 public:
  explicit SectorHistory(uint64_t num_sectors) : sectors_(num_sectors) {}

  uint64_t size() const { return sectors_.size(); }
  bool busy(uint64_t sector) const { return sectors_[sector].busy; }
  void begin_write(uint64_t sector, uint64_t number) {
    sectors_[sector].busy = true;
    sectors_[sector].numbers.push_back(number);
  }
  void end_write(uint64_t sector) { sectors_[sector].busy = false; }
  // The last write, counted from the beginning.
  uint64_t position(uint64_t sector) const { return sectors_[sector].dropped + sectors_[sector].numbers.size() - 1; }
  // What was written before `position` cannot come back.
  void settle(uint64_t sector, uint64_t position) {
    auto& [numbers, dropped, busy] = sectors_[sector];
    for (; dropped < position; ++dropped) numbers.pop_front();
  }
  bool allows(uint64_t sector, uint64_t number) const {
    return std::ranges::find(sectors_[sector].numbers, number) != sectors_[sector].numbers.end();
  }
  // After a restart: this is what there is, stable.
  void restart(uint64_t sector, uint64_t number) { sectors_[sector] = {{number}, 0, false}; }

 private:
  struct Sector {
    std::deque<uint64_t> numbers{0};
    uint64_t dropped = 0;
    bool busy = false;
  };
  std::vector<Sector> sectors_;
};

constexpr uint64_t kSector = 512;

// Writes, zeroes and flushes until the crash. Several run side by side.
Task<> write_until_crash(Channel& channel, SectorHistory& history, runtime::Random& random, uint64_t& last_number) {
  const uint64_t per_block = channel.device().block_size() / kSector;
  for (;;) {
    const uint64_t blocks = 1 + random.below(24);
    const uint64_t lba = random.below(channel.device().num_blocks() - blocks);
    const uint64_t first = lba * per_block, end = (lba + blocks) * per_block;
    bool overlaps = false;
    for (uint64_t sector = first; sector < end; ++sector) overlaps = overlaps || history.busy(sector);
    if (overlaps || random.one_in(8)) {
      std::vector<std::pair<uint64_t, uint64_t>> covered;  // by a flush: what completed before it was submitted
      for (uint64_t sector = 0; sector < history.size(); ++sector) {
        if (!history.busy(sector)) covered.emplace_back(sector, history.position(sector));
      }
      const auto status = co_await perform(channel, {.type = IoType::kFlush});
      EXPECT_TRUE(status.is_success());
      for (const auto& [sector, position] : covered) history.settle(sector, position);
      continue;
    }
    const bool zero = random.one_in(5);
    IoRequest request{.type = IoType::kWrite, .lba = lba, .num_blocks = blocks, .fua = random.one_in(4)};
    if (zero) request.type = random.one_in(2) ? IoType::kWriteZeroes : IoType::kUnmap;
    const uint64_t number = zero ? 0 : ++last_number;
    std::vector<uint64_t> data((end - first) * kSector / 8);
    for (uint64_t sector = first; sector < end; ++sector) {
      history.begin_write(sector, number);
      data[(sector - first) * kSector / 8] = number;
    }
    iovec piece{data.data(), data.size() * 8};
    request.data = {&piece, 1};
    const auto status = co_await perform(channel, request);
    EXPECT_TRUE(status.is_success()) << status.to_string();
    for (uint64_t sector = first; sector < end; ++sector) {
      history.end_write(sector);
      if (request.fua) history.settle(sector, history.position(sector));
    }
  }
}

TEST_F(FileDeviceSimTest, WhatWasFlushedSurvivesPowerLoss) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    build(seed, {.size_bytes = 1 << 20});
    SectorHistory history((1 << 20) / kSector);
    runtime::Random random(seed);
    uint64_t last_number = 0;
    for (int life = 0; life < 3; ++life) {
      Device& device = open(seed % 2 == 0 ? "aio:///dev/sda" : "uring:///dev/sda?blk_size=4096");
      {
        const runtime::Reactor::Scope scope(reactor());
        for (int i = 0; i < 6; ++i) {
          reactor().spawn("writer", write_until_crash(*engine().channel, history, random, last_number));
        }
      }
      EXPECT_EQ(device.size_bytes(), uint64_t{1} << 20);
      world_->run_for(std::chrono::milliseconds(1 + random.below(30)));
      node_->crash(random.one_in(4) ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss);
      start();
      open("aio:///dev/sda");
      std::vector<std::byte> content(1 << 20);
      ASSERT_TRUE(io({}, &content).is_success());
      for (uint64_t sector = 0; sector < history.size(); ++sector) {
        uint64_t number;
        std::memcpy(&number, content.data() + sector * kSector, sizeof number);
        ASSERT_TRUE(history.allows(sector, number)) << "sector " << sector << " shows " << number;
        history.restart(sector, number);
      }
      ASSERT_TRUE(io({.type = IoType::kFlush}).is_success());  // after a kill the cache still holds what we read
      {
        const runtime::Reactor::Scope scope(reactor());
        engine().channel.reset();
      }
      ASSERT_TRUE(run(engine().registry.remove("/dev/sda")));
    }
    EXPECT_GT(last_number, 20u);
    TearDown();
  }
}

}  // namespace
}  // namespace cairn::block
