// A child's node loses power for a moment and with it what was acknowledged and not flushed; its device connects again
// by itself. Whatever it may have lost is copied to it again before it is read.
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "fault_site.h"

namespace cairn::nexus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kNumBlocks = 96;
constexpr uint64_t kLba = 256;

// A write that nobody waits for.
struct Pending {
  Pending(FaultSite& site, uint8_t value) : data(kNumBlocks * 512, std::byte{value}), piece{data.data(), data.size()} {
    io.type = block::IoType::kWrite;
    io.lba = kLba;
    io.num_blocks = kNumBlocks;
    io.data = {&piece, 1};
    const runtime::Reactor::Scope scope(site.engine().reactor(0));
    site.process().channels[0]->submit(io);
  }
  std::vector<std::byte> data;
  iovec piece;
  block::TestIo io;
};

void write(FaultSite& site, uint8_t value) {
  Pending pending(site, value);
  site.run_until([&] { return pending.io.done; });
  EXPECT_TRUE(pending.io.status.is_success()) << pending.io.status.to_string();
}

void flush(FaultSite& site) {
  const auto status = site.run([](FaultSite& its_site) -> Task<nvme::Status> {
    co_return co_await block::perform(*its_site.process().channels[0], {.type = block::IoType::kFlush});
  }(site));
  EXPECT_TRUE(status.is_success()) << status.to_string();
}

// Off and on again, so fast that nothing times out; the engine learns of it at once.
void lose_power(FaultSite& site, size_t child) {
  sim::Node& node = site.storage(child);
  node.crash(sim::CrashKind::kPowerLoss);
  site.start_storage(node);
  site.run_until([&] { return site.storage_ready(); });
  site.world().network().reset_connections(site.engine(), node);
}

size_t num_rebuilds_ended(FaultSite& site) {
  return site.nexus().rebuild_history().size();
}

void expect_equal(FaultSite& site) {
  const size_t start = 5 << 20, size = site.nexus().num_blocks() * 512;
  const auto local = *site.engine().files().content(kDisk);
  for (size_t i = 1; i < FaultSite::kNumChildren; ++i) {
    const auto remote = *site.storage(i).files().content(kDisk);
    EXPECT_TRUE(std::equal(local.begin() + start, local.begin() + start + size, remote.begin() + start)) << i;
  }
}

TEST(NexusCacheLoss, AWriteThatOneChildHasDoneAndAnotherOneKeeps) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    FaultSite site(seed);
    write(site, 1);
    flush(site);
    site.storage(2).files().disk_of(kDisk).set_faults({.hang = true});
    Pending pending(site, 2);
    site.world().run_for(milliseconds(500));
    lose_power(site, 1);
    site.world().run_for(milliseconds(500));
    EXPECT_FALSE(pending.io.done);
    // The child that hangs is retired after some time, which lets the other one go on.
    site.run_until([&] { return pending.io.done && num_rebuilds_ended(site) == 1; });
    EXPECT_TRUE(pending.io.status.is_success());
    site.storage(2).files().disk_of(kDisk).set_faults({});
    ASSERT_TRUE(site.run(site.nexus().online_child(site.uri(2))));
    site.run_until([&] { return site.whole(); });
    flush(site);
    expect_equal(site);
    site.end();
  }
}

// The one that it is copied to has more than the healthy one, which lost it.
TEST(NexusCacheLoss, AWriteThatTheLastHealthyChildHasDoneAndLost) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    FaultSite site(seed);
    write(site, 1);
    flush(site);
    for (const size_t child : {0, 2}) {
      ASSERT_TRUE(site.run(site.nexus().fault_child(site.uri(child), FaultReason::kOffline)));
    }
    ASSERT_TRUE(site.run(site.nexus().online_child(site.uri(2))));
    ASSERT_TRUE(site.nexus().pause_rebuild(site.uri(2)));
    site.world().run_for(seconds(1));
    site.storage(2).files().disk_of(kDisk).set_faults({.hang = true});
    Pending pending(site, 2);
    site.world().run_for(milliseconds(500));
    lose_power(site, 1);
    site.world().run_for(seconds(1));
    EXPECT_FALSE(pending.io.done);
    site.storage(2).files().disk_of(kDisk).set_faults({});
    site.run_until([&] { return pending.io.done; });
    EXPECT_TRUE(pending.io.status.is_success());
    ASSERT_TRUE(site.nexus().resume_rebuild(site.uri(2)));
    ASSERT_TRUE(site.run(site.nexus().online_child(site.uri(0))));
    site.run_until([&] { return site.whole(); });
    flush(site);
    expect_equal(site);
    site.end();
  }
}

TEST(NexusCacheLoss, WhatAResynchronisationHasWritten) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    FaultSite site(seed);
    write(site, 1);
    flush(site);
    {
      site.world().network().cut_both(site.engine(), site.storage(1));
      const Pending pending(site, 2);
      site.world().run_for(milliseconds(500));
      site.engine().crash(sim::CrashKind::kKill);
    }
    site.world().network().heal_all();
    site.run_until([&] {
      return site.storage(1).program<StorageProcess>().target.num_connections() == 0 &&
             site.storage(2).program<StorageProcess>().target.num_connections() == 0;
    });
    site.start_engine({0, 1, 2});
    site.run_until([&] {
      const auto resync = site.nexus().resync_statistics();
      return resync && resync->segments_remaining == 0;
    });
    const size_t ended = num_rebuilds_ended(site);
    lose_power(site, 1);
    site.run_until([&] { return num_rebuilds_ended(site) > ended && site.whole(); });
    flush(site);
    expect_equal(site);
    site.end();
  }
}

}  // namespace
}  // namespace cairn::nexus
