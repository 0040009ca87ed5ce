// Single sectors that cannot be read: who needs them fails, nobody else.
#include <gtest/gtest.h>

#include <algorithm>

#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint64_t kNumClusters = 12;
constexpr uint64_t kBad = 5;

TEST(PoolBadSectorTest, OfASnapshotFailsOnlyTheFirstWriteToItsCluster) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, kNumClusters * kMiB, true));
  for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
    ASSERT_TRUE(site.write("r1", cluster * kMiB, pattern(kMiB, cluster)).is_success());
  }
  ASSERT_TRUE(site.run(pool->create_snapshot(site.replica("r1"), {.name = "s1",
                                                                  .uuid = TestSite::uuid_of(11).to_string(),
                                                                  .entity_id = "e",
                                                                  .txn_id = "t",
                                                                  .create_time = "2024-10-09 11:22:33 UTC"})));
  const auto wanted = pattern(kMiB, kBad);
  const std::vector<std::byte> first_page(wanted.begin(), wanted.begin() + format::kPageSize);
  uint64_t bad_at = 0;
  while (bad_at < site.disk_bytes() && site.page_on_disk(bad_at) != first_page) bad_at += kMiB;
  ASSERT_LT(bad_at, site.disk_bytes());
  site.node().files().fail_reads(TestSite::kDisk, bad_at + 65536, 512);

  // The first is served alone; the others wait meanwhile, and are served together.
  const auto data = pattern(4096, 99);
  std::vector<std::optional<nvme::Status>> statuses(kNumClusters);
  for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
    const runtime::Reactor::Scope scope(site.reactor());
    site.reactor().spawn("write",
                         [](TestSite& site, uint64_t cluster, const std::vector<std::byte>& data,
                            std::optional<nvme::Status>& status) -> Task<> {
                           auto channel = co_await site.engine().registry.find("r1")->open_channel();
                           CAIRN_CHECK(channel.has_value());
                           auto copy = data;
                           iovec piece{copy.data(), copy.size()};
                           auto request = site.at(IoType::kWrite, cluster * kMiB, copy.size());
                           request.data = {&piece, 1};
                           status = co_await block::perform(**channel, request);
                         }(site, cluster, data, statuses[cluster]));
  }
  site.run_until([&] { return std::ranges::all_of(statuses, [](const auto& status) { return status.has_value(); }); });

  for (uint64_t cluster = 0; cluster < kNumClusters; ++cluster) {
    SCOPED_TRACE(fmt::format("cluster {}", cluster));
    if (cluster == kBad) {
      EXPECT_TRUE(statuses[cluster]->is(nvme::MediaStatus::kUnrecoveredReadError)) << statuses[cluster]->to_string();
      continue;
    }
    EXPECT_TRUE(statuses[cluster]->is_success()) << statuses[cluster]->to_string();
    auto expected = pattern(kMiB, cluster);
    std::ranges::copy(data, expected.begin());
    EXPECT_EQ(site.read("r1", cluster * kMiB, kMiB), expected);
  }
  // What the write that failed would have taken is free, and the readable part of its cluster is as it was.
  EXPECT_EQ(pool->info().used, (2 * kNumClusters - 1) * kMiB);
  EXPECT_EQ(site.read("r1", kBad * kMiB, format::kPageSize), first_page);

  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  SimDisk disk(site);
  const auto report = check::check_pool(disk);
  EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
}

}  // namespace
}  // namespace cairn::pool
