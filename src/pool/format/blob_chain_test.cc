#include "pool/format/blob_chain.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "pool/format/lvol_attributes.h"

namespace cairn::pool::format {
namespace {

constexpr uint64_t kGiB = 1u << 30;

Layout example_layout() {
  return plan_layout({.device_bytes = 1024 * kGiB}).value();
}

BlobMetadata example_blob() {
  BlobMetadata blob;
  blob.id = blob_id_of(7);
  blob.flags.invalid = BlobFlags::kExtentTable;
  EXPECT_TRUE(set_lvol_identity(blob.xattrs, "replica", Uuid()));
  return blob;
}

// The chain of a blob with the further pages 100, 101, ...
std::vector<Page> encode(const BlobMetadata& blob) {
  std::vector<Page> pages(chain_length(blob));
  std::vector<uint32_t> further;
  for (uint32_t i = 1; i < pages.size(); ++i) further.push_back(99 + i);
  encode_chain(blob, further, {pages[0].bytes.data(), pages.size() * kPageSize});
  return pages;
}

Result<BlobMetadata> decode(BlobId id, const std::vector<Page>& pages) {
  ChainDecoder decoder(id, example_layout());
  for (size_t i = 0; i < pages.size(); ++i) {
    const auto next = decoder.add(pages[i].view());
    if (!next) return fail(next.error());
    EXPECT_EQ(*next, i + 1 < pages.size() ? 100 + i : kNoPage);
  }
  return decoder.finish();
}

void expect_round_trip(const BlobMetadata& blob, size_t pages) {
  const auto chain = encode(blob);
  EXPECT_EQ(chain.size(), pages);
  const auto decoded = decode(blob.id, chain);
  ASSERT_TRUE(decoded) << decoded.error().to_string();
  EXPECT_EQ(*decoded, blob);
}

TEST(BlobChain, RoundTripOfSmallBlobs) {
  BlobMetadata blob = example_blob();
  expect_round_trip(blob, 1);
  blob.num_clusters = 1030;
  blob.extent_table = {9, 12, 10};
  blob.set_clear_method(ClearMethod::kUnmap);
  EXPECT_EQ(blob.clear_method(), ClearMethod::kUnmap);
  expect_round_trip(blob, 1);
  blob.flags.invalid |= BlobFlags::kThin;
  blob.num_clusters = 512 * 100;
  blob.extent_table.resize(100);
  blob.extent_table[50] = 77;
  blob.set_link(kParentLink, blob_id_of(3));
  blob.unknown.push_back({.type = 99, .body = "later"});
  expect_round_trip(blob, 1);
  EXPECT_EQ(blob.link(kParentLink).value(), blob_id_of(3));
  EXPECT_NE(blob.flags.invalid & BlobFlags::kInternalXattrs, 0u);
  blob.remove_link(kParentLink);
  EXPECT_EQ(blob.link(kParentLink).value(), std::nullopt);
  EXPECT_EQ(blob.flags.invalid & BlobFlags::kInternalXattrs, 0u);
}

TEST(BlobChain, RoundTripOfRuns) {
  BlobMetadata blob = example_blob();
  blob.flags.invalid = 0;
  expect_round_trip(blob, 1);
  blob.runs = {{300, 5}, {1000, 1}};
  blob.num_clusters = 6;
  expect_round_trip(blob, 1);
  blob.flags.invalid = BlobFlags::kThin;
  blob.runs.clear();
  blob.num_clusters = 0;
  for (uint32_t i = 0; i < 2000; ++i) {
    blob.runs.push_back({i % 2 == 0 ? 300 + 2 * i : kNoCluster, 1 + i % 2});
    blob.num_clusters += blob.runs.back().length;
  }
  expect_round_trip(blob, 4);
}

TEST(BlobChain, GrowsOverPages) {
  BlobMetadata blob = example_blob();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(blob.xattrs.set("big" + std::to_string(i), std::string(4059, 'a' + i)));
  blob.num_clusters = 512 * 2000;
  blob.extent_table.resize(2000);
  for (uint32_t i = 0; i < 2000; ++i) blob.extent_table[i] = 5000 + i;
  // Name and flags; five pages full of an xattr each; 506, 507 ... entries a page.
  expect_round_trip(blob, 1 + 5 + 4);
}

TEST(BlobChain, RandomBlobsRoundTrip) {
  std::mt19937 random(1);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int round = 0; round < 500; ++round) {
    BlobMetadata blob;
    blob.id = blob_id_of(below(1000));
    blob.flags = {.invalid = BlobFlags::kThin | below(16) * 16, .data_ro = random(), .md_ro = random()};
    for (uint32_t i = below(20); i-- > 0;) {
      ASSERT_TRUE(blob.xattrs.set("x" + std::to_string(i), std::string(below(below(2) ? 4060 : 40), 'v')));
    }
    for (uint32_t i = below(3); i-- > 0;) blob.set_link("L" + std::to_string(i), random());
    if (below(2) == 0) {
      blob.flags.invalid |= BlobFlags::kExtentTable;
      blob.num_clusters = below(2'000'000);
      blob.extent_table.resize(extent_pages_for(blob.num_clusters));
      for (uint32_t& page : blob.extent_table) page = below(3) == 0 ? below(262144) : kNoExtentPage;
    } else {
      for (uint32_t i = below(3000); i-- > 0;) {
        blob.runs.push_back({below(2) == 0 ? kNoCluster : 300 + below(200000), 1 + below(1000)});
        blob.num_clusters += blob.runs.back().length;
      }
    }
    const auto chain = encode(blob);
    const auto decoded = decode(blob.id, chain);
    ASSERT_TRUE(decoded) << decoded.error().to_string();
    ASSERT_EQ(*decoded, blob);
  }
}

TEST(BlobChain, EveryBitOfAPageIsCovered) {
  BlobMetadata blob = example_blob();
  blob.num_clusters = 5;
  blob.extent_table = {9};
  const auto chain = encode(blob);
  for (size_t bit = 0; bit < kPageSize * 8; ++bit) {
    auto damaged = chain;
    damaged[0].bytes[bit / 8] ^= std::byte{static_cast<uint8_t>(1u << bit % 8)};
    ASSERT_FALSE(decode(blob.id, damaged)) << "bit " << bit;
  }
}

TEST(ExtentPage, RoundTrip) {
  std::vector<uint32_t> clusters(512);
  for (uint32_t i = 0; i < 512; ++i) clusters[i] = i % 3 == 0 ? kNoCluster : 1000 + i;
  for (const size_t count : {size_t{1}, size_t{3}, size_t{511}, size_t{512}}) {
    Page page;
    encode_extent_page(blob_id_of(4), 1024, std::span(clusters).first(count), page.span());
    const auto view = decode_extent_page(page.view());
    ASSERT_TRUE(view) << view.error().to_string();
    EXPECT_EQ(view->writer(), blob_id_of(4));
    EXPECT_EQ(view->start_cluster(), 1024u);
    ASSERT_EQ(view->size(), count);
    for (uint32_t i = 0; i < count; ++i) EXPECT_EQ((*view)[i], clusters[i]);
  }
}

}  // namespace
}  // namespace cairn::pool::format
