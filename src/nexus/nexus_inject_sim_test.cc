// A nexus whose children have faults injected (reference tests.md, section 2, nexus_fault_injection).
#include <gtest/gtest.h>

#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

std::string fault(size_t disk, std::string_view query) {
  return fmt::format("inject://{}?{}", NexusSite::disk_path(disk), query);
}

TEST(NexusInjectSimTest, SubmissionAndCompletionFaultTheChild) {
  for (const char* domain : {"child", "block"}) {
    for (const char* op : {"read", "write"}) {
      for (const char* stage : {"submit", "compl"}) {
        SCOPED_TRACE(fmt::format("{} {} {}", domain, op, stage));
        NexusSite site({});
        ASSERT_TRUE(site.create({0, 1}));
        ASSERT_TRUE(site.write(0, 8, 1).is_success());
        const std::string uri = fault(0, fmt::format("domain={}&op={}&stage={}", domain, op, stage));
        ASSERT_TRUE(site.process().devices.inject_fault(uri));
        for (int i = 0; i < 2; ++i) {
          EXPECT_EQ(site.read(0, 8), 1);
          EXPECT_TRUE(site.write(100, 8, 2).is_success());
        }
        site.run_until([&] { return site.child(0).state == ChildState::kFaulted && !site.child(0).faulting; });
        EXPECT_EQ(site.child(0).reason, FaultReason::kIoError);
        ASSERT_TRUE(site.process().devices.remove_fault(uri));
        ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(0))));
        site.wait_healthy(0);
        EXPECT_TRUE(site.identical(0, 1));
        site.end();
      }
    }
  }
}

// One child cannot read the blocks, the other one leaves before it answers: nobody is left to be waited for.
TEST(NexusInjectSimTest, AReadThatNobodyCanAnswer) {
  SiteOptions options{.with_store = false};
  options.nexus.child_timeout = std::chrono::seconds(2);
  options.nexus.intent_log.enabled = false;
  NexusSite site(options);
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.process().devices.inject_fault(fault(0, "op=read&method=status-nvme-2-81")));
  ASSERT_TRUE(site.process().devices.inject_fault(fault(1, "op=read&stage=compl&method=status-nvme-3-71")));
  site.disk(1).set_faults({.hang = true});
  Pending one(site, block::IoType::kRead, 0, 8), other(site, block::IoType::kRead, 8, 8);
  site.run_until([&] { return site.child(1).state == ChildState::kFaulted; });
  site.world().run_for(std::chrono::seconds(1));
  EXPECT_FALSE(one.io.done || other.io.done);
  site.disk(1).set_faults({});
  site.world().run_for(std::chrono::seconds(1));
  for (const Pending* read : {&one, &other}) {
    EXPECT_TRUE(read->io.done);
    EXPECT_TRUE(read->io.status.is(nvme::MediaStatus::kUnrecoveredReadError)) << read->io.status.to_string();
  }
  site.end();
}

TEST(NexusInjectSimTest, NoSpace) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.process().devices.inject_fault(fault(1, "domain=bdev_io&op=write&method=status-lvol-nospace")));
  EXPECT_TRUE(site.write(0, 8, 1).is_success());
  EXPECT_EQ(site.child(1).reason, FaultReason::kNoSpace);
  site.end();
}

// A child that takes its time is retired; what it has comes back later.
TEST(NexusInjectSimTest, Delay) {
  NexusOptions options;
  options.child_timeout = std::chrono::seconds(2);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.process().devices.inject_fault(fault(1, "op=write&method=delay-6000&retries=1")));
  EXPECT_TRUE(site.write(0, 8, 1).is_success());
  EXPECT_EQ(site.child(1).reason, FaultReason::kTimedOut);
  site.run_until([&] { return !site.child(1).faulting; });
  site.end();
}

// Of the volume itself.
TEST(NexusInjectSimTest, Nexus) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.process().devices.inject_fault("inject://nexus-1?op=write&offset=8&num_blk=8&retries=1"));
  EXPECT_TRUE(site.write(0, 8, 1).is_success());
  EXPECT_TRUE(site.write(8, 8, 1).is(nvme::GenericStatus::kDataTransferError));
  EXPECT_TRUE(site.write(8, 8, 1).is_success());
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  site.end();
}

// A write that was damaged on its way to one child: nobody notices but a comparison.
TEST(NexusInjectSimTest, Damage) {
  NexusSite site({});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.process().devices.inject_fault(fault(1, "domain=child&op=write&method=data")));
  EXPECT_TRUE(site.write(0, 8, 1).is_success());
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  EXPECT_FALSE(site.identical(0, 1));
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
