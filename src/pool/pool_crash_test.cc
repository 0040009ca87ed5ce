// Power loss at every single write and flush of every operation that changes metadata: the pool imports, what had been
// acknowledged and flushed is there, the operation has happened or not, and nothing is owned twice or lost.
//
// CAIRN_POOL_CRASH_SEEDS: how often each point is tried, each time with other choices of what the loss leaves (default
// 1).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>

#include "base/crc32c.h"
#include "base/log.h"
#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint64_t kDiskBytes = 40 * kMiB;

// What users see of a pool: volumes with their properties and data.
struct View {
  std::map<std::string, std::string> volumes;
  std::map<std::string, std::vector<std::byte>> data;  // of the volume that is being written
  uint64_t capacity = 0;
  bool exists = true;
  friend bool operator==(const View& a, const View& b) {
    return a.volumes == b.volumes && a.capacity == b.capacity && a.exists == b.exists;
  }
};

std::ostream& operator<<(std::ostream& out, const View& view) {
  if (!view.exists) return out << "no pool";
  out << "capacity " << view.capacity;
  for (const auto& [name, text] : view.volumes) out << "\n  " << name << ": " << text;
  return out;
}

struct Scenario {
  std::string name;
  std::function<void(TestSite&, Pool&)> setup;
  std::function<Task<bool>(TestSite&)> operation;  // whether it succeeded
  // The operation writes into this volume: each block of it may be old or new.
  std::string written = {};
  bool creates_pool = false;
  bool destroys_pool = false;
};

// Gtest prints this.
std::ostream& operator<<(std::ostream& out, const Scenario& scenario) {
  return out << scenario.name;
}

std::shared_ptr<Pool> the_pool(TestSite& site) {
  return site.pools().find("tpool");
}

void expect_done(const Result<>& result) {
  EXPECT_TRUE(result) << result.error().to_string();
}

void fill(TestSite& site, const std::string& name, uint64_t from, uint64_t to, uint64_t seed) {
  for (uint64_t at = from; at < to; at += kMiB)
    EXPECT_TRUE(site.write(name, at + 4096, pattern(64 << 10, seed + at)).is_success());
}

Task<Result<>> snapshot_of(Pool& pool, std::shared_ptr<Replica> source, std::string name, uint64_t number) {
  auto made = co_await pool.create_snapshot(std::move(source), {.name = std::move(name),
                                                                .uuid = TestSite::uuid_of(number).to_string(),
                                                                .entity_id = "volume",
                                                                .txn_id = "1",
                                                                .create_time = "2024-10-09 11:22:33 UTC"});
  if (!made) co_return fail(std::move(made.error()));
  co_return Result<>{};
}

Task<Result<>> clone_of(Pool& pool, std::shared_ptr<Replica> source, std::string name, uint64_t number) {
  auto made = co_await pool.create_clone(std::move(source), {.name = std::move(name),
                                                             .uuid = TestSite::uuid_of(number).to_string(),
                                                             .create_time = "2024-10-09 11:22:33 UTC"});
  if (!made) co_return fail(std::move(made.error()));
  co_return Result<>{};
}

// A replica, two snapshots of it, a clone of each: data of its own in every layer.
void family(TestSite& site, Pool& pool) {
  expect_done(site.create_replica(pool, 1, 6 * kMiB, false));
  fill(site, "r1", 0, 6 * kMiB, 100);
  expect_done(site.run(snapshot_of(pool, site.replica("r1"), "s1", 11)));
  fill(site, "r1", 0, 2 * kMiB, 200);
  expect_done(site.run(snapshot_of(pool, site.replica("r1"), "s2", 12)));
  fill(site, "r1", kMiB, 3 * kMiB, 300);
  expect_done(site.run(clone_of(pool, site.replica("s1"), "c1", 21)));
  fill(site, "c1", 4 * kMiB, 5 * kMiB, 400);
  expect_done(site.run(clone_of(pool, site.replica("s2"), "c2", 22)));
}

void one_thin(TestSite& site, Pool& pool) {
  expect_done(site.create_replica(pool, 1, 20 * kMiB, true));
  fill(site, "r1", 0, 9 * kMiB, 100);
}

Task<bool> write_to(TestSite& site, std::string name, std::vector<uint64_t> offsets, uint64_t size, IoType type) {
  auto device = site.engine().registry.find(name);
  auto channel = co_await device->open_channel();
  bool good = true;
  for (const uint64_t offset : offsets) {
    auto data = pattern(size, 900 + offset);
    iovec piece{data.data(), data.size()};
    block::IoRequest request = site.at(type, offset, size);
    if (type == IoType::kWrite) request.data = {&piece, 1};
    good = good && (co_await block::perform(**channel, request)).is_success();
  }
  good = good && (co_await block::perform(**channel, {.type = IoType::kFlush})).is_success();
  co_return good;
}

std::vector<Scenario> scenarios() {
  return {
      {.name = "CreatePool",
       .setup = {},
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await site.pools().create({.name = "tpool",
                                                  .uuid = TestSite::uuid_of(77),
                                                  .disks = {site.disk_uri()},
                                                  .cluster_size = kMiB,
                                                  .md_resv_ratio = {}}))
             .has_value();
       },
       .creates_pool = true},
      {.name = "DestroyPool",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await site.pools().destroy("tpool")).has_value();
       },
       .destroys_pool = true},
      {.name = "CreateThin",
       .setup = one_thin,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (
             co_await the_pool(site)->create_replica(
                 {.name = "r2", .uuid = TestSite::uuid_of(2), .size_bytes = 12 * kMiB, .thin = true, .entity_id = "e"}))
             .has_value();
       }},
      {.name = "CreateThick",
       .setup = one_thin,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (
             co_await the_pool(site)->create_replica(
                 {.name = "r2", .uuid = TestSite::uuid_of(2), .size_bytes = 12 * kMiB, .thin = false, .entity_id = {}}))
             .has_value();
       }},
      {.name = "FirstWrites",
       .setup = one_thin,
       .operation =
           [](TestSite& site) {
             return write_to(site, "r1", {10 * kMiB, 12 * kMiB + 4096, 15 * kMiB - 8192}, 16384, IoType::kWrite);
           },
       .written = "r1"},
      {.name = "FirstWritesAboveASnapshot",
       .setup = family,
       .operation =
           [](TestSite& site) { return write_to(site, "r1", {4 * kMiB, 5 * kMiB - 8192}, 16384, IoType::kWrite); },
       .written = "r1"},
      {.name = "FirstWritesToAClone",
       .setup = family,
       .operation = [](TestSite& site) { return write_to(site, "c2", {kMiB, 0}, 4096, IoType::kWrite); },
       .written = "c2"},
      {.name = "Unmap",
       .setup = one_thin,
       .operation = [](TestSite& site) { return write_to(site, "r1", {kMiB, 5 * kMiB}, 2 * kMiB, IoType::kUnmap); },
       .written = "r1"},
      {.name = "UnmapEverything",
       .setup = one_thin,
       .operation = [](TestSite& site) { return write_to(site, "r1", {0}, 20 * kMiB, IoType::kUnmap); },
       .written = "r1"},
      {.name = "UnmapAboveASnapshot",
       .setup = family,
       .operation = [](TestSite& site) { return write_to(site, "r1", {0}, 6 * kMiB, IoType::kUnmap); },
       .written = "r1"},
      {.name = "SnapshotOfThick",
       .setup =
           [](TestSite& site, Pool& pool) {
             expect_done(site.create_replica(pool, 1, 6 * kMiB, false));
             fill(site, "r1", 0, 6 * kMiB, 100);
           },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await snapshot_of(*the_pool(site), site.replica("r1"), "s1", 11)).has_value();
       }},
      {.name = "SnapshotOfSnapshotted",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await snapshot_of(*the_pool(site), site.replica("r1"), "s3", 13)).has_value();
       }},
      {.name = "Clone",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await clone_of(*the_pool(site), site.replica("s2"), "c3", 23)).has_value();
       }},
      {.name = "DestroyReplica",
       .setup = one_thin,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_replica(site.replica("r1"))).has_value();
       }},
      {.name = "DestroyReplicaAboveSnapshots",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_replica(site.replica("r1"))).has_value();
       }},
      {.name = "DiscardSnapshot",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_snapshot(site.replica("s1"))).has_value();
       }},
      // The merge: extent pages of both, and one that is taken over.
      {.name = "DestroySnapshotWithOneChild",
       .setup =
           [](TestSite& site, Pool& pool) {
             expect_done(site.create_replica(pool, 1, 6 * kMiB, true));
             fill(site, "r1", 0, 6 * kMiB, 100);
             expect_done(site.run(snapshot_of(pool, site.replica("r1"), "s1", 11)));
             fill(site, "r1", kMiB, 3 * kMiB, 200);
           },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_snapshot(site.replica("s1"))).has_value();
       }},
      {.name = "DestroySnapshotTakenOverWhole",
       .setup =
           [](TestSite& site, Pool& pool) {
             expect_done(site.create_replica(pool, 1, 6 * kMiB, false));
             fill(site, "r1", 0, 6 * kMiB, 100);
             expect_done(site.run(snapshot_of(pool, site.replica("r1"), "s1", 11)));
           },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_snapshot(site.replica("s1"))).has_value();
       }},
      {.name = "DestroySnapshotBetweenSnapshots",
       .setup =
           [](TestSite& site, Pool& pool) {
             family(site, pool);
             expect_done(site.run(pool.destroy_replica(site.replica("c2"))));
           },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->destroy_snapshot(site.replica("s2"))).has_value();
       }},
      {.name = "GrowThin",
       .setup = one_thin,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->resize_replica(site.replica("r1"), 30 * kMiB)).has_value();
       }},
      {.name = "GrowThick",
       .setup = [](TestSite& site, Pool& pool) { expect_done(site.create_replica(pool, 1, 6 * kMiB, false)); },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->resize_replica(site.replica("r1"), 9 * kMiB)).has_value();
       }},
      {.name = "Shrink",
       .setup = one_thin,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->resize_replica(site.replica("r1"), 3 * kMiB)).has_value();
       }},
      {.name = "LongAttributes",  // a chain of several pages
       .setup =
           [](TestSite& site, Pool& pool) {
             one_thin(site, pool);
             expect_done(site.run(pool.set_attribute(site.replica("r1"), "a", std::string(3900, 'a'))));
           },
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await the_pool(site)->set_attribute(site.replica("r1"), "b", std::string(3900, 'b')))
             .has_value();
       }},
      {.name = "GrowPool",
       .setup =
           [](TestSite& site, Pool& pool) {
             one_thin(site, pool);
             site.resize_disk(kDiskBytes + 20 * kMiB);
           },
       .operation = [](TestSite& site) -> Task<bool> { co_return (co_await site.pools().grow("tpool")).has_value(); }},
      {.name = "Export",
       .setup = family,
       .operation = [](TestSite& site) -> Task<bool> {
         co_return (co_await site.pools().export_pool("tpool")).has_value();
       }},
  };
}

View look(TestSite& site, const std::string& with_data) {
  View view;
  const auto pool = the_pool(site);
  if (pool == nullptr) return View{{}, {}, 0, false};
  view.capacity = pool->info().capacity;
  for (const auto& replica : pool->volumes()) {
    std::string text =
        fmt::format("{} bytes, {}{}{}{}, clones {}", replica->size_bytes(), replica->thin() ? "thin" : "thick",
                    replica->is_snapshot() ? ", snapshot" : "", replica->is_clone() ? ", clone" : "",
                    replica->snapshot_attributes().discarded ? ", discarded" : "", replica->num_clones());
    for (const char* name : {"a", "b", "entity_id"}) {
      if (const auto value = replica->attribute(name)) text += fmt::format(", {} {}", name, value->size());
    }
    if (replica->name() == with_data) {
      view.data.emplace(replica->name(), site.read(replica->name(), 0, replica->size_bytes()));
    } else {
      uint32_t crc = kCrc32cInit;
      site.read_pieces(replica->name(), replica->size_bytes(),
                       [&](uint64_t, std::span<const std::byte> piece) { crc = crc32c_update(crc, piece); });
      text += fmt::format(", data {:08x}", crc32c_finish(crc));
    }
    view.volumes.emplace(replica->name(), std::move(text));
  }
  return view;
}

void flush_disk(TestSite& site) {
  EXPECT_TRUE(site.io(TestSite::kDisk, {.type = IoType::kFlush}).is_success());
}

struct Mode {
  uint32_t block_size;
  uint32_t tear_unit;
  bool clean_before;  // the operation is the first one after a clean import
  bool can_unmap = true;
};

class PoolCrashTest : public testing::TestWithParam<Scenario> {
 protected:
  // Runs the scenario until `limit` writes and flushes of its operation have been done. Returns whether it was over
  // before. What there is before the operation is the same for every limit: looked at once, in the run without one.
  static constexpr uint64_t kNoLimit = ~uint64_t{0};
  bool run_until_crash(TestSite& site, const Mode& mode, uint64_t limit, bool& succeeded) {
    const Scenario& scenario = GetParam();
    if (!scenario.creates_pool) {
      auto pool = site.create("tpool", kMiB);
      if (scenario.setup) scenario.setup(site, *pool);
      if (mode.clean_before) {
        pool.reset();
        expect_done(site.run(site.pools().export_pool("tpool")));
        site.import();
      }
      if (site.engine().registry.find(TestSite::kDisk) != nullptr) flush_disk(site);
      if (limit == kNoLimit) before_ = look(site, scenario.written);
    } else {
      before_ = View{{}, {}, 0, false};
    }
    bool done = false;
    const auto count = [&] { return site.disk().counters().writes + site.disk().counters().flushes; };
    const uint64_t start = count();
    {
      const runtime::Reactor::Scope scope(site.reactor());
      site.reactor().spawn("operation", [](TestSite& site, const Scenario& scenario, bool& done, bool& ok) -> Task<> {
        ok = co_await scenario.operation(site);
        done = true;
      }(site, scenario, done, succeeded));
    }
    site.run_until([&] { return done || count() - start >= limit; });
    return done;
  }

  void try_point(const Mode& mode, uint64_t limit, uint64_t seed, bool& over) {
    const Scenario& scenario = GetParam();
    SCOPED_TRACE(fmt::format("after {} writes, seed {}, blocks of {}, tears {}{}", limit, seed, mode.block_size,
                             mode.tear_unit, mode.clean_before ? ", clean before" : ""));
    TestSite site({.seed = seed,
                   .disk_bytes = kDiskBytes,
                   .block_size = mode.block_size,
                   .tear_unit = mode.tear_unit,
                   .can_unmap = mode.can_unmap});
    bool succeeded = false;
    over = run_until_crash(site, mode, limit, succeeded);
    if (over) EXPECT_TRUE(succeeded);
    site.crash(sim::CrashKind::kPowerLoss);
    site.restart();
    if (!scenario.creates_pool && !scenario.destroys_pool) {
      SimDisk disk(site);
      const auto report = check::check_pool(disk);
      EXPECT_FALSE(report.has(check::Severity::kError)) << report.text(check::Severity::kWarning);
    }
    if (scenario.creates_pool || scenario.destroys_pool) {
      // As a control plane does it: created again, whatever was left.
      auto created = site.run(site.pools().create(
          {.name = "tpool", .uuid = {}, .disks = {site.disk_uri()}, .cluster_size = kMiB, .md_resv_ratio = {}}));
      ASSERT_TRUE(created) << created.error().to_string();
      if (scenario.creates_pool && over) EXPECT_TRUE(created->imported);
      if (scenario.destroys_pool && over) EXPECT_FALSE(created->imported);
      if (scenario.destroys_pool && created->imported) EXPECT_EQ(created->pool->volumes().size(), 5u);
    } else {
      ASSERT_NE(site.import(), nullptr);
    }
    const View found = look(site, scenario.written);
    if (!scenario.creates_pool && !scenario.destroys_pool) {
      if (over) {
        EXPECT_EQ(found, after_);
      } else {
        EXPECT_THAT(found, testing::AnyOf(before_, after_));
      }
    }
    if (!scenario.written.empty()) {
      const auto& data = found.data.at(scenario.written);
      const auto& old_data = before_.data.at(scenario.written);
      const auto& new_data = after_.data.at(scenario.written);
      for (size_t at = 0; at < data.size(); at += mode.block_size) {
        const bool is_new = std::memcmp(&data[at], &new_data[at], mode.block_size) == 0;
        const bool is_old = std::memcmp(&data[at], &old_data[at], mode.block_size) == 0;
        ASSERT_TRUE(over ? is_new : is_new || is_old) << "offset " << at;
      }
    }
    ASSERT_TRUE(site.run(site.pools().export_pool("tpool")));
    SimDisk disk(site);
    const auto report = check::check_pool(disk);
    EXPECT_FALSE(report.has(check::Severity::kWarning)) << report.text(check::Severity::kNote);
    ASSERT_NE(site.import(), nullptr);
    const View again = look(site, scenario.written);
    EXPECT_EQ(again, found);
    if (!scenario.written.empty()) {
      const auto& data = found.data.at(scenario.written);
      const auto& same = again.data.at(scenario.written);
      EXPECT_TRUE(data.size() == same.size() && std::memcmp(data.data(), same.data(), data.size()) == 0);
    }
    if (testing::Test::HasFailure() || scenario.creates_pool || scenario.destroys_pool) return;
    // What recovery left can be worked with: all free space is usable, and none of it shows old data.
    auto pool = the_pool(site);
    const uint64_t free = pool->info().capacity - pool->info().used;
    if (free < 8 * kMiB) return;
    expect_done(site.create_replica(*pool, 99, free, false));
    EXPECT_TRUE(site.reads_as_zeroes("r99", free));
  }

  View before_, after_;
};

uint64_t num_seeds() {
  const char* text = std::getenv("CAIRN_POOL_CRASH_SEEDS");
  return text == nullptr ? 1 : std::max(1ull, std::strtoull(text, nullptr, 10));
}

TEST_P(PoolCrashTest, PowerLossAtEveryWrite) {
  cairn::log::set_level(cairn::log::Level::kOff);
  const Mode modes[] = {{512, 512, true}, {4096, 4096, false}, {512, 512, false, false}};
  for (const Mode& mode : modes) {
    {
      TestSite site({.seed = 1,
                     .disk_bytes = kDiskBytes,
                     .block_size = mode.block_size,
                     .tear_unit = mode.tear_unit,
                     .can_unmap = mode.can_unmap});
      bool succeeded = false;
      ASSERT_TRUE(run_until_crash(site, mode, kNoLimit, succeeded));
      ASSERT_TRUE(succeeded);
      if (GetParam().name == "Export") site.import();
      after_ = look(site, GetParam().written);
    }
    for (uint64_t seed = 1; seed <= num_seeds(); ++seed) {
      bool over = false;
      for (uint64_t limit = 0; !over; ++limit) {
        try_point(mode, limit, seed, over);
        if (HasFailure()) return;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Operations, PoolCrashTest, testing::ValuesIn(scenarios()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace cairn::pool
