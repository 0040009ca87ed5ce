#include "pool/check/repair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "pool/check/pool_check.h"
#include "pool/check/test_pool_image.h"

namespace cairn::pool::check {
namespace {

using format::blob_id_of;
using format::BlobFlags;
using format::BlobMetadata;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

// A thick blob (root 5, extent page 6, clusters 20 to 22) and a thin one (root 7, extent page 8, cluster 25).
struct Pair : TestPoolImage {
  Pair() {
    thick = lvol(5, "thick", 3);
    thick.flags.invalid = BlobFlags::kExtentTable;
    thick.extent_table = {6};
    put(thick);
    put_extent_page(thick, 0, 6, {20, 21, 22});
    thin = lvol(7, "thin", 600);
    thin.extent_table = {8, 0};
    put(thin);
    std::vector<uint32_t> clusters(512);
    clusters[100] = 25;
    put_extent_page(thin, 0, 8, clusters);
  }
  BlobMetadata thick;
  BlobMetadata thin;
};

// Plans, proves that planning wrote nothing, applies, and returns the report afterwards.
PoolReport repaired(MemoryDevice& device, const RepairOptions& options = {}) {
  const std::vector<std::byte> before(device.bytes().begin(), device.bytes().end());
  const auto plan = plan_repair(device, options);
  EXPECT_TRUE(plan) << plan.error().to_string();
  if (!plan) return {};
  EXPECT_TRUE(std::ranges::equal(before, device.bytes()));
  EXPECT_FALSE(plan->empty());
  EXPECT_FALSE(plan->steps.empty());
  const auto applied = apply_repair(device, *plan);
  EXPECT_TRUE(applied) << applied.error().to_string();
  PoolReport report = check_pool(device);
  EXPECT_EQ(report.findings.size(), plan->left.size());
  const auto again = plan_repair(device, {});
  EXPECT_TRUE(again && again->empty());
  return report;
}

Code refusal(MemoryDevice& device, const RepairOptions& options = {}) {
  const auto plan = plan_repair(device, options);
  EXPECT_FALSE(plan);
  return plan ? Code::kUnknown : plan.error().code();
}

TEST(Repair, AGoodPoolNeedsNone) {
  Pair pair;
  EXPECT_TRUE(plan_repair(pair.finish(), {})->empty());
  EXPECT_TRUE(plan_repair(pair.finish(false), {})->empty());
}

TEST(Repair, MasksOfACleanPool) {
  Pair pair;
  pair.mark_cluster(40);
  pair.mark_page(30);
  pair.unmark_cluster(20);
  pair.unmark_page(6);
  MemoryDevice& device = pair.finish();
  const PoolReport report = repaired(device);
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_TRUE(report.super->clean);

  device.bytes()[pair.layout.used_blobid_mask.start * format::kPageSize + 1] = std::byte{1};  // length
  EXPECT_THAT(repaired(device).findings, IsEmpty());
}

TEST(Repair, GhostsAndUnusedPages) {
  Pair pair;
  BlobMetadata ghost = pair.lvol(9, "ghost", 2);
  ghost.extent_table = {10};
  pair.put(ghost);
  pair.put_extent_page(ghost, 0, 10, {20, 21});
  pair.unmark_blobid(9);
  pair.unmark_page(9);
  pair.unmark_page(10);
  const PoolReport report = repaired(pair.finish());
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_TRUE(format::is_blank(pair.md_page_bytes(9).first<format::kPageSize>()));
  EXPECT_TRUE(format::is_blank(pair.md_page_bytes(10).first<format::kPageSize>()));
}

TEST(Repair, TheChecksumOfTheSuperBlock) {
  Pair pair;
  MemoryDevice& device = pair.finish();
  device.bytes()[3000] = std::byte{7};
  const PoolReport report = repaired(device);
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
  EXPECT_FALSE(report.super->clean);
  EXPECT_EQ(report.blobs.size(), 3u);

  // What it says must make sense: here the metadata would lie elsewhere.
  device.bytes()[48] ^= std::byte{8};
  EXPECT_EQ(refusal(device), Code::kFailedPrecondition);
}

TEST(Repair, TheLinkToTheSuperBlob) {
  Pair pair;
  pair.super.super_blob = blob_id_of(5);
  const PoolReport report = repaired(pair.finish());
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
  EXPECT_EQ(report.super->super_blob, blob_id_of(0));
  EXPECT_EQ(report.identity->name, "pool0");
}

TEST(Repair, ALostSuperBlock) {
  Pair pair;
  MemoryDevice& device = pair.finish();
  std::ranges::fill(device.bytes().first(512), std::byte{0xff});
  EXPECT_EQ(refusal(device), Code::kFailedPrecondition);
  EXPECT_EQ(refusal(device, {.rebuild_super_block = format::LayoutRequest{.cluster_size = 256u << 10}}),
            Code::kFailedPrecondition);
  const PoolReport report = repaired(device, {.rebuild_super_block = format::LayoutRequest{.cluster_size = 64u << 10}});
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
  EXPECT_EQ(report.blobs.size(), 3u);
  EXPECT_EQ(report.layout, pair.layout);
  EXPECT_EQ(refusal(device, {.rebuild_super_block = format::LayoutRequest{.cluster_size = 64u << 10}}),
            Code::kInvalidArgument);
}

TEST(Repair, NothingIsFreedWhileABlobIsUnreadable) {
  Pair pair;
  pair.md_page_bytes(6)[40] ^= std::byte{1};
  pair.mark_cluster(40);
  MemoryDevice& device = pair.finish();
  const auto plan = plan_repair(device, {});
  ASSERT_TRUE(plan);
  EXPECT_TRUE(plan->empty());
  EXPECT_THAT(plan->left, Contains(testing::Field(&Finding::problem, Problem::kExtentPage)));

  const PoolReport report = repaired(device, {.drop_blobs = {pair.thick.id}});
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_EQ(report.blobs.size(), 2u);
  EXPECT_EQ(report.clusters_in_use, pair.layout.md_clusters + 1);
}

TEST(Repair, ADamagedRoot) {
  for (const bool clean : {true, false}) {
    Pair pair;
    pair.md_page_bytes(5)[40] ^= std::byte{1};
    MemoryDevice& device = pair.finish(clean);
    EXPECT_TRUE(plan_repair(device, {})->empty());
    const PoolReport report = repaired(device, {.drop_blobs = {pair.thick.id}});
    EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
    EXPECT_EQ(report.blobs.size(), 2u);
  }
}

TEST(Repair, DroppingHasLimits) {
  Pair pair;
  pair.thick.flags.data_ro = BlobFlags::kReadOnly;
  pair.put(pair.thick);
  pair.thin.set_link(format::kParentLink, pair.thick.id);
  pair.put(pair.thin);
  MemoryDevice& device = pair.finish();
  EXPECT_EQ(refusal(device, {.drop_blobs = {pair.thick.id}}), Code::kInvalidArgument);  // has a child
  EXPECT_EQ(refusal(device, {.drop_blobs = {blob_id_of(0)}}), Code::kInvalidArgument);  // the pool itself
  EXPECT_EQ(refusal(device, {.drop_blobs = {blob_id_of(33)}}), Code::kInvalidArgument);
  EXPECT_EQ(refusal(device, {.drop_blobs = {33}}), Code::kInvalidArgument);
  EXPECT_EQ(refusal(device, {.detach_blobs = {pair.thin.id}}), Code::kInvalidArgument);  // its parent exists
  EXPECT_THAT(repaired(device, {.drop_blobs = {pair.thin.id, pair.thick.id}}).blobs, testing::SizeIs(1));
}

TEST(Repair, DetachesFromAMissingParent) {
  Pair pair;
  pair.thin.set_link(format::kParentLink, blob_id_of(33));
  pair.put(pair.thin);
  MemoryDevice& device = pair.finish();
  EXPECT_TRUE(plan_repair(device, {})->empty());
  const PoolReport report = repaired(device, {.detach_blobs = {pair.thin.id}});
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_FALSE(report.blob(pair.thin.id)->parent);
  EXPECT_EQ(report.blob(pair.thin.id)->allocated_clusters, 1u);
}

TEST(Repair, ExtentPagesEndWithTheirBlob) {
  Pair pair;
  pair.put_extent_page(pair.thick, 0, 6, {20, 21, 22, 23});
  const PoolReport report = repaired(pair.finish());
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_EQ(report.clusters_in_use, pair.layout.md_clusters + 4);
}

TEST(Repair, SharedClustersAreSeparatedOnRequest) {
  Pair pair;
  std::vector<uint32_t> clusters(512);
  clusters[3] = 21;
  clusters[7] = 22;
  clusters[9] = 25;
  pair.put_extent_page(pair.thin, 0, 8, clusters);
  MemoryDevice& device = pair.finish();
  const auto cluster = [&](uint32_t i) {
    return device.bytes().subspan(pair.layout.cluster_offset(i), pair.layout.cluster_size);
  };
  std::ranges::fill(cluster(21), std::byte{0x21});
  std::ranges::fill(cluster(22), std::byte{0x22});
  EXPECT_TRUE(plan_repair(device, {})->empty());
  const PoolReport report = repaired(device, {.separate_shared = true});
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  EXPECT_EQ(report.clusters_in_use, pair.layout.md_clusters + 6);
  const auto& map = report.blob(pair.thin.id)->map;
  ASSERT_GE(map.size(), 4u);
  EXPECT_NE(map[1].first, 21u);
  EXPECT_TRUE(std::ranges::equal(cluster(map[1].first), cluster(21)));
  EXPECT_TRUE(std::ranges::equal(cluster(map[3].first), cluster(22)));
  EXPECT_THAT(report.blob(pair.thick.id)->map, testing::ElementsAre(format::ClusterRun{20, 3}));
}

TEST(Repair, RunsAreSeparatedToo) {
  TestPoolImage image;
  for (const uint32_t root : {3u, 4u}) {
    BlobMetadata blob = image.lvol(root, "lvol" + std::to_string(root));
    blob.flags.invalid = 0;
    blob.runs = {{20, 2}};
    blob.num_clusters = 2;
    image.put(blob);
  }
  image.mark_cluster(20);
  image.mark_cluster(21);
  const PoolReport report = repaired(image.finish(), {.separate_shared = true});
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
}

TEST(Repair, APlanIsForAnUnchangedDevice) {
  Pair pair;
  pair.mark_cluster(40);
  MemoryDevice& device = pair.finish();
  const auto plan = plan_repair(device, {});
  ASSERT_TRUE(plan);
  device.bytes()[pair.layout.used_cluster_mask.start * format::kPageSize + 100] ^= std::byte{1};
  const std::vector<std::byte> before(device.bytes().begin(), device.bytes().end());
  EXPECT_EQ(apply_repair(device, *plan).error().code(), Code::kAborted);
  EXPECT_TRUE(std::ranges::equal(before, device.bytes()));
}

// A device that loses power after a number of writes.
class DyingDevice final : public DeviceWriter {
 public:
  DyingDevice(MemoryDevice& device, int writes) : device_(device), writes_(writes) {}
  uint64_t size_bytes() const override { return device_.size_bytes(); }
  Result<> read(uint64_t offset, std::span<std::byte> out) override { return device_.read(offset, out); }
  Result<> write(uint64_t offset, std::span<const std::byte> from) override {
    if (writes_-- <= 0) return fail(Code::kUnavailable, "no power");
    return device_.write(offset, from);
  }
  Result<> flush() override { return {}; }

 private:
  MemoryDevice& device_;
  int writes_;
};

TEST(Repair, MayBeInterruptedAnywhere) {
  for (int writes = 0;; ++writes) {
    Pair pair;
    pair.mark_cluster(40);
    pair.unmark_cluster(20);
    pair.put_extent_page(pair.thick, 0, 6, {20, 21, 22, 23});
    pair.put(pair.lvol(9, "ghost"));
    pair.unmark_blobid(9);
    MemoryDevice& device = pair.finish();
    DyingDevice dying(device, writes);
    const auto plan = plan_repair(device, {});
    ASSERT_TRUE(plan);
    const std::vector<std::byte> before(device.bytes().begin(), device.bytes().end());
    const bool done = apply_repair(dying, *plan).has_value();
    if (!done &&
        !std::ranges::equal(device.bytes().subspan(format::kPageSize), std::span(before).subspan(format::kPageSize))) {
      EXPECT_FALSE(check_pool(device).super->clean) << writes;
    }
    const auto again = plan_repair(device, {});
    ASSERT_TRUE(again);
    ASSERT_TRUE(apply_repair(device, *again));
    const PoolReport report = check_pool(device);
    // A pool that is marked unclean by then has its masks made anew by the next import; the ghost may be back.
    EXPECT_FALSE(report.has(Severity::kWarning)) << writes << "\n" << report.text();
    if (done) break;
    ASSERT_LT(writes, 100);
  }
}

// Whatever is damaged: a plan can be made or is refused, and what it promises comes true.
TEST(Repair, KeepsItsPromiseOnRandomDamage) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    Pair pair;
    MemoryDevice& device = pair.finish(round % 2 == 0);
    const uint32_t pages = pair.layout.md_start + 12;
    for (uint32_t i = 1 + random() % 3; i-- > 0;) {
      const uint32_t page = random() % pages;
      const auto bytes = device.bytes().subspan(page * format::kPageSize, format::kPageSize);
      bytes[random() % 200] ^= std::byte{static_cast<uint8_t>(1u << random() % 8)};
      if (random() % 2 == 0) format::seal(bytes.first<format::kPageSize>());
    }
    const auto plan = plan_repair(device, {.separate_shared = random() % 2 == 0});
    if (!plan) continue;
    ASSERT_TRUE(apply_repair(device, *plan));
    const PoolReport report = check_pool(device);
    ASSERT_EQ(report.findings.size(), plan->left.size()) << report.text();
    for (size_t i = 0; i < report.findings.size(); ++i) {
      ASSERT_EQ(report.findings[i].message, plan->left[i].message);
    }
  }
}

}  // namespace
}  // namespace cairn::pool::check
