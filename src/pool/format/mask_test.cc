#include "pool/format/mask.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::pool::format {
namespace {

std::vector<Page> encode(MaskType type, const std::vector<uint64_t>& words, uint32_t bits) {
  std::vector<Page> pages(mask_pages(bits));
  for (uint32_t i = 0; i < pages.size(); ++i) encode_mask_page(type, words, bits, i, pages[i].span());
  return pages;
}

TEST(Mask, PagesIncludeTheHeader) {
  EXPECT_EQ(mask_pages(1), 1u);
  EXPECT_EQ(mask_pages(8 * 4091), 1u);
  EXPECT_EQ(mask_pages(8 * 4091 + 1), 2u);
  EXPECT_EQ(mask_pages(262144), 9u);
}

TEST(Mask, BytesOfASmallOne) {
  const std::vector<uint64_t> words = {0x8000000000000105, ~uint64_t{0}};
  const auto pages = encode(MaskType::kUsedClusters, words, 68);
  const auto byte = [&](size_t i) { return std::to_integer<int>(pages[0].bytes[i]); };
  EXPECT_EQ(byte(0), 1);
  EXPECT_EQ(byte(1), 68);
  EXPECT_EQ(byte(2), 0);
  EXPECT_EQ(byte(3), 0);
  EXPECT_EQ(byte(4), 0);
  EXPECT_EQ(byte(5), 0x05);   // bits 0 and 2
  EXPECT_EQ(byte(6), 0x01);   // bit 8
  EXPECT_EQ(byte(12), 0x80);  // bit 63
  EXPECT_EQ(byte(13), 0x0f);  // bits 64 to 67, those beyond the length are zero
  for (size_t i = 14; i < kPageSize; ++i) ASSERT_EQ(byte(i), 0) << i;
}

TEST(Mask, RoundTripOverPages) {
  for (const uint32_t bits : {1u, 63u, 64u, 65u, 32727u, 32728u, 32729u, 65536u, 200001u}) {
    std::vector<uint64_t> words(mask_words(bits));
    for (uint32_t i = 0; i < bits; ++i) {
      if (i % 3 == 0 || i + 1 == bits) words[i / 64] |= uint64_t{1} << i % 64;
    }
    const auto pages = encode(MaskType::kUsedPages, words, bits);
    const auto length =
        decode_mask_length(pages[0].view(), MaskType::kUsedPages, bits, static_cast<uint32_t>(pages.size()));
    ASSERT_TRUE(length) << length.error().to_string();
    EXPECT_EQ(*length, bits);
    std::vector<uint64_t> decoded(words.size());
    for (uint32_t i = static_cast<uint32_t>(pages.size()); i-- > 0;)
      decode_mask_page(pages[i].view(), i, bits, decoded);
    EXPECT_EQ(decoded, words) << bits;
  }
}

TEST(Mask, LongerOnDiskThanWanted) {
  const auto pages = encode(MaskType::kUsedClusters, {~uint64_t{0}, ~uint64_t{0}}, 128);
  std::vector<uint64_t> words(1);
  decode_mask_page(pages[0].view(), 0, 10, words);
  EXPECT_EQ(words[0], 0x3ffu);
}

TEST(Mask, RefusesOtherTypesAndLengths) {
  const auto pages = encode(MaskType::kUsedClusters, {1}, 64);
  EXPECT_EQ(decode_mask_length(pages[0].view(), MaskType::kUsedPages, 64, 1).error().code(), Code::kDataLoss);
  EXPECT_EQ(decode_mask_length(pages[0].view(), MaskType::kUsedClusters, 65, 1).error().code(), Code::kDataLoss);
  EXPECT_TRUE(decode_mask_length(pages[0].view(), MaskType::kUsedClusters, 10, 1));
  const auto long_one = encode(MaskType::kUsedClusters, std::vector<uint64_t>(1024), 32729);
  EXPECT_FALSE(decode_mask_length(long_one[0].view(), MaskType::kUsedClusters, 10, 1));
  EXPECT_TRUE(decode_mask_length(long_one[0].view(), MaskType::kUsedClusters, 10, 2));
}

}  // namespace
}  // namespace cairn::pool::format
