// What becomes of a copy when a child leaves the healthy ones before its source has answered.
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "block/page_memory.h"
#include "nexus/geometry.h"
#include "nexus/segment_copy.h"
#include "nexus/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using runtime::Task;
using Outcome = SegmentCopy::Outcome;

constexpr uint64_t kNumBlocks = kSegmentBytes / 512;
using Function = Task<SegmentCopy> (*)(block::Channel&, block::Channel&, uint64_t, uint64_t, std::byte*, CopyWatch*,
                                       uint64_t, ReadTurns&);

Task<SegmentCopy> equalize(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                           std::byte* memory, CopyWatch* watch, uint64_t departures, ReadTurns&) {
  return equalize_segment(from, to, lba, num_blocks, memory, watch, departures);
}

class SegmentCopySimTest : public testing::TestWithParam<Function> {
 protected:
  // With a source that was found healthy after `chosen_after` departures; `leaves`: one more while it is read.
  Outcome copy(uint64_t chosen_after, bool leaves) {
    begin(chosen_after, leaves);
    if (leaves) {
      expect_waiting();
      watch_.note_departure();
      site_.disk(0).set_faults({});
    }
    return end();
  }
  void begin(uint64_t chosen_after, bool hangs) {
    const runtime::Reactor::Scope scope(site_.node().reactor(0));
    runtime::Reactor::current().spawn(
        "copy",
        [](SegmentCopySimTest& test, uint64_t departures, bool hangs, std::optional<Outcome>& result) -> Task<> {
          auto& devices = test.site_.process().devices;
          auto from = *co_await devices.create(NexusSite::uri(0));
          auto to = *co_await devices.create(NexusSite::uri(1));
          {
            const auto source = *co_await from->open_channel(), destination = *co_await to->open_channel();
            const auto memory = block::allocate_pages(2 * kSegmentBytes);
            std::memset(memory.get(), 7, kSegmentBytes);
            iovec piece{memory.get(), kSegmentBytes};
            const auto written = co_await block::perform(
                *source, {.type = IoType::kWrite, .num_blocks = kNumBlocks, .data = {&piece, 1}});
            EXPECT_TRUE(written.is_success());
            test.site_.disk(0).set_faults({.hang = hangs});
            const SegmentCopy done = co_await GetParam()(*source, *destination, 0, kNumBlocks, memory.get(),
                                                         &test.watch_, departures, test.turns_);
            result = done.outcome;
          }
          from.reset();
          to.reset();
          co_await devices.remove_all();
        }(*this, chosen_after, hangs, outcome_));
  }
  void expect_waiting() {
    site_.world().run_for(std::chrono::seconds(1));
    EXPECT_FALSE(outcome_);
  }
  Outcome end() {
    site_.run_until([&] { return outcome_ && site_.process().devices.empty(); });
    return *outcome_;
  }
  bool copied() { return site_.node().files().content(NexusSite::disk_path(1))->at(kSegmentBytes - 1) == std::byte{7}; }

  NexusSite site_{{}};
  ReadTurns turns_{1};
  std::optional<Outcome> outcome_;
  CopyWatch watch_{std::chrono::seconds(10), [](const block::Device&) {}};
};

TEST_P(SegmentCopySimTest, NobodyLeaves) {
  watch_.note_departure();
  EXPECT_EQ(copy(1, false), Outcome::kCopied);
  EXPECT_TRUE(copied());
}

TEST_P(SegmentCopySimTest, SomebodyLeftSinceTheChoice) {
  watch_.note_departure();
  EXPECT_EQ(copy(0, false), Outcome::kOutdated);
  EXPECT_FALSE(copied());
}

TEST_P(SegmentCopySimTest, SomebodyLeavesWhileItIsRead) {
  EXPECT_EQ(copy(0, true), Outcome::kOutdated);
  EXPECT_FALSE(copied());
}

class SegmentCopyTurnSimTest : public SegmentCopySimTest {
 protected:
  // While somebody else reads; `leaves`: so does a child.
  Outcome copy_after_others(bool leaves) {
    site_.run_plain(turns_.begin());
    begin(0, false);
    expect_waiting();
    if (leaves) watch_.note_departure();
    {
      const runtime::Reactor::Scope scope(site_.node().reactor(0));
      turns_.end();
    }
    return end();
  }
};

TEST_P(SegmentCopyTurnSimTest, ReadsInItsTurn) {
  EXPECT_EQ(copy_after_others(false), Outcome::kCopied);
  EXPECT_TRUE(copied());
  site_.run_plain(turns_.begin());  // it has given its turn back
}

TEST_P(SegmentCopyTurnSimTest, SomebodyLeavesBeforeItsTurn) {
  EXPECT_EQ(copy_after_others(true), Outcome::kOutdated);
  EXPECT_FALSE(copied());
  site_.run_plain(turns_.begin());
}

INSTANTIATE_TEST_SUITE_P(Functions, SegmentCopySimTest, testing::Values(&copy_written, &copy_segment, &equalize));

INSTANTIATE_TEST_SUITE_P(Functions, SegmentCopyTurnSimTest, testing::Values(&copy_written, &copy_segment));

}  // namespace
}  // namespace cairn::nexus
