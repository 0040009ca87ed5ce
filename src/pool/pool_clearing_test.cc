// Clusters that are cleared for replicas in the making or growing, on a disk that has to write zeroes: what goes on
// beside it, and what ends it.
#include <gtest/gtest.h>

#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

// More than is cleared at a time.
constexpr uint64_t kLarge = 300 * kMiB;

class PoolClearingTest : public testing::Test {
 protected:
  PoolClearingTest() : site_({.disk_bytes = 400 * kMiB, .can_unmap = false}), pool_(site_.create("tpool", kMiB)) {
    EXPECT_TRUE(site_.create_replica(*pool_, 1, 20 * kMiB, true));
    used_ = pool_->info().used;
  }
  // Makes every free cluster hold something.
  void fill_free_space() {
    const uint64_t size = 350 * kMiB;
    EXPECT_TRUE(site_.create_replica(*pool_, 0, size, false));
    const auto data = pattern(4 * kMiB, 5);
    for (uint64_t at = 0; at + data.size() <= size; at += data.size()) {
      EXPECT_TRUE(site_.write("r0", at, data).is_success());
    }
    EXPECT_TRUE(site_.run(pool_->destroy_replica(site_.replica("r0"))));
    EXPECT_EQ(pool_->info().used, used_);
  }
  CreateReplicaRequest thick(uint64_t number, uint64_t size) {
    return {.name = fmt::format("r{}", number),
            .uuid = TestSite::uuid_of(number),
            .size_bytes = size,
            .thin = false,
            .entity_id = {}};
  }
  void take_snapshot(const std::string& source, const std::string& name, uint64_t number) {
    auto taken = site_.run(pool_->create_snapshot(site_.replica(source), {.name = name,
                                                                          .uuid = TestSite::uuid_of(number).to_string(),
                                                                          .entity_id = "e",
                                                                          .txn_id = "t",
                                                                          .create_time = "2024-10-09 11:22:33 UTC"}));
    ASSERT_TRUE(taken) << taken.error().to_string();
  }
  // `out` is set when it has ended.
  template <typename T>
  void begin(Task<T> task, std::optional<T>& out) {
    const runtime::Reactor::Scope scope(site_.reactor());
    site_.reactor().spawn("under test", [](Task<T> task, std::optional<T>& out) -> Task<> {
      out.emplace(co_await std::move(task));
    }(std::move(task), out));
  }
  void until_some_is_cleared() {
    const uint64_t start = site_.disk().counters().writes;
    site_.run_until([&] { return site_.disk().counters().writes > start; });
  }
  void expect_zeroes(const std::string& name, uint64_t from, uint64_t to) {
    constexpr uint64_t kStep = 4 * kMiB;
    const auto nothing = zeroes(kStep);
    for (uint64_t at = from; at < to; at += kStep) ASSERT_EQ(site_.read(name, at, kStep), nothing) << at;
  }
  void export_and_check() {
    pool_.reset();
    ASSERT_TRUE(site_.run(site_.pools().export_pool("tpool")));
    SimDisk disk(site_);
    const auto report = check::check_pool(disk);
    EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
  }

  TestSite site_;
  std::shared_ptr<Pool> pool_;
  uint64_t used_ = 0;
};

TEST_F(PoolClearingTest, FirstWritesGoOnWhileAThickReplicaIsMade) {
  fill_free_space();
  std::optional<Result<std::shared_ptr<Replica>>> made;
  begin(pool_->create_replica(thick(2, kLarge)), made);
  const auto data = pattern(kMiB, 1);
  for (uint64_t i = 10; i < 16; ++i) ASSERT_TRUE(site_.write("r1", i * kMiB, data).is_success());
  EXPECT_FALSE(made);
  site_.run_until([&] { return made.has_value(); });
  ASSERT_TRUE(*made) << made->error().to_string();
  made.reset();
  EXPECT_EQ(pool_->info().used, used_ + kLarge + 6 * kMiB);
  expect_zeroes("r2", 0, kLarge);
  for (uint64_t i = 10; i < 16; ++i) EXPECT_EQ(site_.read("r1", i * kMiB, kMiB), data);
  export_and_check();
}

TEST_F(PoolClearingTest, FirstWritesGoOnWhileAThickReplicaGrows) {
  fill_free_space();
  ASSERT_TRUE(site_.create_replica(*pool_, 2, 4 * kMiB, false));
  std::optional<Result<>> grown;
  begin(pool_->resize_replica(site_.replica("r2"), kLarge), grown);
  const auto data = pattern(kMiB, 1);
  for (uint64_t i = 10; i < 16; ++i) ASSERT_TRUE(site_.write("r1", i * kMiB, data).is_success());
  EXPECT_FALSE(grown);
  site_.run_until([&] { return grown.has_value(); });
  ASSERT_TRUE(*grown) << grown->error().to_string();
  EXPECT_EQ(pool_->info().used, used_ + kLarge + 6 * kMiB);
  expect_zeroes("r2", 0, kLarge);
  export_and_check();
}

// The snapshot that goes was smaller than its successor, which would see what an older one holds there.
TEST_F(PoolClearingTest, FirstWritesGoOnWhileASnapshotIsMerged) {
  constexpr uint64_t kSize = 120 * kMiB;
  ASSERT_TRUE(site_.create_replica(*pool_, 2, kSize, false));
  const auto data = pattern(kSize, 3);
  ASSERT_TRUE(site_.write("r2", 0, data).is_success());
  take_snapshot("r2", "s1", 11);
  ASSERT_TRUE(site_.run(pool_->resize_replica(site_.replica("r2"), 4 * kMiB)));
  take_snapshot("r2", "s2", 12);
  ASSERT_TRUE(site_.run(pool_->resize_replica(site_.replica("r2"), kSize)));
  std::optional<Result<>> destroyed;
  begin(pool_->destroy_snapshot(site_.replica("s2")), destroyed);
  for (uint64_t i = 10; i < 16; ++i) ASSERT_TRUE(site_.write("r1", i * kMiB, pattern(kMiB, 1)).is_success());
  EXPECT_FALSE(destroyed);
  site_.run_until([&] { return destroyed.has_value(); });
  ASSERT_TRUE(*destroyed) << destroyed->error().to_string();
  EXPECT_EQ(site_.read("r2", 0, 4 * kMiB), std::vector<std::byte>(data.begin(), data.begin() + 4 * kMiB));
  expect_zeroes("r2", 4 * kMiB, kSize);
  EXPECT_EQ(site_.read("s1", 0, kSize), data);
  export_and_check();
}

TEST_F(PoolClearingTest, ACrashLeavesNothing) {
  fill_free_space();
  for (const auto kind : {sim::CrashKind::kKill, sim::CrashKind::kPowerLoss}) {
    auto request = thick(2, kLarge);
    {
      const runtime::Reactor::Scope scope(site_.reactor());
      site_.reactor().spawn("create", [](std::shared_ptr<Pool> pool, CreateReplicaRequest request) -> Task<> {
        static_cast<void>(co_await pool->create_replica(std::move(request)));
      }(pool_, std::move(request)));
    }
    until_some_is_cleared();
    EXPECT_GT(pool_->info().used, used_);
    pool_.reset();
    site_.crash(kind);
    site_.restart();
    pool_ = site_.import();
    ASSERT_NE(pool_, nullptr);
    EXPECT_EQ(site_.replica("r2"), nullptr);
    EXPECT_EQ(pool_->info().used, used_);
  }
  ASSERT_TRUE(site_.create_replica(*pool_, 2, kLarge, false));
  expect_zeroes("r2", 0, kLarge);
  export_and_check();
}

TEST_F(PoolClearingTest, AnExportEndsIt) {
  std::optional<Result<std::shared_ptr<Replica>>> made;
  begin(pool_->create_replica(thick(2, kLarge)), made);
  until_some_is_cleared();
  export_and_check();
  ASSERT_TRUE(made && !*made);
  EXPECT_EQ(made->error().code(), Code::kNotFound);
  ASSERT_NE(site_.import(), nullptr);
  EXPECT_EQ(site_.pools().find("tpool")->info().used, used_);
}

TEST_F(PoolClearingTest, TheDestructionOfTheReplicaEndsItsGrowth) {
  ASSERT_TRUE(site_.create_replica(*pool_, 2, 4 * kMiB, false));
  std::optional<Result<>> grown, destroyed;
  begin(pool_->resize_replica(site_.replica("r2"), kLarge), grown);
  until_some_is_cleared();
  begin(pool_->destroy_replica(site_.replica("r2")), destroyed);
  site_.run_until([&] { return grown && destroyed; });
  EXPECT_FALSE(*grown);
  EXPECT_EQ(grown->error().code(), Code::kNotFound);
  EXPECT_TRUE(*destroyed) << destroyed->error().to_string();
  EXPECT_EQ(pool_->info().used, used_);
  export_and_check();
}

// Then the replica is thin, and what it grows by needs no clusters.
TEST_F(PoolClearingTest, ASnapshotIsTakenMeanwhile) {
  ASSERT_TRUE(site_.create_replica(*pool_, 2, 4 * kMiB, false));
  const auto data = pattern(4 * kMiB, 7);
  ASSERT_TRUE(site_.write("r2", 0, data).is_success());
  std::optional<Result<>> grown;
  begin(pool_->resize_replica(site_.replica("r2"), kLarge), grown);
  until_some_is_cleared();
  take_snapshot("r2", "s1", 11);
  EXPECT_FALSE(grown);
  EXPECT_EQ(site_.replica("s1")->size_bytes(), 4 * kMiB);
  site_.run_until([&] { return grown.has_value(); });
  ASSERT_TRUE(*grown) << grown->error().to_string();
  EXPECT_EQ(site_.replica("r2")->size_bytes(), kLarge);
  EXPECT_EQ(pool_->info().used, used_ + 4 * kMiB);
  EXPECT_EQ(site_.read("r2", 0, 4 * kMiB), data);
  export_and_check();
}

TEST_F(PoolClearingTest, TheSameReplicaTwiceAtATime) {
  std::optional<Result<std::shared_ptr<Replica>>> first, second;
  begin(pool_->create_replica(thick(2, 100 * kMiB)), first);
  begin(pool_->create_replica(thick(2, 100 * kMiB)), second);
  site_.run_until([&] { return first && second; });
  EXPECT_NE(first->has_value(), second->has_value());
  const auto& refused = *first ? *second : *first;
  EXPECT_EQ(refused.error().code(), Code::kAlreadyExists);
  EXPECT_EQ(pool_->info().used, used_ + 100 * kMiB);
  first.reset();
  second.reset();
  export_and_check();
}

TEST_F(PoolClearingTest, ADiskThatCannotBeWritten) {
  site_.disk().set_faults({.write_error = -EIO});
  EXPECT_FALSE(site_.create_replica(*pool_, 2, kLarge, false));
  site_.disk().set_faults({});
  EXPECT_EQ(pool_->info().used, used_);
  ASSERT_TRUE(site_.create_replica(*pool_, 2, kLarge, false));
  export_and_check();
}

}  // namespace
}  // namespace cairn::pool
