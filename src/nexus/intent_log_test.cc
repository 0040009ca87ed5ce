// What is pure in the write-intent log: its pages, and what several logs tell together.
#include <gtest/gtest.h>

#include "block/test_world.h"
#include "nexus/intent_log_format.h"
#include "nexus/intent_log_history.h"
#include "nexus/write_permits.h"

namespace cairn::nexus {
namespace {

Uuid uuid(uint64_t number) {
  return Uuid::random_v4(number, number);
}

TEST(IntentLogFormatTest, PagesAreReadBackAndDamageIsSeen) {
  std::array<std::byte, kLogPageSize> page;
  const LogPageHeader header{.id = {LogPageId::Kind::kMissed, 3, 1},
                             .sequence = 77,
                             .nexus = uuid(1),
                             .child = uuid(2),
                             .owner = uuid(3),
                             .region_bytes = 4 << 20};
  RegionMap map(kRegionsPerPage + 100);
  map.set(5);
  map.set(kRegionsPerPage);
  map.set(kRegionsPerPage + 99);
  encode_bitmap(header, map, page);
  EXPECT_EQ(decode_header(page), header);
  RegionMap read(map.size());
  decode_bitmap(page, 1, read);
  EXPECT_EQ(read.count(), 2u);
  EXPECT_TRUE(read.test(kRegionsPerPage) && read.test(kRegionsPerPage + 99));
  // Also of a map that is shorter than what the page holds.
  RegionMap shorter(kRegionsPerPage + 50);
  decode_bitmap(page, 1, shorter);
  EXPECT_EQ(shorter.count(), 1u);
  for (size_t i = 0; i < kLogPageSize; i += 37) {
    page[i] ^= std::byte{8};
    EXPECT_FALSE(decode_header(page)) << i;
    page[i] ^= std::byte{8};
  }
  EXPECT_TRUE(decode_header(page));
}

TEST(IntentLogFormatTest, SuperBlock) {
  std::array<std::byte, kLogPageSize> page;
  LogSuper super{.generation = 9, .tag = 8, .previous_tag = 7, .num_blocks = 6, .block_size = 512, .members = {}};
  for (uint64_t i = 0; i < kMaxLogMembers; ++i) {
    super.members.push_back({.uuid = uuid(i), .in_sync = i % 3 == 0, .slot = std::nullopt, .tags = {i, i + 1}});
  }
  super.members[1].slot = 7;
  const LogPageHeader header{
      .id = {}, .sequence = 1, .nexus = uuid(1), .child = uuid(2), .owner = {}, .region_bytes = 1 << 16};
  encode_super(header, super, page);
  ASSERT_TRUE(decode_header(page));
  EXPECT_EQ(decode_super(page), super);
  super.members[0].slot = 1;  // in sync and away
  encode_super(header, super, page);
  EXPECT_FALSE(decode_super(page));
}

TEST(IntentLogFormatTest, RegionSizes) {
  constexpr uint64_t kMiB = 1 << 20;
  EXPECT_EQ(region_bytes_for(10ull << 30, 4 * kMiB), 4 * kMiB);
  EXPECT_EQ(region_bytes_for(1ull << 40, 4 * kMiB), 4 * kMiB);
  EXPECT_EQ(region_bytes_for(16ull << 40, 4 * kMiB), 64 * kMiB);
  RegionMap map(8);
  map.set(1);
  const RegionMap fine = converted(map, 4 * kMiB, kMiB, 32);
  EXPECT_EQ(fine.count(), 4u);
  EXPECT_EQ(fine.next(0), 4u);
  const RegionMap coarse = converted(fine, kMiB, 8 * kMiB, 4);
  EXPECT_EQ(coarse.count(), 1u);
  EXPECT_TRUE(coarse.test(0));
}

// Three children; the log of each as one nexus left it.
class IntentLogHistoryTest : public testing::Test {
 protected:
  static constexpr LogGeometry kGeometry{.region_bytes = 1 << 20, .num_regions = 16};
  const std::vector<Uuid> uuids_ = {uuid(1), uuid(2), uuid(3)};

  LogImage image(uint64_t generation, uint64_t tag, uint64_t previous_tag, std::vector<LogMember> members,
                 std::vector<uint64_t> intents = {}) {
    LogImage image;
    image.super = LogSuper{.generation = generation,
                           .tag = tag,
                           .previous_tag = previous_tag,
                           .num_blocks = 32768,
                           .block_size = 512,
                           .members = std::move(members)};
    image.region_bytes = kGeometry.region_bytes;
    image.intents = RegionMap(kGeometry.num_regions);
    for (const uint64_t region : intents) image.intents.set(region);
    for (const LogMember& member : image.super->members) {
      if (member.slot) image.missed[*member.slot] = RegionMap(kGeometry.num_regions);
    }
    return image;
  }
  LogMember in_sync(size_t child) { return {.uuid = uuids_[child], .in_sync = true, .slot = {}, .tags = {}}; }
  LogMember away(size_t child, uint64_t tag) {
    return {.uuid = uuids_[child], .in_sync = false, .slot = 0, .tags = {tag, 0}};
  }
  static std::vector<bool> verdict(const LogState& state, const std::vector<Uuid>& children) {
    std::vector<bool> all;
    for (const Uuid& child : children) all.push_back(state.find(child)->in_sync);
    return all;
  }
};

TEST_F(IntentLogHistoryTest, IntentsOfAllCount) {
  const std::vector<LogMember> all = {in_sync(0), in_sync(1), in_sync(2)};
  const std::vector<LogImage> images = {image(5, 50, 40, all, {1}), image(5, 50, 40, all, {2}),
                                        image(4, 40, 30, all, {3})};  // the last one was just being told
  const LogState state = verdict_on(uuids_, images, kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(state.intents.count(), 3u);
  EXPECT_EQ(state.generation, 6u);
  EXPECT_EQ(state.previous_tag, 50u);
}

TEST_F(IntentLogHistoryTest, WhoIsAwayIsNotInSyncAndMissedWhatIsMarked) {
  std::vector<LogImage> images = {image(5, 50, 40, {in_sync(0), in_sync(1), away(2, 40)}, {1}),
                                  image(5, 50, 40, {in_sync(0), in_sync(1), away(2, 40)}, {}),
                                  image(4, 40, 30, {in_sync(0), in_sync(1), in_sync(2)}, {9})};
  images[1].missed[0]->set(4);
  const LogState state = verdict_on(uuids_, images, kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, true, false}));
  EXPECT_EQ(state.intents.count(), 1u);
  const auto missed = missed_by(state, uuids_[2], images[2], kGeometry);
  ASSERT_TRUE(missed);
  EXPECT_TRUE(missed->test(1) && missed->test(4) && missed->test(9));
  EXPECT_EQ(missed->count(), 3u);
  // Of another history, or without a log: everything.
  EXPECT_FALSE(missed_by(state, uuids_[2], image(4, 41, 30, {in_sync(2)}), kGeometry));
  EXPECT_FALSE(missed_by(state, uuids_[2], LogImage(), kGeometry));
  EXPECT_FALSE(missed_by(state, uuid(9), images[2], kGeometry));
}

TEST_F(IntentLogHistoryTest, WhoIsNotThereMissesFromNowOn) {
  const std::vector<LogMember> all = {in_sync(0), in_sync(1), in_sync(2)};
  const std::vector<LogImage> images = {image(5, 50, 40, all, {1})};
  const LogState state = verdict_on(std::span(uuids_).first(1), images, kGeometry, 60);
  EXPECT_FALSE(state.find(uuids_[1])->in_sync);
  for (const uint64_t tag : {50, 40}) {
    const auto missed = missed_by(state, uuids_[1], image(tag / 10, tag, 0, all, {2}), kGeometry);
    ASSERT_TRUE(missed) << tag;
    EXPECT_EQ(missed->count(), 2u);
  }
  EXPECT_FALSE(missed_by(state, uuids_[1], image(3, 30, 0, all), kGeometry));
}

// What lies behind the end of the last nexus may have been missed under one before that.
TEST_F(IntentLogHistoryTest, WhatTheLastNexusDidNotReachIsUncertain) {
  const std::vector<LogMember> all = {in_sync(0), in_sync(1), away(2, 40)};
  const std::vector<LogImage> images = {image(5, 50, 40, all), image(5, 50, 40, all)};
  LogGeometry geometry = kGeometry;
  geometry.num_bytes = 32768 * 512;
  LogState state = verdict_on(std::span(uuids_).first(2), images, geometry, 60);
  EXPECT_EQ(missed_by(state, uuids_[2], image(4, 40, 30, all), geometry)->count(), 0u);
  geometry.num_regions = 18;
  geometry.num_bytes += (1 << 20) + 512;
  state = verdict_on(std::span(uuids_).first(2), images, geometry, 60);
  EXPECT_FALSE(state.intents.any());  // those that are in sync were made or grown alike
  const auto missed = missed_by(state, uuids_[2], image(4, 40, 30, all), geometry);
  EXPECT_TRUE(missed->test(16) && missed->test(17));
  EXPECT_EQ(missed->count(), 2u);
}

TEST_F(IntentLogHistoryTest, WhoShouldHaveALogAndHasNoneIsNotInSync) {
  const std::vector<LogMember> all = {in_sync(0), in_sync(1), in_sync(2)};
  const std::vector<LogImage> images = {image(5, 50, 40, all), LogImage(), image(5, 50, 40, all)};
  const LogState state = verdict_on(uuids_, images, kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, false, true}));
  EXPECT_FALSE(missed_by(state, uuids_[1], images[1], kGeometry));
}

// A child that the log does not know: somebody without a log was there. The caller knows better.
TEST_F(IntentLogHistoryTest, LogsOfBeforeAnotherEngineCountForNothing) {
  const std::vector<LogImage> images = {image(5, 50, 40, {in_sync(0), away(1, 40)}, {1}),
                                        image(4, 40, 30, {in_sync(0), in_sync(1)}), LogImage()};
  LogState state = verdict_on(uuids_, images, kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, true, true}));
  EXPECT_FALSE(state.intents.any());
  // None of them has one at all.
  state = verdict_on(uuids_, std::vector<LogImage>(3), kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(state.generation, 1u);
  // A void one.
  std::vector<LogImage> voided = {image(6, 50, 40, {}), image(5, 50, 40, {in_sync(0), in_sync(1), away(2, 4)}),
                                  LogImage()};
  voided[0].super->is_void = true;
  state = verdict_on(uuids_, voided, kGeometry, 60);
  EXPECT_EQ(verdict(state, uuids_), (std::vector<bool>{true, true, true}));
  EXPECT_EQ(state.generation, 7u);
}

// Grants everything, and remembers what it was asked.
class Granting final : public WritePermits::Keeper {
 public:
  void on_asked(WritePermits& permits) override {
    asked.push_back(permits.asked().count());
    permits.answer(answer);
  }
  std::vector<uint64_t> asked;
  nvme::Status answer;
};

TEST(WritePermitsTest, AskedOnceAndTakenBackWhenIdle) {
  const auto owned = block::make_bare_reactor();
  runtime::Reactor& reactor = *owned;
  Granting keeper;
  size_t answers = 0;
  WritePermits permits(keeper, reactor, reactor, 3, 100, [&](nvme::Status) { ++answers; });
  EXPECT_FALSE(permits.allow(8, 8));
  EXPECT_FALSE(permits.allow(8, 1));
  EXPECT_FALSE(permits.allow(15, 10));  // regions 1 to 3: with the next question
  reactor.run_until([&] { return answers == 2; });
  EXPECT_EQ(keeper.asked, (std::vector<uint64_t>{1, 2}));
  EXPECT_TRUE(permits.allow(15, 10));
  EXPECT_TRUE(permits.allow(8, 1));

  RegionMap in_flight(100), kept(100);
  in_flight.set(3);
  permits.withdraw(in_flight, false, kept);
  EXPECT_EQ(kept.count(), 3u);  // all were used
  EXPECT_TRUE(permits.allow(16, 1));
  kept.clear();
  permits.withdraw(in_flight, false, kept);
  EXPECT_TRUE(kept.test(2) && kept.test(3));
  EXPECT_EQ(kept.count(), 2u);
  kept.clear();
  permits.withdraw(in_flight, true, kept);
  EXPECT_EQ(kept.count(), 1u);
  EXPECT_FALSE(permits.allow(16, 1));
  kept.clear();
  permits.withdraw(in_flight, true, kept);
  EXPECT_TRUE(kept.test(2));  // the answer may be on its way
  reactor.run_until([&] { return !permits.asking(); });

  keeper.answer = nvme::Status::media(nvme::MediaStatus::kWriteFault);
  EXPECT_FALSE(permits.allow(80, 1));
  reactor.run_until([&] { return !permits.asking(); });
  EXPECT_FALSE(permits.allow(80, 1));  // asks again
  reactor.run_until([&] { return !permits.asking(); });
}

}  // namespace
}  // namespace cairn::nexus
