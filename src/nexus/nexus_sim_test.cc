// A nexus over simulated disks: operations, faults, rebuilds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "block/model_runner.h"
#include "block/test_world.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using nvme::GenericStatus;
using nvme::MediaStatus;
using runtime::Task;
namespace sim = runtime::sim;

const runtime::sim::DiskFaults kBroken{.read_error = -EIO, .write_error = -EIO};

TEST(NexusSimTest, GeometryAndIdentity) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  EXPECT_EQ(site.nexus().num_blocks(), NexusSite::kNumBlocks);
  EXPECT_EQ(site.nexus().block_size(), 512u);
  EXPECT_EQ(site.nexus().name(), "nexus-1");
  EXPECT_EQ(site.nexus().uuid(), NexusSite::uuid());
  EXPECT_EQ(site.nexus().nqn(), "nqn.2019-05.io.openebs:nexus-1");
  EXPECT_EQ(site.nexus().product_name(), "Nexus CAS Driver v0.0.1");
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  EXPECT_EQ(site.process().devices.find("nexus-1").get(), &site.nexus());
  // Nothing outside of the data area and that of the log is written.
  ASSERT_TRUE(site.write(0, 1, 7).is_success());
  ASSERT_TRUE(site.write(NexusSite::kNumBlocks - 1, 1, 8).is_success());
  EXPECT_TRUE(site.write(NexusSite::kNumBlocks, 1, 9).is(GenericStatus::kLbaOutOfRange));
  for (size_t disk = 0; disk < 3; ++disk) {
    const auto content = site.content(disk);
    EXPECT_EQ(content[NexusSite::kDataStart * 512], std::byte{7});
    EXPECT_EQ(content[(NexusSite::kDataStart + NexusSite::kNumBlocks) * 512 - 1], std::byte{8});
    auto is_zero = [](std::byte byte) { return byte == std::byte{0}; };
    EXPECT_TRUE(std::all_of(content.begin(), content.begin() + kLogOffset, is_zero));
    EXPECT_TRUE(
        std::all_of(content.begin() + kLogOffset + kLogBytes, content.begin() + NexusSite::kDataStart * 512, is_zero));
    EXPECT_TRUE(std::all_of(content.begin() + (NexusSite::kDataStart + NexusSite::kNumBlocks) * 512, content.end(),
                            [](std::byte byte) { return byte == std::byte{0}; }));
  }
  const HealthRecord expected{
      .clean_shutdown = false,
      .children = {
          {NexusSite::child_uuid(0), true}, {NexusSite::child_uuid(1), true}, {NexusSite::child_uuid(2), true}}};
  EXPECT_EQ(site.record(), expected);
  site.end();
}

TEST(NexusSimTest, CreateRefuses) {
  NexusSite site({});
  auto expect = [&](NexusRequest request, Code code, std::string_view text) {
    const auto created = site.create(std::move(request));
    ASSERT_FALSE(created) << text;
    EXPECT_EQ(created.error().code(), code) << created.error().to_string();
    EXPECT_THAT(created.error().to_string(), testing::HasSubstr(text));
    // Whatever was made for it is gone again.
    EXPECT_TRUE(site.process().devices.empty());
  };
  NexusRequest request = site.request({0, 1});
  request.children.clear();
  expect(request, Code::kInternal, "Failed to create nexus nexus-1 because");
  request = site.request({0, 1});
  request.children.push_back("aio:///dev/missing?uuid=x");
  expect(request, Code::kInvalidArgument, "Failed to create child of nexus nexus-1");
  request = site.request({0, 0});
  expect(request, Code::kInvalidArgument, "Failed to create child of nexus nexus-1");
  request = site.request({0, 1}, (NexusSite::kDiskBytes) + 512);
  expect(request, Code::kInternal, "is too small: size = 16384 x 512, required = 16385 x 512");
  request = site.request({0});
  request.children.push_back("malloc:///m?size_mb=8&blk_size=4096&uuid=" + NexusSite::child_uuid(5));
  expect(request, Code::kInvalidArgument, "mixed block sizes");
  request = site.request({0});
  request.children.push_back("malloc:///m?size_mb=4&uuid=" + NexusSite::child_uuid(5));
  expect(request, Code::kInvalidArgument, "Child malloc:///m");
  request = site.request({0});
  request.children.push_back("aio:///dev/sdb");
  expect(request, Code::kInvalidArgument, "no \"uuid=\"");
  for (const uint64_t bytes : {UINT64_MAX, UINT64_MAX - 510}) {
    expect(site.request({0, 1}, bytes), Code::kInternal, "required = 36028797018963968 x 512");
  }
  request = site.request({0});
  request.nvme.min_cntlid = 0;
  expect(request, Code::kInvalidArgument, "invalid NVMe controller ID range [0h, ffefh]");
  request.nvme = {.preempt_key = 1};
  expect(request, Code::kInvalidArgument, "invalid NVMe reservation parameters");
  site.store().broken = true;
  expect(site.request({0, 1}), Code::kInternal, "Failed to save the state");
  site.store().broken = false;

  ASSERT_TRUE(site.create({0, 1}));
  auto again = site.create({0, 1});
  EXPECT_EQ(again.error().code(), Code::kAlreadyExists);
  request = site.request({2});
  request.name = "other";
  again = site.create(request);
  EXPECT_EQ(again.error().code(), Code::kInternal);
  EXPECT_THAT(again.error().message(), testing::HasSubstr("already exists for nexus \"nexus-1\""));
  EXPECT_EQ(site.run(site.process().nexuses->destroy(Uuid())).error().code(), Code::kNotFound);
  site.end();
}

TEST(NexusSimTest, Model) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    NexusSite site({.seed = seed});
    ASSERT_TRUE(site.create({0, 1, 2}));
    const unsigned reactor = seed % 2;
    {
      const runtime::Reactor::Scope scope(site.node().reactor(reactor));
      block::ModelRunner(site.channel(reactor), [&](const auto& done) { site.run_until(done); },
                         {.seed = seed, .num_operations = 600})
          .run();
    }
    EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
    EXPECT_TRUE(site.identical(0, 1));
    EXPECT_TRUE(site.identical(0, 2));
    site.end();
  }
}

TEST(NexusSimTest, ReadsAreSpreadOverHealthyChildren) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  std::array<uint64_t, 3> before{};
  for (size_t i = 0; i < 3; ++i) before[i] = site.disk(i).counters().reads;
  for (int i = 0; i < 9; ++i) EXPECT_EQ(site.read(0, 8), 0);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(site.disk(i).counters().reads - before[i], 3u);
  site.end();
}

// A child that fails a write is retired, and that is in the store before the write is acknowledged.
TEST(NexusSimTest, FailedWriteRetiresTheChildDurably) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  site.store().blocked = true;
  site.disk(1).set_faults({.write_error = -EIO});
  block::TestIo io;
  std::vector<std::byte> data(4096, std::byte{2});
  iovec piece{data.data(), data.size()};
  io.type = IoType::kWrite;
  io.num_blocks = 8;
  io.data = {&piece, 1};
  {
    const runtime::Reactor::Scope scope(site.node().reactor(1));
    site.channel(1).submit(io);
  }
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  site.world().run_for(std::chrono::seconds(5));
  EXPECT_FALSE(io.done);
  EXPECT_TRUE(site.child(1).reason == FaultReason::kIoError);
  // Reads go on while the store is slow.
  EXPECT_TRUE(site.read(100, 8).has_value());
  site.store().open();
  site.run_until([&] { return io.done; });
  EXPECT_TRUE(io.status.is_success());
  const HealthRecord expected{
      .clean_shutdown = false,
      .children = {
          {NexusSite::child_uuid(0), true}, {NexusSite::child_uuid(1), false}, {NexusSite::child_uuid(2), true}}};
  EXPECT_EQ(site.record(), expected);
  EXPECT_EQ(site.nexus().status(), NexusStatus::kDegraded);
  EXPECT_EQ(site.read(0, 8), 2);
  site.run_until([&] { return !site.child(1).faulting; });
  EXPECT_EQ(site.child(1).device_name, "");
  EXPECT_TRUE(site.child(1).has_log);
  site.end();
}

TEST(NexusSimTest, NothingIsAcknowledgedWithoutTheStore) {
  NexusOptions options;
  options.save_attempts = 3;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  site.store().broken = true;
  const size_t calls = site.store().num_calls;
  site.disk(1).set_faults({.write_error = -EIO});
  EXPECT_FALSE(site.write(0, 8, 2).is_success());
  EXPECT_EQ(site.store().num_calls - calls, 3u);
  site.run_until([&] { return site.nexus().state() == NexusState::kShutdown; });
  EXPECT_EQ(site.nexus().status(), NexusStatus::kShutdown);
  EXPECT_FALSE(site.write(0, 8, 2).is_success());
  EXPECT_EQ(site.run(site.nexus().add_child(NexusSite::uri(2), true)).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(site.child(1).reason, FaultReason::kIoError);
  EXPECT_EQ(site.child(0).state, ChildState::kClosed);
  site.store().broken = false;
  EXPECT_EQ(site.record()->children[1].healthy, true);  // as it was before: the write was not acknowledged
  site.end();
}

TEST(NexusSimTest, MediaErrorsAreReadElsewhereAndRepaired) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(64, 64, 5).is_success());
  site.node().files().fail_reads(NexusSite::disk_path(0), (NexusSite::kDataStart + 70) * 512, 512);
  site.node().files().fail_reads(NexusSite::disk_path(1), (NexusSite::kDataStart + 90) * 512, 512);
  for (const uint64_t lba : {64, 64, 80, 80}) EXPECT_EQ(site.read(lba, 16), 5);  // one of each child
  EXPECT_EQ(site.disk(0).counters().failed, 1u);
  EXPECT_EQ(site.disk(1).counters().failed, 1u);
  site.world().run_for(std::chrono::seconds(1));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  const uint64_t failed = site.disk(0).counters().failed + site.disk(1).counters().failed;
  for (int i = 0; i < 4; ++i) EXPECT_EQ(site.read(64, 64), 5);
  EXPECT_EQ(site.disk(0).counters().failed + site.disk(1).counters().failed, failed);
  site.end();
}

TEST(NexusSimTest, TheLastChildStays) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  site.disk(0).set_faults({.write_error = -ENOSPC});
  ASSERT_TRUE(site.write(0, 8, 2).is_success());
  EXPECT_EQ(site.child(0).reason, FaultReason::kNoSpace);
  // Of the last one the host gets the status.
  site.disk(1).set_faults({.write_error = -ENOSPC});
  EXPECT_TRUE(site.write(0, 8, 3).is(GenericStatus::kCapacityExceeded));
  EXPECT_TRUE(site.healthy(1));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kDegraded);
  EXPECT_TRUE(site.read(8, 8).has_value());
  site.disk(1).set_faults({.read_error = -EIO});
  std::vector<std::byte> data(512);
  EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is(MediaStatus::kUnrecoveredReadError));
  site.disk(1).set_faults({});
  EXPECT_TRUE(site.write(0, 8, 3).is_success());
  EXPECT_EQ(site.run(site.nexus().remove_child(NexusSite::uri(1))).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)).error().message(),
            "Cannot remove or offline the last child " + NexusSite::uri(1) + " of nexus nexus-1");
  site.end();
}

// All children fail one write at once: one of them remains, and the host learns of it.
TEST(NexusSimTest, AllChildrenFailTogether) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  for (size_t i = 0; i < 3; ++i) site.disk(i).set_faults({.write_error = -EIO});
  EXPECT_TRUE(site.write(0, 8, 2).is(MediaStatus::kWriteFault));
  size_t healthy = 0;
  for (size_t i = 0; i < 3; ++i) healthy += site.healthy(i) ? 1 : 0;
  EXPECT_EQ(healthy, 1u);
  EXPECT_EQ(std::ranges::count_if(site.record()->children, &HealthRecord::Child::healthy), 1);
  site.end();
}

// The last child goes away altogether: I/O waits, and fails when the nexus is destroyed.
TEST(NexusSimTest, FreezesWithoutChildren) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(0), FaultReason::kOffline)));
  auto removed = site.run(site.process().devices.destroy(NexusSite::uri(1)));
  EXPECT_TRUE(removed) << removed.error().to_string();
  EXPECT_TRUE(site.nexus().frozen());
  EXPECT_EQ(site.child(1).state, ChildState::kClosed);
  EXPECT_EQ(site.nexus().status(), NexusStatus::kFaulted);
  EXPECT_TRUE(site.record()->children[1].healthy);
  block::TestIo io;
  io.type = IoType::kFlush;
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.channel().submit(io);
  }
  site.world().run_for(std::chrono::seconds(60));
  EXPECT_FALSE(io.done);
  const auto refused = site.run(site.nexus().online_child(NexusSite::uri(0)));
  EXPECT_EQ(refused.error().message(), "Nexus io subsystem is frozen");
  site.run_plain(site.nexus().close());
  EXPECT_TRUE(io.done);
  EXPECT_FALSE(io.status.is_success());
  site.end();
}

TEST(NexusSimTest, PartialRebuildCopiesWhatChanged) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 1024, 1).is_success());
  ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  EXPECT_TRUE(site.child(1).has_log);
  // Three segments: one in the middle of the first, and one over a border.
  ASSERT_TRUE(site.write(10, 2, 2).is_success());
  ASSERT_TRUE(site.write(255, 2, 3).is_success());
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  ASSERT_EQ(site.nexus().rebuild_history().size(), 1u);
  const RebuildRecord& partial = site.nexus().rebuild_history().front();
  EXPECT_EQ(partial.state, RebuildState::kCompleted);
  EXPECT_TRUE(partial.statistics.is_partial);
  EXPECT_EQ(partial.statistics.blocks_transferred, 3u * 128);
  EXPECT_EQ(partial.statistics.blocks_remaining, 0u);
  EXPECT_EQ(partial.source_uri, NexusSite::uri(0));
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.record()->children[1].healthy);
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  site.end();
}

// What a child had in its cache may be gone when it comes back: a partial rebuild copies it, too.
TEST(NexusSimTest, PartialRebuildCopiesWhatWasNotFlushed) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 128, 1).is_success());
  ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
  ASSERT_TRUE(site.write(1024, 128, 2, 1).is_success());
  std::vector<std::byte> stable(512, std::byte{3});
  ASSERT_TRUE(site.io({.type = IoType::kWrite, .lba = 2048, .fua = true}, &stable).is_success());
  // This one does not settle anything.
  site.disk(1).set_faults({.flush_error = -EIO});
  ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
  EXPECT_EQ(site.child(1).state, ChildState::kFaulted);
  site.disk(1).set_faults({});
  ASSERT_TRUE(site.write(5000, 8, 4).is_success());
  ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());  // not of the child that is away
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, 2u * 128);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

TEST(NexusSimTest, AddRemoveAndFullRebuild) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(100, 500, 4).is_success());
  EXPECT_EQ(site.run(site.nexus().remove_child(NexusSite::uri(0))).error().message(),
            "Cannot delete the last child " + NexusSite::uri(0) + " of nexus nexus-1");
  // Stale content of the new child does not survive.
  std::vector<std::byte> stale(NexusSite::kDiskBytes, std::byte{0xaa});
  const auto small = site.run(site.nexus().add_child("malloc:///small?size_mb=6&uuid=" + site.child_uuid(7), true));
  EXPECT_EQ(small.error().code(), Code::kInvalidArgument);
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), false)));
  EXPECT_FALSE(site.healthy(1));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kDegraded);
  for (const std::string& uri :
       {NexusSite::uri(1), "aio://" + NexusSite::disk_path(1), "bdev:///" + NexusSite::disk_path(1)}) {
    EXPECT_EQ(site.run(site.nexus().add_child(uri, true)).error().code(), Code::kAlreadyExists) << uri;
  }
  EXPECT_EQ(site.run(site.nexus().remove_child(NexusSite::uri(0))).error().code(), Code::kFailedPrecondition);
  EXPECT_FALSE(site.record()->children[1].healthy);
  EXPECT_EQ(site.nexus().pause_rebuild(NexusSite::uri(1)).error().code(), Code::kNotFound);
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(1))));
  EXPECT_EQ(site.run(site.nexus().start_rebuild(NexusSite::uri(1))).error().code(), Code::kInternal);
  ASSERT_TRUE(site.nexus().pause_rebuild(NexusSite::uri(1)));
  EXPECT_EQ(*site.nexus().rebuild_state(NexusSite::uri(1)), RebuildState::kPaused);
  site.world().run_for(std::chrono::seconds(10));
  EXPECT_FALSE(site.healthy(1));
  const auto before = site.nexus().rebuild_statistics(NexusSite::uri(1));
  site.world().run_for(std::chrono::seconds(10));
  EXPECT_EQ(site.nexus().rebuild_statistics(NexusSite::uri(1))->blocks_transferred, before->blocks_transferred);
  ASSERT_TRUE(site.nexus().resume_rebuild(NexusSite::uri(1)));
  site.wait_healthy(1);
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, NexusSite::kNumBlocks);
  EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
  EXPECT_TRUE(site.identical(0, 1));

  ASSERT_TRUE(site.run(site.nexus().remove_child(NexusSite::uri(0))));
  ASSERT_TRUE(site.run(site.nexus().remove_child(NexusSite::uri(0))));  // not a child: nothing to do
  EXPECT_EQ(site.nexus().children().size(), 1u);
  const HealthRecord expected{.clean_shutdown = false, .children = {{NexusSite::child_uuid(1), true}}};
  EXPECT_EQ(site.record(), expected);
  EXPECT_EQ(site.read(100, 500), 4);
  site.end();
}

TEST(NexusSimTest, StoppedRebuildGoesOnWhereItWas) {
  NexusOptions options;
  options.rebuild.limits.max_bytes_per_second = 1 << 20;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 6000, 4).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.run_until([&] {
    return site.nexus().rebuild_statistics(NexusSite::uri(1)).value_or(RebuildStatistics{}).blocks_transferred > 1000;
  });
  ASSERT_TRUE(site.nexus().stop_rebuild(NexusSite::uri(1)));
  site.run_until([&] { return site.nexus().num_rebuilds() == 0; });
  site.world().run_for(std::chrono::seconds(1));
  EXPECT_EQ(site.nexus().rebuild_history().back().state, RebuildState::kStopped);
  EXPECT_TRUE(site.nexus().stop_rebuild(NexusSite::uri(1)));
  EXPECT_TRUE(site.nexus().stop_rebuild(NexusSite::uri(2)));  // no child
  ASSERT_TRUE(site.write(0, 8, 9).is_success());              // in what was copied already
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(1))));
  site.wait_healthy(1);
  EXPECT_LT(site.nexus().rebuild_history().back().statistics.blocks_transferred, NexusSite::kNumBlocks - 500);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

TEST(NexusSimTest, RebuildChangesItsSourceAndFailsWithoutOne) {
  NexusOptions options;
  options.rebuild.limits.max_bytes_per_second = 4 << 20;
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 4).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.run_until([&] {
    return site.nexus().rebuild_statistics(NexusSite::uri(2)).value_or(RebuildStatistics{}).blocks_transferred > 500;
  });
  site.disk(0).set_faults(kBroken);
  site.wait_healthy(2);
  EXPECT_EQ(site.nexus().rebuild_history().back().source_uri, NexusSite::uri(1));
  EXPECT_TRUE(site.identical(1, 2));

  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(2), FaultReason::kOffline)));
  ASSERT_TRUE(site.write(0, 6000, 5).is_success());
  EXPECT_EQ(site.child(0).state, ChildState::kFaulted);
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(2))));
  site.disk(1).set_faults({.read_error = -EIO});
  site.run_until([&] { return site.child(2).state == ChildState::kFaulted; });
  EXPECT_EQ(site.child(2).reason, FaultReason::kRebuildFailed);
  EXPECT_EQ(site.nexus().rebuild_history().back().state, RebuildState::kFailed);
  EXPECT_FALSE(site.record()->children[2].healthy);
  // The next one is a full one.
  site.disk(1).set_faults({});
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(2))));
  site.wait_healthy(2);
  EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
  EXPECT_TRUE(site.identical(1, 2));
  site.end();
}

TEST(NexusSimTest, ChildrenThatMayNotComeBack) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  EXPECT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));  // is open: nothing to do
  EXPECT_EQ(site.run(site.nexus().online_child("aio:///x")).error().code(), Code::kNotFound);
  EXPECT_EQ(site.run(site.nexus().fault_child("aio:///x", FaultReason::kOffline)).error().code(), Code::kNotFound);
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOfflinePermanent)));
  EXPECT_EQ(site.run(site.nexus().online_child(NexusSite::uri(1))).error().message(), "Child is permanently faulted");
  EXPECT_TRUE(site.child(1).fault_time.has_value());
  site.end();
}

TEST(NexusSimTest, Resize) {
  NexusSite site({});
  NexusRequest request = site.request({0, 1}, 6 << 20);
  ASSERT_TRUE(site.create(request));
  EXPECT_EQ(site.nexus().num_blocks(), NexusSite::kNumBlocks);  // the children end first
  EXPECT_EQ(site.run(site.nexus().resize(1 << 20)).error().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(site.run(site.nexus().resize(6 << 20)));
  EXPECT_EQ(site.run(site.nexus().resize(16 << 20)).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(site.nexus().requested_bytes(), 6u << 20);
  site.end();

  site.start();
  request = site.request({});
  request.size_bytes = 1 << 20;
  request.children = {"malloc:///a?size_mb=16&uuid=" + site.child_uuid(7),
                      "malloc:///b?size_mb=16&uuid=" + site.child_uuid(8)};
  ASSERT_TRUE(site.create(request));
  EXPECT_EQ(site.nexus().num_blocks(), 2047u);
  ASSERT_TRUE(site.run(site.nexus().resize(4 << 20)));
  EXPECT_EQ(site.nexus().num_blocks(), 8191u);
  EXPECT_TRUE(site.write(8190, 1, 1).is_success());
  site.end();
}

TEST(NexusSimTest, ShutdownHoldsIo) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().shutdown()));
  EXPECT_TRUE(site.run(site.nexus().shutdown()));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kShutdown);
  EXPECT_TRUE(site.record()->clean_shutdown);
  for (const ChildInfo& child : site.nexus().children()) EXPECT_EQ(child.state, ChildState::kClosed);
  block::TestIo io;
  io.type = IoType::kFlush;
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.channel().submit(io);
  }
  site.world().run_for(std::chrono::seconds(60));
  EXPECT_FALSE(io.done);
  EXPECT_EQ(site.run(site.nexus().add_child(NexusSite::uri(2), true)).error().message(), "Nexus is shutdown");
  site.run_plain(site.nexus().close());
  EXPECT_TRUE(io.done);
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
