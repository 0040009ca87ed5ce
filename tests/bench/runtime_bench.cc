// Measures the parts of the runtime one by one: tasks, timers, buffers, calls between reactors, file reads from the
// page cache.
//
//   runtime_bench [name ...]      all, or those whose name contains one of the words
//
// Prints nanoseconds per operation: the best of five runs, which a busy machine disturbs least.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "runtime/backend.h"
#include "runtime/core_set.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"
#include "runtime/task_waits.h"

namespace {

using namespace cairn;
using namespace cairn::runtime;

constexpr int kRuns = 5;

std::unique_ptr<ReactorGroup> start(ReactorGroupOptions options) {
  auto group = ReactorGroup::start(options);
  CAIRN_CHECK(group.has_value());
  return std::move(*group);
}

// Runs `make_task(n)`, which does n operations, on `reactor`.
void measure(const char* name, Reactor& reactor, int n, std::function<Task<>(int)> make_task) {
  double best_ns = 1e18;
  for (int run = 0; run < kRuns; ++run) {
    const Duration spent = run_on(reactor, "bench", [&]() -> Task<Duration> {
                             const TimePoint before = Reactor::current().now();
                             co_await make_task(n);
                             co_return Reactor::current().now() - before;
                           }).get();
    best_ns = std::min(best_ns, static_cast<double>(spent.count()) / n);
  }
  std::printf("%-44s %10.0f ns\n", name, best_ns);
}

Task<int> leaf(int value) {
  co_return value;
}

Task<> await_leaves(int n) {
  for (int i = 0; i < n; ++i) static_cast<void>(co_await leaf(i));
}

Task<> spawn_and_join(int n) {
  for (int i = 0; i < n; ++i) {
    const TaskHandle handle = Reactor::current().spawn("child", []() -> Task<> { co_return; }());
    static_cast<void>(co_await handle.join());
  }
}

Task<> arm_timers(int n) {
  std::vector<std::unique_ptr<Timer>> timers;
  for (int i = 0; i < 1000; ++i) timers.push_back(std::make_unique<Timer>([] {}));
  Reactor& reactor = Reactor::current();
  for (int i = 0; i < n; ++i) {
    reactor.arm(*timers[static_cast<size_t>(i) % timers.size()],
                reactor.round_time() + std::chrono::seconds(1 + i * 7919 % 1000));
  }
  co_return;
}

Task<> allocate_buffers(int n) {
  BufferPool& pool = Reactor::current().buffers();
  for (int i = 0; i < n; ++i) pool.release(pool.allocate(4096));
  co_return;
}

Task<> call(Reactor& target, int n) {
  for (int i = 0; i < n; ++i) {
    co_await call_on(target, []() -> Task<> { co_return; });
  }
}

Task<> read_file(File& file, int n) {
  std::byte* buffer = Reactor::current().buffers().allocate(4096);
  for (int i = 0; i < n; ++i) CAIRN_CHECK((co_await file.read(0, {buffer, 4096})).has_value());
  Reactor::current().buffers().release(buffer);
}

void measure_calls(const char* name, Duration spin, bool ring_messages) {
  ReactorGroupOptions options;
  options.cores = *parse_core_list("0,1");
  options.spin_budget = spin;
  options.uring.ring_messages = ring_messages;
  auto group = start(options);
  measure(name, group->primary(), 5000, [&group](int n) { return call(group->reactor(1), n); });
}

void measure_file() {
  auto group = start({});
  char path[] = "/tmp/cairn-bench-XXXXXX";
  const int fd = ::mkstemp(path);
  CAIRN_CHECK(fd >= 0 && ::ftruncate(fd, 1 << 20) == 0);
  ::close(fd);
  std::unique_ptr<File> file;
  run_on(group->primary(), "open", [&]() -> Task<> {
    file = std::move(*co_await group->primary().backend().open_file(path, {}));
  }).get();
  measure("file: read 4 KiB from the page cache", group->primary(), 20000, [&](int n) { return read_file(*file, n); });
  run_on(group->primary(), "close", [&]() -> Task<> {
    file.reset();
    co_return;
  }).get();
  ::unlink(path);
}

void measure_local() {
  auto group = start({});
  Reactor& reactor = group->primary();
  measure("task: await one that does not wait", reactor, 1'000'000, await_leaves);
  measure("task: spawn and join", reactor, 100'000, spawn_and_join);
  measure("timer: arm one of 1000 again", reactor, 1'000'000, arm_timers);
  measure("buffer: allocate and release 4 KiB", reactor, 1'000'000, allocate_buffers);
}

}  // namespace

int main(int argc, char** argv) {
  log::set_level(log::Level::kWarn);
  const std::pair<const char*, std::function<void()>> all[] = {
      {"local", measure_local},
      {"file", measure_file},
      {"call-spinning", [] { measure_calls("call: to a spinning reactor and back", kSpinForever, true); }},
      {"call-ring", [] { measure_calls("call: to a sleeping reactor, ring messages", Duration(0), true); }},
      {"call-eventfd", [] { measure_calls("call: to a sleeping reactor, eventfd", Duration(0), false); }},
  };
  for (const auto& [name, run] : all) {
    const bool wanted = argc == 1 || std::any_of(argv + 1, argv + argc, [name = name](const char* word) {
                          return std::string_view(name).find(word) != std::string_view::npos;
                        });
    if (wanted) run();
  }
}
