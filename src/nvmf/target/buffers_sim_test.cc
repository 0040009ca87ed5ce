// A buffer pool that is far too small for what the hosts ask: everybody gets on, nobody waits for ever.
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using nvme::NvmOpcode;
using runtime::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint32_t kMaxIo = 256 << 10;
constexpr uint32_t kMaxBlocks = kMaxIo / SimSite::kBlockSize;

struct Hosts {
  SimSite& site;
  uint64_t commands_each = 0;
  int running = 0;
  std::string fault = {};
};

enum class Work : uint8_t { kReadAndWrite, kCompare, kCompareAndWrite, kCopy };

Task<> work(Hosts& test, TestHost& host, Work kind) {
  const std::vector<std::byte> data(kMaxIo);
  for (uint64_t i = 0; i < test.commands_each; ++i) {
    switch (kind) {
      case Work::kReadAndWrite: {
        const auto wrote = co_await host.io().run(TestHost::range_sqe(NvmOpcode::kWrite, 0, kMaxBlocks), data);
        EXPECT_TRUE(wrote && wrote->status().is_success());
        const auto read = co_await host.io().run(TestHost::range_sqe(NvmOpcode::kRead, 0, kMaxBlocks), {}, kMaxIo);
        EXPECT_TRUE(read && read->status().is_success());
        break;
      }
      case Work::kCompare: {
        const auto compared = co_await host.io().run(TestHost::range_sqe(NvmOpcode::kCompare, 0, kMaxBlocks), data);
        EXPECT_TRUE(compared && compared->status().is_success());
        break;
      }
      case Work::kCompareAndWrite: {
        const auto pair = co_await host.io().run_fused(TestHost::range_sqe(NvmOpcode::kCompare, 0, kMaxBlocks), data,
                                                       TestHost::range_sqe(NvmOpcode::kWrite, 0, kMaxBlocks), data);
        EXPECT_TRUE(pair && (*pair)[0].status().is_success() && (*pair)[1].status().is_success());
        break;
      }
      case Work::kCopy: {
        nvme::Sqe sqe = TestHost::io_sqe(NvmOpcode::kCopy);
        nvme::Copy{.destination = kMaxBlocks, .num_ranges = 1}.encode(sqe);
        const nvme::CopyRange range{.slba = 0, .nlb = kMaxBlocks - 1};
        const auto copied = co_await host.io().run(sqe, nvme::bytes_of(range));
        EXPECT_TRUE(copied && copied->status().is_success());
        break;
      }
    }
  }
}

Task<> run_host(Hosts& test, uint8_t number, Work kind) {
  TestHostOptions options = test.site.host_options(number);
  options.queue = test.site.random_queue_options(runtime::Reactor::current().random());
  options.queue.in_capsule_size = 1024;                      // Connect, and the ranges of Copy
  options.queue.command_timeout = std::chrono::minutes(10);  // who waits for ever is found by the world's limit
  auto connected = co_await TestHost::connect(options);
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  std::vector<runtime::TaskHandle> tasks;
  for (int i = 0; i < 8; ++i) tasks.push_back(runtime::Reactor::current().spawn("work", work(test, host, kind)));
  for (const auto& task : tasks) co_await task.join();
  co_await host.close();
  if (!host.fault().empty()) test.fault = host.fault();
  --test.running;
}

SimSiteOptions options_of(uint64_t seed) {
  return {.seed = seed,
          .num_reactors = 1 + static_cast<unsigned>(seed % 2),
          .buffer_pool_bytes = size_t{512} << 10,  // two of the largest commands, of more than a hundred
          .aio = seed % 3 != 0,
          .num_blocks = 2048,
          .target = {.max_io_size = kMaxIo}};
}

void run_all(uint64_t seed, const std::vector<Work>& kinds) {
  SimSite site(options_of(seed));
  site.start_target();
  Hosts test{.site = site, .commands_each = 2};
  uint8_t number = 0;
  for (const Work kind : kinds) {
    runtime::sim::Node& node = site.add_host();
    node.start();
    ++test.running;
    const runtime::Reactor::Scope scope(node.reactor(0));
    node.reactor(0).spawn("host", run_host(test, ++number, kind));
  }
  site.run_until([&] { return test.running == 0; });
  EXPECT_EQ(test.fault, "");
  site.stop_target();
}

TEST(TargetBuffersSim, LargeReadsAndWrites) {
  for_each_sim_seed([](uint64_t seed) { run_all(seed, std::vector(6, Work::kReadAndWrite)); });
}

TEST(TargetBuffersSim, WhatTheBlockLayerEmulates) {
  for_each_sim_seed([](uint64_t seed) {
    run_all(seed, {Work::kCompare, Work::kCompare, Work::kCopy, Work::kReadAndWrite, Work::kCompare});
  });
}

TEST(TargetBuffersSim, FusedPairs) {
  for_each_sim_seed([](uint64_t seed) { run_all(seed, std::vector(4, Work::kCompareAndWrite)); });
}

// Hosts that get an R2T and never send have the whole pool; the others go on as soon as they are gone, at the latest
// when their keep-alive expires.
Task<> hog(SimSite& site, uint8_t number, int& hogs) {
  TestHostOptions options = site.host_options(number);
  options.kato_ms = 10000;
  options.queue.in_capsule_size = 1024;  // Connect and such
  options.queue.answers_r2t = false;
  options.queue.command_timeout = seconds(3600);
  auto connected = co_await TestHost::connect(options);
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  const std::vector<std::byte> data(kMaxIo);
  std::vector<runtime::TaskHandle> tasks;
  for (int i = 0; i < 8; ++i) {
    tasks.push_back(runtime::Reactor::current().spawn(
        "hog", [](TestHostQueue& queue, const std::vector<std::byte>& bytes) -> Task<> {
          const auto answer = co_await queue.run(TestHost::range_sqe(NvmOpcode::kWrite, 0, kMaxBlocks), bytes);
          EXPECT_FALSE(answer.has_value());  // the connection ends first
        }(host.io(), data)));
  }
  while (host.io().num_r2ts() == 0) co_await runtime::sleep_for(milliseconds(1));
  ++hogs;
  host.fall_silent();
  for (const auto& task : tasks) co_await task.join();
  co_await host.close();
  --hogs;
}

TEST(TargetBuffersSim, HostsThatNeverSend) {
  for_each_sim_seed([](uint64_t seed) {
    SimSite site(options_of(seed));
    site.start_target();
    int hogs = 0;
    runtime::sim::Node& bad = site.add_host();
    bad.start();
    {
      const runtime::Reactor::Scope scope(bad.reactor(0));
      for (uint8_t number = 100; number < 103; ++number) bad.reactor(0).spawn("hog", hog(site, number, hogs));
    }
    site.run_until([&] { return hogs > 0; });
    Hosts test{.site = site, .commands_each = 2, .running = 1};
    runtime::sim::Node& good = site.add_host();
    good.start();
    site.run(good, run_host(test, 1, Work::kReadAndWrite));
    EXPECT_EQ(test.running, 0);
    site.run_until([&] { return hogs == 0; });
    site.stop_target();
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
