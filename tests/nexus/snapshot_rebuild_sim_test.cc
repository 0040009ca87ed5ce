// Copies of snapshots into replicas: whole or only what is allocated, nothing stale, and what ends them.
#include <gtest/gtest.h>

#include <array>
#include <optional>

#include "nexus/snapshot_rebuild.h"
#include "pool/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using pool::kMiB;

constexpr uint64_t kReplicaBytes = 40 * kMiB;

class SnapshotRebuildSimTest : public testing::Test {
 protected:
  SnapshotRebuildSimTest() : site_({.disk_bytes = 300 * kMiB}) { make({}); }
  ~SnapshotRebuildSimTest() override { drop(); }
  void make(const RebuildOptions& options) {
    const runtime::Reactor::Scope scope(site_.reactor());
    jobs_ = std::make_unique<SnapshotRebuilds>(site_.engine().registry, options);
  }
  void drop() {
    site_.run(jobs_->stop());
    jobs_.reset();
  }
  // So that a job may be met at its work.
  void make_slow() {
    drop();
    RebuildOptions options;
    options.limits.max_bytes_per_second = kMiB;
    make(options);
  }
  std::shared_ptr<block::Device> device(const std::string& name) { return site_.engine().registry.find(name); }
  Result<SnapshotRebuildInfo> begin(uint64_t number, const std::string& to, std::string from) {
    return site_.run(jobs_->create({.uuid = pool::TestSite::uuid_of(number),
                                    .destination = device(to),
                                    .snapshot_uri = std::move(from),
                                    .replica_uuid = {},
                                    .snapshot_uuid = {},
                                    .replica_uri = {}}));
  }
  // Two jobs from one source, 1 and 2, into devices to1 and to2, begun at the same time.
  std::vector<Result<SnapshotRebuildInfo>> begin_both(const std::string& from) {
    std::array<std::optional<Result<SnapshotRebuildInfo>>, 2> begun;
    {
      const runtime::Reactor::Scope scope(site_.reactor());
      for (size_t i = 0; i < 2; ++i) {
        site_.reactor().spawn("begin",
                              [](SnapshotRebuilds& jobs, SnapshotRebuildRequest request,
                                 auto& result) -> runtime::Task<> {
                                result = co_await jobs.create(std::move(request));
                              }(*jobs_,
                                               {.uuid = pool::TestSite::uuid_of(i + 1),
                                                .destination = device(fmt::format("to{}", i + 1)),
                                                .snapshot_uri = from,
                                                .replica_uuid = {},
                                                .snapshot_uuid = {},
                                                .replica_uri = {}},
                                               begun[i]));
      }
    }
    site_.run_until([&] { return begun[0] && begun[1]; });
    return {std::move(*begun[0]), std::move(*begun[1])};
  }
  SnapshotRebuildInfo job(uint64_t number) { return *jobs_->find(pool::TestSite::uuid_of(number)); }
  RebuildState wait(uint64_t number) {
    site_.run_until([&] { return job(number).statistics.end_time.has_value(); });
    return job(number).state;
  }
  void make_device(const std::string& uri) { ASSERT_TRUE(site_.run(site_.engine().registry.create(uri))); }
  std::vector<std::byte> content(const std::string& name, uint64_t size = kReplicaBytes) {
    return site_.read(name, 0, size);
  }

  pool::TestSite site_;
  std::unique_ptr<SnapshotRebuilds> jobs_;
};

TEST_F(SnapshotRebuildSimTest, ThinStaysThinAndNothingStaleSurvives) {
  auto pool = site_.create();
  ASSERT_TRUE(site_.create_replica(*pool, 1, kReplicaBytes, true));
  ASSERT_TRUE(site_.create_replica(*pool, 2, kReplicaBytes, true));
  ASSERT_TRUE(site_.write("r1", 12 * kMiB, std::vector<std::byte>(kMiB, std::byte{7})).is_success());
  ASSERT_TRUE(site_.run(pool->create_snapshot(site_.replica("r1"), {.name = "snap",
                                                                    .uuid = pool::TestSite::uuid_of(9).to_string(),
                                                                    .entity_id = "e",
                                                                    .txn_id = "t",
                                                                    .create_time = "2024-05-17 09:30:00 UTC"})));
  ASSERT_TRUE(site_.write("r1", 12 * kMiB, std::vector<std::byte>(kMiB, std::byte{8})).is_success());
  ASSERT_TRUE(site_.write("r2", 20 * kMiB, std::vector<std::byte>(8 * kMiB, std::byte{0xaa})).is_success());
  const auto begun = begin(2, "r2", "bdev:///snap");
  ASSERT_TRUE(begun) << begun.error().to_string();
  EXPECT_EQ(begun->statistics.blocks_total, kReplicaBytes / 512);
  EXPECT_EQ(wait(2), RebuildState::kCompleted);
  EXPECT_EQ(content("r2"), content("snap"));
  EXPECT_EQ(content("r2")[12 * kMiB], std::byte{7});
  // Two clusters are made with a replica, one was written.
  EXPECT_EQ(job(2).statistics.blocks_transferred, 3 * 4 * kMiB / 512);
  EXPECT_EQ(job(2).statistics.blocks_remaining, 0u);
  // What was stale is zeroed piece by piece, less than a cluster each: its two clusters stay.
  EXPECT_EQ(site_.replica("r2")->usage().num_allocated_clusters, 5u);
  // Again: the job that there is.
  EXPECT_EQ(begin(2, "r2", "bdev:///snap")->state, RebuildState::kCompleted);
  EXPECT_EQ(jobs_->list().size(), 1u);
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(2))));
  EXPECT_EQ(site_.run(jobs_->destroy(pool::TestSite::uuid_of(2))).error().code(), Code::kNotFound);
}

TEST_F(SnapshotRebuildSimTest, WholeDevices) {
  make_device("malloc:///to?size_mb=32");
  make_device("malloc:///from?size_mb=32");
  ASSERT_TRUE(site_.write("from", 0, std::vector<std::byte>(32 * kMiB, std::byte{5})).is_success());
  ASSERT_TRUE(begin(1, "to", "malloc:///from?size_mb=32"));
  EXPECT_EQ(wait(1), RebuildState::kCompleted);
  EXPECT_EQ(job(1).statistics.blocks_transferred, 65536u);
  EXPECT_EQ(content("to", 32 * kMiB), content("from", 32 * kMiB));
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
  EXPECT_NE(device("from"), nullptr);  // it was there before
  ASSERT_TRUE(begin(1, "to", "malloc:///own?size_mb=8"));
  EXPECT_EQ(wait(1), RebuildState::kCompleted);
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
  EXPECT_EQ(device("own"), nullptr);
}

TEST_F(SnapshotRebuildSimTest, Refusals) {
  make_device("malloc:///to?size_mb=8");
  EXPECT_EQ(begin(1, "to", "bdev:///missing").error().code(), Code::kNotFound);
  EXPECT_EQ(begin(1, "to", "no uri").error().code(), Code::kNotFound);
  EXPECT_EQ(begin(1, "to", "malloc:///to?size_mb=8").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(begin(1, "to", "malloc:///large?size_mb=9").error().code(), Code::kOutOfRange);
  EXPECT_EQ(begin(1, "to", "malloc:///other?size_mb=8&blk_size=4096").error().code(), Code::kOutOfRange);
  EXPECT_EQ(device("large"), nullptr);
  EXPECT_TRUE(jobs_->list().empty());
}

TEST_F(SnapshotRebuildSimTest, TheDestinationHasOneWriter) {
  make_slow();
  make_device("malloc:///to?size_mb=8");
  make_device("malloc:///from?size_mb=8");
  {
    const runtime::Reactor::Scope scope(site_.reactor());
    ASSERT_TRUE(device("to")->claim("somebody"));
  }
  const auto refused = begin(1, "to", "malloc:///own?size_mb=8");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kFailedPrecondition);
  EXPECT_EQ(refused.error().to_string(), "replica to is in use: bdev 'to' is already claimed by 'somebody'");
  EXPECT_EQ(device("own"), nullptr);
  EXPECT_EQ(device("to")->claimed_by(), "somebody");
  {
    const runtime::Reactor::Scope scope(site_.reactor());
    device("to")->release_claim();
  }
  ASSERT_TRUE(begin(1, "to", "malloc:///from?size_mb=8"));
  EXPECT_EQ(device("to")->claimed_by(), "snapshot rebuild");
  EXPECT_TRUE(begin(1, "to", "malloc:///from?size_mb=8"));  // the job that there is
  EXPECT_EQ(wait(1), RebuildState::kCompleted);
  EXPECT_FALSE(device("to")->claimed_by());
}

// The second one comes while the first one still opens it, and goes on after the first one has ended.
TEST_F(SnapshotRebuildSimTest, TwoFromOneSource) {
  make_slow();
  site_.node().files().add_block_device("/dev/sdb", {.size_bytes = 8 * kMiB});
  const std::string from = "aio:///dev/sdb";
  make_device("malloc:///to1?size_mb=8");
  make_device("malloc:///to2?size_mb=8");
  const auto begun = begin_both(from);
  ASSERT_TRUE(begun[0]) << begun[0].error().to_string();
  ASSERT_TRUE(begun[1]) << begun[1].error().to_string();
  site_.world().run_for(std::chrono::seconds(1));
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
  EXPECT_NE(device("/dev/sdb"), nullptr);
  EXPECT_EQ(wait(2), RebuildState::kCompleted);
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(2))));
  EXPECT_EQ(device("/dev/sdb"), nullptr);
}

// A source that does not answer is not tried again by each of those who wait for it.
TEST_F(SnapshotRebuildSimTest, WhatCannotBeOpenedFailsForAllWhoWait) {
  make_device("malloc:///to1?size_mb=8");
  make_device("malloc:///to2?size_mb=8");
  const std::string from = "aio:///dev/sdb";
  for (const auto& begun : begin_both(from)) {
    ASSERT_FALSE(begun);
    EXPECT_EQ(begun.error().code(), Code::kNotFound);
  }
  site_.node().files().add_block_device("/dev/sdb", {.size_bytes = 8 * kMiB});
  for (const auto& begun : begin_both(from)) ASSERT_TRUE(begun) << begun.error().to_string();
  for (const uint64_t number : {1, 2}) EXPECT_EQ(wait(number), RebuildState::kCompleted);
  for (const uint64_t number : {1, 2}) ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(number))));
  EXPECT_EQ(device("/dev/sdb"), nullptr);
}

TEST_F(SnapshotRebuildSimTest, ASourceThatGoesAwayIsLetGo) {
  make_slow();
  make_device("malloc:///to?size_mb=8");
  const std::string from = "malloc:///from?size_mb=8";
  ASSERT_TRUE(begin(1, "to", from));
  {
    const runtime::Reactor::Scope scope(site_.reactor());
    device("from")->announce_removal();  // by itself, as a namespace that is gone
  }
  EXPECT_EQ(wait(1), RebuildState::kFailed);
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
  EXPECT_EQ(site_.run(site_.engine().registry.destroy(from)).error().code(), Code::kNotFound);  // not even removed
}

TEST_F(SnapshotRebuildSimTest, EndsWithItsDevices) {
  make_slow();
  make_device("malloc:///to?size_mb=8");
  make_device("malloc:///from?size_mb=8");
  for (const char* gone : {"from", "to"}) {
    ASSERT_TRUE(begin(1, "to", "malloc:///from?size_mb=8"));
    site_.world().run_for(std::chrono::seconds(1));
    EXPECT_EQ(job(1).state, RebuildState::kRunning);
    ASSERT_TRUE(site_.run(site_.engine().registry.destroy_by_name(gone)));
    EXPECT_EQ(wait(1), RebuildState::kFailed);
    ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
    if (device("from") == nullptr) make_device("malloc:///from?size_mb=8");
  }
  // Destroyed while it runs.
  make_device("malloc:///to?size_mb=8");
  ASSERT_TRUE(begin(1, "to", "malloc:///from?size_mb=8"));
  site_.world().run_for(std::chrono::seconds(1));
  ASSERT_TRUE(site_.run(jobs_->destroy(pool::TestSite::uuid_of(1))));
  EXPECT_TRUE(jobs_->list().empty());
}

}  // namespace
}  // namespace cairn::nexus
