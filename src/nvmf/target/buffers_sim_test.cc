// A buffer pool that is far too small for what the hosts ask: everybody gets on, nobody waits for ever.
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using nvme::NvmOpcode;
using runtime::Task;
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

// ---- Hosts that keep buffers waiting

enum class Keeping : uint8_t {
  kWrites,  // gets R2Ts and never sends the data
  kReads,   // takes no answers
};

struct Hog {
  std::unique_ptr<TestHost> host = nullptr;
  int running = 0;  // commands
};

Task<> connect_hog(SimSite& site, uint8_t number, Hog& hog) {
  TestHostOptions options = site.host_options(number);
  options.kato_ms = 10000;
  options.queue.in_capsule_size = 1024;  // Connect and such
  options.queue.answers_r2t = false;
  options.queue.command_timeout = std::chrono::hours(10);
  auto connected = co_await TestHost::connect(options);
  CAIRN_CHECK(connected.has_value());
  hog.host = std::move(*connected);
}

Task<> hold(Hog& hog, Keeping keeping) {
  const std::vector<std::byte> data(kMaxIo);
  const auto answer =
      keeping == Keeping::kWrites
          ? co_await hog.host->io().run(TestHost::range_sqe(NvmOpcode::kWrite, 0, kMaxBlocks), data)
          : co_await hog.host->io().run(TestHost::range_sqe(NvmOpcode::kRead, 0, kMaxBlocks), {}, kMaxIo);
  EXPECT_FALSE(answer.has_value());  // the connection ends first
  --hog.running;
}

// Each hog has 8 of the largest commands in hand and its controller is kept alive; one other host works.
struct HogSite {
  SimSite site;
  runtime::sim::Node& node;
  std::vector<Hog> hogs;
  Hosts test{.site = site, .commands_each = 2};

  HogSite(uint64_t seed, size_t num_hogs, Keeping keeping)
      : site(with_one_reactor(seed)), node(site.add_host()), hogs(num_hogs) {
    site.start_target();
    node.start();
    const runtime::Reactor::Scope scope(node.reactor(0));
    for (size_t i = 0; i < hogs.size(); ++i) {
      site.run(node, connect_hog(site, static_cast<uint8_t>(100 + i), hogs[i]));
      if (keeping == Keeping::kReads) hogs[i].host->io().pause_receiving();
      for (; hogs[i].running < 8; ++hogs[i].running) node.reactor(0).spawn("hold", hold(hogs[i], keeping));
    }
    site.world().run_for(seconds(1));
  }

  void let_other_host_work(Duration limit) {
    runtime::sim::Node& good = site.add_host();
    good.start();
    ++test.running;
    site.run(good, run_host(test, 1, Work::kReadAndWrite), limit);
    EXPECT_EQ(test.running, 0);
    EXPECT_EQ(test.fault, "");
  }

  // Seen from the target: who takes nothing does not notice. No other host is connected.
  bool any_hog_lost() {
    site.world().run_for(seconds(1));
    return site.target().target->num_connections() < 2 * hogs.size();  // admin and I/O
  }

  void end() {
    for (Hog& hog : hogs) {
      site.run(node, hog.host->close());
      EXPECT_EQ(hog.running, 0);
    }
    site.stop_target();
  }

  static SimSiteOptions with_one_reactor(uint64_t seed) {
    SimSiteOptions options = options_of(seed);
    options.num_reactors = 1;
    options.network.max_buffer_bytes = 64 << 10;  // of sockets: an answer does not fit
    return options;
  }
};

// One host has its share of the pool at most: it is in nobody's way, and nobody minds it.
TEST(TargetBuffersSim, AHostThatKeepsItsShareForEver) {
  for (const Keeping keeping : {Keeping::kWrites, Keeping::kReads}) {
    for_each_sim_seed([&](uint64_t seed) {
      HogSite test(seed, 1, keeping);
      test.let_other_host_work(seconds(60));
      test.site.world().run_for(std::chrono::minutes(1));
      EXPECT_FALSE(test.any_hog_lost());
      test.end();
    });
  }
}

// Several have all of it: they lose it when others want it, though their controllers are alive.
TEST(TargetBuffersSim, HostsThatKeepThePoolForEver) {
  for (const Keeping keeping : {Keeping::kWrites, Keeping::kReads}) {
    for_each_sim_seed([&](uint64_t seed) {
      HogSite test(seed, 3, keeping);
      EXPECT_FALSE(test.any_hog_lost());
      test.let_other_host_work(seconds(60));
      EXPECT_TRUE(test.any_hog_lost());
      test.end();
    });
  }
}

}  // namespace
}  // namespace cairn::nvmf::target
