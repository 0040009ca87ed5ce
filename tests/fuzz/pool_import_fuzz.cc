// Import of pools whose metadata is anybody's: the engine imports or refuses, never fails a check of its own. A disk
// that it refuses stays as it was. A pool that a check had nothing to say against has nothing against it after use and
// export either.
//
// The input: a byte that says what to do, then a record of 320 bytes for each of the first metadata pages (header and
// first descriptors of the page, and its link at the end), which get correct CRCs. Device: 1 MiB, clusters of 16 KiB.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "block/file_device.h"
#include "block/io_wait.h"
#include "pool/check/pool_check.h"
#include "pool/format/mask.h"
#include "pool/pool_registry.h"
#include "runtime/sim/world.h"

namespace cairn::pool {
namespace {

using check::MemoryDevice;
using check::PoolReport;
using check::Severity;
using format::kPageSize;
using runtime::Task;

constexpr uint64_t kDeviceBytes = 1u << 20;
constexpr size_t kRecordSize = 320;
constexpr size_t kRecordPages = 12;
constexpr const char* kDisk = "/disk.img";
constexpr std::string_view kPoolName = "pool0";

enum Action : uint8_t {
  kClean = 1,       // the masks are valid
  kWrite = 2,       // to every replica
  kSnapshot = 4,    // of every replica
  kResize = 8,      // every replica by a cluster
  kDestroy = 16,    // everything
  kPowerLoss = 32,  // instead of an export
};

std::vector<std::byte> make_image(std::span<const std::byte> records, bool clean) {
  const format::Layout layout = format::plan_layout({.device_bytes = kDeviceBytes, .cluster_size = 16u << 10}).value();
  std::vector<std::byte> image(kDeviceBytes);
  for (uint32_t i = 0; i < kRecordPages && i * kRecordSize < records.size(); ++i) {
    const auto record = records.subspan(i * kRecordSize, std::min(kRecordSize, records.size() - i * kRecordSize));
    if (std::ranges::all_of(record, [](std::byte b) { return b == std::byte{0}; })) continue;
    const auto page = std::span(image).subspan(layout.md_page_offset(i)).first<kPageSize>();
    const size_t head = std::min(record.size(), kRecordSize - 4);
    std::memcpy(page.data(), record.data(), head);
    std::memcpy(page.data() + 4088, record.data() + head, record.size() - head);
    format::seal(page);
  }
  format::SuperBlock super = format::make_super_block(layout);
  super.super_blob = format::blob_id_of(0);
  MemoryDevice device(image);
  const check::Usage usage = check::survey_pool(device, super).usage;
  const auto put_mask = [&](format::MaskType type, uint32_t page, const std::vector<uint64_t>& words, uint32_t bits) {
    format::encode_mask_page(type, words, bits, 0, format::page_at(std::span(image), page));
  };
  if (clean) {
    put_mask(format::MaskType::kUsedPages, layout.used_page_mask.start, usage.pages, layout.md_len);
    put_mask(format::MaskType::kUsedClusters, layout.used_cluster_mask.start, usage.clusters, layout.total_clusters);
    put_mask(format::MaskType::kUsedBlobIds, layout.used_blobid_mask.start, usage.blobids, layout.md_len);
  }
  super.clean = clean;
  format::encode_super_block(super, format::page_at(std::span(image), 0));
  return image;
}

struct Engine final : runtime::sim::NodeProgram {
  Engine() { block::add_aio_scheme(devices); }
  block::Registry devices;
  std::unique_ptr<PoolRegistry> pools = std::make_unique<PoolRegistry>(devices, PoolOptions{});
};

class Site {
 public:
  explicit Site(const std::vector<std::byte>& image)
      : node_(world_.add_node({.buffer_pool_bytes = size_t{512} << 10})) {
    node_.files().put_content(kDisk, image);
    node_.start([](runtime::sim::Node&) { return std::make_unique<Engine>(); });
  }
  ~Site() {
    if (!node_.running()) return;
    run(engine().pools->export_all());
    run(engine().devices.remove_all());
    CAIRN_CHECK(engine().devices.empty());
    node_.stop();
  }
  Engine& engine() { return node_.program<Engine>(); }
  void run(Task<> task) {
    CAIRN_CHECK(world_.run_task(node_, "fuzz", std::move(task), std::chrono::hours(1)) ==
                runtime::sim::RunResult::kDone);
  }
  void lose_power() { node_.crash(runtime::sim::CrashKind::kPowerLoss); }
  void restart() { node_.restart(); }
  std::vector<std::byte> disk() { return node_.files().content(kDisk).value(); }

 private:
  runtime::sim::World world_{{.seed = 1}};
  runtime::sim::Node& node_;
};

PoolReport check_image(std::vector<std::byte> image) {
  MemoryDevice device(std::move(image));
  return check::check_pool(device);
}

// Reads the first and the last block, and writes the first one; the device may refuse.
Task<> use_volume(std::shared_ptr<Replica> volume, uint8_t actions) {
  auto channel = co_await volume->open_channel();
  if (!channel || volume->num_blocks() == 0) co_return;
  std::vector<std::byte> data(volume->block_size(), std::byte{0x5a});
  const iovec piece = {.iov_base = data.data(), .iov_len = data.size()};
  for (const uint64_t lba : {uint64_t{0}, volume->num_blocks() - 1}) {
    (void)co_await block::perform(**channel, {.lba = lba, .num_blocks = 1, .data = std::span(&piece, 1)});
  }
  if ((actions & kWrite) != 0) {
    (void)co_await block::perform(
        **channel, {.type = block::IoType::kWrite, .lba = 0, .num_blocks = 1, .data = std::span(&piece, 1)});
    (void)co_await block::perform(**channel, {.type = block::IoType::kFlush});
  }
}

// Every operation may be refused: the pool is full, names are taken, volumes are snapshots.
Task<> use_pool(std::shared_ptr<Pool> pool, uint8_t actions) {
  uint64_t number = 1000;
  for (const auto& volume : pool->volumes()) {
    co_await use_volume(volume, actions);
    if ((actions & kResize) != 0) {
      (void)co_await pool->resize_replica(volume, volume->size_bytes() + pool->layout().cluster_size);
    }
    if ((actions & kSnapshot) != 0) {
      ++number;
      (void)co_await pool->create_snapshot(volume, {.name = "s" + std::to_string(number),
                                                    .uuid = Uuid::random_v4(number, number).to_string(),
                                                    .entity_id = "e",
                                                    .txn_id = "t",
                                                    .create_time = "2024-10-09 11:22:33 UTC"});
      co_await use_volume(volume, actions);
    }
  }
}

Task<> destroy_all(std::shared_ptr<Pool> pool) {
  while (true) {
    const size_t before = pool->volumes().size();
    for (auto volumes = pool->volumes(); !volumes.empty(); volumes.pop_back()) {
      auto volume = std::move(volumes.back());
      if (volume->is_snapshot()) {
        (void)co_await pool->destroy_snapshot(std::move(volume));
      } else {
        (void)co_await pool->destroy_replica(std::move(volume));
      }
    }
    if (pool->volumes().size() == before) co_return;
  }
}

Task<> import_and_use(Engine& engine, uint8_t actions, bool& imported) {
  auto pool = co_await engine.pools->import(
      {.name = std::string(kPoolName), .uuid = {}, .disks = {std::string("aio://") + kDisk + "?blk_size=512"}});
  imported = pool.has_value();
  if (!imported) co_return;
  co_await use_pool(*pool, actions);
  if ((actions & kDestroy) != 0) co_await destroy_all(*pool);
}

void run(std::span<const std::byte> input) {
  if (input.size() < 2) return;
  const uint8_t actions = std::to_integer<uint8_t>(input[0]);
  const std::vector<std::byte> image = make_image(input.subspan(1), (actions & kClean) != 0);
  const bool good = !check_image(image).has(Severity::kWarning);
  Site site(image);
  bool imported = false;
  site.run(import_and_use(site.engine(), actions, imported));
  if (!imported) {
    CAIRN_CHECK(site.disk() == image);
    return;
  }
  if ((actions & kPowerLoss) != 0) {
    site.lose_power();
    const PoolReport report = check_image(site.disk());
    if (good && report.has(Severity::kError)) std::fputs(report.text().c_str(), stderr);
    if (good) CAIRN_CHECK(!report.has(Severity::kError));
    site.restart();
    site.run(import_and_use(site.engine(), 0, imported));
    if (good) CAIRN_CHECK(imported);
    if (!imported) return;
  }
  site.run([](Engine& engine) -> Task<> {
    const auto exported = co_await engine.pools->export_pool(std::string(kPoolName));
    CAIRN_CHECK(exported.has_value());
  }(site.engine()));
  const PoolReport report = check_image(site.disk());
  if (good && report.has(Severity::kWarning)) std::fputs(report.text().c_str(), stderr);
  if (good) CAIRN_CHECK(!report.has(Severity::kWarning) && report.super->clean);
}

}  // namespace
}  // namespace cairn::pool

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  cairn::log::set_level(cairn::log::Level::kOff);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::pool::run(std::as_bytes(std::span(data, size)));
  return 0;
}
