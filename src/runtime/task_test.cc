// Tasks and their waits, on one kernel reactor (nothing here depends on the back-end).
#include "runtime/task.h"

#include <gmock/gmock.h>

#include "runtime/kernel_reactor_test.h"
#include "runtime/task_waits.h"

namespace cairn::runtime {
namespace {

using testing::ElementsAre;
using namespace std::chrono_literals;

class TaskTest : public KernelReactorTest {
 protected:
  // Rounds until nothing is ready: enough for everything that waits for no timer and no I/O.
  void settle() {
    while (reactor().has_ready_work() || reactor().run_round()) reactor().run_round();
  }
};
INSTANTIATE_TEST_SUITE_P(Kernel, TaskTest, testing::Values(kernel_backend_variants().front()),
                         [](const auto& info) { return info.param.name; });

constexpr auto kLong = std::chrono::hours(1);  // a wait that no test sits out

Task<Mutex::Guard> lock_now(Mutex& mutex) {
  co_return std::move(*co_await mutex.lock());
}
Task<int> number(int value) {
  co_return value;
}
Task<int> sum(int depth) {
  if (depth == 0) co_return co_await number(1);
  const int below = co_await sum(depth - 1);
  co_return below + co_await number(1);
}

TEST_P(TaskTest, ATaskStartsInTheNextRound) {
  bool ran = false;
  const TaskHandle handle = reactor().spawn("task", [](bool& flag) -> Task<> {
    flag = true;
    co_return;
  }(ran));
  EXPECT_FALSE(ran);
  EXPECT_EQ(reactor().num_tasks(), 1u);
  reactor().run_round();
  EXPECT_TRUE(ran);
  EXPECT_TRUE(handle.done());
  EXPECT_EQ(reactor().num_tasks(), 0u);
}

TEST_P(TaskTest, ChainsOfAwaitsGiveTheirResults) {
  EXPECT_EQ(await(sum(1000)), 1001);
}

TEST_P(TaskTest, LocalsDieBeforeTheJoinerLearnsOfTheEnd) {
  struct Flag {
    bool& dead;
    ~Flag() { dead = true; }
  };
  bool dead = false;
  bool dead_at_join = false;
  const TaskHandle handle = reactor().spawn("owner", [](bool& flag) -> Task<> {
    const Flag local{flag};
    static_cast<void>(co_await sleep_for(0s));
  }(dead));
  await([](TaskHandle target, bool& flag, bool& seen) -> Task<> {
    EXPECT_TRUE((co_await target.join()).has_value());
    seen = flag;
  }(handle, dead, dead_at_join));
  EXPECT_TRUE(dead_at_join);
}

TEST_P(TaskTest, JoiningAnEndedTaskDoesNotWait) {
  const TaskHandle handle = reactor().spawn("short", []() -> Task<> { co_return; }());
  settle();
  ASSERT_TRUE(handle.done());
  await([](TaskHandle target) -> Task<> { EXPECT_TRUE((co_await target.join()).has_value()); }(handle));
  await([]() -> Task<> { EXPECT_TRUE((co_await TaskHandle().join()).has_value()); }());
}

TEST_P(TaskTest, SeveralJoinersLearnOfTheEnd) {
  Event event;
  int joined = 0;
  const TaskHandle handle =
      reactor().spawn("target", [](Event& until) -> Task<> { static_cast<void>(co_await until.wait()); }(event));
  for (int i = 0; i < 3; ++i) {
    reactor().spawn("joiner", [](TaskHandle target, int& count) -> Task<> {
      EXPECT_TRUE((co_await target.join()).has_value());
      ++count;
    }(handle, joined));
  }
  settle();
  EXPECT_EQ(joined, 0);
  event.set();
  settle();
  EXPECT_EQ(joined, 3);
}

TEST_P(TaskTest, SleepsUntilTheTime) {
  const TimePoint before = reactor().now();
  await([]() -> Task<> { EXPECT_TRUE((co_await sleep_for(2ms)).has_value()); }());
  EXPECT_GE(reactor().now() - before, Duration(2ms));
}

// Each way to wait ends with CANCELLED when the task is cancelled, before and during the wait.
using Wait = std::function<Task<Result<>>(Event&, Mutex&, TaskHandle)>;
struct NamedWait {
  const char* name;
  Wait wait;
};
std::vector<NamedWait> interruptible_waits() {
  return {
      {"sleep", [](Event&, Mutex&, TaskHandle) -> Task<Result<>> { co_return co_await sleep_for(kLong); }},
      {"event", [](Event& event, Mutex&, TaskHandle) -> Task<Result<>> { co_return co_await event.wait(); }},
      {"join", [](Event&, Mutex&, TaskHandle target) -> Task<Result<>> { co_return co_await target.join(); }},
      {"mutex",
       [](Event&, Mutex& mutex, TaskHandle) -> Task<Result<>> {
         auto guard = co_await mutex.lock();
         if (!guard) co_return fail(guard.error());
         co_return Result<>{};
       }},
  };
}

TEST_P(TaskTest, CancellationEndsEveryWait) {
  for (const NamedWait& wait : interruptible_waits()) {
    SCOPED_TRACE(wait.name);
    Event never;
    Mutex mutex;
    std::optional<Mutex::Guard> guard = await(lock_now(mutex));
    const TaskHandle target =
        reactor().spawn("target", [](Event& event) -> Task<> { static_cast<void>(co_await event.wait()); }(never));
    std::vector<Code> ends;
    const TaskHandle waiter = reactor().spawn(
        "waiter", [](const Wait& make, Event& event, Mutex& lock, TaskHandle other, std::vector<Code>& out) -> Task<> {
          for (int i = 0; i < 2; ++i) {  // the second begins after the cancellation
            const Result<> result = co_await make(event, lock, other);
            out.push_back(result ? Code::kUnknown : result.error().code());
          }
        }(wait.wait, never, mutex, target, ends));
    settle();
    EXPECT_THAT(ends, ElementsAre());
    waiter.cancel();
    waiter.cancel();
    settle();
    EXPECT_THAT(ends, ElementsAre(Code::kCancelled, Code::kCancelled));
    EXPECT_TRUE(waiter.done());
    target.cancel();
    settle();
    EXPECT_TRUE(target.done());
  }
}

TEST_P(TaskTest, CancellingAnEndedTaskDoesNothing) {
  const TaskHandle handle = reactor().spawn("short", []() -> Task<> { co_return; }());
  settle();
  handle.cancel();
  EXPECT_TRUE(handle.done());
}

TEST_P(TaskTest, ADeadlineEndsTheWait) {
  await([]() -> Task<> {
    Deadline deadline(co_await current_context(), 1ms);
    const Result<> slept = co_await sleep_for(kLong);
    EXPECT_EQ(slept.error().code(), Code::kDeadlineExceeded);
    EXPECT_TRUE(deadline.fired());
    EXPECT_EQ((co_await sleep_for(0s)).error().code(), Code::kDeadlineExceeded);
  }());
}

TEST_P(TaskTest, AfterADeadlineIsGoneTheTaskWaitsAgain) {
  await([]() -> Task<> {
    {
      Deadline deadline(co_await current_context(), 0s);
      EXPECT_FALSE((co_await sleep_for(kLong)).has_value());
    }
    EXPECT_TRUE((co_await sleep_for(0s)).has_value());
  }());
}

TEST_P(TaskTest, ADeadlineThatIsKeptChangesNothing) {
  await([]() -> Task<> {
    Deadline deadline(co_await current_context(), kLong);
    EXPECT_TRUE((co_await sleep_for(0s)).has_value());
    EXPECT_FALSE(deadline.fired());
  }());
}

TEST_P(TaskTest, TheEarlierOfTwoDeadlinesWins) {
  await([]() -> Task<> {
    Deadline outer(co_await current_context(), 1ms);
    {
      Deadline inner(co_await current_context(), kLong);
      EXPECT_EQ((co_await sleep_for(kLong)).error().code(), Code::kDeadlineExceeded);
      EXPECT_TRUE(outer.fired());
      EXPECT_FALSE(inner.fired());
    }
    EXPECT_EQ((co_await sleep_for(0s)).error().code(), Code::kDeadlineExceeded);
  }());
}

// The outer deadline passes while the inner one has already stopped the task: it must still hold when the inner one is
// gone.
TEST_P(TaskTest, AnOuterDeadlineHoldsAfterTheInnerOne) {
  await([]() -> Task<> {
    TaskContext& context = co_await current_context();
    Deadline outer(context, 1ms);
    {
      Deadline inner(context, 0s);
      EXPECT_FALSE((co_await sleep_for(kLong)).has_value());
      EXPECT_TRUE(inner.fired());
      while (!outer.fired()) Reactor::current().run_round();
    }
    EXPECT_EQ((co_await sleep_for(kLong)).error().code(), Code::kDeadlineExceeded);
  }());
}

TEST_P(TaskTest, ACancellationDuringADeadlineIsNotForgotten) {
  Event stopped;
  Event go_on;
  std::vector<Code> ends;
  const TaskHandle handle = reactor().spawn("task", [](Event& told, std::vector<Code>& out) -> Task<> {
    {
      Deadline deadline(co_await current_context(), 0s);
      out.push_back((co_await sleep_for(kLong)).error().code());
      told.set();
      (co_await current_context()).cancel();
    }
    out.push_back((co_await sleep_for(kLong)).error().code());
  }(stopped, ends));
  run_until([&handle] { return handle.done(); });
  EXPECT_THAT(ends, ElementsAre(Code::kDeadlineExceeded, Code::kCancelled));
}

TEST_P(TaskTest, AMutexIsGivenInOrderOfArrival) {
  Mutex mutex;
  Event release;
  std::vector<int> order;
  for (int i = 0; i < 4; ++i) {
    reactor().spawn("locker", [](Mutex& lock, Event& until, std::vector<int>& out, int number) -> Task<> {
      auto guard = co_await lock.lock();
      EXPECT_TRUE(guard.has_value());
      out.push_back(number);
      if (number == 0) static_cast<void>(co_await until.wait());
    }(mutex, release, order, i));
  }
  settle();
  EXPECT_THAT(order, ElementsAre(0));
  release.set();
  settle();
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
}

// Who unlocks and locks again at once must not overtake those who wait.
TEST_P(TaskTest, AMutexIsNotTakenByALatecomer) {
  Mutex mutex;
  Event release;
  std::vector<int> order;
  reactor().spawn("greedy", [](Mutex& lock, Event& until, std::vector<int>& out) -> Task<> {
    auto first = co_await lock.lock();
    static_cast<void>(co_await until.wait());
    *first = Mutex::Guard();
    auto second = co_await lock.lock();
    out.push_back(2);
  }(mutex, release, order));
  reactor().spawn("waiter", [](Mutex& lock, std::vector<int>& out) -> Task<> {
    auto guard = co_await lock.lock();
    out.push_back(1);
  }(mutex, order));
  settle();
  release.set();
  settle();
  EXPECT_THAT(order, ElementsAre(1, 2));
}

TEST_P(TaskTest, ACancelledLockerLeavesTheMutexToTheNext) {
  Mutex mutex;
  std::optional<Mutex::Guard> guard = await(lock_now(mutex));
  bool second = false;
  auto locker = [](Mutex& lock, bool* got) -> Task<> {
    auto result = co_await lock.lock();
    if (got != nullptr) *got = result.has_value();
  };
  const TaskHandle first = reactor().spawn("first", locker(mutex, nullptr));
  reactor().spawn("second", locker(mutex, &second));
  settle();
  guard.reset();   // wakes the first,
  first.cancel();  // which is cancelled before it runs
  settle();
  EXPECT_TRUE(second);
}

TEST_P(TaskTest, AnEventLetsThoseWhoWaitAndThoseWhoComeLaterPass) {
  Event event;
  int passed = 0;
  auto waiter = [](Event& target, int& count) -> Task<> {
    EXPECT_TRUE((co_await target.wait()).has_value());
    ++count;
  };
  reactor().spawn("waiter", waiter(event, passed));
  reactor().spawn("waiter", waiter(event, passed));
  settle();
  EXPECT_EQ(passed, 0);
  event.set();
  settle();
  EXPECT_EQ(passed, 2);
  await(waiter(event, passed));
  EXPECT_EQ(passed, 3);
  event.reset();
  reactor().spawn("waiter", waiter(event, passed));
  settle();
  EXPECT_EQ(passed, 3);
  event.pulse();
  settle();
  EXPECT_EQ(passed, 4);
  EXPECT_FALSE(event.is_set());
}

TEST_P(TaskTest, CancelAllReachesEveryTask) {
  Event never;
  for (int i = 0; i < 10; ++i) {
    reactor().spawn("waiter", [](Event& event) -> Task<> { static_cast<void>(co_await event.wait()); }(never));
  }
  settle();
  EXPECT_EQ(reactor().num_tasks(), 10u);
  reactor().cancel_all_tasks();
  settle();
  EXPECT_EQ(reactor().num_tasks(), 0u);
}

TEST_P(TaskTest, ATaskMaySpawnAndDropOthers) {
  int ran = 0;
  await([](int& count) -> Task<> {
    for (int i = 0; i < 5; ++i) {
      Reactor::current().spawn("child", [](int& counter) -> Task<> {
        static_cast<void>(co_await sleep_for(0s));
        ++counter;
      }(count));
    }
    co_return;
  }(ran));
  run_until([&ran] { return ran == 5; });
}

TEST_P(TaskTest, ATaskThatIsNeverAwaitedIsDestroyed) {
  struct Flag {
    explicit Flag(bool& flag) : dead(flag) {}
    Flag(Flag&& other) noexcept : dead(other.dead), owner(std::exchange(other.owner, false)) {}
    ~Flag() {
      if (owner) dead = true;
    }
    bool& dead;
    bool owner = true;
  };
  bool dead = false;
  {
    const Task<> task = [](Flag) -> Task<> { co_return; }(Flag(dead));
    EXPECT_FALSE(dead);
  }
  EXPECT_TRUE(dead);
}

}  // namespace
}  // namespace cairn::runtime
