// Pools, replicas, snapshots and clones as their users see them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "pool/format/blob_chain.h"
#include "pool/format/page_journal.h"
#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;

TEST(PoolTest, FiguresOfANewPool) {
  TestSite site;
  const auto pool = site.create();
  ASSERT_NE(pool, nullptr);
  const PoolInfo info = pool->info();
  EXPECT_EQ(info.name, "tpool");
  EXPECT_EQ(info.capacity, 96 * kMiB);  // reference lvs-ondisk.md, section 1
  EXPECT_EQ(info.used, 0u);
  EXPECT_EQ(info.committed, 0u);
  EXPECT_EQ(info.disk_capacity, 100 * kMiB);
  EXPECT_EQ(info.cluster_size, 4 * kMiB);
  EXPECT_EQ(info.md_pages, 25u);
  EXPECT_EQ(info.md_used_pages, 1u);
  EXPECT_TRUE(info.disk_uri.starts_with("aio:///dev/sda?uuid=")) << info.disk_uri;
  EXPECT_EQ(*pool->disk().claimed_by(), "lvs");
}

TEST(PoolTest, ThickAndThinReplicasKeepTheirDataOverExportAndImport) {
  TestSite site;
  auto pool = site.create();
  const Uuid uuid = pool->uuid();
  ASSERT_TRUE(site.create_replica(*pool, 1, 12 * kMiB, false));
  ASSERT_TRUE(site.create_replica(*pool, 2, 40 * kMiB, true));
  EXPECT_EQ(pool->info().used, (12 + 8) * kMiB);
  EXPECT_EQ(pool->info().committed, 52 * kMiB);
  const auto first = pattern(64 << 10, 1), second = pattern(1 << 20, 2);
  // Across the border of two clusters; into clusters that nobody has yet.
  EXPECT_TRUE(site.write("r1", 4 * kMiB - (32 << 10), first).is_success());
  EXPECT_TRUE(site.write("r2", 16 * kMiB - (512 << 10), second).is_success());
  EXPECT_EQ(pool->info().used, (12 + 16) * kMiB);
  EXPECT_EQ(site.read("r2", 20 * kMiB, 4096), zeroes(4096));
  auto usage = site.replica("r2")->usage();
  EXPECT_EQ(usage.num_allocated_clusters, 4u);
  EXPECT_EQ(usage.num_clusters, 10u);
  EXPECT_EQ(pool->info().md_used_pages, 5u);

  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  EXPECT_TRUE(site.engine().registry.empty());
  pool = site.import();
  ASSERT_NE(pool, nullptr);
  EXPECT_EQ(pool->uuid(), uuid);
  EXPECT_EQ(pool->info().used, (12 + 16) * kMiB);
  EXPECT_EQ(pool->info().md_used_pages, 5u);
  EXPECT_TRUE(site.replica("r2")->thin());
  EXPECT_FALSE(site.replica("r1")->thin());
  EXPECT_EQ(site.replica("r1")->uuid(), TestSite::uuid_of(1));
  EXPECT_EQ(site.read("r1", 4 * kMiB - (32 << 10), first.size()), first);
  EXPECT_EQ(site.read("r2", 16 * kMiB - (512 << 10), second.size()), second);
}

TEST(PoolTest, CreateTakesWhatIsOnTheDisk) {
  TestSite site;
  auto pool = site.create();
  const Uuid uuid = pool->uuid();
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  auto again = site.run(site.pools().create(
      {.name = "tpool", .uuid = {}, .disks = {"/dev/sda"}, .cluster_size = {}, .md_resv_ratio = {}}));
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_TRUE(again->imported);
  EXPECT_EQ(again->pool->uuid(), uuid);
}

TEST(PoolTest, DestroyedReplicasGiveTheirSpaceBackAndTheirDataIsGone) {
  TestSite site;
  auto pool = site.create();
  for (const bool thin : {false, true}) {
    ASSERT_TRUE(site.create_replica(*pool, 1, 96 * kMiB, thin));
    const auto data = pattern(1 << 20, 7);
    for (uint64_t at = 0; at < 96 * kMiB; at += 4 * kMiB) EXPECT_TRUE(site.write("r1", at, data).is_success());
    EXPECT_EQ(pool->info().used, 96 * kMiB);
    ASSERT_TRUE(site.run(pool->destroy_replica(site.replica("r1"))));
    EXPECT_EQ(pool->info().used, 0u);
    EXPECT_EQ(pool->info().md_used_pages, 1u);
    for (const bool next_thin : {false, true}) {
      ASSERT_TRUE(site.create_replica(*pool, 2, 96 * kMiB, next_thin));
      // A write of one block brings a whole cluster.
      EXPECT_TRUE(site.write("r2", 40 * kMiB, pattern(512, 9)).is_success());
      for (uint64_t at = 0; at < 96 * kMiB; at += kMiB) {
        const auto seen = site.read("r2", at, 1 << 20);
        EXPECT_TRUE(std::ranges::all_of(seen.begin() + 512, seen.end(), [](std::byte b) { return b == std::byte{0}; }));
      }
      ASSERT_TRUE(site.run(pool->destroy_replica(site.replica("r2"))));
    }
  }
}

TEST(PoolTest, UnmapReturnsWholeClusters) {
  TestSite site;
  auto pool = site.create();
  ASSERT_TRUE(site.create_replica(*pool, 1, 40 * kMiB, true));
  const auto data = pattern(kMiB, 3);
  for (uint64_t at = 0; at < 40 * kMiB; at += kMiB) ASSERT_TRUE(site.write("r1", at, data).is_success());
  EXPECT_EQ(pool->info().used, 40 * kMiB);
  // From the middle of a cluster to the middle of another: five whole ones.
  EXPECT_TRUE(site.io("r1", site.at(IoType::kUnmap, 6 * kMiB, 23 * kMiB)).is_success());
  EXPECT_EQ(pool->info().used, 20 * kMiB);
  for (uint64_t at = 0; at < 40 * kMiB; at += kMiB) {
    EXPECT_EQ(site.read("r1", at, kMiB), at < 6 * kMiB || at >= 29 * kMiB ? data : zeroes(kMiB)) << at;
  }
}

TEST(PoolTest, AFullPoolRefusesNewClustersAndServesTheOthers) {
  TestSite site;
  auto pool = site.create();
  ASSERT_TRUE(site.create_replica(*pool, 1, 80 * kMiB, false));
  ASSERT_TRUE(site.create_replica(*pool, 2, 40 * kMiB, true));
  const auto data = pattern(4096, 3);
  EXPECT_TRUE(site.write("r2", 8 * kMiB, data).is_success());
  EXPECT_TRUE(site.write("r2", 12 * kMiB, data).is_success());
  const auto status = site.write("r2", 16 * kMiB, data);
  EXPECT_TRUE(status.is(nvme::GenericStatus::kCapacityExceeded)) << status.to_string();
  EXPECT_TRUE(status.do_not_retry());
  EXPECT_TRUE(site.write("r2", 12 * kMiB, data).is_success());
  EXPECT_TRUE(site.write("r1", 12 * kMiB, data).is_success());
  const auto refused = site.create_replica(*pool, 3, 4 * kMiB, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kResourceExhausted);
}

TEST(PoolTest, SnapshotsAndClones) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, 10 * kMiB, false));
  const auto before = pattern(kMiB, 1), after = pattern(kMiB, 2), other = pattern(4096, 3);
  ASSERT_TRUE(site.write("r1", 3 * kMiB, before).is_success());
  auto snapshot = site.run(pool->create_snapshot(site.replica("r1"), {.name = "s1",
                                                                      .uuid = TestSite::uuid_of(11).to_string(),
                                                                      .entity_id = "e",
                                                                      .txn_id = "t",
                                                                      .create_time = "2024-10-09 11:22:33 UTC"}));
  ASSERT_TRUE(snapshot) << snapshot.error().to_string();
  EXPECT_TRUE((*snapshot)->is_snapshot());
  EXPECT_TRUE((*snapshot)->snapshot_attributes().valid);
  EXPECT_EQ((*snapshot)->source_uuid(), TestSite::uuid_of(1).to_string());
  EXPECT_EQ((*snapshot)->usage().allocated_bytes, 10 * kMiB);
  EXPECT_TRUE(site.replica("r1")->thin());
  EXPECT_EQ(site.replica("r1")->usage().allocated_bytes, 0u);
  EXPECT_EQ(site.replica("r1")->usage().allocated_bytes_snapshots, 10 * kMiB);
  EXPECT_EQ(site.read("r1", 3 * kMiB, kMiB), before);
  ASSERT_TRUE(site.write("r1", 3 * kMiB + 4096, other).is_success());
  EXPECT_EQ(site.replica("r1")->usage().allocated_bytes, kMiB);
  EXPECT_EQ(site.read("s1", 3 * kMiB, kMiB), before);
  const auto refused = site.write("s1", 0, other);
  EXPECT_TRUE(refused.is(nvme::GenericStatus::kNamespaceWriteProtected)) << refused.to_string();
  auto expected = before;
  std::ranges::copy(other, expected.begin() + 4096);
  EXPECT_EQ(site.read("r1", 3 * kMiB, kMiB), expected);

  auto clone = site.run(pool->create_clone(
      *snapshot, {.name = "c1", .uuid = TestSite::uuid_of(21).to_string(), .create_time = "2024-10-09 11:22:34 UTC"}));
  ASSERT_TRUE(clone) << clone.error().to_string();
  EXPECT_TRUE((*clone)->is_clone());
  EXPECT_EQ((*clone)->source_snapshot_uuid(), TestSite::uuid_of(11).to_string());
  EXPECT_EQ((*snapshot)->num_clones(), 1u);
  EXPECT_EQ(site.read("c1", 3 * kMiB, kMiB), before);
  ASSERT_TRUE(site.write("c1", 3 * kMiB, after).is_success());
  EXPECT_EQ(site.read("s1", 3 * kMiB, kMiB), before);
  EXPECT_EQ(site.read("r1", 3 * kMiB, kMiB), expected);

  // Destroyed while it has a clone: only marked. Then it goes with the clone, and its clusters to the replica.
  ASSERT_TRUE(site.run(pool->destroy_snapshot(*snapshot)));
  EXPECT_TRUE((*snapshot)->snapshot_attributes().discarded);
  snapshot->reset();
  ASSERT_TRUE(site.run(pool->destroy_replica(std::move(*clone))));
  EXPECT_EQ(site.replica("s1"), nullptr);
  EXPECT_EQ(site.replica("c1"), nullptr);
  EXPECT_EQ(site.read("r1", 3 * kMiB, kMiB), expected);
  EXPECT_EQ(site.replica("r1")->usage().allocated_bytes, 10 * kMiB);
  EXPECT_EQ(pool->info().used, 10 * kMiB);
  EXPECT_EQ(pool->info().md_used_pages, 3u);
}

TEST(PoolTest, Resize) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  for (const bool thin : {false, true}) {
    ASSERT_TRUE(site.create_replica(*pool, 1, 10 * kMiB, thin));
    const auto data = pattern(kMiB, 1);
    for (uint64_t at = 0; at < 10 * kMiB; at += kMiB) ASSERT_TRUE(site.write("r1", at, data).is_success());
    ASSERT_TRUE(site.run(pool->resize_replica(site.replica("r1"), 20 * kMiB)));
    EXPECT_EQ(site.replica("r1")->size_bytes(), 20 * kMiB);
    EXPECT_EQ(site.read("r1", 15 * kMiB, kMiB), zeroes(kMiB));
    EXPECT_EQ(pool->info().used, (thin ? 10 : 20) * kMiB);
    ASSERT_TRUE(site.write("r1", 15 * kMiB, data).is_success());
    ASSERT_TRUE(site.run(pool->resize_replica(site.replica("r1"), 5 * kMiB)));
    EXPECT_EQ(pool->info().used, 5 * kMiB);
    ASSERT_TRUE(site.run(pool->resize_replica(site.replica("r1"), 20 * kMiB)));
    EXPECT_EQ(site.read("r1", 4 * kMiB, kMiB), data);
    EXPECT_EQ(site.read("r1", 5 * kMiB, 15 * kMiB), zeroes(15 * kMiB));
    ASSERT_TRUE(site.run(pool->destroy_replica(site.replica("r1"))));
    EXPECT_EQ(pool->info().md_used_pages, 1u);
  }
}

// Volumes of more than 512 clusters have several extent pages.
TEST(PoolTest, ManyExtentPages) {
  TestSite site({.disk_bytes = 1400 * kMiB});
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, 1200 * kMiB, true));
  std::map<uint64_t, uint64_t> expected;  // cluster to seed; others read as zeroes
  auto write = [&](const std::string& name, uint64_t cluster, uint64_t seed) {
    EXPECT_TRUE(site.write(name, cluster * kMiB, pattern(4096, seed)).is_success());
  };
  auto verify = [&](const std::string& name, const std::map<uint64_t, uint64_t>& clusters) {
    for (const uint64_t cluster : {0, 1, 300, 510, 511, 512, 513, 900, 1022, 1023, 1024, 1025, 1199}) {
      if (cluster * kMiB >= site.replica(name)->size_bytes()) continue;
      const auto found = clusters.find(cluster);
      EXPECT_EQ(site.read(name, cluster * kMiB, 4096),
                found == clusters.end() ? zeroes(4096) : pattern(4096, found->second))
          << name << " " << cluster;
    }
  };
  auto over_again = [&] {
    pool.reset();
    ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
    SimDisk disk(site);
    const auto report = check::check_pool(disk);
    EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
    pool = site.import();
  };
  for (const uint64_t cluster : {0, 511, 512, 1023, 1199}) write("r1", cluster, expected[cluster] = cluster + 1);
  verify("r1", expected);
  EXPECT_EQ(pool->info().md_used_pages, 1u + 1 + 3);
  const auto at_snapshot = expected;
  auto snapshot = site.run(pool->create_snapshot(site.replica("r1"), {.name = "s1",
                                                                      .uuid = TestSite::uuid_of(11).to_string(),
                                                                      .entity_id = "e",
                                                                      .txn_id = "t",
                                                                      .create_time = "2024-10-09 11:22:33 UTC"}));
  ASSERT_TRUE(snapshot);
  snapshot->reset();
  for (const uint64_t cluster : {511, 900, 1199}) write("r1", cluster, expected[cluster] = cluster + 5000);
  verify("r1", expected);
  verify("s1", at_snapshot);
  over_again();
  verify("r1", expected);
  verify("s1", at_snapshot);

  // The first extent pages of both are merged, so are the third ones; the second is merged as well.
  ASSERT_TRUE(site.run(pool->destroy_snapshot(site.replica("s1"))));
  verify("r1", expected);
  over_again();
  verify("r1", expected);
  EXPECT_EQ(site.replica("r1")->usage().num_allocated_clusters, 8u + 5);

  for (const uint64_t size : {1023, 1025, 512, 511, 1200}) {
    ASSERT_TRUE(site.run(pool->resize_replica(site.replica("r1"), size * kMiB)));
    std::erase_if(expected, [&](const auto& entry) { return entry.first >= size; });
    verify("r1", expected);
    over_again();
    verify("r1", expected);
  }
  write("r1", 1024, expected[1024] = 77);
  EXPECT_TRUE(site.io("r1", site.at(IoType::kUnmap, 0, 1200 * kMiB)).is_success());
  verify("r1", {});
  EXPECT_EQ(pool->info().used, 0u);
  EXPECT_EQ(pool->info().md_used_pages, 2u);
  over_again();
  verify("r1", {});
}

// The original merges extent pages in place before it commits the removal of a snapshot; a crash in between leaves
// clusters that both volumes name.
TEST(PoolTest, CompletesWhatACrashOfTheOriginalHasLeft) {
  TestSite site;
  auto pool = site.create("tpool", kMiB);
  ASSERT_TRUE(site.create_replica(*pool, 1, 6 * kMiB, true));
  std::vector<std::vector<std::byte>> expected;
  for (uint64_t cluster = 0; cluster < 6; ++cluster) {
    expected.push_back(pattern(4096, cluster));
    ASSERT_TRUE(site.write("r1", cluster * kMiB, expected.back()).is_success());
  }
  ASSERT_TRUE(site.run(pool->create_snapshot(site.replica("r1"), {.name = "s1",
                                                                  .uuid = TestSite::uuid_of(11).to_string(),
                                                                  .entity_id = "e",
                                                                  .txn_id = "t",
                                                                  .create_time = "2024-10-09 11:22:33 UTC"})));
  expected[1] = pattern(4096, 100);
  ASSERT_TRUE(site.write("r1", kMiB, expected[1]).is_success());
  const uint64_t used = pool->info().used;
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));

  SimDisk disk(site);
  auto report = check::check_pool(disk);
  check::BlobReport *snapshot = nullptr, *replica = nullptr;
  for (auto& blob : report.blobs) {
    if (blob.lvol && blob.lvol->name == "s1") snapshot = &blob;
    if (blob.lvol && blob.lvol->name == "r1") replica = &blob;
  }
  ASSERT_TRUE(snapshot != nullptr && replica != nullptr);
  auto clusters_of = [](const check::BlobReport& blob) {
    std::vector<uint32_t> clusters;
    for (const auto& run : blob.map) {
      for (uint32_t i = 0; i < run.length; ++i) clusters.push_back(run.first == 0 ? 0 : run.first + i);
    }
    return clusters;
  };
  auto merged = clusters_of(*replica);
  const auto theirs = clusters_of(*snapshot);
  for (size_t i = 0; i < merged.size(); ++i) merged[i] = merged[i] == 0 ? theirs[i] : merged[i];
  std::vector<std::byte> page(format::kPageSize);
  format::encode_extent_page(replica->id, 0, merged, std::span(page).first<format::kPageSize>());
  site.put_on_disk(report.layout->md_page_offset(replica->metadata.extent_table[0]), page);
  snapshot->metadata.set_link(format::kSnapshotRemovalLink, replica->id);
  format::encode_chain(snapshot->metadata, {}, page);
  site.put_on_disk(report.layout->md_page_offset(format::root_page_of(snapshot->id)), page);
  page = site.page_on_disk(0);
  auto super = *report.super;
  super.clean = false;
  format::encode_super_block(super, std::span(page).first<format::kPageSize>());
  site.put_on_disk(0, page);

  pool = site.import();
  ASSERT_NE(pool, nullptr);
  EXPECT_EQ(pool->info().used, used);
  EXPECT_EQ(site.replica("r1")->usage().num_allocated_clusters, 1u);
  // What is written now goes into clusters of its own.
  ASSERT_TRUE(site.write("r1", 2 * kMiB, pattern(4096, 200)).is_success());
  for (uint64_t cluster = 0; cluster < 6; ++cluster) {
    EXPECT_EQ(site.read("s1", cluster * kMiB, 4096), pattern(4096, cluster));
    EXPECT_EQ(site.read("r1", cluster * kMiB, 4096), cluster == 2 ? pattern(4096, 200) : expected[cluster]);
  }
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  report = check::check_pool(disk);
  EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text();
}

TEST(PoolTest, APoolGoesWithItsDisk) {
  TestSite site;
  auto pool = site.create();
  ASSERT_TRUE(site.create_replica(*pool, 1, 8 * kMiB, true));
  ASSERT_TRUE(site.write("r1", 0, pattern(4096, 1)).is_success());
  pool.reset();
  const auto removed = site.run(site.engine().registry.destroy(site.disk_uri()));
  ASSERT_TRUE(removed) << removed.error().to_string();
  EXPECT_EQ(site.pools().find("tpool"), nullptr);
  EXPECT_EQ(site.replica("r1"), nullptr);
  EXPECT_TRUE(site.engine().registry.empty());
  // As after a crash.
  ASSERT_NE(site.import(), nullptr);
  EXPECT_EQ(site.read("r1", 0, 4096), pattern(4096, 1));
}

TEST(PoolTest, SharesAreStoredAndMadeAgainByTheImport) {
  std::map<std::string, std::vector<std::string>> shared;
  PoolOptions options;
  options.exports.share = [&](std::shared_ptr<Replica> replica,
                              std::vector<std::string> hosts) -> runtime::Task<Result<>> {
    shared[replica->name()] = std::move(hosts);
    co_return Result<>{};
  };
  options.exports.unshare = [&](std::string name) -> runtime::Task<> {
    shared.erase(name);
    co_return;
  };
  TestSite site({.pool = options});
  auto pool = site.create();
  for (uint64_t number = 1; number <= 3; ++number) ASSERT_TRUE(site.create_replica(*pool, number, 8 * kMiB, true));
  ASSERT_TRUE(site.run(pool->share(site.replica("r1"), {"nqn.2014-08.org.nvmexpress:uuid:a", "nqn.2019-05.io.x:b"})));
  ASSERT_TRUE(site.run(pool->share(site.replica("r2"), {})));
  ASSERT_TRUE(site.run(pool->share(site.replica("r3"), {})));
  ASSERT_TRUE(site.run(pool->unshare(site.replica("r3"))));
  ASSERT_TRUE(site.run(pool->unshare(site.replica("r3"))));
  ASSERT_TRUE(site.run(pool->set_entity_id(site.replica("r2"), "volume 2")));
  const auto expected = shared;
  EXPECT_EQ(expected.size(), 2u);
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  EXPECT_TRUE(shared.empty());
  pool = site.import();
  EXPECT_EQ(shared, expected);
  EXPECT_TRUE(site.replica("r1")->share_wanted());
  EXPECT_FALSE(site.replica("r3")->share_wanted());
  EXPECT_EQ(site.replica("r2")->entity_id(), "volume 2");
  EXPECT_EQ(site.replica("r1")->attribute("shared"), "true");
  ASSERT_TRUE(site.run(pool->destroy_replica(site.replica("r1"))));
  EXPECT_EQ(shared.size(), 1u);
}

// Another tool may change the pages, and crash, before they are loaded here again.
TEST(PoolTest, ACleanPoolHasNoJournal) {
  TestSite site;
  auto pool = site.create();
  ASSERT_TRUE(site.create_replica(*pool, 1, 8 * kMiB, true));
  const auto place = format::page_journal_place(pool->layout());
  ASSERT_GT(place.capacity, 0u);
  EXPECT_NE(site.page_on_disk(place.first_page * format::kPageSize), zeroes(format::kPageSize));
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
  EXPECT_EQ(site.page_on_disk(place.first_page * format::kPageSize), zeroes(format::kPageSize));
}

TEST(PoolTest, DestroyedPoolLeavesABlankDisk) {
  TestSite site;
  auto pool = site.create();
  ASSERT_TRUE(site.create_replica(*pool, 1, 8 * kMiB, true));
  pool.reset();
  ASSERT_TRUE(site.run(site.pools().destroy("tpool")));
  EXPECT_EQ(site.run(site.pools().destroy("tpool")).error().code(), Code::kNotFound);
  EXPECT_TRUE(site.engine().registry.empty());
  pool = site.create("other");
  ASSERT_NE(pool, nullptr);
  EXPECT_TRUE(pool->volumes().empty());
}

}  // namespace
}  // namespace cairn::pool
