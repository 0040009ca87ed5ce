// A child's node loses power for a moment and with it what was acknowledged and not flushed; its device connects again
// by itself. Whatever it may have lost is copied to it again before it is read.
#include <gtest/gtest.h>

#include <functional>
#include <optional>

#include "block/test_world.h"
#include "fault_site.h"

namespace cairn::nexus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kNumBlocks = 96;
constexpr uint64_t kLba = 0;  // what a scrub reads first

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
void crash(FaultSite& site, size_t child, sim::CrashKind kind) {
  sim::Node& node = site.storage(child);
  node.crash(kind);
  site.start_storage(node);
  site.run_until([&] { return site.storage_ready(); });
  site.world().network().reset_connections(site.engine(), node);
}

void lose_power(FaultSite& site, size_t child) {
  crash(site, child, sim::CrashKind::kPowerLoss);
}

// After the engine was killed: nothing that it sent is under way any more.
void wait_disconnected(FaultSite& site) {
  site.run_until([&] {
    return site.storage(1).program<StorageProcess>().target.num_connections() == 0 &&
           site.storage(2).program<StorageProcess>().target.num_connections() == 0;
  });
}

void kill_engine(FaultSite& site) {
  site.engine().crash(sim::CrashKind::kKill);
  wait_disconnected(site);
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

// Each site begins with everything stable; it must end whole, and then its children are equal.
void for_seeds(uint64_t num_seeds, const std::function<void(FaultSite&)>& test) {
  for (uint64_t seed = 1; seed <= num_seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    FaultSite site(seed);
    write(site, 1);
    flush(site);
    test(site);
    flush(site);
    expect_equal(site);
    site.end();
  }
}

void fault(FaultSite& site, size_t child) {
  const auto done = site.run(site.nexus().fault_child(site.uri(child), FaultReason::kOffline));
  ASSERT_TRUE(done) << done.error().to_string();
}

void bring_online(FaultSite& site, size_t child) {
  const auto done = site.run(site.nexus().online_child(site.uri(child)));
  ASSERT_TRUE(done) << done.error().to_string();
}

void hang(FaultSite& site, size_t child, bool on) {
  site.storage(child).files().disk_of(kDisk).set_faults({.hang = on});
}

// As a control plane does: a child may leave once more, for what it had kept too long.
void mend(FaultSite& site) {
  const TimePoint limit = site.world().now() + FaultSite::kLimit;
  while (!site.whole()) {
    ASSERT_LT(site.world().now(), limit);
    site.world().run_for(milliseconds(200));
    for (const ChildInfo& child : site.nexus().children()) {
      if (child.state != ChildState::kFaulted || child.faulting) continue;
      const auto online = site.run(site.nexus().online_child(child.uri));
      EXPECT_TRUE(online) << online.error().to_string();
    }
  }
}

void expect_on_local_disk(FaultSite& site, uint8_t value) {
  const auto content = *site.engine().files().content(kDisk);
  const auto begin = content.begin() + static_cast<ptrdiff_t>((data_start(512) + kLba) * 512);
  EXPECT_TRUE(std::all_of(begin, begin + kNumBlocks * 512, [&](std::byte each) { return each == std::byte{value}; }));
}

TEST(NexusCacheLoss, AWriteThatOneChildHasDoneAndAnotherOneKeeps) {
  for_seeds(5, [](FaultSite& site) {
    hang(site, 2, true);
    Pending pending(site, 2);
    site.world().run_for(milliseconds(500));
    lose_power(site, 1);
    site.world().run_for(milliseconds(500));
    EXPECT_FALSE(pending.io.done);
    // The child that hangs is retired after some time, which lets the other one go on.
    site.run_until([&] { return pending.io.done && num_rebuilds_ended(site) == 1; });
    EXPECT_TRUE(pending.io.status.is_success());
    hang(site, 2, false);
    bring_online(site, 2);
    site.wait_whole();
  });
}

// The one that it is copied to has more than the healthy one, which lost it.
TEST(NexusCacheLoss, AWriteThatTheLastHealthyChildHasDoneAndLost) {
  for_seeds(5, [](FaultSite& site) {
    fault(site, 0);
    fault(site, 2);
    bring_online(site, 2);
    ASSERT_TRUE(site.nexus().pause_rebuild(site.uri(2)));
    site.world().run_for(seconds(1));
    hang(site, 2, true);
    Pending pending(site, 2);
    site.world().run_for(milliseconds(500));
    lose_power(site, 1);
    site.world().run_for(seconds(1));
    EXPECT_FALSE(pending.io.done);
    hang(site, 2, false);
    site.run_until([&] { return pending.io.done; });
    EXPECT_TRUE(pending.io.status.is_success());
    ASSERT_TRUE(site.nexus().resume_rebuild(site.uri(2)));
    bring_online(site, 0);
    site.wait_whole();
  });
}

TEST(NexusCacheLoss, WhatAResynchronisationHasWritten) {
  for_seeds(5, [](FaultSite& site) {
    {
      site.world().network().cut_both(site.engine(), site.storage(1));
      const Pending pending(site, 2);
      site.world().run_for(milliseconds(500));
      site.engine().crash(sim::CrashKind::kKill);
    }
    site.world().network().heal_all();
    wait_disconnected(site);
    site.start_engine({0, 1, 2});
    site.run_until([&] {
      const auto resync = site.nexus().resync_statistics();
      return resync && resync->segments_remaining == 0;
    });
    const size_t ended = num_rebuilds_ended(site);
    lose_power(site, 1);
    site.run_until([&] { return num_rebuilds_ended(site) > ended && site.whole(); });
  });
}

// The nexus before was killed, with a write that all children had acknowledged and none had flushed. What one of them
// loses while the next nexus is made is not taken for what the others are to be made equal to.
TEST(NexusCacheLoss, WhileANexusIsMade) {
  for_seeds(10, [](FaultSite& site) {
    write(site, 2);
    kill_engine(site);
    hang(site, 1, true);  // its write-intent log cannot be opened
    site.start_engine({1, 2}, [&] {
      hang(site, 1, false);
      lose_power(site, 1);
    });
    site.run_until([&] {
      const auto resync = site.nexus().resync_statistics();
      return resync && resync->segments_remaining == 0;
    });
    const auto added = site.run(site.nexus().add_child(site.uri(0), true));
    ASSERT_TRUE(added) << added.error().to_string();
    mend(site);
    flush(site);
    expect_on_local_disk(site, 2);
  });
}

// Then nobody can be told that the child is not healthy any more.
TEST(NexusCacheLoss, WhileANexusIsMadeAndTheStoreFails) {
  for (const std::vector<size_t>& lost : {std::vector<size_t>{1}, std::vector<size_t>{1, 2}}) {
    FaultSite site(1);
    write(site, 2);
    kill_engine(site);
    hang(site, 1, true);
    const auto made = site.try_start_engine({1, 2, 0}, [&] {
      hang(site, 1, false);
      for (const size_t child : lost) lose_power(site, child);
      site.run_until([&] { return site.process().store.num_calls > 0; });
      site.process().store.broken = true;
    });
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().to_string().find("shut itself down"), std::string::npos) << made.error().to_string();
    EXPECT_TRUE(site.process().nexuses->list().empty());
    EXPECT_TRUE(site.process().devices.empty());
  }
}

// Of two healthy children one has lost power, and with it what was acknowledged. The other one has the only copy,
// whether the nexus has noticed the loss already or not, and may not be taken out by hand.
TEST(NexusCacheLoss, TheLastChildThatIsThereStays) {
  for (const bool noticed : {false, true}) {
    SCOPED_TRACE(noticed ? "noticed" : "not noticed");
    for_seeds(5, [&](FaultSite& site) {
      fault(site, 2);
      write(site, 2);
      site.storage(1).crash(sim::CrashKind::kPowerLoss);
      if (noticed) {
        site.world().network().reset_connections(site.engine(), site.storage(1));
        site.world().run_for(milliseconds(100));
      }
      const auto faulted = site.run(site.nexus().fault_child(site.uri(0), FaultReason::kOffline));
      ASSERT_FALSE(faulted);
      EXPECT_EQ(faulted.error().code(), Code::kFailedPrecondition) << faulted.error().to_string();
      EXPECT_FALSE(site.run(site.nexus().remove_child(site.uri(0))));
      site.start_storage(site.storage(1));
      site.run_until([&] { return site.storage_ready(); });
      mend(site);
      flush(site);
      expect_on_local_disk(site, 2);
    });
  }
}

// What the disk of a node has in its cache outlives the process that wrote it.
TEST(NexusCacheLoss, AChildWhoseProcessWasKilledHasEverything) {
  for_seeds(5, [](FaultSite& site) {
    write(site, 2);
    crash(site, 1, sim::CrashKind::kKill);
    write(site, 3);
    site.world().run_for(seconds(10));
    EXPECT_TRUE(site.whole());
    EXPECT_EQ(num_rebuilds_ended(site), 0u);
  });
}

// It is not made equal to one that has lost power, which nobody has noticed yet.
TEST(NexusCacheLoss, AKilledChildAndOneThatHasLostPower) {
  for_seeds(5, [](FaultSite& site) {
    fault(site, 0);
    write(site, 2);
    sim::Node& silent = site.storage(2);
    site.world().network().cut_both(site.engine(), silent);
    silent.crash(sim::CrashKind::kPowerLoss);
    site.start_storage(silent);
    crash(site, 1, sim::CrashKind::kKill);
    site.world().run_for(seconds(1));
    site.world().network().heal_all();
    site.world().network().reset_connections(site.engine(), silent);
    bring_online(site, 0);
    mend(site);
    flush(site);
    expect_on_local_disk(site, 2);
  });
}

// A copier's read waits in a child that loses power. When the child answers it is known as one that may have lost
// writes, and what it gives is old.
TEST(NexusCacheLoss, ARebuildReadsFromAChildThatLostIt) {
  for_seeds(10, [](FaultSite& site) {
    fault(site, 0);
    write(site, 2);
    hang(site, 1, true);
    bring_online(site, 0);
    site.world().run_for(milliseconds(500));
    EXPECT_EQ(site.nexus().num_rebuilds(), 1u);
    hang(site, 1, false);
    lose_power(site, 1);
    site.wait_whole();
    flush(site);
    expect_on_local_disk(site, 2);
  });
}

// While the record waits for the store, changes of health wait, and hosts go on: what was sure before is not any more.
TEST(NexusCacheLoss, WhatIsSureBeforeAWaitIsNotAfterIt) {
  for_seeds(5, [](FaultSite& site) {
    fault(site, 2);
    fault(site, 0);
    write(site, 2);
    site.process().store.blocked = true;
    bring_online(site, 0);
    site.run_until([&] { return site.nexus().children().at(0).in_sync; });
    std::optional<Result<>> faulted;
    {
      const runtime::Reactor::Scope scope(site.engine().reactor(0));
      site.engine().reactor(0).spawn("fault", [](FaultSite& its_site, std::optional<Result<>>& result) -> Task<> {
        result = co_await its_site.nexus().fault_child(its_site.uri(0), FaultReason::kOffline);
      }(site, faulted));
    }
    site.world().run_for(milliseconds(500));
    EXPECT_FALSE(faulted);
    write(site, 3);
    lose_power(site, 1);
    site.world().run_for(milliseconds(500));
    {
      const runtime::Reactor::Scope scope(site.engine().reactor(0));
      site.process().store.open();
    }
    site.run_until([&] { return faulted.has_value(); });
    EXPECT_FALSE(*faulted);
    mend(site);
    flush(site);
    expect_on_local_disk(site, 3);
  });
}

// The process ends while somebody waits for the flush: the child is not torn out of a nexus that still serves.
TEST(NexusCacheLoss, ANexusEndsWhileAFlushHangs) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    FaultSite site(seed);
    write(site, 1);
    for (const size_t child : {1, 2}) hang(site, child, true);
    std::optional<Result<>> removed;
    bool ended = false;
    auto spawn = [&](const char* name, Task<> task) {
      const runtime::Reactor::Scope scope(site.engine().reactor(0));
      site.engine().reactor(0).spawn(name, std::move(task));
    };
    spawn("remove", [](FaultSite& its_site, std::optional<Result<>>& result) -> Task<> {
      result = co_await its_site.nexus().remove_child(its_site.uri(0));
    }(site, removed));
    site.world().run_for(milliseconds(500));
    EXPECT_FALSE(removed);
    for (unsigned i = 0; i < site.engine().num_reactors(); ++i) {
      const runtime::Reactor::Scope scope(site.engine().reactor(i));
      site.process().channels[i].reset();
    }
    spawn("end", [](NexusRegistry& nexuses, bool& done) -> Task<> {
      co_await nexuses.destroy_all();
      done = true;
    }(*site.process().nexuses, ended));
    site.world().run_for(milliseconds(100));
    for (const size_t child : {1, 2}) hang(site, child, false);
    site.run_until([&] { return removed && ended; });
    EXPECT_FALSE(*removed);
    site.end();
  }
}

// A healthy child that keeps the flush holds up nobody for long.
TEST(NexusCacheLoss, AnotherOneIsAskedWhenAFlushHangs) {
  for_seeds(5, [](FaultSite& site) {
    write(site, 2);
    site.engine().files().disk_of(kDisk).set_faults({.hang = true});
    const TimePoint begin = site.world().now();
    fault(site, 2);
    EXPECT_LT(site.world().now() - begin, seconds(20));
    site.engine().files().disk_of(kDisk).set_faults({});
    mend(site);
  });
}

TEST(NexusCacheLoss, AScrubReadsFromAChildThatLostIt) {
  for_seeds(10, [](FaultSite& site) {
    write(site, 2);
    hang(site, 1, true);
    {
      const runtime::Reactor::Scope scope(site.engine().reactor(0));
      ASSERT_TRUE(site.nexus().start_scrub({.repair = ScrubRepair::kMajority, .source_uri = {}}));
    }
    site.world().run_for(milliseconds(500));
    hang(site, 1, false);
    lose_power(site, 1);
    site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
    EXPECT_EQ(site.nexus().scrub_report()->blocks_different, 0u);
    site.run_until([&] { return num_rebuilds_ended(site) == 1; });
    site.wait_whole();
  });
}

}  // namespace
}  // namespace cairn::nexus
