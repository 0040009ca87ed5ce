#include "runtime/sim/file_system.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "runtime/backend.h"
#include "runtime/sim/world.h"
#include "runtime/task_waits.h"

namespace cairn::runtime::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr size_t kSector = 512;

std::vector<std::byte> filled(size_t size, uint64_t tag) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i + 8 <= size; i += 8) std::memcpy(bytes.data() + i, &tag, 8);
  return bytes;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string text_of(const std::optional<std::vector<std::byte>>& bytes) {
  return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : "(none)";
}

// One operation with its result, for kinds that File has no shorthand for.
Task<int64_t> submit(File& file, FileOp::Kind kind, uint64_t offset, uint64_t length,
                     std::span<std::byte> memory = {}) {
  struct Op : FileOp {
    Event done;
    int64_t result = 0;
  } op;
  iovec piece{memory.data(), memory.size()};
  op.kind = kind;
  op.offset = offset;
  op.length = length;
  if (!memory.empty()) op.pieces = {&piece, 1};
  op.complete = [](FileOp& base, int64_t result) {
    static_cast<Op&>(base).result = result;
    static_cast<Op&>(base).done.set();
  };
  file.submit(op);
  (void)co_await op.done.wait_uninterrupted();
  co_return op.result;
}

class FileSystemTest : public testing::Test {
 public:
  void build(uint64_t seed, const DiskOptions& disk = {}) {
    world.reset();
    world = std::make_unique<World>(WorldOptions{.seed = seed});
    node = &world->add_node({.root_disk = disk});
    node->files().add_block_device("/dev/sda", {.size_bytes = 256 << 10, .disk = disk});
    node->start();
  }
  RunResult run(Task<> task) { return world->run_task(*node, "test", std::move(task), seconds(1000)); }
  Task<std::unique_ptr<File>> open(std::string path, FileOptions options = {.create = true}) {
    auto file = co_await node->reactor(0).backend().open_file(path, options);
    EXPECT_TRUE(file) << file.error().to_string();
    co_return std::move(*file);
  }
  Backend& backend() { return node->reactor(0).backend(); }

  std::unique_ptr<World> world;
  Node* node = nullptr;
};

// --- durability

// Which values each sector of a file may hold after a crash.
class DurabilityModel {
 public:
  explicit DurabilityModel(size_t sectors) : visible_(sectors, {0}), surviving_(sectors, {0}) {}

  void begin_write(size_t first, size_t count, uint64_t tag) {
    for (size_t i = first; i < first + count; ++i) {
      visible_[i].insert(tag);
      surviving_[i].insert(tag);
    }
  }
  void end_write(size_t first, size_t count, uint64_t tag) {
    for (size_t i = first; i < first + count; ++i) visible_[i] = {tag};
  }
  void end_flush() { surviving_ = visible_; }
  // The values found after a crash.
  void check(CrashKind kind, const std::vector<std::byte>& content, uint64_t seed) {
    for (size_t i = 0; i < visible_.size(); ++i) {
      uint64_t tag = 0;
      if ((i + 1) * kSector <= content.size()) {
        std::memcpy(&tag, content.data() + i * kSector, 8);
        const auto expected = filled(kSector, tag);
        ASSERT_EQ(std::memcmp(content.data() + i * kSector, expected.data(), kSector), 0) << "split sector " << i;
      }
      const auto& allowed = kind == CrashKind::kKill ? visible_[i] : surviving_[i];
      ASSERT_TRUE(allowed.contains(tag)) << "seed " << seed << " sector " << i << " holds " << tag;
      if (tag != *allowed.rbegin()) ++old_sectors;
      visible_[i] = {tag};
      if (kind == CrashKind::kPowerLoss) surviving_[i] = {tag};
    }
  }
  size_t old_sectors = 0;

 private:
  std::vector<std::set<uint64_t>> visible_;    // to a reader, and after kill -9
  std::vector<std::set<uint64_t>> surviving_;  // a power loss
};

Task<> write_and_flush_for_ever(FileSystemTest& test, std::string path, DurabilityModel& model, uint64_t& tag,
                                size_t unit, size_t sectors) {
  auto file = co_await test.open(path);
  Random& random = test.world->random();
  for (;;) {
    if (random.one_in(6)) {
      EXPECT_TRUE(co_await file->flush());
      model.end_flush();
      continue;
    }
    const size_t units = sectors / unit;
    const size_t first = random.below(units);
    const size_t count = 1 + random.below(std::min<size_t>(units - first, 24));
    ++tag;
    model.begin_write(first * unit, count * unit, tag);
    EXPECT_TRUE(co_await file->write(first * unit * kSector, filled(count * unit * kSector, tag)));
    model.end_write(first * unit, count * unit, tag);
  }
}

class Durability : public FileSystemTest, public testing::WithParamInterface<const char*> {};

TEST_P(Durability, FlushedSurvivesAndTheRestIsOldOrNew) {
  const std::string path = GetParam();
  constexpr size_t kSectors = 256;
  size_t old_sectors = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    DiskOptions disk;
    disk.max_unflushed_bytes = seed % 3 == 0 ? 32 << 10 : 8 << 20;
    build(seed, disk);
    DurabilityModel model(kSectors);
    uint64_t tag = 0;
    if (path != "/dev/sda") {  // the file itself must survive for this test
      ASSERT_EQ(run([](FileSystemTest& test, std::string path) -> Task<> {
                  auto file = co_await test.open(path);
                  EXPECT_TRUE(co_await file->flush());
                }(*this, path)),
                RunResult::kDone);
    }
    for (int crash = 0; crash < 6; ++crash) {
      const CrashKind kind = world->random().one_in(2) ? CrashKind::kKill : CrashKind::kPowerLoss;
      {
        Reactor::Scope scope(node->reactor(0));
        node->reactor(0).spawn("writer", write_and_flush_for_ever(*this, path, model, tag, 1, kSectors));
      }
      world->run_for(microseconds(100 + world->random().below(20'000)));
      node->crash(kind);
      model.check(kind, *node->files().content(path), seed);
      if (HasFatalFailure()) return;
      node->restart();
    }
    old_sectors += model.old_sectors;
  }
  EXPECT_GT(old_sectors, 100u);  // crashes did lose something
}
INSTANTIATE_TEST_SUITE_P(FilesAndDevices, Durability, testing::Values("/dev/sda", "/data"));

TEST_F(FileSystemTest, FourKibibyteUnitsAreNeverTorn) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    DiskOptions disk;
    disk.tear_unit = 4096;
    build(seed, disk);
    DurabilityModel model(256);
    uint64_t tag = 0;
    {
      Reactor::Scope scope(node->reactor(0));
      node->reactor(0).spawn("writer", write_and_flush_for_ever(*this, "/dev/sda", model, tag, 8, 256));
    }
    world->run_for(milliseconds(5));
    node->crash(CrashKind::kPowerLoss);
    const auto content = *node->files().content("/dev/sda");
    for (size_t at = 0; at < 256 * kSector; at += 4096) {
      ASSERT_EQ(std::memcmp(content.data() + at, content.data() + at + kSector, 4096 - kSector), 0) << "seed " << seed;
    }
  }
}

// --- names

Task<> replace_for_ever(FileSystemTest& test, uint64_t& acknowledged, bool flush) {
  for (uint64_t version = acknowledged + 1;; ++version) {
    const std::string text = fmt::format("version {} {}", version, std::string(version * 577 % 9000, 'x'));
    {
      auto file = co_await test.open("/state.new", {.create = true, .truncate = true});
      EXPECT_TRUE(co_await file->write(0, bytes_of(text)));
      if (flush) EXPECT_TRUE(co_await file->flush());
    }
    EXPECT_TRUE(co_await test.backend().rename_file("/state.new", "/state"));
    acknowledged = version;
  }
}

// How many of the versions found after crashes were neither the last one nor the next.
int broken_replacements(FileSystemTest& test, bool flush) {
  int broken = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    test.build(seed);
    test.node->files().put_content("/state", bytes_of("version 0 "));
    uint64_t acknowledged = 0;
    for (int crash = 0; crash < 4; ++crash) {
      {
        Reactor::Scope scope(test.node->reactor(0));
        test.node->reactor(0).spawn("writer", replace_for_ever(test, acknowledged, flush));
      }
      test.world->run_for(microseconds(100 + test.world->random().below(20'000)));
      test.node->crash(test.world->random().one_in(4) ? CrashKind::kKill : CrashKind::kPowerLoss);
      const std::string found = text_of(test.node->files().content("/state"));
      bool good = false;
      for (const uint64_t version : {acknowledged, acknowledged + 1}) {
        const size_t length = version == 0 ? 0 : version * 577 % 9000;
        if (found != fmt::format("version {} {}", version, std::string(length, 'x'))) continue;
        good = true;
        acknowledged = version;
        break;
      }
      if (!good) {
        ++broken;
        break;
      }
      test.node->restart();
    }
  }
  return broken;
}

TEST_F(FileSystemTest, ARenameReplacesAtomicallyAcrossCrashes) {
  EXPECT_EQ(broken_replacements(*this, true), 0);
}

TEST_F(FileSystemTest, ARenameWithoutFlushIsFoundOut) {
  EXPECT_GT(broken_replacements(*this, false), 5);
}

TEST_F(FileSystemTest, AFileThatWasNeverFlushedMayVanish) {
  int vanished = 0;
  int kept = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    build(seed);
    ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
                EXPECT_TRUE(co_await test.backend().make_directories("/var/lib"));
                auto flushed = co_await test.open("/var/lib/flushed");
                EXPECT_TRUE(co_await flushed->flush());
                (void)co_await test.open("/var/lib/loose");
                (void)co_await test.backend().remove_file("/var/lib/flushed");
              }(*this)),
              RunResult::kDone);
    node->crash(CrashKind::kPowerLoss);
    ++(node->files().exists("/var/lib/loose") ? kept : vanished);
    // Names follow one journal: the removal came after the creation.
    if (!node->files().exists("/var/lib/flushed")) EXPECT_TRUE(node->files().exists("/var/lib/loose"));
  }
  EXPECT_GT(vanished, 0);
  EXPECT_GT(kept, 0);
}

TEST_F(FileSystemTest, NamesGiveTheErrorsOfTheKernel) {
  build(1);
  ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
              Backend& backend = test.backend();
              EXPECT_EQ((co_await backend.open_file("/none", {})).error().code(), Code::kNotFound);
              EXPECT_EQ((co_await backend.open_file("/no/such", {.create = true})).error().code(), Code::kNotFound);
              EXPECT_EQ((co_await backend.remove_file("/none")).error().code(), Code::kNotFound);
              EXPECT_EQ((co_await backend.rename_file("/none", "/some")).error().code(), Code::kNotFound);
              (void)co_await test.open("/file");
              EXPECT_EQ((co_await backend.open_file("/file/below", {.create = true})).error().errno_value(), ENOTDIR);
              EXPECT_EQ((co_await backend.make_directories("/file")).error().errno_value(), EEXIST);
              EXPECT_TRUE(co_await backend.make_directories("/a/b/c"));
              EXPECT_TRUE(co_await backend.make_directories("/a/b"));
              EXPECT_EQ((co_await backend.open_file("/a/b", {})).error().errno_value(), EISDIR);
              EXPECT_EQ((co_await backend.rename_file("/file", "/a")).error().errno_value(), EISDIR);
              EXPECT_TRUE(co_await backend.rename_file("/file", "/a/b/../b/c/file"));
              EXPECT_TRUE(co_await backend.rename_file("/a", "/z"));
              EXPECT_TRUE(test.node->files().exists("/z/b/c/file"));
              EXPECT_TRUE(co_await backend.remove_file("/z/b/c/file"));
            }(*this)),
            RunResult::kDone);
}

// --- operations and faults

TEST_F(FileSystemTest, FilesGrowShrinkAndReadTheirEnd) {
  build(1);
  ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
              auto file = co_await test.open("/file");
              EXPECT_TRUE(co_await file->write(10'000, filled(1000, 1)));
              EXPECT_EQ((*co_await file->refresh()).size_bytes, 11'000u);
              std::vector<std::byte> into(2000, std::byte{9});
              EXPECT_EQ(*co_await file->read(10'500, into), 500u);
              EXPECT_EQ(into[0], filled(8, 1)[4]);
              EXPECT_EQ(*co_await file->read(0, into), 2000u);
              EXPECT_EQ(into, std::vector<std::byte>(2000));
              EXPECT_EQ(*co_await file->read(11'000, into), 0u);
              EXPECT_TRUE(co_await file->resize(10'100));
              EXPECT_TRUE(co_await file->resize(20'000));
              EXPECT_EQ(*co_await file->read(10'100, into), 2000u);
              EXPECT_EQ(into, std::vector<std::byte>(2000));
              EXPECT_EQ(co_await submit(*file, FileOp::Kind::kUnmap, 0, 10'050), 0);
              EXPECT_EQ(*co_await file->read(10'000, std::span(into).first(100)), 100u);
              EXPECT_EQ(into[49], std::byte{0});
              EXPECT_EQ(into[56], filled(8, 1)[0]);
              EXPECT_EQ(co_await submit(*file, FileOp::Kind::kWriteZeroes, 19'000, 5000), 0);
              EXPECT_EQ((*co_await file->refresh()).size_bytes, 24'000u);
            }(*this)),
            RunResult::kDone);
}

TEST_F(FileSystemTest, DevicesEnforceTheirRules) {
  build(1);
  node->files().add_block_device("/dev/busy", {.logical_block_size = 4096, .in_use = true});
  ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
              EXPECT_EQ((co_await test.backend().open_file("/dev/busy", {.exclusive = true})).error().errno_value(),
                        EBUSY);
              auto wide = co_await test.open("/dev/busy", {.direct = true});
              EXPECT_TRUE(wide->info().is_block_device && wide->info().direct);
              EXPECT_EQ(wide->info().memory_alignment, 4096u);
              alignas(4096) static std::byte memory[8192];
              const auto write = [&](uint64_t offset, std::span<std::byte> from) {
                return submit(*wide, FileOp::Kind::kWrite, offset, from.size(), from);
              };
              EXPECT_EQ(co_await write(0, {memory, 4096}), 4096);
              EXPECT_EQ(co_await write(512, {memory, 4096}), -EINVAL);
              EXPECT_EQ(co_await write(0, {memory, 512}), -EINVAL);
              EXPECT_EQ(co_await write(0, {memory + 8, 4096}), -EINVAL);
              EXPECT_EQ(co_await submit(*wide, FileOp::Kind::kUnmap, 512, 4096), -EINVAL);
              const uint64_t size = wide->info().size_bytes;
              EXPECT_EQ(co_await write(size, {memory, 4096}), -ENOSPC);
              EXPECT_EQ(co_await write(size - 4096, {memory, 8192}), 4096);
              EXPECT_EQ((co_await wide->resize(4096)).error().errno_value(), EINVAL);
              auto read_only = co_await test.open("/dev/sda", {.read_only = true});
              EXPECT_EQ((co_await read_only->write(0, filled(512, 1))).error().errno_value(), EBADF);
            }(*this)),
            RunResult::kDone);
}

TEST_F(FileSystemTest, InjectedErrorsComeOutWhereTheyWerePut) {
  build(1);
  ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
              FileSystem& files = test.node->files();
              Disk& disk = files.disk_of("/dev/sda");
              auto file = co_await test.open("/dev/sda", {});
              std::vector<std::byte> into(4096);
              files.fail_reads("/dev/sda", 8192, 4096);
              EXPECT_TRUE(co_await file->read(4096, into));
              EXPECT_EQ((co_await file->read(8192 + 3584, into)).error().errno_value(), EIO);
              EXPECT_TRUE(co_await file->read(12288, into));
              EXPECT_TRUE(co_await file->write(8192, filled(2048, 5)));  // mends what it covers
              EXPECT_TRUE(co_await file->read(8192, std::span(into).first(2048)));
              EXPECT_EQ((co_await file->read(8192, into)).error().errno_value(), EIO);

              disk.set_faults({.write_error = -EIO, .flush_error = -EIO});
              EXPECT_EQ((co_await file->write(0, filled(512, 1))).error().errno_value(), EIO);
              EXPECT_EQ((co_await file->flush()).error().errno_value(), EIO);
              disk.set_faults({.lose_write_one_in = 1});
              EXPECT_TRUE(co_await file->write(0, filled(512, 2)));
              disk.set_faults({.misdirect_write_one_in = 1});
              EXPECT_TRUE(co_await file->write(0, filled(512, 3)));
              disk.set_faults({.misdirect_write_one_in = 1, .misdirect_to = 1024});
              EXPECT_TRUE(co_await file->write(0, filled(512, 6)));
              disk.set_faults({});
              EXPECT_TRUE(co_await file->read(0, into));
              EXPECT_EQ(into[0], std::byte{0});
              EXPECT_TRUE(std::ranges::equal(std::span(into).subspan(1024, 512), filled(512, 6)));
              EXPECT_EQ(disk.counters().lost_writes, 1u);
              EXPECT_EQ(disk.counters().misdirected_writes, 2u);

              EXPECT_TRUE(co_await file->write(0, filled(512, 4)));
              files.flip_bits("/dev/sda", 100, std::byte{0x10});
              EXPECT_TRUE(co_await file->read(0, into));
              EXPECT_EQ(into[100] ^ filled(512, 4)[100], std::byte{0x10});
            }(*this)),
            RunResult::kDone);
}

// The first sector that does not hold the tag of all before it; 16: none.
Task<size_t> sectors_with(File& file, uint64_t tag) {
  std::vector<std::byte> content(16 * kSector);
  EXPECT_TRUE(co_await file.read(0, content));
  const auto wanted = filled(kSector, tag);
  size_t count = 0;
  while (count < 16 && std::ranges::equal(std::span(content).subspan(count * kSector, kSector), wanted)) ++count;
  co_return count;
}

// One that failed, or whose process died, has happened whole, up to some sector, or not at all.
TEST_F(FileSystemTest, WhatDidNotEndWellMayHaveHappened) {
  std::set<size_t> failed, zeroed, interrupted;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    build(seed);
    ASSERT_EQ(run([](FileSystemTest& test, std::set<size_t>& write, std::set<size_t>& zero) -> Task<> {
                Disk& disk = test.node->files().disk_of("/dev/sda");
                auto file = co_await test.open("/dev/sda", {});
                disk.set_faults({.write_error = -EIO, .dirty_errors = true});
                EXPECT_FALSE(co_await file->write(0, filled(16 * kSector, 7)));
                write.insert(co_await sectors_with(*file, 7));
                disk.set_faults({});
                EXPECT_TRUE(co_await file->write(0, filled(16 * kSector, 8)));
                disk.set_faults({.write_error = -EIO, .dirty_errors = true});
                EXPECT_EQ(co_await submit(*file, FileOp::Kind::kWriteZeroes, 0, 16 * kSector), -EIO);
                zero.insert(co_await sectors_with(*file, 0));
                disk.set_faults({});
                EXPECT_TRUE(co_await file->write(0, filled(16 * kSector, 9)));
                disk.set_faults({.hang = true});
                static_cast<void>(co_await submit(*file, FileOp::Kind::kWriteZeroes, 0, 16 * kSector));
              }(*this, failed, zeroed)),
              RunResult::kDeadlock);
    node->crash(CrashKind::kKill);
    node->files().disk_of("/dev/sda").set_faults({});
    node->start();
    ASSERT_EQ(run([](FileSystemTest& test, std::set<size_t>& zero) -> Task<> {
                auto file = co_await test.open("/dev/sda", {});
                zero.insert(co_await sectors_with(*file, 0));
              }(*this, interrupted)),
              RunResult::kDone);
  }
  for (const auto& seen : {failed, zeroed, interrupted}) {
    EXPECT_TRUE(seen.contains(0) && seen.contains(16));
    EXPECT_GT(seen.size(), 4u);
  }
}

TEST_F(FileSystemTest, AFullFileSystemRefusesNewBlocksOnly) {
  DiskOptions disk;
  disk.capacity_bytes = 64 << 10;
  build(1, disk);
  ASSERT_EQ(run([](FileSystemTest& test) -> Task<> {
              auto file = co_await test.open("/file");
              EXPECT_TRUE(co_await file->write(0, filled(60 << 10, 1)));
              EXPECT_EQ((co_await file->write(60 << 10, filled(8 << 10, 1))).error().errno_value(), ENOSPC);
              EXPECT_TRUE(co_await file->write(0, filled(60 << 10, 2)));
              EXPECT_TRUE(co_await file->resize(0));
              EXPECT_TRUE(co_await file->write(1 << 20, filled(64 << 10, 1)));
            }(*this)),
            RunResult::kDone);
  EXPECT_EQ(node->files().root_disk().used_bytes(), 64u << 10);
}

TEST_F(FileSystemTest, AHangingDiskIsADeadlockUntilItGoesOn) {
  build(1);
  Disk& disk = node->files().disk_of("/dev/sda");
  disk.set_faults({.hang = true});
  bool done = false;
  EXPECT_EQ(run([](FileSystemTest& test, bool& done) -> Task<> {
              auto file = co_await test.open("/dev/sda", {});
              done = (co_await file->write(0, filled(512, 1))).has_value();
            }(*this, done)),
            RunResult::kDeadlock);
  EXPECT_FALSE(done);
  EXPECT_EQ(world->waiting_tasks(), "n0/0 test\n");
  disk.set_faults({});
  EXPECT_EQ(world->run_until([&] { return done; }, seconds(1)), RunResult::kDone);
}

}  // namespace
}  // namespace cairn::runtime::sim
