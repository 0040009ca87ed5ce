// What a nexus does when its store is away for longer.
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

// A write of 8 blocks that nobody waits for.
struct Write {
  Write(NexusSite& site, uint8_t value) : data(4096, std::byte{value}), piece{data.data(), data.size()} {
    io.type = block::IoType::kWrite;
    io.num_blocks = 8;
    io.data = {&piece, 1};
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.channel(0).submit(io);
  }
  std::vector<std::byte> data;
  iovec piece;
  block::TestIo io;
};

NexusOptions waiting() {
  NexusOptions options;
  options.save_attempts = 0;
  return options;
}

HealthRecord one_of_two(bool clean) {
  return {.clean_shutdown = clean, .children = {{NexusSite::child_uuid(0), true}, {NexusSite::child_uuid(1), false}}};
}

TEST(NexusStore, WaitsForAStoreThatIsAwayForAnHour) {
  NexusSite site({.nexus = waiting()});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  site.disk(1).set_faults({.write_error = -EIO});
  Write write(site, 2);
  site.world().run_for(std::chrono::hours(1));
  EXPECT_FALSE(write.io.done);
  EXPECT_EQ(site.nexus().state(), NexusState::kOpen);
  EXPECT_TRUE(site.read(100, 8).has_value());
  site.store().broken = false;
  site.run_until([&] { return write.io.done; });
  EXPECT_TRUE(write.io.status.is_success());
  EXPECT_EQ(site.record(), one_of_two(false));
  site.end();
}

TEST(NexusStore, ANexusThatWaitsCanBeDestroyed) {
  NexusSite site({.nexus = waiting()});
  ASSERT_TRUE(site.create({0, 1}));
  const auto before = site.record();
  site.store().broken = true;
  site.disk(1).set_faults({.write_error = -EIO});
  Write write(site, 2);
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  EXPECT_FALSE(write.io.done);
  const TimePoint begin = site.world().now();
  site.run_plain(site.nexus().close());
  EXPECT_LT(site.world().now() - begin, std::chrono::seconds(30));
  site.run_until([&] { return write.io.done; });
  EXPECT_FALSE(write.io.status.is_success());
  EXPECT_EQ(site.record(), before);  // true, as the write was not acknowledged
  site.end();
}

TEST(NexusStore, ANexusThatWaitsCanBeShutDownAndSavesWhenItCan) {
  NexusSite site({.nexus = waiting()});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  site.disk(1).set_faults({.write_error = -EIO});
  Write write(site, 2);
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  std::optional<Result<>> shut_down;
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.node().reactor(0).spawn("shut down", [](Nexus& nexus, std::optional<Result<>>& result) -> runtime::Task<> {
      result.emplace(co_await nexus.shutdown());
    }(site.nexus(), shut_down));
  }
  site.run_until([&] { return site.nexus().state() == NexusState::kShuttingDown; });
  site.world().run_for(std::chrono::seconds(3));  // the save of before has been given up
  site.store().broken = false;
  site.run_until([&] { return shut_down.has_value(); });
  EXPECT_TRUE(shut_down->has_value());
  EXPECT_FALSE(write.io.done);  // it waits for the next nexus
  EXPECT_EQ(site.record(), one_of_two(true));
  site.run_plain(site.nexus().close());
  site.run_until([&] { return write.io.done; });
  EXPECT_FALSE(write.io.status.is_success());
  site.end();
}

TEST(NexusStore, EveryStepIsInTheRecord) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  const auto record = [&](bool clean, std::vector<std::pair<size_t, bool>> children) {
    HealthRecord expected{.clean_shutdown = clean, .children = {}};
    for (const auto& [disk, healthy] : children) expected.children.push_back({NexusSite::child_uuid(disk), healthy});
    return expected;
  };
  EXPECT_EQ(site.record(), record(false, {{0, true}, {1, true}}));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  EXPECT_EQ(site.record(), record(false, {{0, true}, {1, true}, {2, false}}));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(2))));
  site.wait_healthy(2);
  EXPECT_EQ(site.record(), record(false, {{0, true}, {1, true}, {2, true}}));
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  EXPECT_EQ(site.record(), record(false, {{0, true}, {1, false}, {2, true}}));
  ASSERT_TRUE(site.run(site.nexus().remove_child(NexusSite::uri(1))));
  EXPECT_EQ(site.record(), record(false, {{0, true}, {2, true}}));
  ASSERT_TRUE(site.run(site.nexus().shutdown()));
  EXPECT_EQ(site.record(), record(true, {{0, true}, {2, true}}));
  site.end();
}

TEST(NexusStore, DestroyedMeansClean) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  EXPECT_FALSE(site.record()->clean_shutdown);
  site.close_channels();
  site.process().nexus.reset();
  ASSERT_TRUE(site.run(site.process().nexuses->destroy(NexusSite::uuid())));
  EXPECT_TRUE(site.record()->clean_shutdown);
  site.end();
}

TEST(NexusStore, AnEndThatCouldNotBeSavedIsSavedByTheDestruction) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  ASSERT_TRUE(site.run(site.nexus().shutdown()));
  EXPECT_FALSE(site.record()->clean_shutdown);
  site.store().broken = false;
  site.close_channels();
  site.process().nexus.reset();
  ASSERT_TRUE(site.run(site.process().nexuses->destroy(NexusSite::uuid())));
  EXPECT_TRUE(site.record()->clean_shutdown);
  EXPECT_TRUE(site.record()->children[0].healthy && site.record()->children[1].healthy);
  site.end();
}

TEST(NexusStore, KeysOfTheControlPlane) {
  NexusSite site({});
  NexusRequest request = site.request({0, 1});
  request.health_key = "/openebs.io/mayastor/apis/v0/volume/v%/nexus/.n/info";
  ASSERT_TRUE(site.create(request));
  EXPECT_TRUE(site.run(site.store().files.load(request.health_key)).has_value());
  EXPECT_TRUE(
      site.node().files().content("/var/nexus/%2Fopenebs.io%2Fmayastor%2Fapis%2Fv0%2Fvolume%2Fv%25%2Fnexus%2F.n%2Finfo"
                                  ".json"));
  site.end();
}

// Its write-intent log takes back old intents meanwhile, and the child does not let it.
TEST(NexusStore, ALogThatFailsWhileTheNexusIsMade) {
  NexusOptions options = waiting();
  options.intent_log.idle_after = std::chrono::milliseconds(200);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({1}));
  EXPECT_TRUE(site.write(0, 8, 1).is_success());
  site.crash(runtime::sim::CrashKind::kKill);
  site.start();
  site.store().blocked = true;
  site.world().after(std::chrono::milliseconds(100), [&] { site.disk(1).set_faults({.write_error = -EIO}); });
  site.world().after(std::chrono::seconds(5), [&] {
    site.disk(1).set_faults({});
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.store().open();
  });
  ASSERT_TRUE(site.create({1}));
  Write write(site, 2);
  site.run_until([&] { return write.io.done; });
  EXPECT_TRUE(write.io.status.is_success()) << write.io.status.to_string();
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
