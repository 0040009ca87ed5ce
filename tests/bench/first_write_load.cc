// Load for thin volumes: one write of 4 KiB into each cluster of a device, in random order, so that every I/O is the
// first write to its cluster. The device must be new.
//
//   first_write_load <uri> <depth> [core]
//
// Clusters have 4 MiB; those of the first 8 MiB are left out, because a new replica has them already. Prints the
// result as JSON.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/page_memory.h"
#include "block/registry.h"
#include "nvmf/host/nvmf_scheme.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace {

using namespace cairn;
using runtime::Task;

constexpr uint64_t kClusterBytes = uint64_t{4} << 20;
constexpr uint64_t kFirstCluster = 2;
constexpr uint64_t kWriteBytes = 4096;

class Load {
 public:
  Load(block::Channel& channel, std::vector<uint64_t> lbas, size_t depth)
      : channel_(channel), lbas_(std::move(lbas)), ios_(std::min(depth, lbas_.size())) {
    for (One& io : ios_) {
      io.load = this;
      io.memory = block::allocate_pages(kWriteBytes);
      io.piece = {io.memory.get(), kWriteBytes};
      io.type = block::IoType::kWrite;
      io.num_blocks = kWriteBytes / channel.device().block_size();
      io.data = {&io.piece, 1};
      io.complete = [](block::Io& done) { static_cast<One&>(done).load->on_done(static_cast<One&>(done)); };
    }
  }
  // The mean latency in microseconds.
  Task<double> run() {
    for (One& io : ios_) submit(io);
    static_cast<void>(co_await done_.wait());
    co_return static_cast<double>(latency_.count()) / 1e3 / static_cast<double>(lbas_.size());
  }
  uint64_t failed() const { return failed_; }

 private:
  struct One : block::Io {
    Load* load = nullptr;
    TimePoint started;
    block::PageMemory memory;
    iovec piece{};
  };
  void submit(One& io) {
    io.lba = lbas_[next_++];
    io.started = runtime::Reactor::current().now();
    channel_.submit(io);
  }
  void on_done(One& io) {
    latency_ += runtime::Reactor::current().now() - io.started;
    if (!io.status.is_success()) ++failed_;
    if (++completed_ == lbas_.size()) done_.set();
    if (next_ < lbas_.size()) submit(io);
  }

  block::Channel& channel_;
  const std::vector<uint64_t> lbas_;
  std::vector<One> ios_;
  size_t next_ = 0, completed_ = 0;
  uint64_t failed_ = 0;
  Duration latency_{};
  runtime::Event done_;
};

Task<Result<>> measure(block::Registry& registry, std::string uri, size_t depth) {
  auto device = co_await registry.create(uri);
  if (!device) co_return fail(std::move(device.error()));
  auto channel = co_await (*device)->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  const uint64_t clusters = (*device)->size_bytes() / kClusterBytes;
  if (clusters <= kFirstCluster) co_return fail(Code::kInvalidArgument, "the device is too small");
  runtime::Random random(1);
  std::vector<uint64_t> lbas;
  for (uint64_t cluster = kFirstCluster; cluster < clusters; ++cluster) {
    const uint64_t page = random.below(kClusterBytes / kWriteBytes);
    lbas.push_back((cluster * kClusterBytes + page * kWriteBytes) / (*device)->block_size());
  }
  for (size_t i = lbas.size(); i > 1; --i) std::swap(lbas[i - 1], lbas[random.below(i)]);
  const uint64_t total = lbas.size();
  Load load(**channel, std::move(lbas), depth);
  const TimePoint before = runtime::Reactor::current().now();
  const double mean_us = co_await load.run();
  const Duration spent = runtime::Reactor::current().now() - before;
  if (load.failed() > 0) co_return fail(Code::kInternal, fmt::format("{} writes have failed", load.failed()));
  fmt::print("{{\"ios\": {}, \"iops\": {:.1f}, \"mean_us\": {:.2f}}}\n", total,
             static_cast<double>(total) * 1e9 / static_cast<double>(spent.count()), mean_us);
  co_return Result<>{};
}

}  // namespace

int main(int argc, char** argv) {
  const size_t depth = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (depth == 0) {
    fmt::print(stderr, "usage: first_write_load <uri> <depth> [core]\n");
    return 2;
  }
  log::set_level(log::Level::kWarn);
  runtime::ReactorGroupOptions options;
  options.spin_budget = runtime::kSpinForever;
  options.stall_limit = {};
  if (argc > 3) options.cores = {static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10))};
  auto group = runtime::ReactorGroup::start(options);
  if (!group) {
    fmt::print(stderr, "{}\n", group.error().to_string());
    return 1;
  }
  Result<> result;
  runtime::run_on((*group)->primary(), "first writes", [&]() -> Task<> {
    block::Registry registry;
    block::add_malloc_scheme(registry);
    block::add_aio_scheme(registry);
    nvmf::host::ConnectionOptions initiator;
    initiator.host = nvmf::host::make_host_identity("nqn.2019-05.io.openebs:first-write-load", {});
    nvmf::host::add_nvmf_schemes(registry, initiator);
    result = co_await measure(registry, argv[1], depth);
    co_await registry.remove_all();
  }).get();
  (*group)->stop();
  if (result) return 0;
  fmt::print(stderr, "{}\n", result.error().to_string());
  return 1;
}
