// Scrubs: what differs is found, by whom, and repaired when that was asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "nexus/geometry.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint64_t kSegmentBlocks = kSegmentBytes / 512;

void damage(NexusSite& site, size_t disk, uint64_t lba) {
  site.node().files().flip_bits(NexusSite::disk_path(disk), (NexusSite::kDataStart + lba) * 512 + 17, std::byte{0x10});
}

Result<> start(NexusSite& site, ScrubRequest request) {
  const runtime::Reactor::Scope scope(site.node().reactor(0));
  return site.nexus().start_scrub(std::move(request));
}

ScrubReport scrub(NexusSite& site, const ScrubRequest& request) {
  const auto started = start(site, request);
  EXPECT_TRUE(started) << started.error().to_string();
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
  return *site.nexus().scrub_report();
}

TEST(NexusScrubSimTest, ReportsAndRepairsByMajority) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(site.write(0, 6000, 7).is_success());
  EXPECT_FALSE(site.nexus().scrub_report().has_value());
  ScrubReport report = scrub(site, {});
  EXPECT_EQ(report.state, ScrubState::kCompleted);
  EXPECT_EQ(report.blocks_compared, NexusSite::kNumBlocks);
  EXPECT_EQ(report.blocks_total, NexusSite::kNumBlocks);
  EXPECT_EQ(report.progress, 100u);
  EXPECT_EQ(report.blocks_different, 0u);

  damage(site, 1, 5);
  damage(site, 1, kSegmentBlocks + 5);
  damage(site, 2, NexusSite::kNumBlocks - 1);
  report = scrub(site, {});
  ASSERT_EQ(report.differences.size(), 2u);  // neighbours are one
  EXPECT_EQ(report.differences[0].lba, 0u);
  EXPECT_EQ(report.differences[0].num_blocks, 2 * kSegmentBlocks);
  EXPECT_THAT(report.differences[0].deviating, testing::ElementsAre(NexusSite::uri(1)));
  EXPECT_THAT(report.differences[1].deviating, testing::ElementsAre(NexusSite::uri(2)));
  EXPECT_EQ(report.blocks_repaired, 0u);
  EXPECT_FALSE(site.identical(0, 1));

  report = scrub(site, {.repair = ScrubRepair::kMajority, .source_uri = {}});
  EXPECT_EQ(report.blocks_repaired, report.blocks_different);
  EXPECT_GT(report.blocks_repaired, 0u);
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.identical(0, 2));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  EXPECT_EQ(scrub(site, {}).blocks_different, 0u);
  site.end();
}

TEST(NexusScrubSimTest, OfTwoNobodyIsRightUnlessNamed) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 7).is_success());
  damage(site, 0, 5);
  ScrubReport report = scrub(site, {.repair = ScrubRepair::kMajority, .source_uri = {}});
  ASSERT_EQ(report.differences.size(), 1u);
  EXPECT_EQ(report.differences[0].deviating.size(), 2u);
  EXPECT_FALSE(report.differences[0].repaired);
  EXPECT_EQ(report.blocks_repaired, 0u);
  report = scrub(site, {.repair = ScrubRepair::kSource, .source_uri = NexusSite::uri(1)});
  EXPECT_EQ(report.blocks_repaired, kSegmentBlocks);
  EXPECT_THAT(report.differences[0].deviating, testing::ElementsAre(NexusSite::uri(0)));
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_EQ(site.read(0, 6000), 7);
  site.end();
}

TEST(NexusScrubSimTest, WhatCannotBeReadIsRepairedToo) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 6000, 7).is_success());
  site.node().files().fail_reads(NexusSite::disk_path(1), (NexusSite::kDataStart + 2000) * 512, 512);
  ScrubReport report = scrub(site, {});
  ASSERT_EQ(report.differences.size(), 1u);
  EXPECT_THAT(report.differences[0].unreadable, testing::ElementsAre(NexusSite::uri(1)));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  report = scrub(site, {.repair = ScrubRepair::kSource, .source_uri = NexusSite::uri(0)});
  EXPECT_EQ(report.blocks_repaired, kSegmentBlocks);
  EXPECT_EQ(scrub(site, {}).blocks_different, 0u);
  site.end();
}

TEST(NexusScrubSimTest, Refusals) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0}));
  EXPECT_EQ(start(site, {}).error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(site.nexus().pause_scrub().error().code(), Code::kNotFound);
  EXPECT_EQ(site.nexus().resume_scrub().error().code(), Code::kNotFound);
  EXPECT_TRUE(site.run(site.nexus().stop_scrub()));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.wait_healthy(1);
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  auto from = [](const std::string& uri) { return ScrubRequest{.repair = ScrubRepair::kSource, .source_uri = uri}; };
  EXPECT_EQ(start(site, from("aio:///x")).error().code(), Code::kNotFound);
  EXPECT_EQ(start(site, from(NexusSite::uri(2))).error().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(start(site, {}));
  EXPECT_EQ(start(site, {}).error().code(), Code::kAlreadyExists);
  site.end();
}

TEST(NexusScrubSimTest, PausedStoppedAndWithoutSomebodyToCompare) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(start(site, {.source_uri = {}, .max_bytes_per_second = 1 << 20}));
  site.world().run_for(std::chrono::seconds(1));
  ASSERT_TRUE(site.nexus().pause_scrub());
  site.world().run_for(std::chrono::milliseconds(200));
  const uint64_t compared = site.nexus().scrub_report()->blocks_compared;
  EXPECT_GT(compared, 1000u);
  EXPECT_LT(compared, 3500u);
  site.world().run_for(std::chrono::seconds(5));
  EXPECT_EQ(site.nexus().scrub_report()->blocks_compared, compared);
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kPaused);
  ASSERT_TRUE(site.nexus().resume_scrub());
  // One of three may go; of two, none.
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  site.world().run_for(std::chrono::milliseconds(300));
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kRunning);
  EXPECT_GT(site.nexus().scrub_report()->blocks_compared, compared);
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(2), FaultReason::kOffline)));
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kFailed);
  EXPECT_THAT(site.nexus().scrub_report()->failure, testing::HasSubstr("no two healthy children"));
  for (const auto& refused : {site.nexus().pause_scrub(), site.nexus().resume_scrub()}) {
    EXPECT_EQ(refused.error().code(), Code::kFailedPrecondition);
    EXPECT_EQ(refused.error().to_string(), "the scrub of nexus nexus-1 is failed");
  }

  site.run_until([&] { return !site.child(1).faulting; });
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  ASSERT_TRUE(start(site, {.source_uri = {}, .max_bytes_per_second = 1 << 20}));
  ASSERT_TRUE(site.nexus().pause_scrub());
  ASSERT_TRUE(site.run(site.nexus().stop_scrub()));
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kStopped);
  EXPECT_TRUE(site.nexus().scrub_report()->end_time.has_value());
  // The nexus may go while one is under way.
  ASSERT_TRUE(start(site, {.source_uri = {}, .max_bytes_per_second = 1 << 20}));
  site.end();
}

// A nexus over two devices that stay when it lets go of them, as replicas do; the first two segments differ.
class LocalChildren {
 public:
  LocalChildren() {
    NexusRequest request = site.request({});
    for (size_t i = 0; i < 2; ++i) {
      const std::string name_and_uuid = fmt::format("m{}?uuid={}", i, NexusSite::child_uuid(i));
      EXPECT_TRUE(site.run(site.process().devices.create("malloc:///" + name_and_uuid + "&size_mb=8")));
      request.children.push_back("bdev:///" + name_and_uuid);
    }
    source = request.children[0];
    EXPECT_TRUE(site.create(std::move(request)));
    EXPECT_TRUE(site.write(0, 1000, 7).is_success());
    std::vector<std::byte> other(2 * kSegmentBytes, std::byte{8});
    EXPECT_TRUE(site.run(perform("m1", IoType::kWrite, other)).is_success());
  }
  ~LocalChildren() { site.end(); }
  // Of I/O to these segments of a child.
  std::string inject(size_t child, const std::string& what) {
    const std::string uri =
        fmt::format("inject://m{}?offset={}&num_blk={}&{}", child, NexusSite::kDataStart, 2 * kSegmentBlocks, what);
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    EXPECT_TRUE(site.process().devices.inject_fault(uri));
    return uri;
  }
  void take_back(const std::string& fault) {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    EXPECT_TRUE(site.process().devices.remove_fault(fault));
  }
  // Of the second child.
  uint8_t content(size_t segment) {
    std::vector<std::byte> data(2 * kSegmentBytes);
    EXPECT_TRUE(site.run(perform("m1", IoType::kRead, data)).is_success());
    return static_cast<uint8_t>(data[segment * kSegmentBytes]);
  }
  // Somebody else may have the children when it is over: nothing may be written to them any more.
  uint8_t content_when_shut_down(size_t segment = 0) {
    Call shutdown(site, site.nexus().shutdown());
    site.run_until([&] { return shutdown.result.has_value(); });
    EXPECT_TRUE(*shutdown.result);
    const uint8_t found = content(segment);
    site.world().run_for(std::chrono::minutes(5));
    EXPECT_EQ(content(segment), found);
    return found;
  }
  NexusSite site{{}};
  std::string source;

 private:
  Task<nvme::Status> perform(std::string device, IoType type, std::vector<std::byte>& data) {
    auto channel = co_await site.process().devices.find(device)->open_channel();
    iovec piece{data.data(), data.size()};
    co_return co_await block::perform(
        **channel, {.type = type, .lba = NexusSite::kDataStart, .num_blocks = data.size() / 512, .data = {&piece, 1}});
  }
};

TEST(NexusScrubSimTest, AShutdownWaitsForARepair) {
  LocalChildren children;
  children.inject(1, "op=write&method=delay-60000&retries=1");
  ASSERT_TRUE(start(children.site, {.repair = ScrubRepair::kSource, .source_uri = children.source}));
  children.site.world().run_for(std::chrono::seconds(1));
  EXPECT_EQ(children.content_when_shut_down(), 7);
}

TEST(NexusScrubSimTest, WhenOneIsStoppedAnotherOneMayBegin) {
  LocalChildren children;
  NexusSite& site = children.site;
  children.inject(0, "op=read&method=delay-8000&retries=1");
  ASSERT_TRUE(start(site, {}));
  site.world().run_for(std::chrono::seconds(1));
  ASSERT_TRUE(site.run(site.nexus().stop_scrub()));
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kStopped);
  EXPECT_EQ(scrub(site, {}).state, ScrubState::kCompleted);
  EXPECT_TRUE(site.run(site.nexus().stop_scrub()));  // nothing to stop
  EXPECT_EQ(site.nexus().scrub_report()->state, ScrubState::kCompleted);
  // Of one whose child does not answer it is said that it takes long.
  children.inject(0, "op=read&method=delay-60000&retries=1");
  ASSERT_TRUE(start(site, {}));
  site.world().run_for(std::chrono::seconds(1));
  const auto stopped = site.run(site.nexus().stop_scrub());
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::kDeadlineExceeded);
  EXPECT_THAT(stopped.error().to_string(), testing::StartsWith("the scrub of nexus nexus-1 ends with what it waits for"));
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
}

// It leaves while its channel is opened; its device has other users.
TEST(NexusScrubSimTest, KeepsNothingOfAChildThatHasLeft) {
  NexusSite site({.with_store = false});
  NexusRequest request = site.request({});
  for (size_t i = 0; i < 3; ++i) {
    ASSERT_TRUE(site.run(site.process().devices.create(NexusSite::uri(i))));
    request.children.push_back(fmt::format("bdev:///{}?uuid={}", NexusSite::disk_path(i), NexusSite::child_uuid(i)));
  }
  ASSERT_TRUE(site.create(std::move(request)));
  site.node().files().root_disk().set_faults({.slow_factor = 10000});  // where files are opened
  ASSERT_TRUE(start(site, {.source_uri = {}, .max_bytes_per_second = 1}));
  site.world().run_for(std::chrono::milliseconds(10));
  site.disk(1).set_faults({.write_error = EIO});
  ASSERT_TRUE(site.write(NexusSite::kNumBlocks - 8, 8, 1).is_success());
  site.run_until([&] { return site.nexus().children()[1].state == ChildState::kFaulted; });
  site.run_until([&] { return !site.nexus().children()[1].faulting; });
  site.node().files().root_disk().set_faults({});
  site.world().run_for(std::chrono::minutes(1));
  ASSERT_EQ(site.nexus().scrub_report()->state, ScrubState::kRunning);
  EXPECT_TRUE(site.run(site.process().devices.destroy(NexusSite::uri(1))));
  site.end();
}

TEST(NexusScrubSimTest, GrowsWithTheNexus) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(start(site, {.source_uri = {}, .max_bytes_per_second = 1 << 20}));
  site.world().run_for(std::chrono::seconds(1));
  for (size_t i = 0; i < 2; ++i) {
    site.node().files().resize_device(NexusSite::disk_path(i), 2 * NexusSite::kDiskBytes);
    ASSERT_TRUE(site.run(site.process().devices.find(NexusSite::disk_path(i))->rescan()));
  }
  ASSERT_TRUE(site.run(site.nexus().resize(2 * NexusSite::kDiskBytes)));
  ASSERT_GT(site.nexus().num_blocks(), NexusSite::kNumBlocks);
  const uint64_t last = site.nexus().num_blocks() - 1;
  damage(site, 1, last);
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
  const ScrubReport report = *site.nexus().scrub_report();
  EXPECT_EQ(report.state, ScrubState::kCompleted);
  EXPECT_EQ(report.blocks_total, last + 1);
  EXPECT_EQ(report.blocks_compared, last + 1);
  ASSERT_EQ(report.differences.size(), 1u);
  EXPECT_EQ(report.differences[0].lba, last / kSegmentBlocks * kSegmentBlocks);
  site.end();
}

// Nothing takes so long that a child is retired, but all of it longer than a shutdown waits for copies.
TEST(NexusScrubSimTest, AShutdownLetsNoRepairBegin) {
  LocalChildren children;
  for (const size_t child : {0, 1}) children.inject(child, "op=read&method=delay-8000");
  ASSERT_TRUE(start(children.site, {.repair = ScrubRepair::kSource, .source_uri = children.source}));
  children.site.world().run_for(std::chrono::seconds(10));
  EXPECT_EQ(children.content_when_shut_down(), 8);
}

TEST(NexusScrubSimTest, AShutdownWaitsForBadBlocksToBeWrittenAgain) {
  LocalChildren children;
  const std::string unreadable = children.inject(1, "op=read&stage=compl&method=status-nvme-2-81");
  children.inject(1, "op=write&method=delay-60000&retries=1");
  // One of two reads goes to that child.
  for (int i = 0; i < 2; ++i) EXPECT_EQ(children.site.read(0, 8), 7);
  children.take_back(unreadable);
  EXPECT_EQ(children.content_when_shut_down(), 7);
}

// Of two segments the second one is not begun.
TEST(NexusScrubSimTest, AShutdownLetsNoMoreBadBlocksBeWrittenAgain) {
  LocalChildren children;
  const std::string unreadable = children.inject(1, "op=read&stage=compl&method=status-nvme-2-81");
  children.inject(0, "op=read&method=delay-8000");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(children.site.read(0, 2 * kSegmentBlocks), 7);
  children.site.world().run_for(std::chrono::seconds(1));
  children.take_back(unreadable);
  EXPECT_EQ(children.content_when_shut_down(1), 8);
  EXPECT_EQ(children.content(0), 7);
}

// While hosts write everywhere, nothing differs, nothing is lost by repairs, and a rebuild is not misled.
TEST(NexusScrubSimTest, UnderLoad) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    NexusSite site({.seed = seed});
    ASSERT_TRUE(site.create({0, 1, 2}));
    for (uint64_t lba = 0; lba < NexusSite::kNumBlocks; lba += 600) damage(site, 2, lba);
    bool stop = false;
    size_t running = 0;
    std::vector<uint8_t> written(NexusSite::kNumBlocks / 8);
    for (unsigned i = 0; i < 2; ++i) {
      const runtime::Reactor::Scope scope(site.node().reactor(i));
      ++running;
      site.node().reactor(i).spawn(
          "writer",
          [](block::Channel& channel, unsigned self, bool& stopped, size_t& count,
             std::vector<uint8_t>& content) -> Task<> {
            runtime::Random& random = runtime::Reactor::current().random();
            std::vector<std::byte> data(8 * 512);
            while (!stopped) {
              const uint64_t slot = random.below(content.size() / 2) * 2 + self;
              const auto value = static_cast<uint8_t>(1 + random.below(255));
              std::ranges::fill(data, std::byte{value});
              iovec piece{data.data(), data.size()};
              const auto status = co_await block::perform(
                  channel, {.type = IoType::kWrite, .lba = slot * 8, .num_blocks = 8, .data = {&piece, 1}});
              EXPECT_TRUE(status.is_success());
              content[slot] = value;
              if (!(co_await runtime::sleep_for(std::chrono::microseconds(random.below(300))))) break;
            }
            --count;
          }(site.channel(i), i, stop, running, written));
    }
    site.world().run_for(std::chrono::milliseconds(20));
    EXPECT_GT(scrub(site, {.repair = ScrubRepair::kMajority, .source_uri = {}}).blocks_repaired, 0u);
    EXPECT_EQ(scrub(site, {}).blocks_different, 0u);
    ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(0), FaultReason::kOffline)));
    site.run_until([&] { return !site.child(0).faulting; });
    ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(0))));
    damage(site, 1, 3);
    EXPECT_EQ(scrub(site, {.repair = ScrubRepair::kSource, .source_uri = NexusSite::uri(2)}).state,
              ScrubState::kCompleted);
    site.wait_healthy(0);
    stop = true;
    site.run_until([&] { return running == 0; });
    EXPECT_TRUE(site.identical(0, 1));
    EXPECT_TRUE(site.identical(0, 2));
    for (size_t slot = 0; slot < written.size(); ++slot) {
      if (written[slot] != 0) {
        EXPECT_EQ(site.read(slot * 8, 8), written[slot]);
      }
    }
    site.end();
  }
}

}  // namespace
}  // namespace cairn::nexus
