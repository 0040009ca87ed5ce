#include "pool/format/layout.h"

#include <gtest/gtest.h>

namespace cairn::pool::format {
namespace {

constexpr uint64_t kMiB = 1u << 20;
constexpr uint64_t kGiB = 1u << 30;

TEST(Layout, OfTheReferencesExamples) {
  const auto small = plan_layout({.device_bytes = 100 * kMiB});
  ASSERT_TRUE(small) << small.error().to_string();
  EXPECT_EQ(small->total_clusters, 25u);
  EXPECT_EQ(small->md_len, 25u);
  EXPECT_EQ(small->used_page_mask, (PageRange{1, 1}));
  EXPECT_EQ(small->used_cluster_mask, (PageRange{2, 1}));
  EXPECT_EQ(small->used_blobid_mask, (PageRange{3, 1}));
  EXPECT_EQ(small->md_start, 4u);
  EXPECT_EQ(small->md_clusters, 1u);
  EXPECT_EQ(small->capacity_bytes(), 96 * kMiB);

  const auto medium = plan_layout({.device_bytes = 10 * kGiB});
  ASSERT_TRUE(medium);
  EXPECT_EQ(medium->total_clusters, 2560u);
  EXPECT_EQ(medium->md_start, 4u);
  EXPECT_EQ(medium->md_clusters, 3u);
  EXPECT_EQ(medium->data_clusters(), 2557u);

  const auto large = plan_layout({.device_bytes = 1024 * kGiB});
  ASSERT_TRUE(large);
  EXPECT_EQ(large->total_clusters, 262144u);
  EXPECT_EQ(large->used_page_mask.length, 9u);
  EXPECT_EQ(large->used_cluster_mask.length, 9u);
  EXPECT_EQ(large->used_blobid_mask.length, 9u);
  EXPECT_EQ(large->md_start, 28u);
  EXPECT_EQ(large->md_clusters, 257u);
}

TEST(Layout, RatioMakesMetadataAndRoomToGrow) {
  const auto few = plan_layout({.device_bytes = 10 * kGiB, .md_ratio_percent = 25});
  ASSERT_TRUE(few);
  EXPECT_EQ(few->md_len, 640u);
  EXPECT_EQ(few->reserved_cluster_mask_pages, 1u);
  EXPECT_EQ(max_clusters(*few), 32728u);

  const auto many = plan_layout({.device_bytes = 10 * kGiB, .md_ratio_percent = 3000});
  ASSERT_TRUE(many);
  EXPECT_EQ(many->md_len, 76800u);
  EXPECT_EQ(many->reserved_cluster_mask_pages, 3u);
  EXPECT_EQ(max_clusters(*many), 8u * (3 * 4096 - 5));
  EXPECT_EQ(many->used_blobid_mask.start, many->used_cluster_mask.start + 3);
}

TEST(Layout, OffsetsAndOwnership) {
  const auto layout = plan_layout({.device_bytes = 100 * kMiB, .block_size = 4096});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->md_page_offset(0), 4 * kPageSize);
  EXPECT_EQ(layout->md_page_offset(24), 28 * kPageSize);
  EXPECT_EQ(layout->cluster_offset(24), 96 * kMiB);
  EXPECT_FALSE(layout->is_data_cluster(0));
  EXPECT_TRUE(layout->is_data_cluster(1));
  EXPECT_TRUE(layout->is_data_cluster(24));
  EXPECT_FALSE(layout->is_data_cluster(25));
  EXPECT_TRUE(layout->is_md_page(24));
  EXPECT_FALSE(layout->is_md_page(25));
}

TEST(Layout, PartialClustersAndBlocksAreLeftOut) {
  const auto layout = plan_layout({.device_bytes = 103 * kMiB + 5000, .block_size = 4096});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->total_clusters, 25u);
  EXPECT_EQ(layout->size, 103 * kMiB + 4096);
}

TEST(Layout, Refusals) {
  EXPECT_EQ(plan_layout({.device_bytes = 4 * kMiB - 1}).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(plan_layout({.device_bytes = kGiB, .block_size = 520}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(plan_layout({.device_bytes = kGiB, .block_size = 8192}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(plan_layout({.device_bytes = kGiB, .cluster_size = 2048}).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(plan_layout({.device_bytes = kGiB, .cluster_size = 5000}).error().code(), Code::kInvalidArgument);
  // One cluster whose metadata fits, and none where it does not.
  EXPECT_TRUE(plan_layout({.device_bytes = 4 * kMiB}));
  EXPECT_EQ(plan_layout({.device_bytes = 4096 * 4, .cluster_size = 4096}).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(plan_layout({.device_bytes = 40 * kMiB, .md_ratio_percent = 5}).error().code(), Code::kInvalidArgument);
}

TEST(Layout, SurvivesTheSuperBlock) {
  for (const uint64_t bytes : {100 * kMiB, 10 * kGiB, 1024 * kGiB}) {
    for (const uint32_t ratio : {10u, 100u, 700u}) {
      const auto layout = plan_layout({.device_bytes = bytes, .md_ratio_percent = ratio});
      ASSERT_TRUE(layout);
      EXPECT_EQ(layout_of(make_super_block(*layout)), *layout);
      EXPECT_TRUE(validate_super_block(make_super_block(*layout), bytes));
    }
  }
}

TEST(Layout, GrowsUpToTheReserve) {
  const auto layout = plan_layout({.device_bytes = 100 * kMiB});
  ASSERT_TRUE(layout);
  const auto grown = grow_layout(*layout, 10 * kGiB);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->total_clusters, 2560u);
  EXPECT_EQ(grown->md_len, 25u);
  EXPECT_EQ(grown->md_clusters, 1u);
  EXPECT_TRUE(grow_layout(*layout, 32728 * 4 * kMiB));
  EXPECT_EQ(grow_layout(*layout, 32729 * 4 * kMiB).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(grow_layout(*layout, 96 * kMiB).error().code(), Code::kResourceExhausted);
  EXPECT_EQ(*grow_layout(*layout, 100 * kMiB), *layout);
}

TEST(Layout, GrowsTheMaskWithinItsRoom) {
  const auto layout = plan_layout({.device_bytes = 100 * kGiB, .md_ratio_percent = 200});
  ASSERT_TRUE(layout);
  EXPECT_EQ(layout->used_cluster_mask.length, 1u);
  EXPECT_EQ(layout->reserved_cluster_mask_pages, 2u);
  const auto grown = grow_layout(*layout, 200 * kGiB);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->used_cluster_mask.length, 2u);
  EXPECT_TRUE(validate_super_block(make_super_block(*grown), 200 * kGiB));
}

}  // namespace
}  // namespace cairn::pool::format
