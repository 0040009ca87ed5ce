#include "cli/casperf/block_stamp.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace cairn::cli {
namespace {

constexpr BlockStamp kStamp{.run = 77, .lba = 1234, .generation = 5};

class BlockStampTest : public testing::TestWithParam<size_t> {
 protected:
  std::vector<std::byte> stamped(const BlockStamp& stamp) const {
    std::vector<std::byte> block(GetParam());
    stamp_block(block, stamp);
    return block;
  }
  static void expect(const std::vector<std::byte>& block, BlockFault fault, const std::string& text) {
    EXPECT_FALSE(block_matches(block, kStamp));
    const BlockDiagnosis seen = diagnose_block(block, kStamp);
    EXPECT_STREQ(block_fault_name(seen.fault), block_fault_name(fault));
    EXPECT_EQ(seen.text, text);
  }
};
INSTANTIATE_TEST_SUITE_P(BlockSizes, BlockStampTest, testing::Values(512, 4096));

TEST_P(BlockStampTest, MatchesItself) {
  EXPECT_TRUE(block_matches(stamped(kStamp), kStamp));
}

TEST_P(BlockStampTest, EveryBitCounts) {
  auto block = stamped(kStamp);
  for (size_t at = 0; at < block.size(); ++at) {
    block[at] ^= std::byte{0x10};
    EXPECT_FALSE(block_matches(block, kStamp)) << at;
    block[at] ^= std::byte{0x10};
  }
}

TEST_P(BlockStampTest, NamesTheFault) {
  BlockStamp other = kStamp;
  other.generation = 3;
  expect(stamped(other), BlockFault::kStale, "generation 3 instead of 5");
  other = kStamp;
  other.lba = 99;
  expect(stamped(other), BlockFault::kMisplaced, "the data of block 99 generation 5");

  auto torn = stamped(kStamp);
  other = kStamp;
  other.generation = 4;
  const auto old = stamped(other);
  std::memcpy(torn.data() + 256, old.data() + 256, old.size() - 256);
  expect(torn, BlockFault::kTorn, "block 1234 generation 5 up to byte 256, then block 1234 generation 4");

  other = kStamp;
  other.run = 78;
  expect(stamped(other), BlockFault::kCorrupt, "byte 0 on: 0x000000000000004e is nothing this run has written there");
  auto shifted = stamped(kStamp);
  std::memmove(shifted.data() + 64, shifted.data(), shifted.size() - 64);
  EXPECT_EQ(diagnose_block(shifted, kStamp).fault, BlockFault::kCorrupt);
  EXPECT_EQ(diagnose_block(std::vector<std::byte>(GetParam()), kStamp).fault, BlockFault::kCorrupt);
}

}  // namespace
}  // namespace cairn::cli
