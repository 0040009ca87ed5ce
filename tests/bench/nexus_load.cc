// Load on a nexus in this process, so that nothing but its own cost lies between the load and the children.
//
//   nexus_load [options] URI...             a nexus of these children, or with --raw the only URI itself
//   nexus_load --rebuild [options] URI...   a nexus of all but the last one, which is added and rebuilt; with -q 0
//   without
//                                           load, else the load's rate before and meanwhile
// Prints one JSON object: "iops" and "mean_us" of the load; for a rebuild also "iops_meanwhile", "seconds",
// "copied_bytes", "total_bytes".
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/io_wait.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "block/registry.h"
#include "cli/casperf/job.h"
#include "nexus/nexus_registry.h"
#include "nvmf/host/nvmf_scheme.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace {

using namespace cairn;
using cli::Job;
using runtime::Task;
using std::chrono::milliseconds;

constexpr Duration kEndCheck = milliseconds(5);  // how exactly the end of a rebuild is known

struct Options {
  std::vector<std::string> uris;
  bool raw = false;
  bool rebuild = false;
  bool intent_log = true;
  bool fill = false;
  bool once = false;
  bool poll = false;
  std::string type = "randread";
  uint64_t io_size = 4096;
  uint64_t size_mib = 64;
  uint32_t depth = 32;
  unsigned core = 0;
  size_t copiers = nexus::RebuildOptions{}.num_copiers;
  unsigned time_ms = 1000;
  unsigned warm_up_ms = 300;
};

template <typename T>
T require(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
    std::_Exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

double seconds(Duration duration) {
  return static_cast<double>(duration.count()) / 1e9;
}

class Bench {
 public:
  explicit Bench(const Options& options, std::vector<runtime::Reactor*> reactors) : options_(options) {
    block::add_malloc_scheme(devices_);
    block::add_null_scheme(devices_);
    block::add_aio_scheme(devices_);
    block::add_uring_scheme(devices_);
    nvmf::host::ConnectionOptions initiator;
    initiator.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:nexus-load", {});
    nvmf::host::add_nvmf_schemes(devices_, initiator);
    devices_.set_node_identity("nexus-load");
    nexus::NexusOptions nexus_options;
    nexus_options.reactors = std::move(reactors);
    nexus_options.intent_log.enabled = options.intent_log;
    nexus_options.rebuild.num_copiers = options.copiers;
    nexuses_.emplace(devices_, nexus_options);
  }

  Task<> run() {
    if (options_.raw) {
      auto device = require(co_await devices_.create(options_.uris.front()));
      co_await load_only(*device);
    } else {
      nexus::NexusRequest request;
      request.name = "load";
      request.uuid = runtime::Reactor::current().random().uuid();
      request.children = options_.uris;
      if (options_.rebuild) request.children.pop_back();
      request.size_bytes = options_.size_mib << 20;
      auto nexus = require(co_await nexuses_->create(std::move(request)));
      options_.rebuild ? co_await load_and_rebuild(*nexus) : co_await load_only(*nexus);
    }
    co_await nexuses_->destroy_all();
    co_await devices_.remove_all();
  }

 private:
  cli::JobOptions job_options(const block::Device& device) const {
    cli::Workload workload;
    workload.random = options_.type.starts_with("rand");
    workload.read_percent = options_.type.ends_with("read") ? 100 : options_.type.ends_with("write") ? 0 : 70;
    return {.workload = workload,
            .io_size = options_.io_size,
            .depth = options_.depth,
            .num_slots = device.size_bytes() / options_.io_size,
            .time = milliseconds(options_.time_ms),
            .warm_up = milliseconds(options_.warm_up_ms)};
  }

  Task<> measured(Job& job, block::Device& device) {
    require(co_await job.open(device));
    co_await job.measure();
    job.close();
    if (job.result().errors > 0) require(Result<>(fail(Code::kInternal, job.result().first_error)));
  }

  Task<> fill(block::Device& device) {
    cli::JobOptions options{.workload = {.random = false, .read_percent = 0},
                            .io_size = 128 << 10,
                            .depth = 8,
                            .num_slots = device.size_bytes() / (128 << 10)};
    options.count = options.num_slots;
    Job job(options);
    co_await measured(job, device);
  }

  static double iops(const Job& job) { return static_cast<double>(job.result().ios()) / seconds(job.result().elapsed); }
  static std::string report(const Job& job) {
    cli::LatencyHistogram all = job.result().reads;
    all += job.result().writes;
    return fmt::format(R"("iops": {:.1f}, "mean_us": {:.3f})", iops(job),
                       static_cast<double>(all.mean().count()) / 1e3);
  }

  Task<> load_only(block::Device& device) {
    if (options_.fill) co_await fill(device);
    cli::JobOptions job_options = this->job_options(device);
    if (options_.once) {
      job_options.time.reset();
      job_options.warm_up = {};
      job_options.count = job_options.num_slots;
    }
    Job job(job_options);
    const TimePoint begin = runtime::Reactor::current().now();
    co_await measured(job, device);
    if (!options_.once) {
      fmt::print("{{{}}}\n", report(job));
      co_return;
    }
    auto channel = require(co_await device.open_channel());
    const nvme::Status flushed = co_await block::perform(*channel, {.type = block::IoType::kFlush});
    if (!flushed.is_success()) require(Result<>(fail(Code::kInternal, flushed.to_string())));
    fmt::print(R"({{"seconds": {:.4f}}})"
               "\n",
               seconds(runtime::Reactor::current().now() - begin));
  }

  Task<> load_and_rebuild(nexus::Nexus& nexus) {
    if (options_.fill) co_await fill(nexus);
    std::string text;
    cli::JobOptions meanwhile = job_options(nexus);
    meanwhile.time.reset();
    std::unique_ptr<Job> before, during;
    if (options_.depth > 0) {
      before = std::make_unique<Job>(job_options(nexus));
      co_await measured(*before, nexus);
      text = report(*before) + ", ";
      during = std::make_unique<Job>(meanwhile);
      require(co_await during->open(nexus));
    }
    runtime::TaskHandle load;
    if (during != nullptr) load = runtime::Reactor::current().spawn("load", during->measure());
    require(co_await nexus.add_child(options_.uris.back(), true));
    while (nexus.num_rebuilds() > 0) require(co_await runtime::sleep_for(kEndCheck));
    if (during != nullptr) {
      during->stop();
      while (!load.done()) static_cast<void>(co_await load.join());
      during->close();
      text += fmt::format(R"("iops_meanwhile": {:.1f}, )", iops(*during));
    }
    const nexus::RebuildRecord& record = nexus.rebuild_history().back();
    if (record.state != nexus::RebuildState::kCompleted) require(Result<>(fail(Code::kInternal, "the rebuild failed")));
    const auto& statistics = record.statistics;
    fmt::print(R"({{{}"seconds": {:.4f}, "copied_bytes": {}, "total_bytes": {}}})"
               "\n",
               text, seconds(*statistics.end_time - statistics.start_time),
               statistics.blocks_transferred * statistics.block_size, statistics.blocks_total * statistics.block_size);
  }

  const Options options_;
  block::Registry devices_;
  std::optional<nexus::NexusRegistry> nexuses_;
};

}  // namespace

int main(int argc, char** argv) {
  log::configure({.level = log::Level::kWarn, .host = {}});
  Options options;
  CLI::App app("Load on a nexus in this process");
  app.add_option("uris", options.uris)->required();
  app.add_flag("--raw", options.raw, "no nexus: the only URI itself");
  app.add_flag("--rebuild", options.rebuild, "add the last URI and rebuild it");
  app.add_flag("!--no-intent-log", options.intent_log);
  app.add_flag("--fill", options.fill, "write everything before");
  app.add_flag("--once", options.once, "the whole device once, and a flush, instead of for a time; tells the seconds");
  app.add_flag("--poll", options.poll, "never sleep");
  app.add_option("-t", options.type, "randread, randwrite, randrw, read, write");
  app.add_option("-b", options.io_size, "bytes");
  app.add_option("-q", options.depth);
  app.add_option("-l", options.core);
  app.add_option("--copiers", options.copiers, "of a rebuild");
  app.add_option("-d", options.time_ms, "of the measurement");
  app.add_option("-w", options.warm_up_ms);
  app.add_option("--size-mib", options.size_mib, "of the nexus; children have 8 MiB more");
  CLI11_PARSE(app, argc, argv);

  runtime::ReactorGroupOptions reactors;
  reactors.cores = {options.core};
  reactors.stall_limit = {};
  reactors.buffer_pool_bytes = size_t{96} << 20;
  if (options.poll) reactors.spin_budget = runtime::kSpinForever;
  auto group = require(runtime::ReactorGroup::start(reactors));
  runtime::run_on(group->primary(), "bench", [&]() -> Task<> {
    Bench bench(options, group->reactors());
    co_await bench.run();
  }).get();
  group->stop();
  return 0;
}
