// The data path allocates nothing in steady state: counts every operator new of every thread but the test's own while
// casperf's job does its I/O, over devices of this process and over initiator and target through a real socket.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>

#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/registry.h"
#include "cli/casperf/job.h"
#include "nvmf/host/nvmf_scheme.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace {

std::atomic<uint64_t> allocations{0};
thread_local bool counted = true;

void* allocate(size_t size, size_t alignment) {
  if (counted) allocations.fetch_add(1, std::memory_order_relaxed);
  const size_t rounded = (std::max<size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, rounded);
  if (memory == nullptr) std::abort();
  return memory;
}

}  // namespace

void* operator new(size_t size) {
  return allocate(size, alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  std::free(memory);
}

namespace cairn {
namespace {

using cli::Job;
using runtime::ReactorGroup;
using runtime::Task;

constexpr const char* kNqn = "nqn.2019-05.io.openebs:counted";
constexpr uint64_t kDeviceMiB = 32;
constexpr int kWindows = 5;

struct Case {
  std::string name;
  std::string device;           // {0}: a file of kDeviceMiB
  bool remote = false;          // reached through target and initiator
  std::string parameters = {};  // of the initiator's URI
  uint64_t io_size = 4096;
  uint32_t depth = 32;
  uint64_t ios = 1'000'000;  // in which nothing may be allocated
};
void PrintTo(const Case& each, std::ostream* out) {
  *out << each.name;
}

std::unique_ptr<ReactorGroup> start_reactor() {
  runtime::ReactorGroupOptions options;
  options.buffer_pool_bytes = size_t{64} << 20;
  options.stall_limit = Duration(0);
  auto group = ReactorGroup::start(options);
  CAIRN_CHECK(group.has_value());
  return std::move(*group);
}

// A target with one device, on a reactor of its own.
class Server {
 public:
  explicit Server(const std::string& uri) : group_(start_reactor()) {
    run_on(group_->primary(), "start", [&]() -> Task<> {
      block::add_malloc_scheme(registry_);
      block::add_aio_scheme(registry_);
      block::add_uring_scheme(registry_);
      target_ = std::make_unique<nvmf::target::Target>(nvmf::target::Options{}, group_->reactors());
      auto device = co_await registry_.create(uri);
      CAIRN_CHECK(device.has_value());
      auto subsystem = target_->add_subsystem({.nqn = kNqn});
      const auto added = co_await (*subsystem)->add_namespace(std::move(*device));
      CAIRN_CHECK(added.has_value());
      port_ = target_->listen_tcp(*runtime::SocketAddress::ip("127.0.0.1", 0), true)->port;
    }).get();
  }
  ~Server() {
    run_on(group_->primary(), "stop", [&]() -> Task<> {
      co_await target_->stop();
      target_.reset();
      co_await registry_.remove_all();
    }).get();
    group_->stop();
  }
  uint16_t port() const { return port_; }

 private:
  std::unique_ptr<ReactorGroup> group_;
  block::Registry registry_;
  std::unique_ptr<nvmf::target::Target> target_;
  uint16_t port_ = 0;
};

class AllocationTest : public testing::TestWithParam<Case> {
 protected:
  AllocationTest() {
    counted = false;
    log::set_level(log::Level::kError);
    std::string name = testing::TempDir() + "cairn-allocation-XXXXXX";
    const int file = ::mkstemp(name.data());
    CAIRN_CHECK(file >= 0 && ::posix_fallocate(file, 0, kDeviceMiB << 20) == 0);
    ::close(file);
    path_ = name;
  }
  ~AllocationTest() override { ::unlink(path_.c_str()); }

  std::string device_uri() const { return fmt::format(fmt::runtime(GetParam().device), path_); }

  // The least number of allocations during `ios` I/Os. What is kept once it was needed (request slots, when a queue was
  // full for the first time) may come late, so a window with allocations is followed by another one. Not counted: the
  // looks at a file's size, which are no I/O, each of so many allocations.
  uint64_t count_during(const Job& job, uint64_t ios, uint64_t allocations_per_look) {
    wait_for(job, ios / 10);
    EXPECT_GT(allocations.load(), 0u);  // the way here: the counter sees the other threads
    uint64_t least = UINT64_MAX;
    for (int window = 0; window < kWindows && least > 0; ++window) {
      const auto begin = std::chrono::steady_clock::now();
      const uint64_t before = allocations.load();
      wait_for(job, job.live_ios() + ios);
      const uint64_t seen = allocations.load() - before;
      const auto looks = 1 + (std::chrono::steady_clock::now() - begin) / block::FileDevice::kSizeCheckPeriod;
      least = std::min(least, seen - std::min<uint64_t>(seen, looks * allocations_per_look));
    }
    return least;
  }

  // 0: of a device that is no file.
  uint64_t count_of_look(runtime::Reactor& reactor, const std::string& uri) {
    uint64_t seen = 0;
    run_on(reactor, "look", [&]() -> Task<> {
      block::Registry registry;
      block::add_malloc_scheme(registry);
      block::add_aio_scheme(registry);
      block::add_uring_scheme(registry);
      auto device = co_await registry.create(uri);
      CAIRN_CHECK(device.has_value());
      if (std::dynamic_pointer_cast<block::FileDevice>(*device) != nullptr) {
        const uint64_t before = allocations.load();
        static_cast<void>(co_await runtime::sleep_for(Duration(0)));
        const auto looked = co_await (*device)->rescan();
        CAIRN_CHECK(looked.has_value());
        seen = allocations.load() - before;
      }
      device->reset();
      co_await registry.remove_all();
    }).get();
    return seen;
  }

 private:
  static void wait_for(const Job& job, uint64_t ios) {
    while (job.live_ios() < ios) {
      ASSERT_FALSE(job.result().errors > 0) << job.result().first_error;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  std::string path_;
};

TEST_P(AllocationTest, NoneInSteadyState) {
  const Case& each = GetParam();
  const auto group = start_reactor();
  const uint64_t allocations_per_look = count_of_look(group->primary(), device_uri());
  std::unique_ptr<Server> server;
  std::string uri = device_uri();
  if (each.remote) {
    server = std::make_unique<Server>(uri);
    // Keep-alives are few, but each is a task.
    uri = fmt::format("nvmf://127.0.0.1:{}/{}?keep_alive_ms=0{}", server->port(), kNqn, each.parameters);
  }
  block::Registry registry;
  Job job({.workload = {.random = true, .read_percent = 50},
           .io_size = each.io_size,
           .depth = each.depth,
           .num_slots = (kDeviceMiB << 20) / each.io_size});
  std::atomic<bool> ended = false;
  start_on(
      group->primary(), "load",
      [&]() -> Task<> {
        block::add_malloc_scheme(registry);
        block::add_aio_scheme(registry);
        block::add_uring_scheme(registry);
        nvmf::host::add_nvmf_schemes(registry, {});
        auto device = co_await registry.create(uri);
        CAIRN_CHECK(device.has_value());
        const auto opened = co_await job.open(**device);
        CAIRN_CHECK(opened.has_value());
        co_await job.measure();
        job.close();
        device->reset();
        co_await registry.remove_all();
      },
      [&] { ended = true; });
  const uint64_t seen = count_during(job, each.ios, allocations_per_look);
  EXPECT_EQ(seen, 0u) << "in " << each.ios << " I/Os";
  run_on(group->primary(), "stop", [&]() -> Task<> {
    job.stop();
    co_return;
  }).get();
  while (!ended) std::this_thread::yield();
  EXPECT_EQ(job.result().errors, 0u) << job.result().first_error;
  group->stop();
}

INSTANTIATE_TEST_SUITE_P(
    Paths, AllocationTest,
    testing::Values(
        Case{.name = "malloc", .device = "malloc:///m?size_mb=32"},
        Case{.name = "uring_file", .device = "uring://{0}?blk_size=4096", .ios = 50'000},
        Case{.name = "aio_file", .device = "aio://{0}?blk_size=4096", .ios = 50'000},
        Case{.name = "remote_depth_1", .device = "malloc:///m?size_mb=32", .remote = true, .depth = 1, .ios = 20'000},
        Case{.name = "remote_depth_32", .device = "malloc:///m?size_mb=32", .remote = true},
        Case{.name = "remote_128_kib",
             .device = "malloc:///m?size_mb=32",
             .remote = true,
             .io_size = 131072,
             .depth = 8,
             .ios = 50'000},
        Case{.name = "remote_1_mib",
             .device = "malloc:///m?size_mb=32",
             .remote = true,
             .io_size = 1 << 20,
             .depth = 4,
             .ios = 5'000},
        Case{.name = "remote_digests",
             .device = "malloc:///m?size_mb=32",
             .remote = true,
             .parameters = "&hdgst=true&ddgst=true",
             .ios = 200'000},
        Case{.name = "remote_file", .device = "uring://{0}?blk_size=4096", .remote = true, .ios = 50'000}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace cairn
