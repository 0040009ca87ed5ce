// The structures byte by byte, as docs/pool-format.md has them: a pool of 100 MiB named pool0 with a thick replica of
// 12 MiB, a thin clone, and a blob of the older kind with runs. CRCs were computed elsewhere.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nvme/wire.h"
#include "pool/format/blob_chain.h"
#include "pool/format/lvol_attributes.h"
#include "pool/format/mask.h"
#include "pool/format/super_block.h"

namespace cairn::pool::format {
namespace {

using namespace std::string_literals;

constexpr uint64_t kDeviceBytes = 100u << 20;

// Composes bytes: hexadecimal pairs (blanks are free), text, zeroes.
class Bytes {
 public:
  Bytes& hex(std::string_view pairs) {
    const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
    std::string digits;
    for (const char c : pairs) {
      if (c != ' ') digits += c;
    }
    for (size_t i = 0; i + 1 < digits.size(); i += 2)
      bytes_ += static_cast<char>(digit(digits[i]) * 16 + digit(digits[i + 1]));
    return *this;
  }
  Bytes& text(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  Bytes& zeroes(size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  Bytes& zeroes_up_to(size_t size) { return zeroes(size - bytes_.size()); }
  Page page() const {
    EXPECT_EQ(bytes_.size(), kPageSize);
    Page page;
    std::memcpy(page.bytes.data(), bytes_.data(), std::min(bytes_.size(), kPageSize));
    return page;
  }

 private:
  std::string bytes_;
};

void expect_equal(const Page& actual, const Page& golden) {
  EXPECT_TRUE(crc_matches(golden.view()));
  for (size_t i = 0; i < kPageSize; ++i) ASSERT_EQ(actual.bytes[i], golden.bytes[i]) << "byte " << i;
}

Layout layout() {
  return plan_layout({.device_bytes = kDeviceBytes}).value();
}

Page encoded(const BlobMetadata& blob) {
  Page page;
  EXPECT_EQ(chain_length(blob), 1u);
  encode_chain(blob, {}, page.bytes);
  return page;
}

BlobMetadata decoded(BlobId id, const Page& page) {
  ChainDecoder decoder(id, layout());
  const auto next = decoder.add(page.view());
  EXPECT_TRUE(next) << next.error().to_string();
  EXPECT_EQ(next.value_or(0), kNoPage);
  auto blob = decoder.finish();
  EXPECT_TRUE(blob) << blob.error().to_string();
  return blob.value_or(BlobMetadata());
}

void expect_golden(const BlobMetadata& blob, const Page& golden) {
  expect_equal(encoded(blob), golden);
  EXPECT_EQ(decoded(blob.id, golden), blob);
}

const Uuid kPoolUuid = Uuid::parse("8d63b2d6-5bd9-4ed6-9d2a-3ef9ec0e9ab1").value();
const Uuid kLvolUuid = Uuid::parse("1f2e3d4c-5b6a-4788-9900-aabbccddeeff").value();

TEST(GoldenImage, SuperBlock) {
  const Page golden = Bytes()
                          .text("SPDKBLOB")
                          .hex("03000000 00100000 01000000")  // version, length, clean
                          .hex("0000000001000000")            // super_blob
                          .hex("00004000")                    // cluster_size 4 MiB
                          .hex("01000000 01000000")           // used_page_mask
                          .hex("02000000 01000000")           // used_cluster_mask
                          .hex("04000000 19000000")           // md_start 4, md_len 25
                          .text("LVOLSTORE\0\0\0\0\0\0\0"s)
                          .hex("03000000 01000000")          // used_blobid_mask
                          .hex("0000400600000000 00020000")  // size 100 MiB, io_unit_size 512
                          .zeroes_up_to(4092)
                          .hex("a31f66d9")
                          .page();
  SuperBlock super = make_super_block(layout());
  super.clean = true;
  super.super_blob = blob_id_of(0);
  Page page;
  encode_super_block(super, page.span());
  expect_equal(page, golden);
  EXPECT_EQ(decode_super_block(golden.view(), kDeviceBytes).value(), super);
}

TEST(GoldenImage, Masks) {
  // Pages 0 to 2 in use, clusters 0 to 3, blob ids 0 and 1; 25 bits each.
  struct Case {
    MaskType type;
    const char* header;
    uint64_t word;
    const char* bits;
  };
  for (const Case& c : {Case{MaskType::kUsedPages, "00 19000000", 0x7, "07000000"},
                        Case{MaskType::kUsedClusters, "01 19000000", 0x100000f, "0f000001"},
                        Case{MaskType::kUsedBlobIds, "02 19000000", 0x3, "03000000"}}) {
    const Page golden = Bytes().hex(c.header).hex(c.bits).zeroes_up_to(kPageSize).page();
    Page page;
    encode_mask_page(c.type, std::span(&c.word, 1), 25, 0, page.span());
    EXPECT_EQ(page.bytes, golden.bytes);
    uint64_t word = 0;
    EXPECT_EQ(decode_mask_length(golden.view(), c.type, 25, 1).value(), 25u);
    decode_mask_page(golden.view(), 0, 25, std::span(&word, 1));
    EXPECT_EQ(word, c.word);
  }
}

TEST(GoldenImage, SuperBlob) {
  const Page golden = Bytes()
                          .hex("0000000001000000 00000000 00000000")
                          .hex("03 18000000 0400000000000000 0000000000000000 0000000000000000")
                          .hex("02 2d000000 0400 2500 75756964")
                          .text("8d63b2d6-5bd9-4ed6-9d2a-3ef9ec0e9ab1\0"s)
                          .hex("02 0e000000 0400 0600 6e616d65 706f6f6c3000")
                          .hex("05 08000000 0000000000000000")
                          .zeroes_up_to(4088)
                          .hex("ffffffff 4caf4287")
                          .page();
  BlobMetadata blob;
  blob.id = blob_id_of(0);
  blob.flags.invalid = BlobFlags::kExtentTable;
  ASSERT_TRUE(set_pool_identity(blob.xattrs, {.name = "pool0", .uuid = kPoolUuid}));
  expect_golden(blob, golden);
  EXPECT_EQ(decode_pool_identity(decoded(blob.id, golden).xattrs)->uuid, kPoolUuid);
}

TEST(GoldenImage, ThickReplica) {
  const Page golden = Bytes()
                          .hex("0100000001000000 00000000 00000000")
                          .hex("03 18000000 0400000000000000 0000000000000000 0100000000000000")
                          .hex("02 48000000 0400 4000 6e616d65")
                          .text("replica1")
                          .zeroes(56)
                          .hex("02 2d000000 0400 2500 75756964")
                          .text("1f2e3d4c-5b6a-4788-9900-aabbccddeeff\0"s)
                          .hex("05 10000000 0300000000000000 02000000 01000000")
                          .zeroes_up_to(4088)
                          .hex("ffffffff 7c468f86")
                          .page();
  BlobMetadata blob;
  blob.id = blob_id_of(1);
  blob.flags.invalid = BlobFlags::kExtentTable;
  blob.set_clear_method(ClearMethod::kNone);
  ASSERT_TRUE(set_lvol_identity(blob.xattrs, "replica1", kLvolUuid));
  blob.num_clusters = 3;
  blob.extent_table = {2};
  expect_golden(blob, golden);
}

TEST(GoldenImage, ExtentPage) {
  const Page golden = Bytes()
                          .hex("0100000001000000 00000000 00000000")
                          .hex("06 10000000 00000000 01000000 02000000 03000000")
                          .zeroes_up_to(4088)
                          .hex("ffffffff c0a5a03d")
                          .page();
  Page page;
  const uint32_t clusters[] = {1, 2, 3};
  encode_extent_page(blob_id_of(1), 0, clusters, page.span());
  expect_equal(page, golden);
  const auto view = decode_extent_page(golden.view());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->size(), 3u);
  EXPECT_EQ((*view)[2], 3u);
}

TEST(GoldenImage, ThinClone) {
  const Page golden = Bytes()
                          .hex("0300000001000000 00000000 00000000")
                          .hex("03 18000000 0700000000000000 0000000000000000 0200000000000000")
                          .hex("02 48000000 0400 4000 6e616d65")
                          .text("c")
                          .zeroes(63)
                          .hex("02 2d000000 0400 2500 75756964")
                          .text("1f2e3d4c-5b6a-4788-9900-aabbccddeeff\0"s)
                          .hex("04 10000000 0400 0800 534e4150 0100000001000000")
                          .hex("05 10000000 5802000000000000 00000000 02000000")
                          .zeroes_up_to(4088)
                          .hex("ffffffff 05eca96c")
                          .page();
  BlobMetadata blob;
  blob.id = blob_id_of(3);
  blob.flags.invalid = BlobFlags::kExtentTable | BlobFlags::kThin;
  blob.set_clear_method(ClearMethod::kUnmap);
  ASSERT_TRUE(set_lvol_identity(blob.xattrs, "c", kLvolUuid));
  blob.set_link(kParentLink, blob_id_of(1));
  blob.num_clusters = 600;
  blob.extent_table = {0, 0};
  expect_golden(blob, golden);
}

TEST(GoldenImage, RunsOfClusters) {
  const Page golden = Bytes()
                          .hex("0400000001000000 00000000 00000000")
                          .hex("03 18000000 0100000000000000 0000000000000000 0000000000000000")
                          .hex("01 18000000 05000000 02000000 00000000 03000000 09000000 01000000")
                          .zeroes_up_to(4088)
                          .hex("ffffffff d15805e6")
                          .page();
  BlobMetadata blob;
  blob.id = blob_id_of(4);
  blob.flags.invalid = BlobFlags::kThin;
  blob.runs = {{5, 2}, {kNoCluster, 3}, {9, 1}};
  blob.num_clusters = 6;
  expect_golden(blob, golden);
}

// Sealed pages whose contents are wrong.
class BadPage : public testing::Test {
 protected:
  // A root of blob 1 with these descriptors.
  std::string error(std::string_view descriptors, uint32_t next = kNoPage, uint32_t sequence = 0,
                    BlobId id = blob_id_of(1)) {
    Page page = Bytes().zeroes(16).hex(descriptors).zeroes_up_to(kPageSize).page();
    nvme::store(page.span(), id);
    nvme::store(page.span().subspan<8>(), sequence);
    nvme::store(page.span().subspan<4088>(), next);
    seal(page.span());
    ChainDecoder decoder(blob_id_of(1), layout());
    const auto added = decoder.add(page.view());
    if (!added) {
      EXPECT_EQ(added.error().code(), Code::kDataLoss);
      return added.error().to_string();
    }
    const auto blob = decoder.finish();
    return blob ? "none" : blob.error().to_string();
  }
};

constexpr std::string_view kThin = "03 18000000 0500000000000000 0000000000000000 0000000000000000 ";
constexpr std::string_view kThick = "03 18000000 0400000000000000 0000000000000000 0000000000000000 ";
constexpr std::string_view kThinRuns = "03 18000000 0100000000000000 0000000000000000 0000000000000000 ";
constexpr std::string_view kThickRuns = "03 18000000 0000000000000000 0000000000000000 0000000000000000 ";

TEST_F(BadPage, IsRefusedWithFieldValueAndRange) {
  struct Case {
    std::string descriptors;
    std::string text;  // in the error
  };
  const auto with = [](std::string_view flags, std::string_view rest) {
    return std::string(flags) + std::string(rest);
  };
  const Case cases[] = {
      {with(kThin, "05 08000000 0000000000000000"), "none"},
      {with(kThickRuns, ""), "none"},
      {with(kThin, ""), "no EXTENT_TABLE"},
      {with(kThin, "05 08000000 0100000000000000"), "0 pages altogether, 1 clusters have 1"},
      {with(kThin, "05 10000000 0100000000000000 00000000 02000000"), "2 pages or more"},
      {with(kThin, "05 10000000 0100000000000000 00000000 00000000"), "0 pages at 0"},
      {with(kThin, "05 10000000 0104000000000000 02000000 02000000"), "2 pages at 2"},
      {with(kThin, "05 10000000 0100000000000000 19000000 01000000"), "1 to 24"},
      {with(kThin, "05 0c000000 0100000000000000 19000000"), "length is 12"},
      {with(kThin, "05 04000000 01000000"), "length is 4"},
      {with(kThin, "05 08000000 0000000001000000"), "num_clusters is 4294967296"},
      {with(kThin, "05 10000000 0104000000000000 00000000 01000000 05 10000000 0204000000000000 00000000 01000000"),
       "as before"},
      {with(kThick, "05 10000000 0100000000000000 00000000 01000000"), "although not thin"},
      {with(kThin, "01 08000000 01000000 01000000 05 08000000 0000000000000000"), "EXTENT_RLE although"},
      {with(kThinRuns, "05 08000000 0000000000000000"), "EXTENT_TABLE although"},
      {with(kThinRuns, "01 08000000 01000000 00000000"), "0 clusters from 1"},
      {with(kThinRuns, "01 08000000 18000000 02000000"), "accepted are clusters 1 to 24"},
      {with(kThinRuns, "01 04000000 01000000"), "length is 4"},
      {with(kThinRuns, "01 10000000 00000000 ffffffff 00000000 ffffffff"), "at most"},
      {with(kThickRuns, "01 08000000 00000000 02000000"), "although not thin"},
      {with(kThickRuns, "06 08000000 00000000 01000000"), "EXTENT_PAGE: in the chain"},
      {with(kThickRuns, kThickRuns), "a second one"},
      {"03 10000000 0000000000000000 0000000000000000", "length is 16, not 24"},
      {with(kThickRuns, "02 03000000 000000"), "at least 4"},
      {with(kThickRuns, "02 08000000 0400 0400 61626364"), "make 8, the descriptor holds 4"},
      {with(kThickRuns, "02 ffff0000"), "length is 65535"},
      {with(kThickRuns, "63 04000000 01020304"), "none"},              // unknown: kept
      {with(kThickRuns, "00 04000000 01020304 63 00000000"), "none"},  // padding: skipped
  };
  for (const Case& c : cases) {
    EXPECT_NE(error(c.descriptors).find(c.text), std::string::npos) << c.descriptors << ": " << error(c.descriptors);
  }
}

TEST_F(BadPage, HeadersAndLinks) {
  EXPECT_NE(error(kThickRuns, kNoPage, 1).find("sequence_num is 1, not 0"), std::string::npos);
  EXPECT_NE(error(kThickRuns, kNoPage, 0, blob_id_of(2)).find("id is 0x100000002"), std::string::npos);
  EXPECT_NE(error(kThickRuns, 25).find("next is 25, accepted are 0 to 24"), std::string::npos);
}

TEST(BadExtentPage, IsRefused) {
  const auto error = [](std::string_view descriptors, uint32_t sequence = 0, uint32_t next = kNoPage) {
    Page page = Bytes().zeroes(16).hex(descriptors).zeroes_up_to(kPageSize).page();
    nvme::store(page.span().subspan<8>(), sequence);
    nvme::store(page.span().subspan<4088>(), next);
    seal(page.span());
    const auto view = decode_extent_page(page.view());
    return view ? "none" : view.error().to_string();
  };
  EXPECT_EQ(error("06 08000000 00000000 01000000"), "none");
  EXPECT_NE(error("06 04000000 00000000").find("length is 4"), std::string::npos);
  EXPECT_NE(error("06 0a000000 00000000 010000000000").find("length is 10"), std::string::npos);
  EXPECT_NE(error("06 08000000 01000000 01000000").find("start_cluster_idx is 1"), std::string::npos);
  EXPECT_NE(error("06 08080000 00000000").find("length is 2056"), std::string::npos);
  EXPECT_NE(error("06 08000000 00000000 01000000 06 08000000 00000000 01000000").find("second"), std::string::npos);
  EXPECT_NE(error("").find("missing"), std::string::npos);
  EXPECT_NE(error(kThin).find("FLAGS"), std::string::npos);
  EXPECT_NE(error("06 08000000 00000000 01000000", 1).find("sequence 1"), std::string::npos);
  EXPECT_NE(error("06 08000000 00000000 01000000", 0, 5).find("next 0x5"), std::string::npos);
}

}  // namespace
}  // namespace cairn::pool::format
