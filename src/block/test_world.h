// For the tests of this folder: a reactor on the calling thread over a back-end without files or sockets, and ways to
// wait for tasks and I/O.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "block/device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "block/registry.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::block {

// Time that passes only when the reactor waits for a timer, or real waiting for another thread's messages.
class BareBackend : public runtime::Backend {
 public:
  std::string description() const override { return "bare"; }
  TimePoint now() override { return TimePoint(now_); }
  size_t poll(TimePoint wake_at) override {
    std::unique_lock lock(mutex_);
    if (wake_at == TimePoint::min()) return 0;
    if (wake_at == kNever) {
      woken_.wait(lock, [this] { return wake_; });
    } else {
      now_ = std::max(now_, wake_at.time_since_epoch());
    }
    wake_ = false;
    return 0;
  }
  void wake() override {
    const std::lock_guard lock(mutex_);
    wake_ = true;
    woken_.notify_one();
  }

  runtime::Task<Result<std::unique_ptr<runtime::File>>> open_file(std::string, runtime::FileOptions) override {
    co_return fail(Code::kUnimplemented, "no files here");
  }
  runtime::Task<Result<>> rename_file(std::string, std::string) override {
    co_return fail(Code::kUnimplemented, "no files");
  }
  runtime::Task<Result<>> remove_file(std::string) override { co_return fail(Code::kUnimplemented, "no files here"); }
  runtime::Task<Result<>> make_directories(std::string) override {
    co_return fail(Code::kUnimplemented, "no files here");
  }
  Result<std::unique_ptr<runtime::Listener>> listen(const runtime::SocketAddress&, runtime::AcceptHandler) override {
    return fail(Code::kUnimplemented, "no sockets here");
  }
  std::unique_ptr<runtime::Stream> adopt(std::unique_ptr<runtime::AcceptedStream>) override { return nullptr; }
  runtime::Task<Result<std::unique_ptr<runtime::Stream>>> connect(runtime::SocketAddress) override {
    co_return fail(Code::kUnimplemented, "no sockets here");
  }
  void use_buffer_region(std::span<std::byte>) override {}

 private:
  std::mutex mutex_;
  std::condition_variable woken_;
  bool wake_ = false;
  Duration now_ = std::chrono::seconds(1);
};

inline std::unique_ptr<runtime::Reactor> make_bare_reactor(unsigned index = 0, size_t buffer_bytes = size_t{4} << 20) {
  return std::make_unique<runtime::Reactor>(
      runtime::ReactorOptions{
          .index = index, .random_seed = index + 1, .spin_budget = Duration(0), .buffer_pool_bytes = buffer_bytes},
      std::make_unique<BareBackend>());
}

// Runs a task on `reactor`, which the calling thread drives, and gives its result.
template <typename T>
T run_task(runtime::Reactor& reactor, runtime::Task<T> task) {
  std::optional<T> result;
  runtime::TaskHandle handle;
  auto wrap = [](runtime::Task<T> body, std::optional<T>& out) -> runtime::Task<> {
    out.emplace(co_await std::move(body));
  };
  {
    const runtime::Reactor::Scope scope(reactor);
    handle = reactor.spawn("test", wrap(std::move(task), result));
  }
  reactor.run_until([&] { return handle.done(); });
  return std::move(*result);
}

inline void run_task(runtime::Reactor& reactor, runtime::Task<> task) {
  auto wrap = [](runtime::Task<> body) -> runtime::Task<bool> {
    co_await std::move(body);
    co_return true;
  };
  run_task<bool>(reactor, wrap(std::move(task)));
}

// An Io that remembers whether it is complete.
struct TestIo : Io {
  TestIo() {
    complete = [](Io& io) { static_cast<TestIo&>(io).done = true; };
  }
  bool done = false;
};

inline nvme::Status run_io(runtime::Reactor& reactor, Channel& channel, TestIo& io) {
  io.done = false;
  {
    const runtime::Reactor::Scope scope(reactor);
    channel.submit(io);
  }
  reactor.run_until([&] { return io.done; });
  return io.status;
}

}  // namespace cairn::block
