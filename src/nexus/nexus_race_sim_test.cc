// Decisions of a nexus that meet I/O, a slow store, hanging children and each other.
#include <gtest/gtest.h>

#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using nvme::GenericStatus;
using nvme::MediaStatus;
using runtime::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint64_t kSegment = 128;  // blocks

// Reads that begin again when they end.
struct Load {
  explicit Load(NexusSite& its_site, size_t depth) : site(its_site) {
    const runtime::Reactor::Scope scope(site.node().reactor(1));
    for (size_t i = 0; i < depth; ++i) {
      ios.push_back(std::make_unique<Read>(*this));
      site.channel(1).submit(*ios.back());
    }
  }
  void stop() {
    stopping = true;
    site.run_until([&] { return num_ended == ios.size(); });
  }
  struct Read : block::Io {
    explicit Read(Load& its_load) : load(its_load), data(512), piece{data.data(), data.size()} {
      type = IoType::kRead;
      num_blocks = 1;
      block::Io::data = {&piece, 1};
      complete = [](block::Io& io) {
        auto& read = static_cast<Read&>(io);
        if (read.load.stopping) {
          ++read.load.num_ended;
        } else {
          read.load.site.channel(1).submit(io);
        }
      };
    }
    Load& load;
    std::vector<std::byte> data;
    iovec piece;
  };
  NexusSite& site;
  std::vector<std::unique_ptr<Read>> ios;
  bool stopping = false;
  size_t num_ended = 0;
};

// A segment a second, one after the other.
NexusOptions slow_rebuild() {
  NexusOptions options;
  options.rebuild.num_copiers = 1;
  options.rebuild.limits.max_bytes_per_second = kSegment * 512;
  options.intent_log.enabled = false;
  return options;
}

NexusOptions without_log() {
  NexusOptions options;
  options.intent_log.enabled = false;
  return options;
}

uint64_t transferred(NexusSite& site, size_t disk) {
  return site.nexus().rebuild_statistics(NexusSite::uri(disk)).value_or(RebuildStatistics{}).blocks_transferred;
}

// What a copier waits for is a write that its source misses: the source has left when the copier goes on.
TEST(NexusRace, ARebuildDoesNotReadASourceThatHasLeft) {
  NexusSite site({.nexus = slow_rebuild()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= 2 * kSegment; });
  site.store().blocked = true;
  Call fault(site, site.nexus().fault_child(NexusSite::uri(0), FaultReason::kOffline));
  site.run_until([&] { return site.child(0).state == ChildState::kFaulted; });
  site.world().run_for(milliseconds(10));
  Pending write(site, IoType::kWrite, 6 * kSegment, kSegment, 2, 1);
  site.world().run_for(seconds(20));  // its segment has been come to
  EXPECT_FALSE(write.io.done);
  EXPECT_LE(transferred(site, 2), 6 * kSegment);
  site.store().open();
  site.wait_healthy(2);
  EXPECT_TRUE(write.io.done);
  EXPECT_TRUE(write.io.status.is_success());
  EXPECT_TRUE(site.identical(1, 2));
  EXPECT_EQ(site.content(2)[(NexusSite::kDataStart + 6 * kSegment) * 512], std::byte{2});
  site.end();
}

TEST(NexusRace, ARebuildThatIsStoppedTooLateIsComplete) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), false)));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(1))));
  site.store().blocked = true;
  site.run_until([&] { return site.healthy(1); });
  EXPECT_FALSE(site.record()->children[1].healthy);
  static_cast<void>(site.nexus().stop_rebuild(NexusSite::uri(1)));
  ASSERT_TRUE(site.write(0, 8, 2).is_success());
  site.store().open();
  site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
  EXPECT_TRUE(site.healthy(1));
  EXPECT_TRUE(site.record()->children[1].healthy);
  EXPECT_EQ(site.nexus().rebuild_history().back().state, RebuildState::kCompleted);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

TEST(NexusRace, ARebuildEndsWhileHostsAreBusy) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  Load load(site, 8);
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.run_until([&] { return site.healthy(1); }, seconds(10));
  load.stop();
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

TEST(NexusRace, ARebuildThatWaitsForALockWhileTheNexusEnds) {
  NexusOptions options = slow_rebuild();
  options.save_attempts = 1;
  options.child_timeout = std::chrono::hours(1);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= kSegment; });
  site.disk(1).set_faults({.hang = true});
  Pending write(site, IoType::kWrite, 5 * kSegment, kSegment, 2, 1);
  site.world().run_for(seconds(10));
  site.store().broken = true;
  Call fault(site, site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline));
  site.run_until([&] { return site.child(0).device_name.empty(); });
  EXPECT_FALSE(write.io.done);
  site.disk(1).set_faults({});
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; });
  EXPECT_FALSE(write.io.status.is_success());
  site.end();
}

TEST(NexusRace, AChildThatIsAddedWhileTheNexusEnds) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  site.disk(2).set_faults({.slow_factor = 10000});
  Call add(site, site.nexus().add_child(NexusSite::uri(2), true));
  site.run_plain(site.nexus().close());
  site.run_until([&] { return add.result.has_value(); });
  EXPECT_EQ(add.result->error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(site.process().devices.find("/dev/sdc"), nullptr);
  EXPECT_TRUE(site.record()->clean_shutdown);
  site.end();
}

TEST(NexusRace, AChildThatComesBackWhileTheNexusEnds) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  site.run_until([&] { return !site.child(1).faulting; });
  site.disk(1).set_faults({.slow_factor = 10000});
  Call online(site, site.nexus().online_child(NexusSite::uri(1)));
  site.run_plain(site.nexus().close());
  site.run_until([&] { return online.result.has_value(); });
  EXPECT_FALSE(online.result->has_value());
  EXPECT_EQ(site.process().devices.find("/dev/sdb"), nullptr);
  site.end();
}

// A write that hangs in one child for ever, after that one has left: others go on when a rebuild comes to its end.
TEST(NexusRace, AWriteThatHangsDoesNotStopTheOthersAtTheEndOfARebuild) {
  NexusSite site({.nexus = slow_rebuild()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= kSegment; });
  site.disk(1).set_faults({.hang = true});
  Pending hung(site, IoType::kWrite, 0, 8, 2, 1);
  site.world().run_for(std::chrono::minutes(2));
  EXPECT_EQ(site.child(1).state, ChildState::kFaulted);
  EXPECT_FALSE(hung.io.done);
  for (uint8_t i = 3; i < 20; ++i) {
    Pending write(site, IoType::kWrite, 3000, 8, i, i % 2);
    site.run_until([&] { return write.io.done; }, seconds(1));
    EXPECT_TRUE(write.io.status.is_success());
  }
  site.disk(1).set_faults({});
  site.wait_healthy(2);
  EXPECT_TRUE(hung.io.done);
  EXPECT_TRUE(site.identical(0, 2));
  site.end();
}

TEST(NexusRace, ShutdownDoesNotWaitForAnOperationThatWaitsForTheStore) {
  NexusOptions options;
  options.save_attempts = 0;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  Call fault(site, site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline));
  site.world().run_for(seconds(3));
  EXPECT_FALSE(fault.result.has_value());
  Call shutdown(site, site.nexus().shutdown());
  site.run_until([&] { return shutdown.result.has_value(); }, std::chrono::minutes(2));
  EXPECT_TRUE(shutdown.result->has_value());
  EXPECT_FALSE(fault.result->has_value());
  EXPECT_EQ(site.nexus().state(), NexusState::kShutdown);
  site.end();
}

// Whoever comes last: the I/O of a nexus that is gone fails, and does not wait.
TEST(NexusRace, ShutdownAndDestroyTogether) {
  NexusOptions options;
  options.save_attempts = 0;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  Call fault(site, site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline));
  site.world().run_for(seconds(3));
  Call shutdown(site, site.nexus().shutdown());
  site.run_plain(site.nexus().close());
  site.run_until([&] { return shutdown.result.has_value(); });
  EXPECT_EQ(site.nexus().state(), NexusState::kClosed);
  EXPECT_FALSE(site.write(0, 8, 1).is_success());
  site.end();
}

TEST(NexusRace, ARebuildThatIsPausedAtItsEndWaits) {
  NexusOptions options = slow_rebuild();
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.disk(1).set_faults({.slow_factor = 1000});
  site.run_until([&] {
    const auto statistics = site.nexus().rebuild_statistics(NexusSite::uri(1));
    return statistics && statistics->blocks_remaining == 0 && statistics->tasks_active == 1;
  });
  ASSERT_TRUE(site.nexus().pause_rebuild(NexusSite::uri(1)));
  site.disk(1).set_faults({});
  site.world().run_for(seconds(1));
  const uint64_t flushes = site.disk(1).counters().flushes;
  site.world().run_for(seconds(5));
  EXPECT_EQ(site.disk(1).counters().flushes, flushes);
  EXPECT_FALSE(site.healthy(1));
  ASSERT_TRUE(site.nexus().resume_rebuild(NexusSite::uri(1)));
  site.wait_healthy(1);
  site.end();
}

// Another host has the child now: nothing is acknowledged any more, whatever else was wrong with it before.
TEST(NexusRace, AConflictIsNotOverlookedWhileTheChildIsReported) {
  NexusOptions options = without_log();
  options.child_timeout = seconds(1);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  const auto before = site.record();
  site.store().blocked = true;
  site.disk(1).set_faults({.hang = true});
  Pending write(site, IoType::kWrite, 0, 8, 2, 1);
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  site.world().run_for(milliseconds(10));
  site.disk(1).set_faults({.write_error = -EBADE});
  site.world().run_for(seconds(1));
  EXPECT_FALSE(write.io.done);
  Pending other(site, IoType::kWrite, 1000, 8, 3, 0);
  site.store().open();
  site.run_until([&] { return write.io.done && other.io.done; });
  EXPECT_FALSE(write.io.status.is_success());
  EXPECT_FALSE(other.io.status.is_success());
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; });
  site.end();
}

TEST(NexusRace, AConflictThatARebuildMeets) {
  NexusSite site({.nexus = slow_rebuild()});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.disk(1).set_faults({.write_error = -EBADE});
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; }, seconds(60));
  EXPECT_FALSE(site.write(0, 8, 2).is_success());
  site.end();
}

TEST(NexusRace, AConflictThatARepairMeets) {
  NexusSite site({.nexus = without_log()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 64, 1).is_success());
  for (size_t disk = 0; disk < 2; ++disk) {
    site.node().files().fail_reads(NexusSite::disk_path(disk), (NexusSite::kDataStart + disk * 8) * 512, 512);
    site.disk(disk).set_faults({.write_error = -EBADE});
  }
  Pending one(site, IoType::kRead, 0, 8);
  Pending two(site, IoType::kRead, 0, 8);
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; }, seconds(60));
  site.end();
}

// A child whose disk turns out to be unable to give blocks back: what is unmapped reads as zeroes there, too.
TEST(NexusRace, UnmapReachesAChildThatCannotDoIt) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 256, 7).is_success());
  site.disk(1).set_faults({.write_error = -EOPNOTSUPP});
  Pending zeroes(site, IoType::kWriteZeroes, 128, 64);
  site.run_until([&] { return site.disk(1).counters().failed > 0; });
  site.disk(1).set_faults({});
  site.run_until([&] { return zeroes.io.done; });
  ASSERT_TRUE(zeroes.io.status.is_success());
  ASSERT_TRUE(site.healthy(1));
  Pending unmap(site, IoType::kUnmap, 0, 128);
  site.run_until([&] { return unmap.io.done; });
  EXPECT_TRUE(unmap.io.status.is_success());
  EXPECT_TRUE(site.healthy(1));
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_EQ(site.content(1)[NexusSite::kDataStart * 512], std::byte{0});
  site.end();
}

// The first such command is an Unmap: the child is not to blame.
TEST(NexusRace, UnmapThatAChildRefuses) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 256, 7).is_success());
  site.disk(1).set_faults({.write_error = -EOPNOTSUPP});
  Pending unmap(site, IoType::kUnmap, 0, 128);
  site.run_until([&] { return site.disk(1).counters().failed > 0; });
  site.disk(1).set_faults({});
  site.run_until([&] { return unmap.io.done; });
  EXPECT_TRUE(unmap.io.status.is_success());
  EXPECT_TRUE(site.healthy(1));
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// Only one child finds fault with the request: the others know better.
TEST(NexusRace, AReadThatOneChildRefusesIsReadElsewhere) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(site.write(0, 8, 3).is_success());
  site.disk(0).set_faults({.read_error = -EINVAL});
  site.disk(2).set_faults({.read_error = -EOPNOTSUPP});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(site.read(0, 8), 3);
  site.disk(1).set_faults({.read_error = -EINVAL});
  site.disk(2).set_faults({.read_error = -EINVAL});
  std::vector<std::byte> data(512);
  EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is(GenericStatus::kInvalidField));
  site.disk(0).set_faults({});
  site.disk(1).set_faults({});
  site.disk(2).set_faults({});
  site.end();
}

// The host gets what the child says that stays.
TEST(NexusRace, TheStatusIsThatOfTheChildThatStays) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    NexusSite site({.seed = seed, .nexus = without_log()});
    ASSERT_TRUE(site.create({0, 1}));
    site.disk(0).set_faults({.write_error = -ENOSPC});
    site.disk(1).set_faults({.write_error = -EIO});
    const nvme::Status status = site.write(0, 8, 1);
    ASSERT_NE(site.healthy(0), site.healthy(1));
    if (site.healthy(0)) {
      EXPECT_TRUE(status.is(GenericStatus::kCapacityExceeded)) << status.to_string();
    } else {
      EXPECT_TRUE(status.is(MediaStatus::kWriteFault)) << status.to_string();
    }
    site.end();
  }
}

// One finds fault with the request, the other one has perhaps written a part of it.
TEST(NexusRace, ARefusalDoesNotHideAFailure) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    NexusSite site({.seed = seed, .nexus = without_log()});
    ASSERT_TRUE(site.create({0, 1}));
    site.disk(0).set_faults({.write_error = -EINVAL});
    site.disk(1).set_faults({.write_error = -EIO});
    EXPECT_FALSE(site.write(0, 8, 1).is_success());
    EXPECT_NE(site.healthy(0), site.healthy(1));
    site.end();
  }
}

// The store is busy with the retirement of one child when another one hangs: reads go to the third.
TEST(NexusRace, AChildThatHangsIsNotReadWhileTheStoreIsAway) {
  NexusOptions options = without_log();
  options.child_timeout = seconds(1);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1, 2}));
  site.store().blocked = true;
  site.disk(0).set_faults({.write_error = -EIO});
  Pending write(site, IoType::kWrite, 0, 8, 2);
  site.run_until([&] { return site.child(0).state == ChildState::kFaulted; });
  site.disk(1).set_faults({.hang = true});
  Pending first(site, IoType::kRead, 0, 8), second(site, IoType::kRead, 0, 8);
  site.world().run_for(seconds(3));
  EXPECT_NE(first.io.done, second.io.done);  // one of them hangs
  for (int i = 0; i < 6; ++i) {
    Pending read(site, IoType::kRead, 100, 8);
    EXPECT_TRUE(site.run_until([&] { return read.io.done; }, seconds(1)));
    if (!read.io.done) break;
  }
  site.store().open();
  site.disk(1).set_faults({});
  site.run_until([&] { return first.io.done && second.io.done && write.io.done; });
  site.end();
}

// A namespace that is gone: its device says so itself, and comes back when the replica is shared again.
TEST(NexusRace, AChildWhoseDeviceEndsByItselfCanComeBack) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.process().devices.find(NexusSite::disk_path(1))->announce_removal();
  }
  site.run_until([&] { return site.child(1).state == ChildState::kClosed && site.child(1).device_name.empty(); });
  site.world().run_for(seconds(1));
  const auto online = site.run(site.nexus().online_child(NexusSite::uri(1)));
  ASSERT_TRUE(online) << online.error().to_string();
  site.wait_healthy(1);
  site.end();
}

TEST(NexusRace, ANexusThatIsDestroyedTwiceAtOnce) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  site.close_channels();
  site.process().nexus.reset();
  Call one(site, site.process().nexuses->destroy(NexusSite::uuid()));
  Call two(site, site.process().nexuses->destroy(NexusSite::uuid()));
  site.run_until([&] { return one.result.has_value() && two.result.has_value(); });
  EXPECT_TRUE(one.result->has_value());
  EXPECT_TRUE(two.result->has_value());
  EXPECT_TRUE(site.process().nexuses->list().empty());
  site.end();
}

// A URI that asks for a change of a device that somebody else uses: that one keeps it.
TEST(NexusRace, ADeviceOfSomebodyElseStays) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  const std::string uri = "malloc:///m?size_mb=16&uuid=" + NexusSite::child_uuid(7);
  auto device = site.run(site.process().devices.create(uri));
  ASSERT_TRUE(device);
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    ASSERT_TRUE((*device)->claim("a pool"));
  }
  EXPECT_FALSE(site.run(site.nexus().add_child(uri + "&resize", true)));
  EXPECT_FALSE((*device)->removed());
  NexusRequest request = site.request({});
  request.name = "other";
  request.uuid = *Uuid::parse("11111111-2222-4333-8444-666666666666");
  request.children = {uri + "&resize", "malloc:///small?size_mb=1&uuid=" + NexusSite::child_uuid(8)};
  EXPECT_FALSE(site.create(request));
  EXPECT_FALSE((*device)->removed());
  EXPECT_EQ(site.process().devices.find("m"), *device);
  (*device)->release_claim();
  device->reset();
  site.end();
}

// Of a child that was there under another name.
TEST(NexusRace, AnAliasOfAChildIsTakenBack) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  const std::string name = site.child(1).device_name;
  EXPECT_FALSE(site.run(site.nexus().add_child(fmt::format("bdev:///{}?uuid={}", name, site.child_uuid(1)), true)));
  EXPECT_EQ(site.process().devices.find(name)->aliases().size(), 1u);
  EXPECT_TRUE(site.healthy(1));
  site.end();
}

// An old nexus may have nothing to do any more but to take back its intents.
TEST(NexusRace, AConflictThatTheLogMeetsInAFlush) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  site.disk(1).set_faults({.flush_error = -EBADE});
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; }, seconds(30));
  EXPECT_TRUE(site.write(0, 8, 2).is(GenericStatus::kReservationConflict));
  site.end();
}

// Nothing of a host goes to it, so that no port sees it hang.
TEST(NexusRace, ACopyDoesNotWaitForAChildThatHangs) {
  for (const size_t hanging : {0, 2}) {
    NexusSite site({.nexus = slow_rebuild()});
    ASSERT_TRUE(site.create({0, 1}));
    ASSERT_TRUE(site.write(0, 6000, 1).is_success());
    ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
    site.run_until([&] { return transferred(site, 2) >= kSegment; });
    site.disk(hanging).set_faults({.hang = true});
    site.world().run_for(seconds(12));  // child_timeout and what was under way
    EXPECT_EQ(site.child(hanging).state, ChildState::kFaulted) << hanging;
    EXPECT_EQ(site.child(hanging).reason, FaultReason::kTimedOut);
    EXPECT_TRUE(site.healthy(1));
    site.disk(hanging).set_faults({});
    site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
    site.end();
  }
}

// It says nothing about the child when that is there again.
TEST(NexusRace, AFailureThatComesAfterTheChildHasLeft) {
  NexusSite site({.nexus = without_log()});
  ASSERT_TRUE(site.create({0, 1, 2}));
  for (const size_t disk : {1, 2}) site.disk(disk).set_faults({.hang = true});
  Pending write(site, IoType::kWrite, 0, 8, 1);
  Call fault(site, site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline));
  site.world().run_for(milliseconds(100));
  EXPECT_EQ(site.child(1).state, ChildState::kFaulted);
  site.disk(1).set_faults({.write_error = -EIO});
  site.run_until([&] { return fault.result && !site.child(1).faulting; });
  EXPECT_EQ(site.disk(1).counters().failed, 1u);
  site.disk(1).set_faults({});
  Call online(site, site.nexus().online_child(NexusSite::uri(1)));
  site.world().run_for(milliseconds(100));
  EXPECT_TRUE(online.result && *online.result);
  EXPECT_FALSE(write.io.done);
  site.disk(2).set_faults({});
  site.run_until([&] { return write.io.done; });
  site.world().run_for(seconds(1));
  for (const size_t disk : {0, 1, 2}) EXPECT_TRUE(site.healthy(disk)) << disk;
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// Its removal is not heard by anybody: nobody reads from a device that has gone.
TEST(NexusRace, AChildThatIsRemovedWhileItIsAdded) {
  NexusSite site({.nexus = without_log()});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().blocked = true;
  site.disk(1).set_faults({.write_error = -EIO});
  Pending write(site, IoType::kWrite, 0, 8, 1);
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  Call add(site, site.nexus().add_child(NexusSite::uri(2), false));  // waits for that
  site.run_until([&] { return site.process().devices.find(NexusSite::disk_path(2)) != nullptr; });
  site.world().run_for(milliseconds(100));
  Call remove(site, site.process().devices.remove(NexusSite::disk_path(2)));
  site.world().run_for(milliseconds(100));
  site.store().open();
  site.run_until([&] { return add.result && remove.result; });
  EXPECT_TRUE(*add.result);
  EXPECT_TRUE(*remove.result) << remove.result->error().to_string();
  EXPECT_EQ(site.child(2).state, ChildState::kClosed);
  site.end();
}

// Nobody knows what it has where nothing was written before.
TEST(NexusRace, ANexusThatGrowsWhileAChildIsNotHealthy) {
  for (const bool rebuilding : {true, false}) {
    NexusSite site({.nexus = slow_rebuild()});
    ASSERT_TRUE(site.create({2}));
    ASSERT_TRUE(site.write(0, 6000, 9).is_success());  // what is left of another volume
    site.close_channels();
    site.process().nexus.reset();
    site.run_plain(site.process().nexuses->destroy_all());
    std::vector<size_t> disks = {0, 1};
    if (!rebuilding) disks.push_back(2);
    NexusRequest small = site.request({});
    // The disks end where a nexus of 6 MiB would.
    small.size_bytes = 1 << 20;
    for (const size_t disk : disks) small.children.push_back(NexusSite::uri(disk));
    ASSERT_TRUE(site.create(small));
    ASSERT_TRUE(site.write(0, 2000, 1).is_success());
    if (rebuilding) {
      ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
      site.run_until([&] { return transferred(site, 2) >= kSegment; });
    } else {
      ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(2), FaultReason::kOffline)));
    }
    ASSERT_TRUE(site.write(128, 8, 2).is_success());
    ASSERT_TRUE(site.run(site.nexus().resize(6 << 20)));
    ASSERT_TRUE(site.write(1920, 8, 3).is_success());
    if (!rebuilding) {
      ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(2))));
    }
    site.wait_healthy(2);
    EXPECT_EQ(site.nexus().num_blocks(), NexusSite::kNumBlocks);
    EXPECT_TRUE(site.identical(0, 2)) << rebuilding;
    // What is not flushed is known by segments, as before.
    site.nexus().set_rebuild_limits({});
    ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
    ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(2), FaultReason::kOffline)));
    ASSERT_TRUE(site.write(6000, 8, 4).is_success());
    ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(2))));
    site.wait_healthy(2);
    EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, kSegment);
    EXPECT_TRUE(site.identical(0, 2)) << rebuilding;
    site.end();
  }
}

TEST(NexusRace, ARebuildThatWasPausedStaysSoWhenTheNexusGrows) {
  NexusSite site({.nexus = slow_rebuild()});
  NexusRequest small = site.request({0, 1});
  small.size_bytes = 1 << 20;
  ASSERT_TRUE(site.create(small));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= kSegment; });
  ASSERT_TRUE(site.nexus().pause_rebuild(NexusSite::uri(2)));
  ASSERT_TRUE(site.run(site.nexus().resize(6 << 20)));
  EXPECT_EQ(*site.nexus().rebuild_state(NexusSite::uri(2)), RebuildState::kPaused);
  site.world().run_for(seconds(10));
  EXPECT_FALSE(site.healthy(2));
  site.nexus().set_rebuild_limits({});
  ASSERT_TRUE(site.nexus().resume_rebuild(NexusSite::uri(2)));
  site.wait_healthy(2);
  EXPECT_TRUE(site.identical(0, 2));
  site.end();
}

// A child that does not answer, or fails, leaves even then: the last writes come to their end, and the record tells.
TEST(NexusRace, ChildrenThatFailWhileTheNexusEnds) {
  NexusOptions options = without_log();
  options.child_timeout = seconds(5);
  for (const bool hang : {true, false}) {
    for (const size_t num_bad : {0, 1, 2}) {
      SCOPED_TRACE(fmt::format("{} {}", num_bad, hang ? "hang" : "fail"));
      NexusSite site({.nexus = options});
      ASSERT_TRUE(site.create({0, 1}));
      for (size_t i = 0; i < num_bad; ++i) {
        site.disk(1 - i).set_faults({.write_error = hang ? 0 : -EIO, .slow_factor = 1000, .hang = hang});
      }
      Pending write(site, IoType::kWrite, 0, 8, 2, 1);
      Call close(site, [](Nexus& nexus) -> Task<Result<>> {
        co_await nexus.close();
        co_return Result<>{};
      }(site.nexus()));
      site.world().run_for(seconds(20));
      if (!hang) EXPECT_TRUE(close.result.has_value());
      for (size_t i = 0; i < 2; ++i) site.disk(i).set_faults({});
      site.run_until([&] { return close.result.has_value() && write.io.done; });
      // What hangs in a local disk is cut: its memory comes back when the disk lets it.
      EXPECT_EQ(write.io.status.is_success(), num_bad < (hang ? 1u : 2u));
      EXPECT_TRUE(site.record()->clean_shutdown);
      EXPECT_EQ(std::ranges::count(site.record()->children, true, &HealthRecord::Child::healthy), num_bad == 0 ? 2 : 1);
      site.end();
    }
  }
}

// A rebuild that is done, and cannot be ended while a write hangs: it does not spin when the nexus is being ended.
TEST(NexusRace, ARebuildThatIsDoneWhileTheNexusEnds) {
  NexusSite site({.nexus = slow_rebuild()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] { return transferred(site, 2) >= kSegment; });
  site.disk(1).set_faults({.hang = true});
  Pending write(site, IoType::kWrite, 0, 8, 2, 1);
  site.nexus().set_rebuild_limits({});
  site.run_until([&] { return site.nexus().rebuild_statistics(NexusSite::uri(2))->blocks_remaining == 0; });
  const uint64_t flushes = site.disk(2).counters().flushes;
  Call close(site, [](Nexus& nexus) -> Task<Result<>> {
    co_await nexus.close();
    co_return Result<>{};
  }(site.nexus()));
  site.world().run_for(seconds(3));
  EXPECT_LT(site.disk(2).counters().flushes, flushes + 10);
  site.disk(1).set_faults({});
  site.run_until([&] { return close.result.has_value() && write.io.done; });
  site.end();
}

// A child fails and then the other one hangs: without a store, only the log of the second knows that the first has
// missed a write.
TEST(NexusRace, NothingIsAcknowledgedThatNoLogTells) {
  SiteOptions options;
  options.with_store = false;
  options.nexus.child_timeout = seconds(2);
  NexusSite site(options);
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());  // what follows is an intent already
  site.disk(0).set_faults({.hang = true});
  Pending write(site, IoType::kWrite, 0, 8, 2);
  site.world().run_for(milliseconds(100));
  site.disk(1).set_faults({.hang = true});
  site.disk(0).set_faults({.write_error = -EIO});
  site.world().run_for(seconds(30));
  EXPECT_FALSE(write.io.done);
  site.disk(1).set_faults({});
  site.run_until([&] { return write.io.done; });
  EXPECT_TRUE(write.io.status.is_success()) << write.io.status.to_string();
  EXPECT_EQ(site.child(0).state, ChildState::kFaulted);
  site.disk(0).set_faults({});
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
