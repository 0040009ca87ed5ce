// The write-intent log: an engine that is killed or loses power at any point, under load, with children that leave and
// come back; the next nexus makes equal what was under way and rebuilds what was missed, no more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <list>

#include "nexus/geometry.h"
#include "nexus/intent_log_image.h"
#include "nexus/test_site.h"
#include "nvmf/target/block_history.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using nvmf::target::BlockHistory;
using runtime::Task;
namespace sim = runtime::sim;

constexpr uint64_t kRegion = 128 << 10;
constexpr uint64_t kRegionBlocks = kRegion / 512;

NexusOptions small_regions() {
  NexusOptions options;
  options.intent_log.min_region_bytes = kRegion;
  options.first_zeroing_bytes = kRegion / 2;
  options.intent_log.idle_after = std::chrono::milliseconds(200);
  return options;
}

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Writes and reads on every reactor, never two writes to the same blocks at once, and knows what may be read.
class Load {
 public:
  explicit Load(NexusSite& site) : site_(site), history_(NexusSite::kNumBlocks) {}

  // In a quarter of the nexus, or all over it.
  void start(size_t workers_per_reactor, runtime::Random& random) {
    stopping_ = false;
    const uint64_t quarter = history_.num_blocks() / 4;
    begin_ = random.one_in(3) ? 0 : random.below(4) * quarter;
    size_ = random.one_in(3) ? history_.num_blocks() - begin_ : quarter;
    for (unsigned i = 0; i < site_.node().num_reactors(); ++i) {
      const runtime::Reactor::Scope scope(site_.node().reactor(i));
      for (size_t n = 0; n < workers_per_reactor; ++n) {
        ++num_workers_;
        site_.node().reactor(i).spawn("load", work(site_.channel(i)));
      }
    }
  }
  void stop() {
    stopping_ = true;
    site_.run_until([this] { return num_workers_ == 0; });
  }
  void crashed(bool power_loss) {
    num_workers_ = 0;
    writing_.clear();
    history_.crash(power_loss);
  }
  // What everything reads as now.
  std::vector<std::byte> read_all() {
    return site_.run([](Load& load) -> Task<std::vector<std::byte>> {
      std::vector<std::byte> all(load.history_.num_blocks() * 512);
      for (uint64_t lba = 0; lba < load.history_.num_blocks(); lba += 64) {
        const uint64_t count = std::min<uint64_t>(64, load.history_.num_blocks() - lba);
        iovec piece{all.data() + lba * 512, count * 512};
        const uint64_t begin = load.history_.begin_read();
        const auto status = co_await block::perform(
            load.site_.channel(), {.type = IoType::kRead, .lba = lba, .num_blocks = count, .data = {&piece, 1}});
        EXPECT_TRUE(status.is_success()) << status.to_string();
        load.note(load.history_.check_read(begin, lba, std::span(all).subspan(lba * 512, count * 512)));
      }
      co_return all;
    }(*this));
  }
  const std::string& failure() const { return failure_; }
  uint64_t num_errors() const { return num_errors_; }
  uint64_t num_writes() const { return history_.num_writes(); }

 private:
  void note(std::string what) {
    if (failure_.empty() && !what.empty()) failure_ = std::move(what);
  }
  Task<> work(block::Channel& channel) {
    runtime::Random& random = runtime::Reactor::current().random();
    std::vector<std::byte> data;
    while (!stopping_) {
      const uint64_t num_blocks = 1 + random.below(random.one_in(8) ? 300 : 8);
      const uint64_t lba = begin_ + random.below(size_ - num_blocks + 1);
      iovec piece{};
      block::IoRequest request{.lba = lba, .num_blocks = num_blocks};
      nvme::Status status;
      const uint64_t kind = random.below(10);
      if (kind < 6) {
        auto overlaps = [&](const auto& other) {
          return lba < other.first + other.second && other.first < lba + num_blocks;
        };
        if (!std::ranges::any_of(writing_, overlaps)) {
          const auto range = writing_.emplace(writing_.end(), lba, num_blocks);
          const bool zero = random.one_in(5);
          request.fua = random.one_in(4);
          const auto write = history_.begin_write(lba, num_blocks, zero, request.fua);
          data = BlockHistory::data_of(write);
          piece = {data.data(), data.size()};
          request.type = zero ? (random.one_in(2) ? IoType::kUnmap : IoType::kWriteZeroes) : IoType::kWrite;
          if (!zero) request.data = {&piece, 1};
          status = co_await block::perform(channel, request);
          status.is_success() ? history_.acknowledge(write) : history_.fail(write);
          writing_.erase(range);
        }
      } else if (kind < 9) {
        data.assign(num_blocks * 512, std::byte{0xee});
        piece = {data.data(), data.size()};
        request.data = {&piece, 1};
        const uint64_t begin = history_.begin_read();
        status = co_await block::perform(channel, request);
        if (status.is_success()) note(history_.check_read(begin, lba, data));
      } else {
        const uint64_t begin = history_.begin_flush();
        status = co_await block::perform(channel, {.type = IoType::kFlush});
        if (status.is_success()) history_.acknowledge_flush(begin);
      }
      if (!status.is_success()) ++num_errors_;
      if (!(co_await runtime::sleep_for(std::chrono::microseconds(random.below(20000))))) break;
    }
    --num_workers_;
  }

  NexusSite& site_;
  BlockHistory history_;
  std::list<std::pair<uint64_t, uint64_t>> writing_;
  uint64_t begin_ = 0;
  uint64_t size_ = 0;
  size_t num_workers_ = 0;
  bool stopping_ = false;
  std::string failure_;
  uint64_t num_errors_ = 0;
};

struct Totals {
  uint64_t crashes = 0;
  uint64_t resynced = 0;  // segments
  uint64_t differed = 0;
  uint64_t partial = 0;
  uint64_t full = 0;
};

void count(NexusSite& site, Totals& totals) {
  for (const RebuildRecord& record : site.nexus().rebuild_history()) {
    if (record.state != RebuildState::kCompleted) continue;
    ++(record.statistics.is_partial || record.statistics.blocks_transferred == 0 ? totals.partial : totals.full);
  }
  const auto resync = site.nexus().resync_statistics().value_or(ResyncStatistics{});
  totals.resynced += resync.segments_total;
  totals.differed += resync.segments_copied;
}

bool whole(NexusSite& site) {
  return site.nexus().children().size() == 3 && site.nexus().status() == NexusStatus::kOnline &&
         site.nexus().num_rebuilds() == 0;
}

// Makes the nexus of those that the record calls healthy, all at once or one after the other, with the load on it.
void reopen(NexusSite& site, Load& load, runtime::Random& random, Totals& totals) {
  const auto record = site.record();
  std::vector<size_t> healthy, others;
  for (size_t disk = 0; disk < 3; ++disk) {
    const auto& children = record->children;
    const auto found = std::ranges::find(children, NexusSite::child_uuid(disk), &HealthRecord::Child::uuid);
    (found != children.end() && found->healthy ? healthy : others).push_back(disk);
  }
  ASSERT_FALSE(healthy.empty());
  if (random.one_in(3)) {
    std::swap(healthy.front(), healthy[random.below(healthy.size())]);
    others.insert(others.end(), healthy.begin() + 1, healthy.end());
    healthy.resize(1);
  }
  if (random.one_in(3)) {
    // Not even this comes to its end.
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.node().reactor(0).spawn("create", [](NexusSite& its_site, std::vector<size_t> disks) -> Task<> {
      auto made = co_await its_site.process().nexuses->create(its_site.request(disks));
      if (made) its_site.process().nexus = std::move(*made);
    }(site, healthy));
    site.world().run_for(std::chrono::microseconds(random.below(20000)));
    const bool power_loss = random.one_in(2);
    site.crash(power_loss ? sim::CrashKind::kPowerLoss : sim::CrashKind::kKill);
    load.crashed(power_loss);
    ++totals.crashes;
    site.start();
  }
  const auto made = site.create(healthy);
  ASSERT_TRUE(made) << made.error().to_string();
  const bool calm = random.one_in(2);
  if (calm) {
    // What was read once does not change, whoever is asked.
    const auto once = load.read_all();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(load.read_all() == once);
  }
  load.start(3, random);
  for (const size_t disk : others) {
    const auto added = site.run(site.nexus().add_child(NexusSite::uri(disk), true));
    EXPECT_TRUE(added) << added.error().to_string();
  }
}

Totals run_crashes(uint64_t seed) {
  Totals totals;
  NexusSite site({.seed = seed, .nexus = small_regions()});
  runtime::Random random(seed * 31 + 7);
  EXPECT_TRUE(site.create({0, 1, 2}));
  Load load(site);
  load.start(3, random);
  for (int round = 0; round < 8 && load.failure().empty() && !testing::Test::HasFatalFailure(); ++round) {
    SCOPED_TRACE(round);
    site.world().run_for(std::chrono::milliseconds(random.below(1500)));
    if (random.one_in(2) && whole(site)) {
      const size_t disk = random.below(3);
      site.disk(disk).set_faults({.write_error = -EIO});
      site.world().run_for(std::chrono::milliseconds(random.below(1500)));
      site.disk(disk).set_faults({});
      if (random.one_in(3)) {
        // May be refused: it has not failed yet, or its device is still being closed.
        static_cast<void>(site.run(site.nexus().online_child(NexusSite::uri(disk))).has_value());
      }
      site.world().run_for(std::chrono::milliseconds(random.below(700)));
    }
    count(site, totals);
    if (random.one_in(6)) {
      load.stop();
      site.end();
      load.crashed(false);
    } else {
      const bool power_loss = random.one_in(2);
      site.crash(power_loss ? sim::CrashKind::kPowerLoss : sim::CrashKind::kKill);
      load.crashed(power_loss);
      ++totals.crashes;
    }
    site.start();
    reopen(site, load, random, totals);
    if (random.one_in(2)) site.run_until([&] { return whole(site); });
  }
  for (size_t disk = 0; disk < 3; ++disk) {
    const auto infos = site.nexus().children();
    for (const ChildInfo& info : infos) {
      if (info.uri == NexusSite::uri(disk) && info.state == ChildState::kFaulted) {
        site.run_until([&] { return !site.child(disk).faulting; });
        EXPECT_TRUE(site.run(site.nexus().online_child(info.uri)));
      }
    }
  }
  site.run_until(
      [&] { return whole(site) && !site.nexus().resync_statistics().value_or(ResyncStatistics{}).segments_remaining; });
  load.stop();
  load.read_all();
  EXPECT_EQ(load.failure(), "");
  EXPECT_EQ(load.num_errors(), 0u);
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.identical(0, 2));
  count(site, totals);
  fmt::print(
      "seed {}: {} writes, {} crashes, {} segments resynchronised, {} differed, {} partial and {} full rebuilds\n",
      seed, load.num_writes(), totals.crashes, totals.resynced, totals.differed, totals.partial, totals.full);
  site.end();
  return totals;
}

TEST(NexusLogSimTest, CrashesAtAnyPoint) {
  Totals sum;
  const uint64_t first = number_from("CAIRN_SIM_FIRST_SEED", 1);
  for (uint64_t seed = first; seed < first + number_from("CAIRN_SIM_SEEDS", 6); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const Totals totals = run_crashes(seed);
    sum.differed += totals.differed;
    sum.partial += totals.partial;
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(sum.differed, 0u);  // there was something to do
  EXPECT_GT(sum.partial, 0u);
}

// Of a crash with writes of a region under way, one region is made equal; after an orderly end none.
TEST(NexusLogSimTest, ResynchronisesWhatWasUnderWay) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1, 2}));
  for (uint64_t lba = 0; lba < 4096; lba += 64) ASSERT_TRUE(site.write(lba, 64, 1).is_success());
  EXPECT_EQ(site.nexus().intent_log()->num_intents, 4096 / kRegionBlocks);
  site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
  ASSERT_TRUE(site.write(5 * kRegionBlocks, 8, 2).is_success());
  ASSERT_TRUE(site.write(9 * kRegionBlocks - 4, 8, 2).is_success());
  EXPECT_EQ(site.nexus().intent_log()->num_intents, 3u);
  site.crash(sim::CrashKind::kKill);
  site.start();
  ASSERT_TRUE(site.create({0, 1, 2}));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  ASSERT_TRUE(site.nexus().resync_statistics().has_value());
  EXPECT_EQ(site.nexus().resync_statistics()->segments_total, 3 * kRegion / kSegmentBytes);
  EXPECT_EQ(site.read(5 * kRegionBlocks, 8), 2);
  site.run_until([&] { return site.nexus().resync_statistics()->segments_remaining == 0; });
  EXPECT_EQ(site.nexus().resync_statistics()->segments_copied, 0u);
  ASSERT_TRUE(site.write(0, 8, 3).is_success());
  site.end();
  site.start();
  ASSERT_TRUE(site.create({0, 1, 2}));
  EXPECT_FALSE(site.nexus().resync_statistics().has_value());
  EXPECT_EQ(site.nexus().intent_log()->num_intents, 0u);
  site.end();
}

// An intent survives a power loss of all children at once; and one that is gone was not needed any more.
TEST(NexusLogSimTest, IntentsArePowerSafe) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    NexusSite site({.seed = seed, .nexus = small_regions()});
    ASSERT_TRUE(site.create({0, 1, 2}));
    for (uint8_t i = 1; i <= 16; ++i) ASSERT_TRUE(site.write(i * kRegionBlocks, 64, i).is_success());
    if (seed % 2 == 0) site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
    site.crash(sim::CrashKind::kPowerLoss);
    if (seed % 2 == 0) {
      EXPECT_TRUE(site.identical(0, 1));
      EXPECT_TRUE(site.identical(0, 2));
    }
    site.start();
    ASSERT_TRUE(site.create({0, 1, 2}));
    if (seed % 2 != 0) {
      EXPECT_EQ(site.nexus().resync_statistics()->segments_total, 16 * kRegion / kSegmentBytes);
      site.run_until([&] { return site.nexus().resync_statistics()->segments_remaining == 0; });
    }
    EXPECT_TRUE(site.identical(0, 1));
    EXPECT_TRUE(site.identical(0, 2));
    site.end();
  }
}

// A child that was away is rebuilt by what it missed, by a nexus that was not there when it left.
TEST(NexusLogSimTest, ARebuildIsPartialAfterACrash) {
  for (const bool orderly : {false, true}) {
    NexusSite site({.nexus = small_regions()});
    ASSERT_TRUE(site.create({0, 1}));
    ASSERT_TRUE(site.write(0, 4096, 1).is_success());
    ASSERT_TRUE(site.io({.type = IoType::kFlush}).is_success());
    site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
    ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
    ASSERT_TRUE(site.write(3 * kRegionBlocks + 7, 8, 2).is_success());
    // Also what was taken back since.
    site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
    ASSERT_TRUE(site.write(7 * kRegionBlocks + 7, 8, 3).is_success());
    if (orderly) {
      site.end();
    } else {
      site.crash(sim::CrashKind::kKill);
    }
    site.start();
    ASSERT_TRUE(site.create({0}));
    ASSERT_TRUE(site.write(11 * kRegionBlocks, 1, 4).is_success());
    ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
    site.wait_healthy(1);
    const RebuildStatistics& rebuilt = site.nexus().rebuild_history().back().statistics;
    EXPECT_TRUE(rebuilt.is_partial);
    EXPECT_EQ(rebuilt.blocks_transferred, 3 * kRegionBlocks);
    EXPECT_TRUE(site.identical(0, 1));
    site.end();
  }
}

// Told that all are healthy, the nexus knows better.
TEST(NexusLogSimTest, AStaleChildIsNotTakenForHealthy) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1, 2}));
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(0), FaultReason::kOffline)));
  ASSERT_TRUE(site.write(0, 1, 2).is_success());
  site.crash(sim::CrashKind::kKill);
  site.start();
  ASSERT_TRUE(site.create({0, 1, 2}));
  EXPECT_FALSE(site.healthy(0));
  EXPECT_FALSE(site.record()->children[0].healthy);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(site.read(0, 1), 2);
  site.wait_healthy(0);
  EXPECT_TRUE(site.record()->children[0].healthy);
  site.run_until([&] { return site.nexus().resync_statistics()->segments_remaining == 0; });
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.identical(0, 2));
  site.end();
}

// A child that somebody else has had in the meantime is copied as a whole, also when both logs look alike.
TEST(NexusLogSimTest, TwoHistoriesAreNotMixed) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  site.end();
  for (const size_t disk : {1, 0}) {
    site.start();
    ASSERT_TRUE(site.create({disk}));
    ASSERT_TRUE(site.write(disk * 8 * kRegionBlocks, 1, static_cast<uint8_t>(10 + disk)).is_success());
    if (disk == 1) site.end();
  }
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.wait_healthy(1);
  EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// A log that is off says so: nobody takes an old one for true later.
TEST(NexusLogSimTest, WithoutALogThereIsNone) {
  NexusOptions off = small_regions();
  off.intent_log.enabled = false;
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  site.end();
  site.set_nexus_options(off);
  site.start();
  ASSERT_TRUE(site.create({0}));
  EXPECT_FALSE(site.nexus().intent_log().has_value());
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  site.end();
  site.set_nexus_options(small_regions());
  site.start();
  ASSERT_TRUE(site.create({0}));
  EXPECT_TRUE(site.nexus().intent_log().has_value());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(1), true)));
  site.wait_healthy(1);
  EXPECT_EQ(site.nexus().rebuild_history().back().statistics.blocks_transferred, NexusSite::kNumBlocks);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// A page is never written over its newest state: a torn write leaves the one before.
TEST(NexusLogSimTest, PagesAreWrittenInTurn) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  for (uint64_t i = 1; i <= 5; ++i) {
    ASSERT_TRUE(site.write(i * kRegionBlocks, 1, 1).is_success());
    const auto content = site.content(0);
    std::array<uint64_t, 2> sequences{}, counts{};
    for (unsigned copy = 0; copy < 2; ++copy) {
      const LogPageView page(content.data() + page_offset(1, copy), kLogPageSize);
      const auto header = decode_header(page);
      ASSERT_TRUE(header);
      sequences[copy] = header->sequence;
      RegionMap map(kRegionsPerPage);
      decode_bitmap(page, 0, map);
      counts[copy] = map.count();
    }
    const size_t newest = sequences[0] > sequences[1] ? 0 : 1;
    EXPECT_EQ(counts[newest], i);
    EXPECT_EQ(counts[1 - newest], i - 1);
  }
  site.end();
}

// Both copies of a page are gone: everything that it spoke of is made equal.
TEST(NexusLogSimTest, ADamagedPageCountsAsAllSet) {
  for (const bool super_block : {false, true}) {
    NexusSite site({.nexus = small_regions()});
    ASSERT_TRUE(site.create({0, 1}));
    ASSERT_TRUE(site.write(0, 1, 1).is_success());
    site.crash(sim::CrashKind::kKill);
    for (const unsigned copy : {0u, 1u}) {
      site.node().files().flip_bits(NexusSite::disk_path(0), page_offset(super_block ? 0 : 1, copy) + 600,
                                    std::byte{4});
    }
    site.start();
    ASSERT_TRUE(site.create({0, 1}));
    if (super_block) {
      // It should have one: nobody knows what it is.
      EXPECT_FALSE(site.healthy(0));
      site.wait_healthy(0);
      EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
    } else {
      EXPECT_EQ(site.nexus().resync_statistics()->segments_total, (NexusSite::kNumBlocks + 127) / 128);
      site.run_until([&] { return site.nexus().resync_statistics()->segments_remaining == 0; });
    }
    EXPECT_TRUE(site.identical(0, 1));
    site.end();
  }
}

// The log is a part of the child: who cannot write it goes, and of the last one the host gets the status.
TEST(NexusLogSimTest, AChildThatDoesNotTakeTheLogIsRetired) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  site.run_until([&] { return site.nexus().intent_log()->num_rounds >= 2; });
  site.disk(0).set_faults({.write_error = -EIO});
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  EXPECT_EQ(site.child(0).state, ChildState::kFaulted);
  site.disk(1).set_faults({.write_error = -ENOSPC});
  EXPECT_TRUE(site.write(4 * kRegionBlocks, 8, 1).is(nvme::GenericStatus::kCapacityExceeded));
  EXPECT_TRUE(site.healthy(1));
  site.disk(1).set_faults({});
  EXPECT_TRUE(site.write(4 * kRegionBlocks, 8, 1).is_success());
  site.end();
}

std::string fault(size_t disk, std::string_view query) {
  return fmt::format("inject://{}?{}", NexusSite::disk_path(disk), query);
}
// Of the blocks of the first page of its log.
std::string log_fault(size_t disk, std::string_view query) {
  return fault(disk, fmt::format("op=write&offset={}&num_blk=16&{}", page_offset(0, 0) / 512, query));
}

// What is rebuilt joins the log before it is healthy. Whether one that failed to do so has the page nobody knows: the
// others may not go on calling it in sync.
TEST(NexusLogSimTest, WhoFailsToJoinHasLeft) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  ASSERT_TRUE(site.process().devices.inject_fault(log_fault(2, "stage=compl&retries=1")));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(2))));
  site.run_until([&] { return site.child(2).state == ChildState::kFaulted; });
  ASSERT_TRUE(site.write(20 * kRegionBlocks, 8, 2).is_success());
  site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
  site.end();
  site.start();
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.wait_healthy(2);
  EXPECT_TRUE(site.identical(0, 2));
  site.end();
}

// Its log page hangs: writes to regions that were not granted before do not wait for it.
TEST(NexusLogSimTest, WhoFailsToJoinHoldsUpNobody) {
  NexusOptions options = small_regions();
  options.child_timeout = std::chrono::seconds(2);
  NexusSite site({.nexus = options});
  ASSERT_TRUE(site.create({0}));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  ASSERT_TRUE(site.process().devices.inject_fault(log_fault(2, "method=delay-60000&retries=1")));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(2))));
  site.run_until([&] { return site.child(2).state == ChildState::kFaulted; });
  Pending write(site, IoType::kWrite, 8 * kRegionBlocks, 8, 2);
  site.world().run_for(std::chrono::seconds(3));
  EXPECT_TRUE(write.io.done && write.io.status.is_success());
  site.run_until([&] { return write.io.done; });
  site.end();
}

// A segment that was copied from a child before a scrub repaired it there: the rebuilt one gets it again, also when it
// is just joining the log.
TEST(NexusLogSimTest, ARepairWhileAChildJoins) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 2048, 1).is_success());
  site.node().files().flip_bits(NexusSite::disk_path(0), NexusSite::kDataStart * 512 + 17, std::byte{0x10});
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  ASSERT_TRUE(site.process().devices.inject_fault(log_fault(2, "method=delay-2000&retries=1")));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(2))));
  site.run_until([&] { return site.nexus().rebuild_statistics(NexusSite::uri(2))->blocks_remaining == 0; });
  site.world().run_for(std::chrono::milliseconds(200));
  EXPECT_FALSE(site.healthy(2));
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    ASSERT_TRUE(site.nexus().start_scrub({.repair = ScrubRepair::kSource, .source_uri = NexusSite::uri(1)}));
  }
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
  site.wait_healthy(2);
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.identical(1, 2));
  site.end();
}

// The same, and the nexus dies before the segment is copied again: nothing tells which one it was.
TEST(NexusLogSimTest, ARepairWhileAChildJoinsBeforeACrash) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 2048, 1).is_success());
  site.run_until([&] { return site.nexus().intent_log()->num_intents == 0; });
  site.node().files().flip_bits(NexusSite::disk_path(0), NexusSite::kDataStart * 512 + 17, std::byte{0x10});
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), false)));
  ASSERT_TRUE(site.process().devices.inject_fault(log_fault(2, "method=delay-2000&retries=1")));
  ASSERT_TRUE(site.run(site.nexus().start_rebuild(NexusSite::uri(2))));
  const uint64_t generation = site.nexus().intent_log()->generation;
  site.run_until([&] { return site.nexus().intent_log()->generation > generation; });
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    ASSERT_TRUE(site.nexus().start_scrub({.repair = ScrubRepair::kSource, .source_uri = NexusSite::uri(1)}));
  }
  site.run_until([&] { return site.nexus().scrub_report()->end_time.has_value(); });
  ASSERT_TRUE(site.nexus().pause_rebuild(NexusSite::uri(2)));
  site.world().run_for(std::chrono::seconds(5));
  EXPECT_FALSE(site.healthy(2));
  site.crash(sim::CrashKind::kKill);
  site.start();
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.run(site.nexus().add_child(NexusSite::uri(2), true)));
  site.wait_healthy(2);
  EXPECT_TRUE(site.identical(0, 1));
  EXPECT_TRUE(site.identical(1, 2));
  site.end();
}

// A replica that was made again under its name, or put back to what it was: the map of what it missed is not for it.
TEST(NexusLogSimTest, WhatComesBackIsNotWhatLeft) {
  NexusSite site({.nexus = small_regions()});
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().fault_child(NexusSite::uri(1), FaultReason::kOffline)));
  site.run_until([&] { return !site.child(1).faulting; });
  ASSERT_TRUE(site.write(0, 8, 2).is_success());
  EXPECT_TRUE(site.run([](block::Registry& devices) -> Task<bool> {
    const std::string uri = "aio://" + NexusSite::disk_path(1);
    auto device = co_await devices.create(uri);
    auto channel = co_await (*device)->open_channel();
    const auto status = co_await block::perform(
        **channel, {.type = IoType::kWriteZeroes, .lba = 0, .num_blocks = (*device)->num_blocks()});
    channel->reset();
    device->reset();
    co_return status.is_success() && (co_await devices.destroy(uri)).has_value();
  }(site.process().devices)));
  ASSERT_TRUE(site.run(site.nexus().online_child(NexusSite::uri(1))));
  site.wait_healthy(1);
  EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// A nexus of two dies, and they differ in the first block, which the log calls an intent.
void crash_with_difference(NexusSite& site) {
  ASSERT_TRUE(site.create({0, 1}));
  ASSERT_TRUE(site.write(0, 8, 1).is_success());
  site.crash(sim::CrashKind::kKill);
  site.node().files().flip_bits(NexusSite::disk_path(1), NexusSite::kDataStart * 512 + 17, std::byte{0x10});
  site.start();
}

// Reads alternate between the children: what may differ would be now this, now that.
TEST(NexusLogSimTest, WhatMayDifferIsReadWhenItIsEqual) {
  NexusSite site({.nexus = small_regions()});
  crash_with_difference(site);
  // The copying takes its time.
  ASSERT_TRUE(site.process().devices.inject_fault(
      fault(0, fmt::format("op=read&method=delay-300&offset={}&num_blk=128", NexusSite::kDataStart))));
  ASSERT_TRUE(site.create({0, 1}));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(site.read(0, 8), 1);
  EXPECT_EQ(site.nexus().resync_statistics()->segments_copied, 1u);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// A child does not take what would make it equal, while the nexus is being ended: the next one knows.
TEST(NexusLogSimTest, AResynchronisationThatFailsWhileTheNexusEnds) {
  NexusSite site({.nexus = small_regions()});
  crash_with_difference(site);
  const std::string first = fmt::format("offset={}&num_blk=128", NexusSite::kDataStart);
  const std::string later = fmt::format("offset={}&num_blk=8", NexusSite::kDataStart + 8 * kRegionBlocks);
  auto& devices = site.process().devices;
  ASSERT_TRUE(devices.inject_fault(fault(0, "op=read&method=delay-300&" + first)));
  ASSERT_TRUE(devices.inject_fault(fault(1, "op=write&method=status-lvol-nospace&" + first)));
  ASSERT_TRUE(devices.inject_fault(fault(1, "op=write&method=delay-1000&" + later)));
  ASSERT_TRUE(site.create({0, 1}));
  Pending write(site, IoType::kWrite, 8 * kRegionBlocks, 8, 2);
  site.world().run_for(std::chrono::milliseconds(100));
  Call close(site, [](Nexus& nexus) -> Task<Result<>> {
    co_await nexus.close();
    co_return Result<>{};
  }(site.nexus()));
  site.run_until([&] { return close.result.has_value() && write.io.done; });
  EXPECT_TRUE(write.io.status.is_success());
  site.end();
  site.start();
  ASSERT_TRUE(site.create({0, 1}));
  site.wait_healthy(1);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

// Without UUIDs in the URIs it is the device's that the log knows.
TEST(NexusLogSimTest, ARemovedChildIsForgotten) {
  NexusSite site({.with_store = false, .nexus = small_regions()});
  site.process().devices.set_node_identity("node");
  NexusRequest request = site.request({});
  for (const size_t disk : {0, 1}) request.children.push_back("aio://" + NexusSite::disk_path(disk));
  ASSERT_TRUE(site.create(request));
  ASSERT_TRUE(site.nexus().intent_log().has_value());
  ASSERT_TRUE(site.write(0, 4096, 1).is_success());
  ASSERT_TRUE(site.run(site.nexus().remove_child(request.children[1])));
  ASSERT_TRUE(site.run(site.nexus().add_child(request.children[1], true)));
  site.run_until([&] { return site.nexus().children()[1].in_sync && site.nexus().num_rebuilds() == 0; });
  EXPECT_FALSE(site.nexus().rebuild_history().back().statistics.is_partial);
  EXPECT_TRUE(site.identical(0, 1));
  site.end();
}

TEST(NexusLogSimTest, GrowsWithTheNexus) {
  NexusSite site({.nexus = small_regions()});
  NexusRequest request = site.request({});
  request.size_bytes = 1 << 20;
  request.children = {"malloc:///a?size_mb=16&uuid=" + site.child_uuid(7),
                      "malloc:///b?size_mb=16&uuid=" + site.child_uuid(8)};
  ASSERT_TRUE(site.create(request));
  EXPECT_EQ(site.nexus().intent_log()->num_regions, 8u);
  ASSERT_TRUE(site.run(site.nexus().resize(4 << 20)));
  EXPECT_EQ(site.nexus().intent_log()->num_regions, 32u);
  ASSERT_TRUE(site.write(8000, 100, 5, 1).is_success());
  EXPECT_EQ(site.nexus().intent_log()->num_intents, 1u);
  EXPECT_EQ(site.read(8000, 100), 5);
  site.end();
}

}  // namespace
}  // namespace cairn::nexus
