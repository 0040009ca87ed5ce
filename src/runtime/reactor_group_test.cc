// Several reactors on their threads: starting, calling each other, being called from outside, stopping.
#include "runtime/reactor_group.h"

#include <gmock/gmock.h>
#include <pthread.h>

#include <atomic>

#include "runtime/backend.h"
#include "runtime/core_set.h"
#include "runtime/external_call.h"
#include "runtime/task_waits.h"

namespace cairn::runtime {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;

class ReactorGroupTest : public testing::TestWithParam<BackendChoice> {
 protected:
  std::unique_ptr<ReactorGroup> start() {
    ReactorGroupOptions options;
    options.cores = allowed_cores();
    options.cores.resize(std::min<size_t>(options.cores.size(), 4));
    options.backend = GetParam();
    options.spin_budget = Duration(0);
    options.buffer_pool_bytes = size_t{1} << 20;
    auto group = ReactorGroup::start(options);
    EXPECT_TRUE(group.has_value()) << group.error().to_string();
    return std::move(*group);
  }
};
INSTANTIATE_TEST_SUITE_P(Kernel, ReactorGroupTest, testing::Values(BackendChoice::kUring, BackendChoice::kEpoll),
                         [](const auto& info) { return info.param == BackendChoice::kUring ? "uring" : "epoll"; });

TEST_P(ReactorGroupTest, RunsOneNamedThreadPerCore) {
  auto group = start();
  const std::vector<unsigned> cores = allowed_cores();
  for (size_t i = 0; i < group->size(); ++i) {
    const auto [name, cpu, index] =
        run_on(group->reactor(i), "look around", []() -> Task<std::tuple<std::string, int, unsigned>> {
          char text[16] = {};
          pthread_getname_np(pthread_self(), text, sizeof text);
          co_return std::tuple(std::string(text), sched_getcpu(), Reactor::current().index());
        }).get();
    EXPECT_EQ(name, "reactor-" + std::to_string(cores[i]));
    EXPECT_EQ(cpu, static_cast<int>(cores[i]));
    EXPECT_EQ(index, i);
  }
}

TEST_P(ReactorGroupTest, RunsWithoutNamedCores) {
  ReactorGroupOptions options;
  options.backend = GetParam();
  auto group = ReactorGroup::start(options);
  ASSERT_TRUE(group.has_value());
  EXPECT_EQ((*group)->size(), 1u);
  EXPECT_EQ(run_on((*group)->primary(), "answer", []() -> Task<int> { co_return 42; }).get(), 42);
}

TEST_P(ReactorGroupTest, RefusesCoresItMayNotUse) {
  ReactorGroupOptions options;
  options.backend = GetParam();
  options.cores = {allowed_cores().front(), kMaxCores - 1};
  const auto group = ReactorGroup::start(options);
  ASSERT_FALSE(group.has_value());
  EXPECT_EQ(group.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(group.error().message(), HasSubstr("core 1023"));
  options.cores = {allowed_cores().front(), allowed_cores().front()};
  EXPECT_THAT(ReactorGroup::start(options).error().message(), HasSubstr("twice"));
}

TEST_P(ReactorGroupTest, ReactorsCallEachOther) {
  auto group = start();
  Reactor& last = group->reactor(group->size() - 1);
  const int sum = run_on(group->primary(), "caller", [&group, &last]() -> Task<int> {
                    int total = 0;
                    for (int i = 0; i < 200; ++i) {
                      total += co_await call_on(last, [&group, i]() -> Task<int> {
                        // And back again, while the caller waits.
                        co_return co_await call_on(group->primary(), [i]() -> Task<int> { co_return i; });
                      });
                    }
                    EXPECT_EQ(&Reactor::current(), &group->primary());
                    co_return total;
                  }).get();
  EXPECT_EQ(sum, 199 * 200 / 2);
}

// Many threads and reactors wake reactors that fall asleep at once: a lost wake-up hangs.
TEST_P(ReactorGroupTest, NoWakeUpIsLost) {
  constexpr int kThreads = 3;
  constexpr int kCalls = 2000;
  auto group = start();
  std::atomic<int> total = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&group, &total, t] {
      for (int i = 0; i < kCalls; ++i) {
        Reactor& reactor = group->reactor(static_cast<size_t>(t + i) % group->size());
        total += run_on(reactor, "one", []() -> Task<int> { co_return 1; }).get();
      }
    });
  }
  auto among_reactors = run_on(group->primary(), "caller", [&group]() -> Task<> {
    for (int i = 0; i < kCalls; ++i) {
      co_await call_on(group->reactor(group->size() - 1), []() -> Task<> { co_return; });
    }
  });
  for (std::thread& thread : threads) thread.join();
  among_reactors.get();
  EXPECT_EQ(total, kThreads * kCalls);
}

TEST_P(ReactorGroupTest, StoppingCancelsTasksThatWaitForEachOther) {
  auto group = start();
  std::atomic<int> ended = 0;
  for (size_t i = 0; i < group->size(); ++i) {
    Reactor& other = group->reactor((i + 1) % group->size());
    start_on(
        group->reactor(i), "waits",
        [&other, &ended]() -> Task<> {
          co_await call_on(other, [&ended]() -> Task<> {
            const Result<> slept = co_await sleep_for(std::chrono::hours(1));
            EXPECT_EQ(slept.error().code(), Code::kCancelled);
            ++ended;
          });
          // Clean-up on another reactor after the cancellation.
          co_await call_on(other, [&ended]() -> Task<> {
            ++ended;
            co_return;
          });
        },
        [] {});
  }
  const int expected = static_cast<int>(2 * group->size());
  group->stop();
  EXPECT_EQ(ended, expected);
  group->stop();
}

TEST(ExternalCall, GivesVoidResultsAndCallbacks) {
  auto group = ReactorGroup::start({});
  ASSERT_TRUE(group.has_value());
  std::atomic<bool> ran = false;
  run_on((*group)->primary(), "void", [&ran]() -> Task<> {
    ran = true;
    co_return;
  }).get();
  EXPECT_TRUE(ran);
  std::promise<std::pair<int, Reactor*>> promise;
  start_on((*group)->primary(), "callback", []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); },
           [&promise](std::unique_ptr<int> value) { promise.set_value({*value, &Reactor::current()}); });
  EXPECT_EQ(promise.get_future().get(), std::pair(7, &(*group)->primary()));
}

TEST(StallDetector, NamesTheTaskThatHoldsAReactor) {
  std::mutex mutex;
  std::vector<Stall> stalls;
  std::promise<void> noticed;
  std::promise<void> over;
  ReactorGroupOptions options;
  options.stall_limit = 5ms;
  options.on_stall = [&](const Stall& stall) {
    const std::lock_guard lock(mutex);
    if (stall.task == nullptr || std::string(stall.task) != "hog") return;  // a busy machine may stall us elsewhere
    stalls.push_back(stall);
    if (stalls.size() == 1) noticed.set_value();
    if (stalls.size() == 2) over.set_value();
  };
  auto group = ReactorGroup::start(options);
  ASSERT_TRUE(group.has_value());
  run_on((*group)->primary(), "hog", [&noticed]() -> Task<> {
    noticed.get_future().wait();
    co_return;
  }).get();
  over.get_future().wait();
  group->reset();
  ASSERT_EQ(stalls.size(), 2u);
  EXPECT_FALSE(stalls[0].ended);
  EXPECT_TRUE(stalls[1].ended);
  EXPECT_GE(stalls[0].held, Duration(5ms));
  EXPECT_GE(stalls[1].held, stalls[0].held);
  EXPECT_EQ(stalls[0].reactor, 0u);
  EXPECT_THAT(stalls[0].to_string(), HasSubstr("task 'hog'"));
}

TEST(StallDetector, NamesEachTaskOfARound) {
  std::promise<void> first_noticed;
  std::promise<void> second_noticed;
  std::promise<void> over;
  ReactorGroupOptions options;
  options.stall_limit = 5ms;
  options.on_stall = [&](const Stall& stall) {
    if (stall.ended || stall.task == nullptr) return;
    if (std::string(stall.task) == "first") first_noticed.set_value();
    if (std::string(stall.task) == "second") second_noticed.set_value();
  };
  auto group = ReactorGroup::start(options);
  ASSERT_TRUE(group.has_value());
  auto hold = [](std::promise<void>& noticed, std::promise<void>* ended) -> Task<> {
    noticed.get_future().wait();
    if (ended != nullptr) ended->set_value();
    co_return;
  };
  run_on((*group)->primary(), "start both", [&]() -> Task<> {
    Reactor::current().spawn("first", hold(first_noticed, nullptr));
    Reactor::current().spawn("second", hold(second_noticed, &over));
    co_return;
  }).get();
  over.get_future().wait();
  group->reset();
}

}  // namespace
}  // namespace cairn::runtime
