// Random operations on the volumes of a pool against a model in memory: I/O from several reactors at a time, snapshots,
// clones, resizes, exports, crashes in the middle of all that.
//
// Every block of 512 bytes holds one number, repeated. The model knows for each block which numbers it may hold: one,
// or after writes that were not flushed several, of which a power loss leaves one.
//
// CAIRN_POOL_MODEL_SEEDS (default 6), CAIRN_POOL_MODEL_FIRST_SEED (1), CAIRN_POOL_MODEL_OPERATIONS (1500 a seed).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/log.h"
#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using block::IoType;
using runtime::Task;

constexpr uint32_t kBlock = 512;
constexpr uint64_t kCluster = kMiB;
constexpr uint64_t kBlocksPerCluster = kCluster / kBlock;
constexpr uint64_t kDiskBytes = 48 * kMiB;
constexpr size_t kMaxVolumes = 9;

uint64_t number_of(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

struct ModelVolume {
  std::vector<uint64_t> blocks;                       // 0: zeroes
  std::map<uint64_t, std::vector<uint64_t>> earlier;  // what else a power loss may leave
  bool read_only = false;
  bool discarded = false;
  std::string source;  // of a clone: the snapshot's name

  void set(uint64_t block, uint64_t value) {
    earlier[block].push_back(blocks[block]);
    blocks[block] = value;
  }
  bool may_be(uint64_t block, uint64_t value) const {
    if (blocks[block] == value) return true;
    const auto found = earlier.find(block);
    return found != earlier.end() && std::ranges::find(found->second, value) != found->second.end();
  }
};

class PoolModel {
 public:
  explicit PoolModel(uint64_t seed)
      : random_(seed),
        site_({.seed = seed,
               .num_reactors = 2,
               .disk_bytes = kDiskBytes,
               .can_unmap = seed % 3 != 0,
               .pool = {.unmap_releases_clusters = seed % 5 != 0, .exports = {}}}) {
    site_.create("tpool", kCluster);
  }

  void run(uint64_t operations) {
    for (uint64_t done = 0; done < operations && !testing::Test::HasFailure();) done += step();
    if (testing::Test::HasFailure()) return;
    verify_everything();
    export_and_check();
  }
  // What has been done, by kind: for a test that all of it happens.
  const std::map<std::string, uint64_t>& done() const { return done_; }

 private:
  // One or more I/Os that are under way together.
  struct Transfer {
    std::string volume;
    IoType type;
    uint64_t first, count;  // blocks
    uint64_t value;         // of the first block written; counts up
    bool fua = false, may_deallocate = false;
    nvme::Status status;
    bool done = false;
    block::PageMemory memory;
    std::span<std::byte> data;  // in `memory`, at an alignment that the seed decides
  };
  struct Change {
    enum class Kind { kNone, kCreate, kDestroy, kSnapshot, kClone, kResize, kDestroySnapshot } kind = Kind::kNone;
    std::string volume;  // that it works on
    std::string made;
    uint64_t number = 0;
    uint64_t num_blocks = 0;
    bool thin = false;
    bool done = false;
    Result<> result;
  };

  std::shared_ptr<Pool> pool() { return site_.pools().find("tpool"); }
  std::string pick(bool writable) {
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) {
      if (!writable || !volume.read_only) names.push_back(name);
    }
    return names.empty() ? std::string() : names[random_.below(names.size())];
  }

  uint64_t step() {
    const uint64_t choice = random_.below(100);
    if (choice < 2) {
      verify_everything();
      export_and_check();
      EXPECT_NE(site_.import(), nullptr);
      drop_forsaken();
      return 1;
    }
    if (choice < 4) {
      crash(random_.one_in(2) ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss);
      return 1;
    }
    // Some I/O, and perhaps a change of volumes, together.
    Change change;
    if (choice < 40) plan(change);
    std::vector<std::unique_ptr<Transfer>> transfers;
    const uint64_t wanted = random_.below(8);
    for (uint64_t i = 0; i < wanted; ++i) plan(transfers, change);
    start(change);
    for (auto& transfer : transfers) start(*transfer);
    const auto over = [&] {
      return change.done && std::ranges::all_of(transfers, [](const auto& transfer) { return transfer->done; });
    };
    const bool interrupted = random_.one_in(12);
    if (interrupted) {
      site_.world().run_until(over, std::chrono::microseconds(random_.below(3000)));
    } else {
      site_.run_until(over);
    }
    // What is still under way when the process dies has happened, or not, or in part.
    for (auto& transfer : transfers) conclude(*transfer);
    if (interrupted) {
      crash(random_.one_in(2) ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss, &change);
    } else {
      conclude(change);
      if (!testing::Test::HasFailure()) check_figures();
    }
    return 1 + transfers.size();
  }

  // ---- I/O ----

  void plan(std::vector<std::unique_ptr<Transfer>>& transfers, const Change& change) {
    auto transfer = std::make_unique<Transfer>();
    transfer->type = std::array{IoType::kRead,  IoType::kRead,  IoType::kWrite,       IoType::kWrite,
                                IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes, IoType::kFlush}[random_.below(8)];
    transfer->volume = pick(transfer->type != IoType::kRead);
    if (transfer->volume.empty() || transfer->volume == change.volume) return;
    const ModelVolume& volume = volumes_.at(transfer->volume);
    if (transfer->type != IoType::kFlush) {
      const uint64_t total = volume.blocks.size();
      const bool clusters = transfer->type != IoType::kRead && transfer->type != IoType::kWrite && random_.one_in(2);
      if (clusters) {
        transfer->first = random_.below(total / kBlocksPerCluster) * kBlocksPerCluster;
        transfer->count = (1 + random_.below((total - transfer->first) / kBlocksPerCluster)) * kBlocksPerCluster;
      } else {
        transfer->count = 1 + random_.below(std::min<uint64_t>(total, random_.one_in(10) ? 3000 : 64));
        // Often near the border of two clusters.
        transfer->first = random_.below(total - transfer->count + 1);
        if (random_.one_in(3) && total > kBlocksPerCluster) {
          const uint64_t border = kBlocksPerCluster * (1 + random_.below(total / kBlocksPerCluster - 1));
          transfer->first =
              std::min(border - std::min(border, random_.below(transfer->count + 1)), total - transfer->count);
        }
      }
      for (const auto& other : transfers) {
        if (other->volume != transfer->volume || other->type == IoType::kFlush) continue;
        if (other->first < transfer->first + transfer->count && transfer->first < other->first + other->count) return;
      }
    }
    transfer->fua = random_.one_in(8);
    transfer->may_deallocate = random_.one_in(2);
    transfer->value = next_value_;
    next_value_ += transfer->count + 1;
    if (transfer->type == IoType::kRead || transfer->type == IoType::kWrite) {
      transfer->memory = block::allocate_pages(transfer->count * kBlock + block::kPageSize);
      transfer->data = {transfer->memory.get() + (random_.one_in(2) ? 0 : 8 * random_.below(512)),
                        transfer->count * kBlock};
      if (transfer->type == IoType::kWrite) {
        for (uint64_t i = 0; i < transfer->count; ++i) fill(&transfer->data[i * kBlock], transfer->value + i);
      }
    }
    transfers.push_back(std::move(transfer));
  }

  static void fill(std::byte* block, uint64_t value) {
    for (size_t at = 0; at < kBlock; at += sizeof(value)) std::memcpy(block + at, &value, sizeof(value));
  }
  // The number a block holds; nothing when it holds no single one.
  static std::optional<uint64_t> value_of(const std::byte* block) {
    uint64_t value = 0;
    std::memcpy(&value, block, sizeof(value));
    if (std::memcmp(block, block + sizeof(value), kBlock - sizeof(value)) != 0) return std::nullopt;
    return value;
  }

  void start(Transfer& transfer) {
    runtime::Reactor& reactor = site_.reactor(static_cast<unsigned>(random_.below(2)));
    auto device = site_.engine().registry.find(transfer.volume);
    ASSERT_NE(device, nullptr) << transfer.volume;
    const runtime::Reactor::Scope scope(reactor);
    reactor.spawn("transfer", [](std::shared_ptr<block::Device> device, Transfer& transfer) -> Task<> {
      auto channel = co_await device->open_channel();
      CAIRN_CHECK(channel.has_value());
      // In pieces of any size, at most as many as an I/O may have.
      std::vector<iovec> pieces;
      for (size_t at = 0; at < transfer.data.size();) {
        const size_t left = transfer.data.size() - at;
        const size_t length = pieces.size() == 5 ? left : std::min<size_t>(left, 512 + at * 3 / 512 * 512);
        pieces.push_back({&transfer.data[at], length});
        at += length;
      }
      const bool flush = transfer.type == IoType::kFlush;
      transfer.status = co_await block::perform(**channel, {.type = transfer.type,
                                                            .lba = flush ? 0 : transfer.first,
                                                            .num_blocks = flush ? 0 : transfer.count,
                                                            .data = pieces,
                                                            .fua = transfer.fua,
                                                            .may_deallocate = transfer.may_deallocate});
      channel->reset();
      transfer.done = true;
    }(std::move(device), transfer));
  }

  void conclude(Transfer& transfer) {
    ++done_[fmt::format("transfer {}{}", static_cast<int>(transfer.type),
                        !transfer.done                                               ? " interrupted"
                        : transfer.status.is(nvme::GenericStatus::kCapacityExceeded) ? " without space"
                                                                                     : "")];
    ModelVolume& volume = volumes_.at(transfer.volume);
    const auto where = [&](uint64_t block) {
      return fmt::format("volume {}, block {}, {} from {}", transfer.volume, block, transfer.count, transfer.first);
    };
    switch (transfer.type) {
      case IoType::kRead:
        if (!transfer.done) return;
        ASSERT_TRUE(transfer.status.is_success()) << transfer.status.to_string();
        for (uint64_t i = 0; i < transfer.count; ++i) {
          const auto value = value_of(&transfer.data[i * kBlock]);
          ASSERT_TRUE(value.has_value()) << where(transfer.first + i);
          ASSERT_EQ(*value, volume.blocks[transfer.first + i]) << where(transfer.first + i);
        }
        return;
      case IoType::kFlush:
        if (!transfer.done) return;
        ASSERT_TRUE(transfer.status.is_success()) << transfer.status.to_string();
        return;
      default:
        break;
    }
    const bool full = transfer.done && transfer.status.is(nvme::GenericStatus::kCapacityExceeded);
    ASSERT_TRUE(!transfer.done || full || transfer.status.is_success()) << transfer.status.to_string();
    for (uint64_t i = 0; i < transfer.count; ++i) {
      const uint64_t block = transfer.first + i;
      volume.set(block, transfer.type == IoType::kWrite ? transfer.value + i : 0);
    }
    if (full) take_what_is_there(transfer.volume, transfer.first, transfer.count);
  }

  // The present content must be possible; it is what counts from now on.
  void take_what_is_there(const std::string& name, uint64_t first, uint64_t count) {
    ModelVolume& volume = volumes_.at(name);
    constexpr uint64_t kStep = 2048;
    for (uint64_t at = first; at < first + count; at += kStep) {
      const uint64_t blocks = std::min(kStep, first + count - at);
      const auto data = site_.read(name, at * kBlock, blocks * kBlock);
      for (uint64_t i = 0; i < blocks; ++i) {
        const auto value = value_of(&data[i * kBlock]);
        ASSERT_TRUE(value.has_value()) << name << " block " << at + i;
        ASSERT_TRUE(volume.may_be(at + i, *value))
            << name << " block " << at + i << " holds " << *value << ", expected " << volume.blocks[at + i];
        if (volume.blocks[at + i] != *value) volume.set(at + i, *value);
      }
    }
  }

  // ---- Changes ----

  void plan(Change& change) {
    change.number = ++next_number_;
    change.made = fmt::format("v{}", change.number);
    switch (random_.below(7)) {
      case 0:
      case 1:
        if (volumes_.size() >= kMaxVolumes) return;
        change.num_blocks = (1 + random_.below(10)) * kBlocksPerCluster;
        change.thin = random_.one_in(2);
        change.kind = Change::Kind::kCreate;
        return;
      case 2:
        if (volumes_.size() >= kMaxVolumes || (change.volume = pick(true)).empty()) return;
        change.kind = Change::Kind::kSnapshot;
        return;
      case 3: {
        change.volume = pick(false);
        if (volumes_.size() >= kMaxVolumes || change.volume.empty() || !volumes_.at(change.volume).read_only ||
            volumes_.at(change.volume).discarded) {
          change.volume.clear();
          return;
        }
        change.kind = Change::Kind::kClone;
        return;
      }
      case 4:
        if ((change.volume = pick(true)).empty()) return;
        change.num_blocks = (1 + random_.below(10)) * kBlocksPerCluster;
        change.kind = Change::Kind::kResize;
        return;
      default:
        if ((change.volume = pick(false)).empty()) return;
        change.kind = volumes_.at(change.volume).read_only ? Change::Kind::kDestroySnapshot : Change::Kind::kDestroy;
        return;
    }
  }

  void start(Change& change) {
    if (change.kind == Change::Kind::kNone) {
      change.done = true;
      return;
    }
    const runtime::Reactor::Scope scope(site_.reactor());
    site_.reactor().spawn("change", [](TestSite& site, std::shared_ptr<Pool> pool, Change& change) -> Task<> {
      auto replica = change.volume.empty() ? nullptr : site.replica(change.volume);
      const Uuid uuid = TestSite::uuid_of(change.number);
      auto outcome = [&](auto made) -> Result<> {
        if (!made) return fail(std::move(made.error()));
        return {};
      };
      switch (change.kind) {
        case Change::Kind::kNone:
          break;
        case Change::Kind::kCreate:
          change.result = outcome(co_await pool->create_replica({.name = change.made,
                                                                 .uuid = uuid,
                                                                 .size_bytes = change.num_blocks * kBlock,
                                                                 .thin = change.thin,
                                                                 .entity_id = {}}));
          break;
        case Change::Kind::kDestroy:
          change.result = co_await pool->destroy_replica(std::move(replica));
          break;
        case Change::Kind::kDestroySnapshot:
          change.result = co_await pool->destroy_snapshot(std::move(replica));
          break;
        case Change::Kind::kSnapshot:
          change.result =
              outcome(co_await pool->create_snapshot(std::move(replica), {.name = change.made,
                                                                          .uuid = uuid.to_string(),
                                                                          .entity_id = "e",
                                                                          .txn_id = "t",
                                                                          .create_time = "2024-10-09 11:22:33 UTC"}));
          break;
        case Change::Kind::kClone:
          change.result = outcome(co_await pool->create_clone(
              std::move(replica),
              {.name = change.made, .uuid = uuid.to_string(), .create_time = "2024-10-09 11:22:33 UTC"}));
          break;
        case Change::Kind::kResize:
          change.result = co_await pool->resize_replica(std::move(replica), change.num_blocks * kBlock);
          break;
      }
      change.done = true;
    }(site_, pool(), change));
  }

  void conclude(const Change& change) {
    if (change.kind == Change::Kind::kNone) return;
    ++done_[fmt::format("change {}{}", static_cast<int>(change.kind), change.result ? "" : " refused")];
    if (change.result) {
      apply(change);
      return;
    }
    const Error& error = change.result.error();
    const bool no_space = error.code() == Code::kResourceExhausted ||
                          error.to_string().find("no free") != std::string::npos ||
                          error.to_string().find("not enough space") != std::string::npos;
    // A snapshot that several volumes were made of cannot go, even when none of them is a clone any more.
    const bool branches = change.kind == Change::Kind::kDestroySnapshot &&
                          error.to_string().find("volumes were made of it") != std::string::npos;
    ASSERT_TRUE(no_space || branches) << error.to_string();
  }

  void apply(const Change& change) {
    switch (change.kind) {
      case Change::Kind::kNone:
        break;
      case Change::Kind::kCreate:
        volumes_[change.made].blocks.resize(change.num_blocks);
        break;
      case Change::Kind::kSnapshot: {
        ModelVolume copy = volumes_.at(change.volume);
        copy.read_only = true;
        copy.source.clear();
        volumes_.emplace(change.made, std::move(copy));
        break;
      }
      case Change::Kind::kClone: {
        ModelVolume copy = volumes_.at(change.volume);
        copy.read_only = false;
        copy.source = change.volume;
        volumes_.emplace(change.made, std::move(copy));
        break;
      }
      case Change::Kind::kResize: {
        ModelVolume& volume = volumes_.at(change.volume);
        volume.blocks.resize(change.num_blocks);
        volume.earlier.erase(volume.earlier.lower_bound(change.num_blocks), volume.earlier.end());
        break;
      }
      case Change::Kind::kDestroySnapshot:
        if (has_clones(change.volume)) {
          volumes_.at(change.volume).discarded = true;
        } else {
          volumes_.erase(change.volume);
        }
        break;
      case Change::Kind::kDestroy: {
        const std::string source = volumes_.at(change.volume).source;
        volumes_.erase(change.volume);
        drop_if_forsaken(source);
        break;
      }
    }
  }
  bool has_clones(const std::string& snapshot) const {
    return std::ranges::any_of(volumes_, [&](const auto& entry) { return entry.second.source == snapshot; });
  }
  void drop_if_forsaken(const std::string& name) {
    const auto found = volumes_.find(name);
    if (found == volumes_.end() || !found->second.discarded || has_clones(name)) return;
    // The pool could not, when other volumes were made of it as well: then it stays.
    if (site_.replica(name) == nullptr) volumes_.erase(found);
  }

  // An import deletes discarded snapshots whose clones are gone.
  void drop_forsaken() {
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) names.push_back(name);
    for (const std::string& name : names) drop_if_forsaken(name);
  }

  // ---- Crashes ----

  void crash(sim::CrashKind kind, Change* change = nullptr) {
    ++done_[kind == sim::CrashKind::kKill ? "kill" : "power loss"];
    if (change != nullptr && !change->done)
      ++done_[fmt::format("change {} interrupted", static_cast<int>(change->kind))];
    site_.crash(kind);
    site_.restart();
    ASSERT_NE(site_.import(), nullptr);
    if (change != nullptr && change->kind != Change::Kind::kNone) {
      if (change->done && change->result) {
        apply(*change);
      } else if (happened(*change)) {
        apply(*change);
      }
    }
    drop_forsaken();
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) names.push_back(name);
    ASSERT_EQ(pool()->volumes().size(), names.size());
    for (const std::string& name : names) {
      ASSERT_NE(site_.replica(name), nullptr) << name;
      ASSERT_EQ(site_.replica(name)->size_bytes(), volumes_.at(name).blocks.size() * kBlock);
      take_what_is_there(name, 0, volumes_.at(name).blocks.size());
      if (testing::Test::HasFailure()) return;
    }
    flush_everything();
    check_figures();
  }

  // Whether an operation that was under way shows.
  bool happened(const Change& change) {
    switch (change.kind) {
      case Change::Kind::kNone:
        return false;
      case Change::Kind::kCreate:
      case Change::Kind::kSnapshot:
      case Change::Kind::kClone:
        return site_.replica(change.made) != nullptr;
      case Change::Kind::kResize:
        return site_.replica(change.volume)->size_bytes() == change.num_blocks * kBlock;
      case Change::Kind::kDestroySnapshot:
        if (has_clones(change.volume)) return site_.replica(change.volume)->snapshot_attributes().discarded;
        return site_.replica(change.volume) == nullptr;
      case Change::Kind::kDestroy:
        return site_.replica(change.volume) == nullptr;
    }
    return false;
  }

  void flush_everything() {
    if (volumes_.empty()) return;
    ASSERT_TRUE(site_.io(volumes_.begin()->first, {.type = IoType::kFlush}).is_success());
    for (auto& [name, volume] : volumes_) volume.earlier.clear();
  }

  // ---- Checks ----

  void check_figures() {
    const PoolInfo info = pool()->info();
    uint64_t allocated = 0;
    for (const auto& replica : pool()->volumes()) allocated += replica->usage().allocated_bytes;
    ASSERT_EQ(info.used, allocated);
  }

  void verify_everything() {
    flush_everything();
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) names.push_back(name);
    for (const std::string& name : names) take_what_is_there(name, 0, volumes_.at(name).blocks.size());
  }

  void export_and_check() {
    if (testing::Test::HasFailure()) return;
    auto exported = site_.run(site_.pools().export_pool("tpool"));
    ASSERT_TRUE(exported) << exported.error().to_string();
    SimDisk disk(site_);
    const auto report = check::check_pool(disk);
    // A clone may name a source snapshot that has gone in the meantime.
    for (const auto& finding : report.findings) {
      if (finding.problem == check::Problem::kDanglingCloneSource) continue;
      EXPECT_LT(finding.severity, check::Severity::kWarning) << report.text(check::Severity::kNote);
    }
  }

  runtime::Random random_;
  TestSite site_;
  std::map<std::string, ModelVolume> volumes_;
  std::map<std::string, uint64_t> done_;
  uint64_t next_value_ = 1;
  uint64_t next_number_ = 0;
};

TEST(PoolModelTest, RandomOperations) {
  cairn::log::set_level(cairn::log::Level::kOff);
  const uint64_t first = number_of("CAIRN_POOL_MODEL_FIRST_SEED", 1);
  const uint64_t seeds = number_of("CAIRN_POOL_MODEL_SEEDS", 6);
  const uint64_t operations = number_of("CAIRN_POOL_MODEL_OPERATIONS", 1500);
  std::map<std::string, uint64_t> done;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    PoolModel model(seed);
    model.run(operations);
    for (const auto& [what, count] : model.done()) done[what] += count;
    if (HasFailure()) return;
  }
  for (const auto& [what, count] : done) RecordProperty(what, std::to_string(count));
  if (seeds * operations < 5000) return;
  // The operations that matter have all happened.
  for (int kind = 1; kind <= 6; ++kind) EXPECT_GT(done[fmt::format("change {}", kind)], 0u) << kind;
  EXPECT_GT(done["kill"], 0u);
  EXPECT_GT(done["power loss"], 0u);
}

}  // namespace
}  // namespace cairn::pool
