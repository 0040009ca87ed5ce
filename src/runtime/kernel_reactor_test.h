// For tests: a reactor on each variant of the kernel back-ends, driven by the test's thread.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

namespace cairn::runtime {

struct BackendVariant {
  std::string name;  // letters, digits and underscores
  std::function<std::unique_ptr<Backend>()> make;
};
void PrintTo(const BackendVariant& variant, std::ostream* out);

// io_uring with everything on, with each feature off, and epoll.
std::vector<BackendVariant> kernel_backend_variants();

class KernelReactorTest : public testing::TestWithParam<BackendVariant> {
 public:
  static ReactorOptions options() {
    return {.index = 0, .random_seed = 1, .spin_budget = Duration(0), .buffer_pool_bytes = size_t{1} << 20};
  }

 protected:
  KernelReactorTest() : reactor_(options(), GetParam().make()), scope_(reactor_) {}
  ~KernelReactorTest() override {
    reactor_.cancel_all_tasks();
    run_until([this] { return reactor_.num_tasks() == 0; });
  }

  Reactor& reactor() { return reactor_; }
  Backend& backend() { return reactor_.backend(); }
  void run_until(const std::function<bool()>& done) { reactor_.run_until(done); }

  // Runs `task` to its end and gives its result.
  template <typename T>
  T await(Task<T> task) {
    std::optional<T> result;
    reactor_.spawn("test", keep_result(std::move(task), result));
    run_until([&result] { return result.has_value(); });
    return std::move(*result);
  }
  void await(Task<> task) {
    const TaskHandle handle = reactor_.spawn("test", std::move(task));
    run_until([&handle] { return handle.done(); });
  }

 private:
  template <typename T>
  static Task<> keep_result(Task<T> task, std::optional<T>& result) {
    result.emplace(co_await std::move(task));
  }

  Reactor reactor_;
  Reactor::Scope scope_;
};

}  // namespace cairn::runtime
