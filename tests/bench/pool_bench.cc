// Measures pools: what a replica costs over its raw device, first writes, and importing many replicas.
//
//   pool_bench io                              4 KiB I/O to a malloc device and to replicas on one, first writes
//   pool_bench layer raw|thick|thin read|write <I/Os>
//                                              so many of them and nothing else: the difference of two runs under
//                                              callgrind is what an I/O costs in instructions
//   pool_bench import <file> [replicas] [GiB]  imports a pool of so many thin replicas (default 10000 on 15 TiB) from
//                                              a sparse file that this makes: after a clean export, and after a crash
//
// In-process: no fabric, so the figures are the cost of the layers alone. The best of five runs.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/page_memory.h"
#include "block/registry.h"
#include "pool/pool_registry.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace {

using namespace cairn;
using block::IoType;
using runtime::Task;

constexpr int kRuns = 5;
constexpr uint64_t kMiB = uint64_t{1} << 20;

void require(const Result<>& result) {
  if (result) return;
  std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
  std::exit(1);
}
template <typename T>
T require(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
  std::exit(1);
}

// `depth` I/Os in flight until `total` are done; where the next one goes is drawn or given.
class Load {
 public:
  Load(block::Channel& channel, IoType type, size_t depth, uint64_t total, std::function<uint64_t(uint64_t)> lba)
      : channel_(channel), total_(total), lba_(std::move(lba)), ios_(depth) {
    for (auto& io : ios_) {
      io.load = this;
      io.memory = block::allocate_pages(4096);
      io.piece = {io.memory.get(), 4096};
      io.type = type;
      io.num_blocks = 4096 / channel.device().block_size();
      io.data = {&io.piece, 1};
      io.complete = [](block::Io& done) {
        auto& one = static_cast<One&>(done);
        CAIRN_CHECK(done.status.is_success());
        ++one.load->completed_;
        one.idle = true;
        if (!one.load->submitting_) one.load->submit_more();
      };
    }
  }
  Task<> run() {
    submit_more();
    static_cast<void>(co_await done_.wait());
  }

 private:
  struct One : block::Io {
    Load* load = nullptr;
    bool idle = true;
    block::PageMemory memory;
    iovec piece{};
  };
  void submit_more() {
    submitting_ = true;
    for (bool more = true; more;) {
      more = false;
      for (auto& io : ios_) {
        if (!io.idle || started_ == total_) continue;
        io.idle = false;
        io.lba = lba_(started_++);
        channel_.submit(io);
        more = true;
      }
    }
    submitting_ = false;
    if (completed_ == total_) done_.set();
  }

  block::Channel& channel_;
  const uint64_t total_;
  const std::function<uint64_t(uint64_t)> lba_;
  std::vector<One> ios_;
  uint64_t started_ = 0, completed_ = 0;
  bool submitting_ = false;
  runtime::Event done_;
};

Task<double> measure_ns(block::Device& device, IoType type, size_t depth, uint64_t total,
                        std::function<uint64_t(uint64_t)> lba) {
  auto channel = require(co_await device.open_channel());
  Load load(*channel, type, depth, total, std::move(lba));
  const TimePoint before = runtime::Reactor::current().now();
  co_await load.run();
  co_return static_cast<double>((runtime::Reactor::current().now() - before).count()) / static_cast<double>(total);
}

struct Bench {
  block::Registry registry;
  std::unique_ptr<pool::PoolRegistry> pools;
};

Task<std::shared_ptr<pool::Replica>> make_replica(pool::Pool& pool, std::string name, uint64_t number, uint64_t size,
                                                  bool thin) {
  co_return require(co_await pool.create_replica({.name = std::move(name),
                                                  .uuid = Uuid::random_v4(number, 7),
                                                  .size_bytes = size,
                                                  .thin = thin,
                                                  .entity_id = {}}));
}

Task<> measure_io(Bench& bench) {
  constexpr uint64_t kSize = 512 * kMiB;
  auto raw = require(co_await bench.registry.create("malloc:///raw?size_mb=512"));
  auto pool = require(co_await bench.pools->create({.name = "p",
                                                    .uuid = {},
                                                    .disks = {"malloc:///disk?size_mb=4096"},
                                                    .cluster_size = {},
                                                    .md_resv_ratio = {}}))
                  .pool;
  const auto thick = co_await make_replica(*pool, "thick", 1, kSize, false);
  const auto thin = co_await make_replica(*pool, "thin", 2, kSize, true);
  runtime::Random random(1);
  const uint64_t blocks = kSize / 4096;
  auto anywhere = [&](uint64_t) { return random.below(blocks) * 8; };
  auto in_order = [](uint64_t i) { return i * 8; };
  for (block::Device* device :
       {raw.get(), static_cast<block::Device*>(thick.get()), static_cast<block::Device*>(thin.get())}) {
    co_await measure_ns(*device, IoType::kWrite, 32, blocks, in_order);
  }
  std::printf("%-24s %10s %10s %10s   (ns an I/O, 4 KiB, depth 32)\n", "", "raw", "thick", "thin");
  for (const auto& [what, type] :
       {std::pair("random read", IoType::kRead), std::pair("random write", IoType::kWrite)}) {
    double best[3] = {1e18, 1e18, 1e18};
    for (int run = 0; run < kRuns; ++run) {
      int column = 0;
      for (block::Device* device :
           {raw.get(), static_cast<block::Device*>(thick.get()), static_cast<block::Device*>(thin.get())}) {
        best[column] = std::min(best[column], co_await measure_ns(*device, type, 32, 300'000, anywhere));
        ++column;
      }
    }
    std::printf("%-24s %10.0f %10.0f %10.0f\n", what, best[0], best[1], best[2]);
  }
  for (const size_t depth : {size_t{1}, size_t{32}, size_t{128}}) {
    double best = 1e18;
    for (int run = 0; run < kRuns; ++run) {
      const auto fresh = co_await make_replica(*pool, "fresh", 3, 2048 * kMiB, true);
      // One write to each cluster behind the head, which exists already.
      best = std::min(
          best, co_await measure_ns(*fresh, IoType::kWrite, depth, 510, [](uint64_t i) { return (i + 2) * 8192; }));
      auto gone = fresh;
      const_cast<std::shared_ptr<pool::Replica>&>(fresh).reset();
      require(co_await pool->destroy_replica(std::move(gone)));
    }
    std::printf("%-24s depth %-3zu %24.0f\n", "first write to a cluster", depth, best);
  }
}

Task<> measure_layer(Bench& bench, std::string layer, IoType type, uint64_t total) {
  constexpr uint64_t kSize = 16 * kMiB;
  std::shared_ptr<block::Device> device;
  if (layer == "raw") {
    device = require(co_await bench.registry.create("malloc:///raw?size_mb=16"));
  } else {
    auto pool = require(co_await bench.pools->create({.name = "p",
                                                      .uuid = {},
                                                      .disks = {"malloc:///disk?size_mb=64"},
                                                      .cluster_size = {},
                                                      .md_resv_ratio = {}}))
                    .pool;
    device = co_await make_replica(*pool, layer, 1, kSize, layer == "thin");
  }
  co_await measure_ns(*device, IoType::kWrite, 32, kSize / 4096, [](uint64_t i) { return i * 8; });
  runtime::Random random(1);
  co_await measure_ns(*device, type, 32, total, [&](uint64_t) { return random.below(kSize / 4096) * 8; });
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

Task<> make_many(Bench& bench, std::string uri, uint64_t replicas) {
  auto pool = require(co_await bench.pools->create(
                          {.name = "p", .uuid = {}, .disks = {uri}, .cluster_size = {}, .md_resv_ratio = {}}))
                  .pool;
  const TimePoint before = runtime::Reactor::current().now();
  for (uint64_t i = 0; i < replicas; ++i)
    co_await make_replica(*pool, fmt::format("replica-{}", i), i + 1, 64 * kMiB, true);
  const Duration spent = runtime::Reactor::current().now() - before;
  std::printf("creating a replica: %.0f us\n",
              static_cast<double>(spent.count()) / 1e3 / static_cast<double>(replicas));
}

Task<> measure_import(Bench& bench, std::string uri, const char* what, uint64_t replicas) {
  const uint64_t memory = resident_bytes();
  const TimePoint before = runtime::Reactor::current().now();
  auto pool = require(co_await bench.pools->import({.name = "p", .uuid = {}, .disks = {uri}}));
  const Duration spent = runtime::Reactor::current().now() - before;
  CAIRN_CHECK(pool->volumes().size() == replicas);
  std::printf("%-24s %8.3f s   resident memory %+.1f KiB a replica\n", what, static_cast<double>(spent.count()) / 1e9,
              static_cast<double>(resident_bytes() - memory) / 1024 / static_cast<double>(replicas));
}

void with_bench(const std::function<Task<>(Bench&)>& job, bool export_pools,
                runtime::BackendChoice backend = runtime::BackendChoice::kAuto) {
  runtime::ReactorGroupOptions options;
  options.backend = backend;
  options.stall_limit = {};
  auto group = require(runtime::ReactorGroup::start(options));
  runtime::run_on(group->reactor(0), "bench", [&]() -> Task<> {
    Bench bench;
    block::add_malloc_scheme(bench.registry);
    block::add_aio_scheme(bench.registry);
    bench.pools = std::make_unique<pool::PoolRegistry>(bench.registry, pool::PoolOptions{});
    co_await job(bench);
    std::fflush(stdout);
    if (!export_pools) _exit(0);
    co_await bench.pools->export_all();
    co_await bench.registry.remove_all();
  }).get();
  group->stop();
}

// In a process of its own, so that memory is counted from zero and a crash is one.
void in_child(const std::function<Task<>(Bench&)>& job, bool export_pools) {
  const pid_t child = fork();
  if (child == 0) {
    with_bench(job, export_pools);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  log::set_level(log::Level::kWarn);
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "io") {
    with_bench(measure_io, true);
    return 0;
  }
  if (mode == "layer" && argc == 5) {
    const std::string layer = argv[2];
    const IoType type = std::string_view(argv[3]) == "read" ? IoType::kRead : IoType::kWrite;
    with_bench([&](Bench& bench) { return measure_layer(bench, layer, type, std::strtoull(argv[4], nullptr, 10)); },
               true, runtime::BackendChoice::kEpoll);  // callgrind cannot follow the shared rings of io_uring
    return 0;
  }
  if (mode != "import" || argc < 3) {
    std::fprintf(stderr,
                 "usage: pool_bench io | layer raw|thick|thin read|write <I/Os> | import <file> [replicas] [GiB]\n");
    return 1;
  }
  const std::string path = argv[2];
  const uint64_t replicas = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : 10000;
  const uint64_t gib = argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 15 << 10;
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
  if (file < 0 || ftruncate(file, static_cast<off_t>(gib << 30)) != 0) {
    std::perror(path.c_str());
    return 1;
  }
  close(file);
  const std::string uri = "aio://" + path;
  in_child([&](Bench& bench) { return make_many(bench, uri, replicas); }, true);
  in_child([&](Bench& bench) { return measure_import(bench, uri, "import, clean", replicas); }, true);
  in_child(
      [&](Bench& bench) -> Task<> {
        auto pool = require(co_await bench.pools->import({.name = "p", .uuid = {}, .disks = {uri}}));
        co_await make_replica(*pool, "last", replicas + 1, 64 * kMiB, true);
      },
      false);
  in_child([&](Bench& bench) { return measure_import(bench, uri, "import after a crash", replicas + 1); }, true);
  unlink(path.c_str());
  return 0;
}
