#include "nvmf/target/block_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cairn::nvmf::target {
namespace {

using testing::HasSubstr;

const std::vector<std::byte> kZero(BlockHistory::kBlockSize);

BlockHistory::Write write(BlockHistory& history, bool fua = false) {
  return history.begin_write(3, 1, false, fua);
}
std::string read(BlockHistory& history, std::span<const std::byte> data) {
  return history.check_read(history.begin_read(), 3, data);
}

TEST(BlockHistory, TheLastAcknowledgedWriteOrOneInFlight) {
  BlockHistory history(8);
  EXPECT_EQ(read(history, kZero), "");
  const auto first = write(history);
  EXPECT_EQ(read(history, kZero), "");
  EXPECT_EQ(read(history, BlockHistory::data_of(first)), "");
  history.acknowledge(first);
  EXPECT_THAT(read(history, kZero), HasSubstr("older"));
  const auto second = write(history);
  const auto third = write(history);
  history.acknowledge(third);
  for (const auto& possible : {second, third}) EXPECT_EQ(read(history, BlockHistory::data_of(possible)), "");
  EXPECT_THAT(read(history, BlockHistory::data_of(first)), HasSubstr("older"));
}

TEST(BlockHistory, AReadMayBeOlderThanAWriteThatEndedMeanwhile) {
  BlockHistory history(8);
  const uint64_t begin = history.begin_read();
  history.acknowledge(write(history));
  EXPECT_EQ(history.check_read(begin, 3, kZero), "");
}

TEST(BlockHistory, TornAndForeignBlocksAreSeen) {
  BlockHistory history(8);
  const auto one = write(history);
  const auto two = write(history);
  std::vector<std::byte> torn = BlockHistory::data_of(one);
  const auto other = BlockHistory::data_of(two);
  std::copy(other.begin() + 256, other.end(), torn.begin() + 256);
  EXPECT_THAT(read(history, torn), HasSubstr("no block that was ever written"));
  EXPECT_THAT(history.check_read(history.begin_read(), 4, BlockHistory::data_of(one)),
              HasSubstr("no block that was ever written"));
}

// Its answer may have been on its way, or have waited for another replica.
TEST(BlockHistory, ALossOfCachesTakesWhatIsUnderWay) {
  BlockHistory history(8);
  const auto cached = write(history);
  const auto durable = history.begin_write(4, 1, false, true);
  history.lose_volatile();
  history.acknowledge(cached);
  history.acknowledge(durable);
  EXPECT_EQ(read(history, kZero), "");
  EXPECT_THAT(history.check_read(history.begin_read(), 4, kZero), HasSubstr("older"));
  const auto later = write(history);
  history.acknowledge(later);
  EXPECT_THAT(read(history, kZero), HasSubstr("older"));
}

TEST(BlockHistory, APowerLossTakesWhatIsNotDurable) {
  BlockHistory history(8);
  const auto durable = write(history, true);
  history.acknowledge(durable);
  const auto cached = write(history);
  history.acknowledge(cached);
  history.crash(true);
  EXPECT_EQ(read(history, BlockHistory::data_of(durable)), "");
  EXPECT_EQ(read(history, BlockHistory::data_of(cached)), "");
  EXPECT_THAT(read(history, kZero), HasSubstr("older"));

  const auto flushed = write(history);
  history.acknowledge(flushed);
  history.acknowledge_flush(history.begin_flush());
  history.crash(true);
  EXPECT_EQ(read(history, BlockHistory::data_of(flushed)), "");
  EXPECT_THAT(read(history, BlockHistory::data_of(cached)), HasSubstr("older"));
}

TEST(BlockHistory, WhatWasReadAfterItFailedStays) {
  BlockHistory history(8);
  const auto before = write(history);
  history.acknowledge(before);
  const auto failed = write(history);
  // Under way it may be in one place and not in another.
  for (const auto& possible : {failed, before}) EXPECT_EQ(read(history, BlockHistory::data_of(possible)), "");
  history.fail(failed);
  for (const auto& possible : {before, failed}) EXPECT_EQ(read(history, BlockHistory::data_of(possible)), "");
  EXPECT_THAT(read(history, BlockHistory::data_of(before)), HasSubstr("older"));
  history.crash(false);
  EXPECT_THAT(read(history, BlockHistory::data_of(before)), HasSubstr("older"));
  history.crash(true);
  for (const auto& possible : {before, failed}) EXPECT_EQ(read(history, BlockHistory::data_of(possible)), "");
}

TEST(BlockHistory, AKillTakesNothing) {
  BlockHistory history(8);
  const auto cached = write(history);
  history.acknowledge(cached);
  const auto running = write(history);
  history.crash(false);
  EXPECT_THAT(read(history, kZero), HasSubstr("older"));
  EXPECT_EQ(read(history, BlockHistory::data_of(running)), "");
  const auto later = write(history);
  history.acknowledge(later);
  EXPECT_THAT(read(history, BlockHistory::data_of(running)), HasSubstr("older"));
}

}  // namespace
}  // namespace cairn::nvmf::target
