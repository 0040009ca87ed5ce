#include "cli/casperf/load.h"

#include <fmt/format.h>

#include <algorithm>

#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "nvmf/host/nvmf_scheme.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::cli {

using runtime::Task;

namespace {

constexpr const char* kHolder = "casperf";
constexpr size_t kSpareBufferBytes = size_t{32} << 20;  // of each pool, for the devices

}  // namespace

Load::Load(const LoadOptions& options, std::vector<runtime::Reactor*> reactors)
    : options_(options), reactors_(std::move(reactors)) {
  add_schemes(registry_);
}

void Load::add_schemes(block::Registry& registry) {
  block::add_malloc_scheme(registry);
  block::add_null_scheme(registry);
  block::add_aio_scheme(registry);
  block::add_uring_scheme(registry);
  nvmf::host::ConnectionOptions initiator;
  initiator.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:casperf", {});
  nvmf::host::add_nvmf_schemes(registry, initiator);
}

size_t Load::buffer_pool_bytes(const LoadOptions& options, size_t num_reactors) {
  const size_t num_jobs = options.uris.size() * options.jobs;
  const size_t jobs_of_a_reactor = (num_jobs + num_reactors - 1) / num_reactors;
  return jobs_of_a_reactor * Job::buffer_bytes(options.io_size, options.depth) + kSpareBufferBytes;
}

Task<Result<>> Load::open() {
  for (size_t i = 0; i < options_.uris.size(); ++i) {
    if (auto opened = co_await open_device(options_.uris[i], i); !opened) co_return opened;
  }
  for (Member& member : members_) {
    auto opened = co_await runtime::call_on(*member.reactor, [&member] { return member.job->open(*member.device); });
    if (!opened) co_return fail(Error(opened.error().code(), "cannot use " + member.name, std::move(opened.error())));
  }
  co_return Result<>{};
}

Task<Result<>> Load::open_device(const std::string& uri, size_t index) {
  auto device = co_await registry_.create(uri);
  if (!device) co_return fail(std::move(device.error()));
  devices_.push_back(*device);
  if (options_.workload.writes() || options_.verify) {
    if (auto claimed = (*device)->claim(kHolder); !claimed) co_return claimed;
  }
  co_return add_jobs(**device, uri, index);
}

Result<> Load::add_jobs(block::Device& device, const std::string& uri, size_t index) {
  auto refuse = [&uri](std::string why) {
    return fail(Code::kInvalidArgument, fmt::format("cannot use {}: {}", uri, why));
  };
  const uint64_t block_size = device.block_size();
  if (options_.io_size % block_size != 0) {
    return refuse(fmt::format("--io-size {} is not a multiple of its block size {}", options_.io_size, block_size));
  }
  if (options_.offset % block_size != 0) {
    return refuse(fmt::format("--offset {} is not a multiple of its block size {}", options_.offset, block_size));
  }
  const uint64_t device_bytes = device.size_bytes();
  if (options_.offset >= device_bytes || options_.size > device_bytes - options_.offset) {
    return refuse(
        fmt::format("{} bytes at {} do not lie within its {} bytes", options_.size, options_.offset, device_bytes));
  }
  const uint64_t range = options_.size > 0 ? options_.size : device_bytes - options_.offset;
  const uint64_t slots_of_a_job = range / options_.io_size / options_.jobs;
  const uint64_t slots_needed = options_.verify ? uint64_t{options_.depth} + 1 : 1;
  if (slots_of_a_job < slots_needed) {
    return refuse(fmt::format("{} bytes hold {} I/Os of {} bytes for each of {} jobs, and {} are needed", range,
                              slots_of_a_job, options_.io_size, options_.jobs, slots_needed));
  }

  const size_t num_jobs = options_.uris.size() * options_.jobs;
  const double gap_ns = options_.rate > 0 ? static_cast<double>(num_jobs) * 1e9 / options_.rate : 0;
  const uint64_t run = reactors_.front()->random().next();
  for (uint32_t i = 0; i < options_.jobs; ++i) {
    const size_t number = index * options_.jobs + i;
    JobOptions job{.workload = options_.workload,
                   .io_size = options_.io_size,
                   .depth = options_.depth,
                   .first_lba = (options_.offset + i * slots_of_a_job * options_.io_size) / block_size,
                   .num_slots = slots_of_a_job,
                   .time = options_.time,
                   .count = options_.count,
                   .warm_up = options_.warm_up,
                   .verify = options_.verify,
                   .continue_on_error = options_.continue_on_error,
                   .seed = options_.seed + number,
                   .run = run};
    if (options_.rate > 0) {
      job.gap = Duration(std::max<int64_t>(1, static_cast<int64_t>(gap_ns)));
      job.first_start = job.gap * static_cast<int64_t>(number) / static_cast<int64_t>(num_jobs);
    }
    members_.push_back({.name = options_.jobs > 1 ? fmt::format("{} #{}", uri, i + 1) : uri,
                        .reactor = reactors_[number % reactors_.size()],
                        .device = &device,
                        .job = std::make_unique<Job>(job)});
  }
  return {};
}

Task<> Load::on_all_jobs(std::function<Task<>(Job&)> step) {
  std::vector<runtime::TaskHandle> steps;
  for (Member& member : members_) {
    auto one = [](Member& member, const std::function<Task<>(Job&)>& step) -> Task<> {
      co_await runtime::call_on(*member.reactor, [&member, &step] { return step(*member.job); });
    };
    steps.push_back(runtime::Reactor::current().spawn("load", one(member, step)));
  }
  // To the end, whatever happens: the steps refer to this frame.
  for (const runtime::TaskHandle& each : steps) {
    while (!each.done()) static_cast<void>(co_await each.join());
  }
}

Task<> Load::run() {
  running_ = true;
  if (stopped_) co_return;
  if (options_.verify) co_await on_all_jobs([](Job& job) { return job.fill(); });
  co_await on_all_jobs([](Job& job) { return job.measure(); });
  if (options_.verify) co_await on_all_jobs([](Job& job) { return job.check(); });
  running_ = false;
}

void Load::stop() {
  stopped_ = true;
  if (!running_) {
    runtime::Reactor::current().cancel_all_tasks();
    return;
  }
  for (Member& member : members_) {
    auto stop_job = [](Member& member) -> Task<> {
      co_await runtime::call_on(*member.reactor, [&member]() -> Task<> {
        member.job->stop();
        co_return;
      });
    };
    runtime::Reactor::current().spawn("stop load", stop_job(member));
  }
}

Task<> Load::close() {
  co_await on_all_jobs([](Job& job) -> Task<> {
    job.close();
    co_return;
  });
  devices_.clear();
  co_await registry_.remove_all();
}

}  // namespace cairn::cli
