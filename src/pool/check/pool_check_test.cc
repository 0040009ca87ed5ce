#include "pool/check/pool_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/check/test_pool_image.h"

namespace cairn::pool::check {
namespace {

using format::blob_id_of;
using format::BlobFlags;
using format::BlobMetadata;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

std::vector<Problem> problems(const PoolReport& report, Severity at_least = Severity::kNote) {
  std::vector<Problem> out;
  for (const Finding& finding : report.findings) {
    if (finding.severity >= at_least) out.push_back(finding.problem);
  }
  return out;
}

// A snapshot (root 1, extent page 2, clusters 10 and 11) with a clone (root 3, extent page 4, cluster 12), and a thick
// blob (root 5, extent page 6, clusters 20 to 22).
struct Family : TestPoolImage {
  Family() {
    snapshot = lvol(1, "snapshot", 3);
    snapshot.flags.data_ro = BlobFlags::kReadOnly;
    snapshot.extent_table = {2};
    put(snapshot);
    put_extent_page(snapshot, 0, 2, {10, 0, 11});
    clone = lvol(3, "clone", 3);
    clone.set_link(format::kParentLink, snapshot.id);
    clone.extent_table = {4};
    put(clone);
    put_extent_page(clone, 0, 4, {0, 12, 0});
    thick = lvol(5, "thick", 3);
    thick.flags.invalid = BlobFlags::kExtentTable;
    thick.extent_table = {6};
    put(thick);
    put_extent_page(thick, 0, 6, {20, 21, 22});
  }
  BlobMetadata snapshot;
  BlobMetadata clone;
  BlobMetadata thick;
};

TEST(PoolCheck, ACleanPoolHasNothingToReport) {
  Family family;
  const PoolReport report = check_pool(family.finish());
  EXPECT_THAT(report.findings, IsEmpty()) << report.text();
  ASSERT_TRUE(report.identity);
  EXPECT_EQ(report.identity->name, "pool0");
  ASSERT_EQ(report.blobs.size(), 4u);
  const BlobReport* clone = report.blob(blob_id_of(3));
  ASSERT_NE(clone, nullptr);
  EXPECT_EQ(clone->parent, blob_id_of(1));
  EXPECT_EQ(clone->allocated_clusters, 1u);
  EXPECT_EQ(clone->lvol->name, "clone");
  EXPECT_THAT(clone->map, ElementsAre(format::ClusterRun{0, 1}, format::ClusterRun{12, 1}, format::ClusterRun{0, 1}));
  EXPECT_THAT(report.blob(blob_id_of(5))->map, ElementsAre(format::ClusterRun{20, 3}));
  EXPECT_EQ(report.pages_in_use, 7u);
  EXPECT_EQ(report.clusters_in_use, family.layout.md_clusters + 6);
  EXPECT_EQ(report.used_clusters->set, report.clusters_in_use);
}

TEST(PoolCheck, AnUncleanPoolIsOnlyNoted) {
  Family family;
  EXPECT_THAT(problems(check_pool(family.finish(false))), ElementsAre(Problem::kUnclean));
}

TEST(PoolCheck, NoPoolAndDamagedSuperBlocks) {
  MemoryDevice blank(std::vector<std::byte>(1u << 20));
  EXPECT_THAT(problems(check_pool(blank)), ElementsAre(Problem::kNoPool));
  MemoryDevice tiny(std::vector<std::byte>(512));
  EXPECT_THAT(problems(check_pool(tiny)), ElementsAre(Problem::kNoPool));

  Family family;
  family.finish();
  family.flip_bit(3000);
  const PoolReport report = check_pool(family.finish());  // written again: good
  EXPECT_THAT(report.findings, IsEmpty());
  MemoryDevice& device = family.finish();
  device.bytes()[3000] ^= std::byte{1};
  const PoolReport damaged = check_pool(device);
  EXPECT_THAT(problems(damaged), ElementsAre(Problem::kSuperBlock));
  EXPECT_EQ(damaged.blobs.size(), 4u);  // still readable

  device.bytes()[3000] ^= std::byte{1};
  device.bytes()[28] ^= std::byte{1};  // cluster size
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kSuperBlock));
  EXPECT_FALSE(check_pool(device).layout);
}

TEST(PoolCheck, LeaksAndUnmarkedSpace) {
  Family family;
  family.mark_cluster(30);
  family.mark_cluster(31);
  family.mark_page(40);
  EXPECT_THAT(problems(check_pool(family.finish())),
              UnorderedElementsAre(Problem::kClusterLeaked, Problem::kPageLeaked));
  EXPECT_FALSE(check_pool(family.finish()).has(Severity::kError));

  Family unmarked;
  unmarked.unmark_cluster(21);
  unmarked.unmark_page(4);
  const PoolReport report = check_pool(unmarked.finish());
  EXPECT_THAT(problems(report, Severity::kError),
              UnorderedElementsAre(Problem::kClusterUnmarked, Problem::kPageUnmarked));
}

TEST(PoolCheck, BlobIdsAgainstRoots) {
  Family family;
  family.unmark_blobid(5);
  family.mark_blobid(9);
  const auto found = problems(check_pool(family.finish()), Severity::kError);
  EXPECT_THAT(found, UnorderedElementsAre(Problem::kGhostBlob, Problem::kBlobMissing));
}

TEST(PoolCheck, AMaskOfTheWrongType) {
  Family family;
  MemoryDevice& device = family.finish();
  device.bytes()[family.layout.used_cluster_mask.start * format::kPageSize] = std::byte{7};
  EXPECT_THAT(problems(check_pool(device)), ElementsAre(Problem::kMask));
}

TEST(PoolCheck, AClusterWithTwoOwners) {
  for (const bool clean : {true, false}) {
    Family family;
    family.put_extent_page(family.thick, 0, 6, {20, 10, 11});
    const PoolReport report = check_pool(family.finish(clean));
    EXPECT_THAT(problems(report, Severity::kError), ElementsAre(Problem::kClusterShared)) << report.text();
    const auto shared = std::ranges::find(report.findings, Problem::kClusterShared, &Finding::problem);
    EXPECT_EQ(shared->blob, blob_id_of(5));
    EXPECT_EQ(shared->cluster, 10u);
    EXPECT_THAT(shared->message, testing::HasSubstr("2 clusters from 10 on"));
  }
  Family three;  // clusters 10 and 11 belong to two others
  three.put_extent_page(three.snapshot, 0, 2, {10, 0, 13});
  three.put_extent_page(three.clone, 0, 4, {0, 11, 0});
  three.put_extent_page(three.thick, 0, 6, {10, 11, 12});
  EXPECT_THAT(problems(check_pool(three.finish(false)), Severity::kError),
              ElementsAre(Problem::kClusterShared, Problem::kClusterShared));
  Family twice;
  twice.put_extent_page(twice.thick, 0, 6, {20, 21, 20});
  EXPECT_THAT(problems(check_pool(twice.finish(false)), Severity::kError), ElementsAre(Problem::kClusterShared));
}

TEST(PoolCheck, AnExtentPageWithTwoOwners) {
  Family family;
  family.clone.extent_table = {2};
  family.put(family.clone);
  const auto found = problems(check_pool(family.finish(false)), Severity::kError);
  EXPECT_THAT(found, UnorderedElementsAre(Problem::kPageShared, Problem::kClusterShared));
}

TEST(PoolCheck, WhatAnUnfinishedRemovalSharesIsExplained) {
  Family family;
  family.snapshot.set_link(format::kSnapshotRemovalLink, family.clone.id);
  family.put(family.snapshot);
  family.put_extent_page(family.clone, 0, 4, {10, 12, 11});
  const PoolReport report = check_pool(family.finish(false));
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
  EXPECT_THAT(problems(report),
              UnorderedElementsAre(Problem::kUnclean, Problem::kPendingRemoval, Problem::kClusterShared));
  // At another position it is not.
  family.put_extent_page(family.clone, 0, 4, {11, 12, 10});
  EXPECT_TRUE(check_pool(family.finish(false)).has(Severity::kError));
}

TEST(PoolCheck, WhatAnUnfinishedSnapshotSharesIsExplained) {
  TestPoolImage image;
  BlobMetadata origin = image.lvol(1, "origin", 2);
  origin.extent_table = {2};
  image.put(origin);
  image.put_extent_page(origin, 0, 2, {10, 11});
  BlobMetadata snapshot = image.lvol(3, "snapshot", 2);
  snapshot.extent_table = {2};
  snapshot.set_link(format::kSnapshotInProgressLink, origin.id);
  image.put(snapshot);
  const PoolReport report = check_pool(image.finish(false));
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
}

TEST(PoolCheck, AnAlmostFinishedSnapshotIsNotYetReadOnly) {
  Family family;
  family.snapshot.flags.data_ro = 0;
  family.snapshot.set_link(format::kSnapshotInProgressLink, family.clone.id);
  family.put(family.snapshot);
  const PoolReport report = check_pool(family.finish(false));
  EXPECT_FALSE(report.has(Severity::kWarning)) << report.text();
  EXPECT_TRUE(check_pool(family.finish(true)).has(Severity::kWarning));  // an export leaves nothing unfinished
}

TEST(PoolCheck, BrokenChains) {
  Family family;
  ASSERT_TRUE(family.thick.xattrs.set("large", std::string(4000, 'x')));
  family.put(family.thick, {8});
  EXPECT_THAT(check_pool(family.finish()).findings, IsEmpty());
  family.md_page_bytes(8)[100] ^= std::byte{1};
  PoolReport report = check_pool(family.finish());
  EXPECT_THAT(problems(report, Severity::kError), ElementsAre(Problem::kBrokenChain)) << report.text();
  EXPECT_FALSE(report.blob(blob_id_of(5))->readable);
  EXPECT_EQ(report.blob(blob_id_of(5))->lvol->name, "thick");

  std::ranges::fill(family.md_page_bytes(8), std::byte{0});
  report = check_pool(family.finish());
  EXPECT_THAT(problems(report, Severity::kError), ElementsAre(Problem::kBrokenChain));
  EXPECT_THAT(report.text(Severity::kError), testing::HasSubstr("metadata page 8, is blank"));
}

TEST(PoolCheck, ExtentPages) {
  Family damaged;
  damaged.md_page_bytes(6)[30] ^= std::byte{1};
  EXPECT_THAT(problems(check_pool(damaged.finish()), Severity::kError), ElementsAre(Problem::kExtentPage));

  Family outside;
  outside.put_extent_page(outside.thick, 0, 6, {20, 21, 64});
  EXPECT_THAT(problems(check_pool(outside.finish()), Severity::kError), ElementsAre(Problem::kClusterOutside));
  Family metadata;
  metadata.put_extent_page(metadata.thick, 0, 6, {20, 21, metadata.layout.md_clusters - 1});
  EXPECT_THAT(problems(check_pool(metadata.finish()), Severity::kError), ElementsAre(Problem::kClusterOutside));

  Family missing;
  missing.put_extent_page(missing.thick, 0, 6, {20, 0, 22});
  EXPECT_THAT(problems(check_pool(missing.finish(false)), Severity::kError), ElementsAre(Problem::kClusterMissing));

  Family elsewhere;
  elsewhere.put_extent_page(elsewhere.thick, 1, 6, {20, 21, 22});
  EXPECT_THAT(problems(check_pool(elsewhere.finish(false)), Severity::kError), ElementsAre(Problem::kExtentPage));

  Family grown;
  grown.put_extent_page(grown.thick, 0, 6, {20, 21, 22, 23});
  EXPECT_THAT(problems(check_pool(grown.finish())), ElementsAre(Problem::kBeyondEnd));
  grown.put_extent_page(grown.thick, 0, 6, {20, 21, 22, 10});
  EXPECT_TRUE(check_pool(grown.finish()).has(Severity::kError));  // the cluster of another
}

TEST(PoolCheck, Parents) {
  Family dangling;
  dangling.clone.set_link(format::kParentLink, blob_id_of(9));
  dangling.put(dangling.clone);
  EXPECT_THAT(problems(check_pool(dangling.finish())), ElementsAre(Problem::kDanglingParent));

  Family writable;
  writable.snapshot.flags.data_ro = 0;
  writable.put(writable.snapshot);
  EXPECT_THAT(problems(check_pool(writable.finish())), ElementsAre(Problem::kParentWritable));

  Family ring;
  ring.snapshot.set_link(format::kParentLink, ring.clone.id);
  ring.put(ring.snapshot);
  ring.clone.flags.data_ro = BlobFlags::kReadOnly;
  ring.put(ring.clone);
  EXPECT_THAT(problems(check_pool(ring.finish())), ElementsAre(Problem::kParentCycle, Problem::kParentCycle));
}

TEST(PoolCheck, NamesAndIdentities) {
  Family family;
  family.put(family.lvol(7, "thick"));
  EXPECT_THAT(problems(check_pool(family.finish())), ElementsAre(Problem::kDuplicateName));

  Family same;
  BlobMetadata other = same.lvol(7, "other");
  ASSERT_TRUE(other.xattrs.set("uuid", *same.thick.xattrs.find("uuid")));
  same.put(other);
  EXPECT_THAT(problems(check_pool(same.finish())), ElementsAre(Problem::kDuplicateUuid));

  Family nameless;
  BlobMetadata blob = nameless.lvol(7, "other");
  blob.xattrs.remove("name");
  nameless.put(blob);
  EXPECT_THAT(problems(check_pool(nameless.finish())), ElementsAre(Problem::kAttributes));

  Family orphan;
  ASSERT_TRUE(format::set_clone_attributes(orphan.clone.xattrs, {.source_uuid = "gone", .create_time = "then"}));
  orphan.put(orphan.clone);
  EXPECT_THAT(problems(check_pool(orphan.finish())), ElementsAre(Problem::kDanglingCloneSource));
}

TEST(PoolCheck, TheSuperBlob) {
  Family family;
  family.super.super_blob = blob_id_of(9);
  EXPECT_THAT(problems(check_pool(family.finish()), Severity::kError), ElementsAre(Problem::kSuperBlob));

  TestPoolImage young;
  young.super.super_blob = format::kNoBlob;
  EXPECT_TRUE(check_pool(young.finish(false)).has(Severity::kError));
}

TEST(PoolCheck, UnusedPagesWithContents) {
  Family family;
  format::Page chain;
  format::MetadataPageWriter(chain.span()).finish({.blob_id = blob_id_of(5), .sequence = 1});
  family.put_page(50, chain);
  family.unmark_page(50);
  format::Page root;
  format::MetadataPageWriter(root.span()).finish({.blob_id = blob_id_of(51), .sequence = 0});
  root.bytes[20] ^= std::byte{1};
  family.put_page(51, root);
  family.unmark_page(51);
  root.bytes[0] ^= std::byte{1};
  family.put_page(52, root);
  family.unmark_page(52);
  EXPECT_THAT(problems(check_pool(family.finish())),
              ElementsAre(Problem::kDamagedRoot, Problem::kDamagedPage, Problem::kOrphanPage));
}

TEST(PoolCheck, FlagsAndDescriptorsThatNobodyKnows) {
  Family family;
  family.thick.flags.invalid |= 1u << 9;
  family.thick.unknown.push_back({.type = 77, .body = "?"});
  family.put(family.thick);
  EXPECT_THAT(problems(check_pool(family.finish())), ElementsAre(Problem::kFlags, Problem::kUnknownDescriptor));
}

// A device of which parts cannot be read.
class FailingDevice final : public DeviceReader {
 public:
  FailingDevice(MemoryDevice& device, uint64_t bad_offset) : device_(device), bad_offset_(bad_offset) {}
  uint64_t size_bytes() const override { return device_.size_bytes(); }
  Result<> read(uint64_t offset, std::span<std::byte> out) override {
    if (offset <= bad_offset_ && bad_offset_ < offset + out.size()) return fail(Code::kDataLoss, "bad sector");
    return device_.read(offset, out);
  }

 private:
  MemoryDevice& device_;
  uint64_t bad_offset_;
};

TEST(PoolCheck, PagesThatCannotBeRead) {
  Family family;
  MemoryDevice& device = family.finish();
  FailingDevice root(device, family.layout.md_page_offset(5));
  EXPECT_THAT(problems(check_pool(root), Severity::kError), testing::Contains(Problem::kBlobMissing));
  FailingDevice unused(device, family.layout.md_page_offset(33));
  EXPECT_THAT(problems(check_pool(unused)), ElementsAre(Problem::kReadError));
  FailingDevice super(device, 0);
  EXPECT_THAT(problems(check_pool(super)), ElementsAre(Problem::kReadError));
  FailingDevice mask(device, family.layout.used_page_mask.start * format::kPageSize);
  EXPECT_THAT(problems(check_pool(mask)), ElementsAre(Problem::kReadError));
}

}  // namespace
}  // namespace cairn::pool::check
