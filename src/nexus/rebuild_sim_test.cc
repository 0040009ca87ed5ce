// Rebuilds: limits that change, retries, verification.
#include <gtest/gtest.h>

#include <algorithm>

#include "nexus/geometry.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

uint64_t transferred(NexusSite& site, size_t disk) {
  return site.nexus().rebuild_statistics(NexusSite::uri(disk)).value_or(RebuildStatistics{}).blocks_transferred;
}

TEST(RebuildSimTest, LimitsChangeWhileItRuns) {
  NexusOptions options;
  options.rebuild.limits.max_bytes_per_second = 256 << 10;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 4).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.world().run_for(std::chrono::seconds(2));
  const uint64_t slow = transferred(site, 1);
  EXPECT_GE(slow * 512, 256u << 10);
  EXPECT_LE(slow * 512, 768u << 10);
  RebuildLimits limits = site.nexus().rebuild_limits();
  limits.max_bytes_per_second = 2 << 20;
  site.nexus().set_rebuild_limits(limits);
  site.world().run_for(std::chrono::seconds(1));
  ASSERT_EQ(site.nexus().num_rebuilds(), 1u);
  EXPECT_GE((transferred(site, 1) - slow) * 512, 1u << 20);
  EXPECT_LE((transferred(site, 1) - slow) * 512, (2u << 20) + (256u << 10));
  // Who has to wait for minutes by then does not with another limit.
  limits.max_bytes_per_second = 1 << 10;
  site.nexus().set_rebuild_limits(limits);
  site.world().run_for(std::chrono::seconds(1));
  limits.max_bytes_per_second = 1 << 30;
  site.nexus().set_rebuild_limits(limits);
  site.run_until([&] { return site.healthy(1) && site.nexus().num_rebuilds() == 0; }, std::chrono::seconds(1));
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// While hosts do I/O a rebuild has its share of the time, and no longer when they have stopped.
TEST(RebuildSimTest, HostsKeepTheirShareOfTheTime) {
  auto seconds_with = [](unsigned percent, bool loaded) {
    NexusOptions options;
    options.rebuild.limits = {.num_copiers_under_load = 1, .percent_of_time_under_load = percent};
    NexusSite site({.nexus = options});
    CAIRN_CHECK(site.create({0}).has_value());
    EXPECT_TRUE(site.write(0, 6000, 4).is_success());
    bool stop = !loaded;
    unsigned readers = 0;
    auto read = [&]() -> runtime::Task<> {
      std::vector<std::byte> data(512);
      iovec piece{data.data(), data.size()};
      while (!stop) {
        EXPECT_TRUE((co_await block::perform(site.channel(),
                                             {.type = block::IoType::kRead, .num_blocks = 1, .data = {&piece, 1}}))
                        .is_success());
      }
      --readers;
    };
    EXPECT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
    {
      const runtime::Reactor::Scope scope(site.node().reactor(0));
      for (; readers < 2; ++readers) runtime::Reactor::current().spawn("reader", read());
    }
    site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
    stop = true;
    site.run_until([&] { return readers == 0; });
    EXPECT_TRUE(site.identical(0, 1));
    const RebuildRecord record = site.nexus().rebuild_history().back();
    EXPECT_EQ(record.state, RebuildState::kCompleted);
    site.end();
    return static_cast<double>((*record.statistics.end_time - record.statistics.start_time).count()) / 1e9;
  };
  const double whole = seconds_with(100, true);
  EXPECT_GT(seconds_with(10, true), 4 * whole);
  EXPECT_LE(seconds_with(10, false), whole);
}

TEST(RebuildSimTest, TwentyVolumesAtOnce) {
  constexpr unsigned kVolumes = 20;
  NexusSite site({.num_disks = 0});
  std::vector<std::shared_ptr<Nexus>> nexuses;
  auto child = [](unsigned volume, unsigned number) {
    return fmt::format("malloc:///v{}c{}?size_mb=8&uuid={}", volume, number,
                       NexusSite::child_uuid(10 * volume + number));
  };
  for (unsigned i = 0; i < kVolumes; ++i) {
    NexusRequest request = site.request({}, 1 << 20);
    request.name = fmt::format("volume{}", i);
    request.uuid = *Uuid::parse(fmt::format("11111111-2222-4333-8444-{:012}", i));
    request.children = {child(i, 0)};
    auto made = site.run(site.process().nexuses->create(std::move(request)));
    ASSERT_TRUE(made) << made.error().to_string();
    nexuses.push_back(*made);
  }
  for (unsigned i = 0; i < kVolumes; ++i) ASSERT_TRUE(site.run(nexuses[i]->add_child(child(i, 1), true)));
  site.run_until([&] {
    return std::ranges::all_of(nexuses, [](const auto& nexus) { return !nexus->rebuild_history().empty(); });
  });
  for (const auto& nexus : nexuses) {
    EXPECT_EQ(nexus->rebuild_history().back().state, RebuildState::kCompleted);
    EXPECT_EQ(nexus->status(), NexusStatus::kOnline);
  }
  nexuses.clear();
  site.end();
}

// A child that fails for a moment is tried again, not for ever.
TEST(RebuildSimTest, RetriesAreBounded) {
  for (const bool passes : {true, false}) {
    NexusOptions options;
    options.rebuild.limits.max_bytes_per_second = 1 << 20;
    NexusSite site({.nexus = options});
    ASSERT_TRUE(site.create({0}));
    ASSERT_TRUE(site.write(0, 6000, 4).is_success());
    ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
    site.world().run_for(std::chrono::milliseconds(500));
    site.disk(1).set_faults({.write_error = -EIO});
    if (passes) {
      site.world().run_for(std::chrono::milliseconds(200));
      site.disk(1).set_faults({});
    }
    site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
    const RebuildRecord& record = site.nexus().rebuild_history().back();
    EXPECT_GT(record.statistics.num_retries, 0u);
    EXPECT_EQ(record.state, passes ? RebuildState::kCompleted : RebuildState::kFailed);
    if (passes) {
      EXPECT_TRUE(site.identical(0, 1));
    } else {
      site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
      EXPECT_EQ(site.child(1).reason, FaultReason::kRebuildFailed);
    }
    site.end();
  }
}

// A disk that says it has written and has not.
TEST(RebuildSimTest, VerificationSeesLostWrites) {
  for (const RebuildVerify verify : {RebuildVerify::kFail, RebuildVerify::kReport}) {
    NexusOptions options;
    options.rebuild.verify = verify;
    NexusSite site({.nexus = options});
    ASSERT_TRUE(site.create({0}));
    ASSERT_TRUE(site.write(0, 6000, 4).is_success());
    site.disk(1).set_faults({.lose_write_one_in = 3});
    ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
    site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
    const RebuildRecord& record = site.nexus().rebuild_history().back();
    EXPECT_GT(record.statistics.blocks_mismatched, 0u);
    if (verify == RebuildVerify::kFail) {
      EXPECT_EQ(record.state, RebuildState::kFailed);
      site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
      EXPECT_EQ(site.child(1).reason, FaultReason::kRebuildFailed);
    } else {
      EXPECT_EQ(record.state, RebuildState::kCompleted);
    }
    site.disk(1).set_faults({});
    site.end();
  }
}

constexpr uint64_t kSegmentBlocks = kSegmentBytes / 512;
constexpr uint64_t kNumSegments = (NexusSite::kNumBlocks + kSegmentBlocks - 1) / kSegmentBlocks;

// What the rebuilt child gets; the write-intent log's included. `loaded`: while hosts read.
uint64_t writes_of_a_rebuild(bool loaded) {
  NexusSite site({});
  CAIRN_CHECK(site.create({0}).has_value());
  EXPECT_TRUE(site.write(0, NexusSite::kNumBlocks, 4).is_success());
  bool stop = !loaded;
  unsigned hosts = 0;
  auto read = [&]() -> runtime::Task<> {
    std::vector<std::byte> data(512);
    iovec piece{data.data(), data.size()};
    while (!stop) {
      const auto status =
          co_await block::perform(site.channel(), {.type = block::IoType::kRead, .num_blocks = 1, .data = {&piece, 1}});
      EXPECT_TRUE(status.is_success());
    }
    --hosts;
  };
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    for (; hosts < 2; ++hosts) runtime::Reactor::current().spawn("host", read());
  }
  EXPECT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
  const uint64_t writes = site.disk(1).counters().writes;
  stop = true;
  site.run_until([&] { return hosts == 0; });
  EXPECT_TRUE(site.healthy(1));
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, NexusSite::kNumBlocks);
  site.end();
  return writes;
}

TEST(RebuildSimTest, AdjacentSegmentsAreCopiedAtOnceUnlessHostsAreAbout) {
  const uint64_t num_copiers = RebuildOptions{}.num_copiers;  // each begins with one segment
  const uint64_t quiet = writes_of_a_rebuild(false);
  EXPECT_GE(quiet, num_copiers + (kNumSegments - num_copiers) / 4);
  EXPECT_LT(quiet, kNumSegments);
  EXPECT_GE(writes_of_a_rebuild(true), kNumSegments);
}

// Nothing between two runs is copied.
TEST(RebuildSimTest, RunsEndWhereNothingWasMissed) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, NexusSite::kNumBlocks, 4).is_success());
  ASSERT_TRUE(site.io({.type = block::IoType::kFlush}).is_success());  // else it is copied, too
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  ASSERT_TRUE(site.write(0, 22 * kSegmentBlocks, 5).is_success());
  ASSERT_TRUE(site.write(23 * kSegmentBlocks, 7 * kSegmentBlocks, 6).is_success());
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, 29 * kSegmentBlocks);
  site.end();
}

// No source has the whole of what is copied at once, but each segment is somewhere.
TEST(RebuildSimTest, EachSegmentFromTheSourceThatHasIt) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, NexusSite::kNumBlocks, 4).is_success());
  auto segment_offset = [](uint64_t segment) { return (NexusSite::kDataStart + segment * kSegmentBlocks) * 512; };
  for (uint64_t segment = 16; segment < kNumSegments; ++segment) {
    site.node().files().fail_reads(NexusSite::disk_path(segment % 2), segment_offset(segment), 512);
  }
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.wait_healthy(2);
  for (const size_t disk : {0, 1}) site.node().files().mend_reads(NexusSite::disk_path(disk));
  EXPECT_TRUE(site.identical(0, 2));
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, NexusSite::kNumBlocks);
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
