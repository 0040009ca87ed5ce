// Zeroes that are written in portions.
#include <gtest/gtest.h>

#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using runtime::Task;
using std::chrono::milliseconds;
using std::chrono::seconds;

// Zeroes for a whole volume take a child that has no command for them longer than any other I/O may.
class NexusZeroing : public ::testing::Test {
 protected:
  static constexpr uint64_t kBytes = uint64_t{2} << 30;

  void SetUp() override {
    NexusRequest request = site_.request({}, kBytes);
    for (size_t i = 0; i < 2; ++i) {
      const std::string path = fmt::format("/dev/big{}", i);
      site_.node().files().add_block_device(path, {.size_bytes = kBytes, .disk = {.can_unmap = false}});
      request.children.push_back(fmt::format("aio://{}?uuid={}", path, NexusSite::child_uuid(i)));
    }
    const auto made = site_.create(request);
    ASSERT_TRUE(made) << made.error().to_string();
    // 20 ms for a MiB.
    site_.node().files().disk_of("/dev/big1").set_faults({.slow_factor = 50});
    zeroes_ = std::make_unique<Pending>(site_, IoType::kWriteZeroes, 0, site_.nexus().num_blocks(), 0);
  }
  ChildInfo slow() { return site_.nexus().children().at(1); }

  NexusSite site_{{.num_disks = 0}};
  std::unique_ptr<Pending> zeroes_;
};

TEST_F(NexusZeroing, MayTakeItsTime) {
  site_.world().run_for(seconds(20));
  EXPECT_FALSE(zeroes_->io.done);
  site_.run_until([&] { return zeroes_->io.done; });
  EXPECT_TRUE(zeroes_->io.status.is_success());
  EXPECT_EQ(slow().state, ChildState::kOpen);
  site_.end();
}

TEST_F(NexusZeroing, AChildThatHangsInTheMiddleIsRetired) {
  site_.world().run_for(seconds(20));
  EXPECT_EQ(slow().state, ChildState::kOpen);
  site_.node().files().disk_of("/dev/big1").set_faults({.hang = true});
  site_.world().run_for(seconds(12));
  EXPECT_EQ(slow().reason, FaultReason::kTimedOut);
  site_.node().files().disk_of("/dev/big1").set_faults({});
  site_.run_until([&] { return zeroes_->io.done; });
  EXPECT_TRUE(zeroes_->io.status.is_success());
  site_.end();
}

TEST_F(NexusZeroing, AChildThatLeavesIsNotWaitedForToTheEnd) {
  site_.world().run_for(seconds(1));
  Call fault(site_, site_.nexus().fault_child(slow().uri, FaultReason::kOffline));
  site_.world().run_for(seconds(5));
  EXPECT_TRUE(fault.result.has_value() && zeroes_->io.done);
  EXPECT_FALSE(slow().faulting);
  EXPECT_TRUE(zeroes_->io.status.is_success());
  site_.end();
}

// A lock on everything waits for one portion, not for all of them.
TEST_F(NexusZeroing, AnOrderlyEndComesBetweenTwoPortions) {
  site_.world().run_for(seconds(1));
  const TimePoint asked = site_.world().now();
  Call close(site_, [](Nexus& nexus) -> Task<Result<>> {
    co_await nexus.close();
    co_return Result<>{};
  }(site_.nexus()));
  site_.run_until([&] { return close.result.has_value() && zeroes_->io.done; });
  EXPECT_LT(site_.world().now() - asked, seconds(10));  // child_timeout
  EXPECT_FALSE(zeroes_->io.status.is_success());
  EXPECT_TRUE(site_.record()->clean_shutdown);
  site_.end();
}

// A fast child alone gets larger and larger portions. One that is slow comes back in the middle.
TEST_F(NexusZeroing, AChildThatJoinsBeginsWithSmallPortions) {
  site_.node().files().disk_of("/dev/big1").set_faults({});
  site_.run_until([&] { return zeroes_->io.done; });
  ASSERT_TRUE(site_.run(site_.nexus().fault_child(slow().uri, FaultReason::kOffline)));
  Pending zeroes(site_, IoType::kWriteZeroes, 0, site_.nexus().num_blocks(), 0);
  site_.world().run_for(milliseconds(400));
  site_.node().files().disk_of("/dev/big1").set_faults({.slow_factor = 250});  // 100 ms for a MiB
  ASSERT_FALSE(zeroes.io.done);
  ASSERT_TRUE(site_.run(site_.nexus().online_child(slow().uri)));
  ASSERT_FALSE(zeroes.io.done);
  site_.run_until([&] { return zeroes.io.done; });
  EXPECT_TRUE(zeroes.io.status.is_success());
  EXPECT_EQ(slow().state, ChildState::kOpen) << to_text(slow().reason);
  site_.end();
}

class NexusPortions : public ::testing::TestWithParam<IoType> {
 protected:
  static constexpr uint64_t kFirst = 7, kEnd = 6000;

  static void fill(NexusSite& site) {
    ASSERT_TRUE(site.create({0, 1}));
    ASSERT_TRUE(site.write(0, NexusSite::kNumBlocks, 1).is_success());
    ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
  }
  static void expect_zeroes(NexusSite& site) {
    EXPECT_EQ(site.read(0, kFirst), 1);
    EXPECT_EQ(site.read(kFirst, kEnd - kFirst), 0);
    EXPECT_EQ(site.read(kEnd, NexusSite::kNumBlocks - kEnd), 1);
    EXPECT_TRUE(site.identical(0, 1));
  }
  // Of the write-intent log the regions would hide what else is forgotten.
  static SiteOptions small_portions(bool intent_log) {
    SiteOptions options;
    options.nexus.first_zeroing_bytes = 64 << 10;
    options.nexus.intent_log.enabled = intent_log;
    return options;
  }
};

TEST_P(NexusPortions, ReachEveryChild) {
  NexusSite site(small_portions(true));
  fill(site);
  ASSERT_TRUE(site.io({.type = GetParam(), .lba = kFirst, .num_blocks = kEnd - kFirst}).is_success());
  expect_zeroes(site);
  site.end();
}

// It has had some of them, and what it misses of the others is copied.
TEST_P(NexusPortions, WhatAChildMissesIsKnown) {
  NexusSite site(small_portions(false));
  fill(site);
  site.disk(1).set_faults({.slow_factor = 1000});
  Pending zeroes(site, GetParam(), kFirst, kEnd - kFirst);
  site.world().run_for(milliseconds(300));
  ASSERT_FALSE(zeroes.io.done);
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  site.run_until([&] { return zeroes.io.done; });
  EXPECT_TRUE(zeroes.io.status.is_success());
  site.disk(1).set_faults({});
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  expect_zeroes(site);
  site.end();
}

// Some of what is acknowledged is in the caches of children only.
TEST_P(NexusPortions, WhatAChildLosesOfThemIsCopied) {
  NexusSite site(small_portions(false));
  fill(site);
  ASSERT_TRUE(site.io({.type = GetParam(), .lba = kFirst, .num_blocks = kEnd - kFirst}).is_success());
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  EXPECT_GE(site.nexus().rebuild_history().back().statistics.blocks_transferred, kEnd - kFirst);
  expect_zeroes(site);
  site.end();
}

INSTANTIATE_TEST_SUITE_P(Zeroes, NexusPortions, ::testing::Values(IoType::kWriteZeroes, IoType::kUnmap),
                         [](const auto& test) { return test.param == IoType::kUnmap ? "Unmap" : "WriteZeroes"; });

}  // namespace
}  // namespace cairn::nexus
