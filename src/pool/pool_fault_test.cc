// Operations on a disk that fails at any of their writes and flushes: what is written and acknowledged afterwards
// stays, whether the pool is closed then or the power goes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"
#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint64_t kNumClusters = 20;
constexpr size_t kWritten = 4096;
constexpr uint64_t kOldDataAt = 64 << 10;  // within a cluster

CreateSnapshotRequest snapshot_request(const std::string& name, uint64_t number) {
  return {.name = name,
          .uuid = TestSite::uuid_of(number).to_string(),
          .entity_id = "e",
          .txn_id = "t",
          .create_time = "2024-10-09 11:22:33 UTC"};
}

struct Operation {
  std::string name;
  bool with_snapshot = false;
  std::function<Task<>(TestSite&)> run;
};

Task<> perform_on_replica(TestSite& site, IoType type, uint64_t offset, uint64_t size) {
  const auto device = site.engine().registry.find("r1");
  auto channel = co_await device->open_channel();
  CAIRN_CHECK(channel.has_value());
  const auto memory = block::allocate_pages(size);
  iovec piece{memory.get(), size};
  auto request = site.at(type, offset, size);
  if (type == IoType::kWrite) request.data = {&piece, 1};
  static_cast<void>(co_await block::perform(**channel, request));
}

std::shared_ptr<Pool> the_pool(TestSite& site) {
  return site.pools().find("tpool");
}

std::vector<Operation> operations() {
  auto resize = [](uint64_t clusters) {
    return [clusters](TestSite& site) -> Task<> {
      static_cast<void>(co_await the_pool(site)->resize_replica(site.replica("r1"), clusters * kMiB));
    };
  };
  return {
      {"FirstWrite", false,
       [](TestSite& site) { return perform_on_replica(site, IoType::kWrite, 15 * kMiB, kWritten); }},
      {"Unmap", false, [](TestSite& site) { return perform_on_replica(site, IoType::kUnmap, 9 * kMiB, 2 * kMiB); }},
      {"Grow", false, resize(kNumClusters + 4)},
      {"Shrink", false, resize(10)},
      {"SetEntity", false,
       [](TestSite& site) -> Task<> {
         static_cast<void>(co_await the_pool(site)->set_entity_id(site.replica("r1"), "somebody"));
       }},
      {"CreateSnapshot", false,
       [](TestSite& site) -> Task<> {
         static_cast<void>(co_await the_pool(site)->create_snapshot(site.replica("r1"), snapshot_request("s2", 12)));
       }},
      {"CreateSecondSnapshot", true,
       [](TestSite& site) -> Task<> {
         static_cast<void>(co_await the_pool(site)->create_snapshot(site.replica("r1"), snapshot_request("s2", 12)));
       }},
      {"DestroySnapshot", true,
       [](TestSite& site) -> Task<> {
         static_cast<void>(co_await the_pool(site)->destroy_snapshot(site.replica("s1")));
       }},
      {"DestroyReplica", true,
       [](TestSite& site) -> Task<> {
         static_cast<void>(co_await the_pool(site)->destroy_replica(site.replica("r1")));
       }},
  };
}

struct Mode {
  uint32_t block_size;
  bool lasting;  // until the operation ends; otherwise a single failure
  bool power_loss;
  bool snapshot_after;  // writes the root anew
};

class PoolFaultTest : public testing::TestWithParam<Operation> {
 protected:
  // The first `limit` writes and flushes of the operation succeed. Whether there were no more.
  static bool run_with_fault(TestSite& site, const Operation& operation, const Mode& mode, uint64_t limit) {
    const auto& counters = site.disk().counters();
    const uint64_t start = counters.writes + counters.flushes;
    const uint64_t failed = counters.failed;
    bool done = false;
    {
      const runtime::Reactor::Scope scope(site.reactor());
      site.reactor().spawn("operation", [](TestSite& site, const Operation& operation, bool& done) -> Task<> {
        co_await operation.run(site);
        done = true;
      }(site, operation, done));
    }
    site.run_until([&] { return done || counters.writes + counters.flushes - start >= limit; });
    if (!done) {
      site.disk().set_faults({.write_error = -EIO, .flush_error = -EIO});
      site.run_until([&] { return done || (!mode.lasting && counters.failed > failed); });
      site.disk().set_faults({});
      site.run_until([&] { return done; });
    }
    return counters.failed == failed;
  }

  static bool try_point(const Operation& operation, const Mode& mode, uint64_t limit) {
    SCOPED_TRACE(fmt::format("after {} writes, blocks of {}, {}, {}{}", limit, mode.block_size,
                             mode.lasting ? "lasting" : "once", mode.power_loss ? "power loss" : "export",
                             mode.snapshot_after ? ", snapshot" : ""));
    TestSite site({.seed = limit + 1, .block_size = mode.block_size, .tear_unit = mode.block_size});
    auto pool = site.create("tpool", kMiB);
    EXPECT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
    const auto old_data = pattern(kWritten, 77);
    for (uint64_t cluster = 0; cluster < 12; ++cluster) {
      EXPECT_TRUE(site.write("r1", cluster * kMiB + kOldDataAt, old_data).is_success());
    }
    if (operation.with_snapshot) {
      EXPECT_TRUE(site.run(pool->create_snapshot(site.replica("r1"), snapshot_request("s1", 11))));
      EXPECT_TRUE(site.write("r1", kMiB, old_data).is_success());
    }
    EXPECT_TRUE(site.io("r1", {.type = IoType::kFlush}).is_success());
    const bool over = run_with_fault(site, operation, mode, limit);

    std::vector<uint64_t> acknowledged;
    if (site.replica("r1") != nullptr) {
      for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
        if ((cluster + 1) * kMiB > site.replica("r1")->size_bytes()) break;
        if (site.write("r1", cluster * kMiB, pattern(kWritten, cluster)).is_success()) acknowledged.push_back(cluster);
      }
      if (mode.snapshot_after && site.run(pool->create_snapshot(site.replica("r1"), snapshot_request("s3", 13)))) {
        if (site.write("r1", 0, pattern(kWritten, 0)).is_success() && acknowledged.front() != 0) {
          acknowledged.push_back(0);
        }
      }
      EXPECT_TRUE(site.io("r1", {.type = IoType::kFlush}).is_success());
    }
    pool.reset();
    if (mode.power_loss) {
      site.crash(sim::CrashKind::kPowerLoss);
      site.restart();
    } else {
      EXPECT_TRUE(site.run(site.pools().export_pool("tpool")));
    }
    if (site.import() == nullptr) return over;
    if (site.replica("r1") == nullptr) {
      EXPECT_TRUE(acknowledged.empty());
    } else {
      for (const uint64_t cluster : acknowledged) {
        EXPECT_EQ(site.read("r1", cluster * kMiB, kWritten), pattern(kWritten, cluster)) << "cluster " << cluster;
      }
      for (uint64_t cluster = 0; cluster < 9; ++cluster) {
        EXPECT_EQ(site.read("r1", cluster * kMiB + kOldDataAt, kWritten), old_data) << "cluster " << cluster;
      }
      // What recovery left can be worked with.
      EXPECT_TRUE(site.write("r1", 9 * kMiB, old_data).is_success());
      EXPECT_TRUE(site.run(the_pool(site)->create_snapshot(site.replica("r1"), snapshot_request("s4", 14))));
    }
    EXPECT_TRUE(site.run(site.pools().export_pool("tpool")));
    SimDisk disk(site);
    const auto report = check::check_pool(disk);
    EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
    return over;
  }
};

TEST_P(PoolFaultTest, FailureAtEveryWrite) {
  log::set_level(log::Level::kOff);
  for (const uint32_t block_size : {512u, 4096u}) {
    for (const bool lasting : {true, false}) {
      for (const bool power_loss : {true, false}) {
        for (const bool snapshot_after : {true, false}) {
          bool over = false;
          for (uint64_t limit = 0; !over && !HasFailure(); ++limit) {
            over = try_point(GetParam(), {block_size, lasting, power_loss, snapshot_after}, limit);
          }
        }
      }
    }
  }
  log::set_level(log::Level::kInfo);
}

// Nothing can be changed any more, and whoever asks for the pool is told so.
TEST_P(PoolFaultTest, HalfWrittenMetadataIsSeen) {
  log::set_level(log::Level::kOff);
  bool seen = false;
  for (uint64_t limit = 0; !seen && !HasFailure(); ++limit) {
    SCOPED_TRACE(fmt::format("after {} writes", limit));
    TestSite site({.seed = limit + 1});
    auto pool = site.create("tpool", kMiB);
    ASSERT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
    for (uint64_t cluster = 0; cluster < 12; ++cluster) {
      ASSERT_TRUE(site.write("r1", cluster * kMiB, pattern(kWritten, 77)).is_success());
    }
    if (GetParam().with_snapshot) {
      ASSERT_TRUE(site.run(pool->create_snapshot(site.replica("r1"), snapshot_request("s1", 11))));
      ASSERT_TRUE(site.write("r1", kMiB, pattern(kWritten, 77)).is_success());
    }
    EXPECT_FALSE(pool->info().needs_import);
    if (run_with_fault(site, GetParam(), {512, true, false, false}, limit)) break;
    seen = pool->info().needs_import;
    const auto created = site.create_replica(*pool, 9, kMiB, true);
    if (!seen) continue;
    ASSERT_FALSE(created);
    EXPECT_NE(created.error().to_string().find("the pool has to be imported again"), std::string::npos)
        << created.error().to_string();
    pool.reset();
    ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
    pool = site.import();
    ASSERT_NE(pool, nullptr);
    EXPECT_FALSE(pool->info().needs_import);
    EXPECT_TRUE(site.create_replica(*pool, 9, kMiB, true));
    pool.reset();
    EXPECT_TRUE(site.run(site.pools().export_pool("tpool")));
  }
  EXPECT_TRUE(seen);
  log::set_level(log::Level::kInfo);
}

INSTANTIATE_TEST_SUITE_P(Operations, PoolFaultTest, testing::ValuesIn(operations()),
                         [](const auto& info) { return info.param.name; });

// Its data is in the cluster already when the metadata cannot be made stable.
TEST(PoolFaultTest, AFirstWriteThatFailedIsSeenByNobody) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
  ASSERT_TRUE(site.create_replica(*pool, 2, kNumClusters * kMiB, true));
  ASSERT_TRUE(
      site.write("r1", 11 * kMiB, pattern(kWritten, 1)).is_success());  // free clusters are cleared from here on
  const uint64_t used = pool->info().used;

  const uint64_t written = site.disk().counters().writes;
  site.disk().set_faults({.flush_error = -EIO});
  EXPECT_FALSE(site.write("r1", 15 * kMiB + 8192, pattern(kWritten, 2)).is_success());
  site.disk().set_faults({});
  EXPECT_EQ(site.disk().counters().writes - written, 2u);  // the data, the page journal
  EXPECT_EQ(pool->info().used, used);
  EXPECT_EQ(site.read("r1", 15 * kMiB, kMiB), zeroes(kMiB));

  for (uint64_t cluster = 12; cluster < 16; ++cluster) {  // the lowest free ones, that of the failed write among them
    const auto data = pattern(kWritten, 3 + cluster);
    ASSERT_TRUE(site.write("r2", cluster * kMiB, data).is_success());
    auto expected = zeroes(kMiB);
    std::ranges::copy(data, expected.begin());
    EXPECT_EQ(site.read("r2", cluster * kMiB, kMiB), expected) << cluster;
  }
}

TEST(PoolFaultTest, AReplicaThatCannotBeDestroyedStays) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
  const auto data = pattern(kWritten, 1);
  ASSERT_TRUE(site.write("r1", kMiB, data).is_success());
  site.disk().set_faults({.write_error = -EIO});
  // Fails before anything is written in place: the page journal comes first.
  const auto refused = site.run(pool->destroy_replica(site.replica("r1")));
  site.disk().set_faults({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInternal);
  ASSERT_NE(site.replica("r1"), nullptr);
  EXPECT_EQ(site.read("r1", kMiB, kWritten), data);
  EXPECT_TRUE(site.run(pool->destroy_replica(site.replica("r1"))));
  EXPECT_EQ(pool->info().used, 0u);
}

}  // namespace
}  // namespace cairn::pool
