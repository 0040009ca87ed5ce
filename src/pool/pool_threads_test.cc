// Replicas under I/O on several real reactors while the primary one changes what lies beneath.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <latch>

#include "base/log.h"
#include "block/io_wait.h"
#include "block/malloc_device.h"
#include "block/page_memory.h"
#include "block/registry.h"
#include "pool/pool_registry.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kBlocksPerMiB = kMiB / 512;
constexpr uint64_t kSize = 32 * kMiB;

// Writes, reads back and unmaps in its own MiB of every four, until told to stop.
Task<> exercise(std::shared_ptr<block::Device> device, uint64_t lane, std::atomic<bool>& stop,
                std::atomic<uint64_t>& rounds) {
  auto channel = co_await device->open_channel();
  CAIRN_CHECK(channel.has_value());
  constexpr size_t kBytes = 8192;
  const auto memory = block::allocate_pages(kBytes);
  iovec piece{memory.get(), kBytes};
  uint64_t stamp = lane << 32;
  runtime::Random random(lane);
  while (!stop) {
    // A cluster has 1 MiB, so lanes never share one.
    const uint64_t mib = random.below(kSize / kMiB / 4) * 4 + lane;
    const uint64_t lba = mib * kBlocksPerMiB + random.below(kBlocksPerMiB - kBytes / 512);
    ++stamp;
    for (size_t at = 0; at < kBytes; at += sizeof(stamp)) std::memcpy(memory.get() + at, &stamp, sizeof(stamp));
    const block::IoRequest write{.type = IoType::kWrite, .lba = lba, .num_blocks = kBytes / 512, .data = {&piece, 1}};
    auto status = co_await block::perform(**channel, write);
    EXPECT_TRUE(status.is_success()) << status.to_string();
    std::memset(memory.get(), 0xee, kBytes);
    const block::IoRequest read{.type = IoType::kRead, .lba = lba, .num_blocks = kBytes / 512, .data = {&piece, 1}};
    status = co_await block::perform(**channel, read);
    EXPECT_TRUE(status.is_success()) << status.to_string();
    for (size_t at = 0; at < kBytes; at += sizeof(stamp)) {
      uint64_t found = 0;
      std::memcpy(&found, memory.get() + at, sizeof(found));
      if (found != stamp) {
        ADD_FAILURE() << "lane " << lane << " read " << found << ", wrote " << stamp;
        stop = true;
        break;
      }
    }
    if (random.one_in(4)) {
      const block::IoRequest unmap{.type = IoType::kUnmap, .lba = mib * kBlocksPerMiB, .num_blocks = kBlocksPerMiB};
      status = co_await block::perform(**channel, unmap);
      EXPECT_TRUE(status.is_success()) << status.to_string();
      status = co_await block::perform(**channel, read);
      EXPECT_TRUE(status.is_success()) << status.to_string();
      EXPECT_EQ(memory.get()[0], std::byte{0});
      EXPECT_EQ(memory.get()[kBytes - 1], std::byte{0});
    }
    ++rounds;
  }
}

TEST(PoolThreadsTest, ChangesUnderIo) {
  cairn::log::set_level(cairn::log::Level::kWarn);
  runtime::ReactorGroupOptions options;
  options.cores = {};
  options.stall_limit = {};
  std::vector<std::unique_ptr<runtime::ReactorGroup>> groups;
  for (int i = 0; i < 3; ++i) {
    auto group = runtime::ReactorGroup::start(options);
    ASSERT_TRUE(group) << group.error().to_string();
    groups.push_back(std::move(*group));
  }
  runtime::Reactor& home = groups[0]->primary();
  std::unique_ptr<block::Registry> registry;
  std::unique_ptr<PoolRegistry> pools;
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> rounds{0};
  runtime::run_on(home, "set up", [&]() -> Task<> {
    registry = std::make_unique<block::Registry>();
    block::add_malloc_scheme(*registry);
    pools = std::make_unique<PoolRegistry>(*registry, PoolOptions{});
    auto made = co_await pools->create({.name = "p",
                                        .uuid = {},
                                        .disks = {"malloc:///disk?size_mb=256"},
                                        .cluster_size = 1 << 20,
                                        .md_resv_ratio = {}});
    CAIRN_CHECK(made.has_value());
    auto replica = co_await made->pool->create_replica(
        {.name = "r", .uuid = Uuid::random_v4(1, 2), .size_bytes = kSize, .thin = true, .entity_id = {}});
    CAIRN_CHECK(replica.has_value());
  }).get();

  std::latch ended(4);
  for (uint64_t lane = 0; lane < 4; ++lane) {
    // Two lanes on each of two reactors that are not the pool's home.
    runtime::Reactor& reactor = groups[1 + lane % 2]->primary();
    auto device = runtime::run_on(home, "find", [&]() -> Task<std::shared_ptr<block::Device>> {
                    co_return registry->find("r");
                  }).get();
    runtime::run_on(reactor, "start", [&]() -> Task<> {
      runtime::Reactor::current().spawn(
          "lane",
          [](std::shared_ptr<block::Device> device, uint64_t lane, std::atomic<bool>& stop,
             std::atomic<uint64_t>& rounds, std::latch& ended) -> Task<> {
            co_await exercise(std::move(device), lane, stop, rounds);
            ended.count_down();
          }(std::move(device), lane, stop, rounds, ended));
      co_return;
    }).get();
  }
  // Snapshots taken and removed until every lane has done its share.
  for (uint64_t number = 1; number <= 40 || rounds < 400; ++number) {
    runtime::run_on(home, "change", [&]() -> Task<> {
      const auto pool = pools->find("p");
      auto source = pools->find_volume("r");
      auto made = co_await pool->create_snapshot(std::move(source), {.name = "s",
                                                                     .uuid = Uuid::random_v4(number, 3).to_string(),
                                                                     .entity_id = "e",
                                                                     .txn_id = "t",
                                                                     .create_time = "2024-10-09 11:22:33 UTC"});
      EXPECT_TRUE(made) << made.error().to_string();
      if (!made) co_return;
      auto destroyed = co_await pool->destroy_snapshot(std::move(*made));
      EXPECT_TRUE(destroyed) << destroyed.error().to_string();
      source = pools->find_volume("r");
      auto resized = co_await pool->resize_replica(std::move(source), kSize + number % 2 * 8 * kMiB);
      EXPECT_TRUE(resized) << resized.error().to_string();
    }).get();
    if (testing::Test::HasFailure()) break;
  }
  stop = true;
  ended.wait();
  runtime::run_on(home, "tear down", [&]() -> Task<> {
    uint64_t allocated = 0;
    for (const auto& volume : pools->volumes()) allocated += volume->usage().allocated_bytes;
    EXPECT_EQ(pools->find("p")->info().used, allocated);
    co_await pools->export_all();
    pools.reset();
    co_await registry->remove_all();
    registry.reset();
  }).get();
  // Whoever has answered the home reactor is done with that, so it may go.
  for (auto& group : groups) {
    runtime::run_on(group->primary(), "nothing", []() -> Task<> { co_return; }).get();
  }
  for (auto& group : groups) group->stop();
}

}  // namespace
}  // namespace cairn::pool
