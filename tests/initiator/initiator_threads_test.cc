// Initiator and target in one process, on real threads and sockets: each reactor writes and reads blocks of its own
// while the target throws the host out and lets it in again.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/log.h"
#include "block/io_wait.h"
#include "block/malloc_device.h"
#include "block/registry.h"
#include "nvmf/host/nvme_device.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/target.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf {
namespace {

using block::IoType;
using runtime::call_on;
using runtime::Task;

constexpr const char* kNqn = "nqn.2019-05.io.openebs:threads";
constexpr size_t kBlock = 4096;
constexpr unsigned kTasks = 4;  // of each reactor
constexpr uint64_t kBlocksOfATask = 64;
constexpr unsigned kRounds = 60;
constexpr int kTimesThrownOut = 3;

// Writes a block of its own and reads it, over and over.
Task<> work(block::Channel& channel, uint64_t first, std::atomic<unsigned>& failures, std::atomic<unsigned>& running) {
  runtime::Random random(first + 1);
  std::vector<std::byte> written(kBlock), read(kBlock);
  for (unsigned round = 0; round < kRounds; ++round) {
    for (std::byte& byte : written) byte = static_cast<std::byte>(random.next());
    const uint64_t lba = first + random.below(kBlocksOfATask);
    const iovec out{written.data(), kBlock}, in{read.data(), kBlock};
    const auto put =
        co_await block::perform(channel, {.type = IoType::kWrite, .lba = lba, .num_blocks = 1, .data = {&out, 1}});
    const auto got =
        co_await block::perform(channel, {.type = IoType::kRead, .lba = lba, .num_blocks = 1, .data = {&in, 1}});
    if (!put.is_success() || !got.is_success() || written != read) ++failures;
    static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(2)));
  }
  --running;
}

Task<Result<>> run(runtime::ReactorGroup& group) {
  block::Registry registry;
  block::add_malloc_scheme(registry);
  host::ConnectionOptions defaults;
  defaults.host = host::make_host_identity("nqn.2014-08.org.example:threads", {});
  host::add_nvmf_schemes(registry, defaults);
  target::Target target({}, group.reactors());
  auto disk = co_await registry.create("malloc:///disk?size_mb=8&blk_size=4096");
  auto subsystem = target.add_subsystem({.nqn = kNqn});
  EXPECT_TRUE(disk && subsystem && co_await (*subsystem)->add_namespace(std::move(*disk)));
  const auto address = target.listen_tcp(*runtime::SocketAddress::ip("127.0.0.1", 0), true);
  EXPECT_TRUE(address);

  auto device = co_await registry.create(
      fmt::format("nvmf://127.0.0.1:{}/{}?retry_window_ms=600000&ddgst=1", address->port, kNqn));
  EXPECT_TRUE(device) << device.error().to_string();
  if (!device) co_return fail(std::move(device.error()));
  std::atomic<unsigned> failures = 0, running = 0;
  std::vector<std::unique_ptr<block::Channel>> channels;
  for (unsigned i = 0; i < group.size(); ++i) {
    auto channel = co_await call_on(group.reactor(i), [&] { return (*device)->open_channel(); });
    EXPECT_TRUE(channel);
    channels.push_back(std::move(*channel));
    co_await call_on(group.reactor(i), [&, i]() -> Task<> {
      for (unsigned task = 0; task < kTasks; ++task) {
        ++running;
        const uint64_t first = (i * kTasks + task) * kBlocksOfATask;
        runtime::Reactor::current().spawn("work", work(*channels[i], first, failures, running));
      }
      co_return;
    });
  }
  auto& remote = static_cast<host::NvmeDevice&>(**device);
  auto connected = [&] { return remote.paths().front().connected; };
  for (int i = 0; i < kTimesThrownOut; ++i) {
    while (!connected()) static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(1)));
    (*subsystem)->set_allowed_hosts(false, {});
    while (connected()) static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(1)));
    (*subsystem)->set_allowed_hosts(true, {});
  }
  while (running > 0) static_cast<void>(co_await runtime::sleep_for(std::chrono::milliseconds(1)));
  EXPECT_EQ(failures, 0u);
  for (unsigned i = 0; i < group.size(); ++i) {
    co_await call_on(group.reactor(i), [&channels, i]() -> Task<> {
      channels[i].reset();
      co_return;
    });
  }
  device->reset();
  EXPECT_TRUE(co_await registry.destroy(fmt::format("nvmf://127.0.0.1:{}/{}", address->port, kNqn)));
  co_await target.stop();
  co_await registry.remove_all();
  EXPECT_TRUE(registry.empty());
  co_return Result<>{};
}

TEST(InitiatorThreads, ThrownOutAndLetInAgain) {
  log::set_level(log::Level::kOff);
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "one processor";
  runtime::ReactorGroupOptions options;
  options.cores = {0, 1};
  options.spin_budget = Duration(0);
  options.backend = runtime::BackendChoice::kEpoll;  // the thread sanitizer sees nothing of io_uring
  options.stall_limit = Duration(0);
  auto group = runtime::ReactorGroup::start(options);
  ASSERT_TRUE(group) << group.error().to_string();
  const auto done = runtime::run_on((*group)->primary(), "test", [&] { return run(**group); }).get();
  EXPECT_TRUE(done);
  (*group)->stop();
}

}  // namespace
}  // namespace cairn::nvmf
