// Operations that meet each other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

class PoolOverlapTest : public testing::Test {
 protected:
  // With `at_unshare` called whenever a volume's export ends: by all that removes one, before anything else.
  void start(std::function<Task<>()> at_unshare = {}, uint64_t seed = 1) {
    SiteOptions options{.seed = seed};
    if (at_unshare) options.pool.exports.unshare = [at_unshare](std::string) { return at_unshare(); };
    site_.emplace(options);
  }
  std::shared_ptr<Pool> create_pool_with_replica() {
    auto pool = site_->create("tpool", kMiB);
    EXPECT_TRUE(site_->create_replica(*pool, 1, 10 * kMiB, true));
    EXPECT_TRUE(site_->write("r1", 0, data_).is_success());
    return pool;
  }
  void snapshot(Pool& pool, const std::string& name, uint64_t number) {
    auto made = site_->run(pool.create_snapshot(site_->replica("r1"), {.name = name,
                                                                       .uuid = TestSite::uuid_of(number).to_string(),
                                                                       .entity_id = "e",
                                                                       .txn_id = "t",
                                                                       .create_time = "2024-10-09 11:22:33 UTC"}));
    ASSERT_TRUE(made) << made.error().to_string();
  }
  static CreateCloneRequest clone_request(const std::string& name, uint64_t number) {
    return {.name = name, .uuid = TestSite::uuid_of(number).to_string(), .create_time = "2024-10-09 11:22:34 UTC"};
  }
  void export_and_check() {
    ASSERT_TRUE(site_->run(site_->pools().export_pool("tpool")));
    SimDisk disk(*site_);
    const auto report = check::check_pool(disk);
    EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
  }
  // Starts `first` and, before anything it waits for has happened, `second`.
  template <typename A, typename B>
  void together(Task<A> first, Task<B> second, std::optional<A>& a, std::optional<B>& b) {
    runtime::Event a_done, b_done;
    {
      const runtime::Reactor::Scope scope(site_->reactor());
      site_->reactor().spawn("first", keep(std::move(first), a, a_done));
      site_->reactor().spawn("second", keep(std::move(second), b, b_done));
    }
    site_->run([](runtime::Event& a_done, runtime::Event& b_done) -> Task<> {
      static_cast<void>(co_await a_done.wait_uninterrupted());
      static_cast<void>(co_await b_done.wait_uninterrupted());
    }(a_done, b_done));
  }
  template <typename T>
  static Task<> keep(Task<T> body, std::optional<T>& out, runtime::Event& done) {
    out.emplace(co_await std::move(body));
    done.set();
  }

  const std::vector<std::byte> data_ = pattern(kMiB, 1);
  std::optional<TestSite> site_;
};

TEST_F(PoolOverlapTest, CreationsOnOneDisk) {
  start();
  auto request = [&](std::string name) {
    return CreatePoolRequest{
        .name = std::move(name), .uuid = {}, .disks = {site_->disk_uri()}, .cluster_size = {}, .md_resv_ratio = {}};
  };
  bool over = false;
  unsigned refused = 0;
  std::optional<Result<PoolRegistry::Created>> first;
  std::optional<bool> others;
  together(
      [](PoolRegistry& pools, CreatePoolRequest request, bool& over) -> Task<Result<PoolRegistry::Created>> {
        auto created = co_await pools.create(std::move(request));
        over = true;
        co_return created;
      }(site_->pools(), request("tpool"), over),
      [](PoolRegistry& pools, CreatePoolRequest request, bool& over, unsigned& refused) -> Task<bool> {
        while (!over) {
          auto created = co_await pools.create(request);
          if (created) co_return false;
          ++refused;
          static_cast<void>(co_await runtime::sleep_for(std::chrono::microseconds(50)));
        }
        co_return true;
      }(site_->pools(), request("other"), over, refused),
      first, others);
  ASSERT_TRUE(*first) << first->error().to_string();
  EXPECT_TRUE(*others);
  EXPECT_GT(refused, 2u);
  first.reset();
  ASSERT_TRUE(site_->run(site_->pools().export_pool("tpool")));
  EXPECT_NE(site_->import(), nullptr);
}

TEST_F(PoolOverlapTest, UnmapWhileAReplicaIsDestroyed) {
  std::optional<nvme::Status> status;
  start([&]() -> Task<> {
    const auto device = site_->engine().registry.find("r1");
    if (device == nullptr) co_return;
    auto channel = co_await device->open_channel();
    CAIRN_CHECK(channel.has_value());
    status = co_await block::perform(**channel, site_->at(IoType::kUnmap, 0, 4 * kMiB));
  });
  auto pool = create_pool_with_replica();
  ASSERT_TRUE(site_->run(pool->destroy_replica(site_->replica("r1"))));
  ASSERT_TRUE(status);
  EXPECT_TRUE(status->is(nvme::GenericStatus::kInvalidNamespaceOrFormat)) << status->to_string();
  EXPECT_EQ(pool->info().used, 0u);
}

TEST_F(PoolOverlapTest, CloneWhileItsSnapshotIsDestroyed) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    start({}, seed);
    auto pool = create_pool_with_replica();
    snapshot(*pool, "s1", 11);
    std::optional<Result<std::shared_ptr<Replica>>> clone;
    std::optional<Result<>> destroyed;
    together(pool->create_clone(site_->replica("s1"), clone_request("c1", 21)),
             pool->destroy_snapshot(site_->replica("s1")), clone, destroyed);
    ASSERT_TRUE(*clone) << clone->error().to_string();
    ASSERT_TRUE(*destroyed) << destroyed->error().to_string();
    EXPECT_TRUE(site_->replica("s1")->snapshot_attributes().discarded);
    EXPECT_EQ(site_->read("c1", 0, kMiB), data_);
    EXPECT_EQ(site_->read("r1", 0, kMiB), data_);
    ASSERT_TRUE(site_->run(pool->destroy_replica(std::move(**clone))));
    EXPECT_EQ(site_->replica("s1"), nullptr);
    EXPECT_EQ(site_->read("r1", 0, kMiB), data_);
    pool.reset();
    export_and_check();
  }
}

TEST_F(PoolOverlapTest, LastCloneGoesWhileItsSnapshotIsDestroyed) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    start({}, seed);
    auto pool = create_pool_with_replica();
    snapshot(*pool, "s1", 11);
    ASSERT_TRUE(site_->run(pool->create_clone(site_->replica("s1"), clone_request("c1", 21))));
    std::optional<Result<>> clone_destroyed, destroyed;
    together(pool->destroy_replica(site_->replica("c1")), pool->destroy_snapshot(site_->replica("s1")), clone_destroyed,
             destroyed);
    ASSERT_TRUE(*clone_destroyed) << clone_destroyed->error().to_string();
    ASSERT_TRUE(*destroyed) << destroyed->error().to_string();
    EXPECT_EQ(site_->replica("s1"), nullptr);
    EXPECT_EQ(site_->read("r1", 0, kMiB), data_);
    pool.reset();
    export_and_check();
  }
}

TEST_F(PoolOverlapTest, ReplicaIsDestroyedWithTheSnapshotBeneathIt) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    start({}, seed);
    auto pool = create_pool_with_replica();
    snapshot(*pool, "s1", 11);
    std::optional<Result<>> destroyed, snapshot_destroyed;
    together(pool->destroy_snapshot(site_->replica("s1")), pool->destroy_replica(site_->replica("r1")),
             snapshot_destroyed, destroyed);
    EXPECT_TRUE(*snapshot_destroyed) << snapshot_destroyed->error().to_string();
    EXPECT_TRUE(*destroyed) << destroyed->error().to_string();
    EXPECT_EQ(pool->info().used, 0u);
    pool.reset();
    export_and_check();
  }
}

TEST_F(PoolOverlapTest, GrowingWhileThePoolIsExported) {
  std::optional<Result<GrowOutcome>> grown;
  start([&]() -> Task<> { grown = co_await site_->pools().grow("tpool"); });
  create_pool_with_replica().reset();
  site_->resize_disk(200 * kMiB);
  export_and_check();
  ASSERT_TRUE(grown && !*grown);
  EXPECT_EQ(grown->error().code(), Code::kAborted);
}

TEST_F(PoolOverlapTest, PoolStaysOpenWithAReplicaThatIsInUse) {
  start();
  auto pool = create_pool_with_replica();
  auto user = site_->replica("r1");
  uint64_t number = 2;
  for (const bool destroy : {false, true}) {
    SCOPED_TRACE(destroy ? "destroy" : "export");
    const auto refused = site_->run(destroy ? site_->pools().destroy("tpool") : site_->pools().export_pool("tpool"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::kInternal);
    EXPECT_THAT(refused.error().to_string(),
                testing::AllOf(testing::HasSubstr(destroy ? "destroy pool" : "export pool"),
                               testing::HasSubstr("still in use")));
    const auto created = site_->create_replica(*pool, number++, kMiB, true);
    EXPECT_TRUE(created) << created.error().to_string();
  }
  user.reset();
  pool.reset();
  export_and_check();
}

TEST_F(PoolOverlapTest, TheDiskVanishesWhileItsPoolEnds) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    for (const bool destroy : {false, true}) {
      SCOPED_TRACE(fmt::format("seed {}, {}", seed, destroy ? "destroy" : "export"));
      // Time for the other one to begin.
      start([&]() -> Task<> { static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(1))); }, seed);
      create_pool_with_replica().reset();
      std::optional<Result<>> ended, removed;
      together(destroy ? site_->pools().destroy("tpool") : site_->pools().export_pool("tpool"),
               site_->engine().registry.remove(TestSite::kDisk), ended, removed);
      site_->run_until([&] { return site_->engine().registry.empty(); });
      EXPECT_EQ(site_->pools().find("tpool"), nullptr);
      auto again = site_->run(site_->pools().create(
          {.name = "tpool", .uuid = {}, .disks = {site_->disk_uri()}, .cluster_size = kMiB, .md_resv_ratio = {}}));
      ASSERT_TRUE(again) << again.error().to_string();
      if (!destroy) {
        EXPECT_TRUE(again->imported);
        EXPECT_EQ(site_->read("r1", 0, kMiB), data_);
      }
    }
  }
}

// Snapshots that other tools have made have no creation time and count as replicas.
TEST_F(PoolOverlapTest, ReplicasWithChildren) {
  start();
  auto pool = create_pool_with_replica();
  snapshot(*pool, "s1", 11);
  ASSERT_TRUE(site_->run(pool->create_clone(site_->replica("s1"), clone_request("c1", 21))));
  ASSERT_TRUE(site_->run(
      pool->set_attribute(site_->replica("s1"), std::string(format::kSnapshotTimeXattr), std::string(1, '\0'))));
  ASSERT_FALSE(site_->replica("s1")->is_snapshot());
  const auto refused = site_->run(pool->destroy_replica(site_->replica("s1")));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInternal);
  EXPECT_THAT(refused.error().to_string(), testing::HasSubstr("2 volumes were made of it"));
  EXPECT_EQ(site_->read("s1", 0, kMiB), data_);
  ASSERT_TRUE(site_->run(pool->destroy_replica(site_->replica("c1"))));
  ASSERT_TRUE(site_->run(pool->destroy_replica(site_->replica("s1"))));
  EXPECT_EQ(site_->replica("s1"), nullptr);
  EXPECT_EQ(site_->read("r1", 0, kMiB), data_);
  pool.reset();
  export_and_check();
}

TEST_F(PoolOverlapTest, SnapshotsNeedATime) {
  start();
  auto pool = create_pool_with_replica();
  const auto refused = site_->run(pool->create_snapshot(
      site_->replica("r1"),
      {.name = "s1", .uuid = TestSite::uuid_of(11).to_string(), .entity_id = "e", .txn_id = "t", .create_time = ""}));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::pool
