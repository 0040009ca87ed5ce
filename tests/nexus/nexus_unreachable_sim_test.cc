// A storage node whose engine has died refuses connections at once: hosts wait for it no longer than an engine takes to
// start anew, and a child that comes back within that time stays.
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "fault_site.h"

namespace cairn::nexus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Duration kRefusalWindow = nvmf::host::ConnectionOptions{}.refusal_window;
constexpr Duration kPatience = milliseconds(200);  // to decide, with the store and the log written
constexpr uint64_t kSegment = 128;                 // blocks; as large as a region of the log here

// An I/O that nobody waits for.
struct Pending {
  Pending(FaultSite& its_site, uint64_t lba, unsigned reactor, block::IoType type = block::IoType::kWrite)
      : site(its_site), data(512, std::byte{7}), piece{data.data(), data.size()} {
    io.type = type;
    io.lba = lba;
    io.num_blocks = 1;
    io.data = {&piece, 1};
    const runtime::Reactor::Scope scope(site.engine().reactor(reactor));
    site.process().channels[reactor]->submit(io);
  }
  void expect_success() {
    site.run_until([&] { return io.done; });
    EXPECT_TRUE(io.status.is_success()) << io.status.to_string();
  }
  FaultSite& site;
  std::vector<std::byte> data;
  iovec piece;
  block::TestIo io;
};

ChildInfo child(FaultSite& site, size_t index) {
  return site.nexus().children().at(index);
}

void expect_retired(FaultSite& site, size_t index) {
  EXPECT_EQ(child(site, index).state, ChildState::kFaulted);
  EXPECT_EQ(child(site, index).reason, FaultReason::kIoError);
}

void start_again(FaultSite& site, size_t index) {
  site.start_storage(site.storage(index));
  site.run_until([&] { return site.storage_ready(); });
}

TEST(NexusUnreachable, WritesWaitForAChildThatRefusesNoLongerThanTheWindow) {
  FaultSite site(1);
  Pending(site, 0, 0).expect_success();
  Pending(site, 0, 1).expect_success();
  site.storage(1).crash(sim::CrashKind::kKill);
  Pending first(site, 0, 0), second(site, 8, 1);
  site.world().run_for(kRefusalWindow - kPatience);
  EXPECT_FALSE(first.io.done || second.io.done);
  EXPECT_EQ(child(site, 1).state, ChildState::kOpen);
  site.world().run_for(2 * kPatience);
  EXPECT_TRUE(first.io.done && second.io.done);
  expect_retired(site, 1);
  first.expect_success();
  second.expect_success();
  start_again(site, 1);
  EXPECT_TRUE(site.run(site.nexus().online_child(site.uri(1))));
  site.wait_whole();
  EXPECT_TRUE(site.nexus().rebuild_history().back().statistics.is_partial);
  site.end();
}

TEST(NexusUnreachable, AChildThatIsBackInTimeStays) {
  FaultSite site(2);
  site.storage(1).crash(sim::CrashKind::kKill);
  Pending write(site, 0, 0);
  site.world().run_for(kRefusalWindow - milliseconds(700));
  EXPECT_FALSE(write.io.done);
  start_again(site, 1);
  write.expect_success();
  EXPECT_EQ(child(site, 1).state, ChildState::kOpen);
  site.wait_whole();  // nobody has brought it back
  site.end();
}

TEST(NexusUnreachable, WithoutIoAChildMayBeAwayForLonger) {
  FaultSite site(3);
  Pending(site, 0, 0).expect_success();
  site.storage(2).crash(sim::CrashKind::kKill);
  site.world().run_for(seconds(10));
  EXPECT_EQ(child(site, 2).state, ChildState::kOpen);
  start_again(site, 2);
  site.world().run_for(seconds(10));
  site.wait_whole();
  // The next write begins in the write-intent log.
  site.storage(2).crash(sim::CrashKind::kKill);
  site.world().run_for(seconds(10));
  Pending late(site, 2 * kSegment, 1);
  site.world().run_for(kPatience);
  EXPECT_TRUE(late.io.done);
  expect_retired(site, 2);
  late.expect_success();
  site.end();
}

TEST(NexusUnreachable, ReadsGoToWhoCanBeReached) {
  FaultSite site(8);
  Pending(site, 0, 0).expect_success();
  EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(0), FaultReason::kOffline)));  // it would be read
  site.storage(1).crash(sim::CrashKind::kKill);
  site.world().run_for(seconds(10));
  for (unsigned i = 0; i < 8; ++i) Pending(site, 0, i % 2, block::IoType::kRead).expect_success();
  EXPECT_EQ(child(site, 1).state, ChildState::kOpen);
  start_again(site, 1);
  EXPECT_TRUE(site.run(site.nexus().online_child(site.uri(0))));
  site.wait_whole();
  site.end();
}

TEST(NexusUnreachable, TheLastHealthyChildIsWaitedFor) {
  FaultSite site(4);
  Pending(site, 0, 0).expect_success();
  for (const size_t other : {0, 1}) {
    EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(other), FaultReason::kOffline)));
  }
  site.storage(2).crash(sim::CrashKind::kKill);
  Pending write(site, 0, 0), elsewhere(site, 2 * kSegment, 1);
  site.world().run_for(seconds(15));
  EXPECT_FALSE(write.io.done || elsewhere.io.done);
  EXPECT_EQ(child(site, 2).state, ChildState::kOpen);
  start_again(site, 2);
  write.expect_success();
  elsewhere.expect_success();
  EXPECT_FALSE(site.nexus().frozen());
  site.end();
}

TEST(NexusUnreachable, ARebuildDoesNotWaitForItsDestination) {
  FaultSite site(5);
  Pending(site, 0, 0).expect_success();
  EXPECT_TRUE(site.run(site.nexus().remove_child(site.uri(1))));
  site.nexus().set_rebuild_limits({.max_bytes_per_second = 64 << 10});
  EXPECT_TRUE(site.run(site.nexus().add_child(site.uri(1), true)));
  site.world().run_for(seconds(1));
  site.storage(1).crash(sim::CrashKind::kKill);
  site.world().run_for(kRefusalWindow + kPatience);
  EXPECT_EQ(site.nexus().num_rebuilds(), 0u);
  EXPECT_EQ(site.nexus().children().back().state, ChildState::kFaulted);
  site.end();
}

// What a child keeps and does not answer is given back before the record says that it has left.
TEST(NexusUnreachable, ReadsDoNotWaitForTheStoreWithAChildThatLeaves) {
  FaultSite site(6);
  Pending(site, 0, 0).expect_success();
  EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(0), FaultReason::kOffline)));  // it would be read
  site.world().network().cut_both(site.engine(), site.storage(1));
  site.process().store.blocked = true;
  std::vector<std::unique_ptr<Pending>> reads;
  for (unsigned i = 0; i < 8; ++i) {
    reads.push_back(std::make_unique<Pending>(site, 0, i % 2, block::IoType::kRead));
  }
  site.world().run_for(seconds(5));  // longer than child_timeout
  EXPECT_EQ(child(site, 1).reason, FaultReason::kTimedOut);
  for (const auto& read : reads) EXPECT_TRUE(read->io.done);
  site.process().store.open();
  for (const auto& read : reads) read->expect_success();
  site.world().network().heal_all();
  site.end();
}

// What they were sent must not be written under the next nexus: that takes as long for two as for one.
TEST(NexusUnreachable, ANexusWithTwoSilentChildrenEnds) {
  FaultSite site(9);
  Pending(site, 0, 0).expect_success();
  for (const size_t silent : {1, 2}) site.world().network().cut_both(site.engine(), site.storage(silent));
  const TimePoint begin = site.world().now();
  EXPECT_TRUE(site.run(site.nexus().shutdown()));
  EXPECT_LT(site.world().now() - begin, seconds(20));
  site.world().network().heal_all();
  site.end();
}

// By a second way to a child, or a copy of its disk: health and log could not tell them apart.
TEST(NexusUnreachable, AnotherDeviceWithTheUuidOfAChildIsRefused) {
  FaultSite site(10);
  EXPECT_TRUE(site.run(site.nexus().remove_child(site.uri(2))));
  std::string uri = site.uri(2);
  uri.replace(uri.find("uuid="), std::string::npos, "uuid=" + site.uuid(1));
  const auto added = site.run(site.nexus().add_child(uri, true));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(site.nexus().children().size(), 2u);
  EXPECT_TRUE(site.run(site.nexus().add_child(site.uri(2), true)));
  site.wait_whole();
  site.end();
}

// A child that comes back by a way that swallows packets is nobody else's business.
TEST(NexusUnreachable, AChildThatIsConnectedSlowlyHoldsUpNoOther) {
  FaultSite site(7);
  Pending(site, 0, 0).expect_success();
  EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(1), FaultReason::kOffline)));
  site.run_until([&] { return !child(site, 1).faulting; });
  std::optional<Result<>> online;
  {
    const runtime::Reactor::Scope scope(site.engine().reactor(0));
    site.engine().reactor(0).spawn("online", [](FaultSite& its_site, std::optional<Result<>>& out) -> Task<> {
      out.emplace(co_await its_site.nexus().online_child(its_site.uri(1)));
    }(site, online));
  }
  site.run_until([&] { return child(site, 1).state == ChildState::kOpen; });
  site.world().network().cut_both(site.engine(), site.storage(1));
  site.world().run_for(milliseconds(100));
  EXPECT_FALSE(online);
  site.storage(2).files().disk_of(kDisk).set_faults({.write_error = -EIO});
  Pending write(site, 0, 0);
  site.world().run_for(seconds(1));
  EXPECT_TRUE(write.io.done);
  expect_retired(site, 2);
  write.expect_success();
  site.run_until([&] { return online.has_value(); });
  site.world().network().heal_all();
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
