#include "runtime/sim/world.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

#include "runtime/backend.h"
#include "runtime/sim/test_stream.h"
#include "runtime/task_waits.h"

namespace cairn::runtime::sim {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TaskHandle spawn(Node& node, unsigned reactor, const char* name, Task<> task) {
  const Reactor::Scope scope(node.reactor(reactor));
  return node.reactor(reactor).spawn(name, std::move(task));
}

TEST(World, TimeJumpsToTheNextTimer) {
  World world({.seed = 1});
  Node& node = world.add_node({});
  node.start();
  Duration slept{};
  EXPECT_EQ(world.run_task(
                node, "sleeper",
                [](Duration& slept) -> Task<> {
                  const TimePoint before = Reactor::current().now();
                  EXPECT_TRUE(co_await sleep_for(std::chrono::hours(1000)));
                  slept = Reactor::current().now() - before;
                }(slept),
                std::chrono::hours(2000)),
            RunResult::kDone);
  EXPECT_GE(slept, std::chrono::hours(1000));
  EXPECT_LT(slept, std::chrono::hours(1000) + seconds(1));
  EXPECT_LT(world.num_events(), 20u);
}

TEST(World, RunForEndsExactlyThenAndRunUntilAtItsLimit) {
  World world({.seed = 1});
  world.run_for(seconds(3));
  EXPECT_EQ(world.now(), TimePoint{} + seconds(3));
  bool late = false;
  world.after(seconds(2), [&] { late = true; });
  EXPECT_EQ(world.run_until([&] { return late; }, seconds(1)), RunResult::kTimeLimit);
  EXPECT_EQ(world.now(), TimePoint{} + seconds(4));
  EXPECT_EQ(world.run_until([&] { return late; }, seconds(1)), RunResult::kDone);
  EXPECT_EQ(world.run_until_idle(seconds(1)), RunResult::kDeadlock);
}

TEST(World, ADeadlockIsAResultThatNamesWhoWaits) {
  World world({.seed = 1});
  Node& node = world.add_node({.name = "a", .num_reactors = 2});
  node.start();
  Mutex first;
  Mutex second;
  const auto take_both = [](Mutex& one, Mutex& other) -> Task<> {
    auto guard = co_await one.lock();
    EXPECT_TRUE(co_await sleep_for(milliseconds(1)));
    auto both = co_await other.lock();
  };
  spawn(node, 0, "one way", take_both(first, second));
  const TaskHandle other = spawn(node, 0, "the other", take_both(second, first));
  EXPECT_EQ(world.run_until([&] { return other.done(); }, seconds(1000)), RunResult::kDeadlock);
  EXPECT_LT(world.now(), TimePoint{} + seconds(1));
  EXPECT_EQ(world.waiting_tasks(), "a/0 one way\na/0 the other\n");
  other.cancel();
  EXPECT_EQ(world.run_until([&] { return node.reactor(0).num_tasks() == 0; }, seconds(1)), RunResult::kDone);
}

TEST(World, ReactorsOfANodeCallEachOther) {
  World world({.seed = 3});
  Node& node = world.add_node({.num_reactors = 4});
  node.start();
  uint64_t sum = 0;
  EXPECT_EQ(world.run_task(
                node, "caller",
                [](Node& node, uint64_t& sum) -> Task<> {
                  for (unsigned i = 0; i < 100; ++i) {
                    sum += co_await call_on(node.reactor(i % 4), [i]() -> Task<uint64_t> {
                      EXPECT_EQ(Reactor::current().index(), i % 4);
                      (void)co_await sleep_for(microseconds(i));
                      co_return i;
                    });
                  }
                }(node, sum),
                seconds(1)),
            RunResult::kDone);
  EXPECT_EQ(sum, 4950u);
}

TEST(World, DeadlinesAndCancellationEndWaits) {
  World world({.seed = 3});
  Node& node = world.add_node({});
  node.start();
  EXPECT_EQ(world.run_task(
                node, "bounded",
                []() -> Task<> {
                  Event never;
                  {
                    Deadline deadline(co_await current_context(), seconds(5));
                    const auto waited = co_await never.wait();
                    EXPECT_EQ(waited.error().code(), Code::kDeadlineExceeded);
                  }
                  EXPECT_TRUE(co_await sleep_for(seconds(1)));
                }(),
                seconds(100)),
            RunResult::kDone);
  bool cancelled = false;
  const TaskHandle handle = spawn(node, 0, "waiter", [](bool& cancelled) -> Task<> {
    Event never;
    cancelled = (co_await never.wait()).error().code() == Code::kCancelled;
  }(cancelled));
  EXPECT_EQ(world.run_until([&] { return handle.done(); }, seconds(1)), RunResult::kDeadlock);
  handle.cancel();
  EXPECT_EQ(world.run_until([&] { return handle.done(); }, seconds(1)), RunResult::kDone);
  EXPECT_TRUE(cancelled);
}

TEST(World, NodesHaveClocksOfTheirOwnAndMayPause) {
  World world({.seed = 5});
  Node& a = world.add_node({});
  Node& b = world.add_node({});
  a.start();
  b.start();
  EXPECT_NE(a.reactor(0).now(), b.reactor(0).now());
  int ticks = 0;
  spawn(a, 0, "ticker", [](int& ticks) -> Task<> {
    while (co_await sleep_for(seconds(1))) ++ticks;
  }(ticks));
  world.run_for(milliseconds(10'500));
  EXPECT_EQ(ticks, 10);
  a.pause(seconds(20));
  world.run_for(seconds(10));
  EXPECT_EQ(ticks, 10);
  world.run_for(seconds(11));
  EXPECT_GT(ticks, 10);
}

// --- crashes

// Whatever a process may be in the middle of.
class BusyProgram final : public NodeProgram {
 public:
  static inline int destroyed = 0;
  static inline int ran_on = 0;  // code after a wait that a crash should have cut off

  explicit BusyProgram(Node& node) : node_(node), message_([] { ++ran_on; }) {
    Reactor& reactor = node.reactor(0);
    buffer_ = reactor.buffers().allocate(4096);
    reactor.arm(timer_, reactor.now() + std::chrono::hours(1));
    listener_ = *reactor.backend().listen(*SocketAddress::ip("0.0.0.0", 7), [this](std::unique_ptr<AcceptedStream> a) {
      accepted_.push_back(std::make_unique<TestStream>(node_.reactor(0).backend().adopt(std::move(a))));
    });
    reactor.spawn("holder", hold());
    reactor.spawn("waits for the mutex", want());
    reactor.spawn("client", talk());
    reactor.spawn("writer", write());
    reactor.spawn("caller", call());
  }
  ~BusyProgram() override {
    ++destroyed;
    node_.reactor(1).post(message_);
  }

 private:
  Task<> hold() {
    auto guard = co_await mutex_.lock();
    Deadline deadline(co_await current_context(), std::chrono::hours(2));
    auto child = Reactor::current().spawn("child", [](Event& event) -> Task<> {
      (void)co_await event.wait();
      ++ran_on;
    }(never_));
    (void)co_await child.join();
    ++ran_on;
  }
  Task<> want() {
    auto guard = co_await mutex_.lock();
    ++ran_on;
  }
  Task<> talk() {
    auto stream = co_await node_.reactor(0).backend().connect(*SocketAddress::ip("127.0.0.1", 7));
    TestStream connection(std::move(*stream));
    while (co_await connection.send(std::string(50'000, 'x')) == 0) (void)co_await sleep_for(microseconds(50));
  }
  Task<> write() {
    auto file = co_await node_.reactor(0).backend().open_file("/file", {.create = true});
    const std::vector<std::byte> data(10'000);
    for (;;) (void)co_await (*file)->write(0, data);
  }
  Task<> call() {
    for (;;) {
      co_await call_on(node_.reactor(1), []() -> Task<> { (void)co_await sleep_for(microseconds(100)); });
    }
  }

  Node& node_;
  Mutex mutex_;
  Event never_;
  Message message_;
  Timer timer_{[] { ++ran_on; }};
  std::byte* buffer_ = nullptr;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<TestStream>> accepted_;
};

std::unique_ptr<NodeProgram> make_busy(Node& node) {
  return std::make_unique<BusyProgram>(node);
}

TEST(World, ACrashTearsAProcessDownWhereverItStands) {
  BusyProgram::destroyed = 0;
  BusyProgram::ran_on = 0;
  int started = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    World world({.seed = seed});
    Node& node = world.add_node({.num_reactors = 2});
    node.start(make_busy);
    ++started;
    for (int crash = 0; crash < 5; ++crash) {
      world.run_for(microseconds(world.random().below(3000)));
      node.crash(world.random().one_in(2) ? CrashKind::kKill : CrashKind::kPowerLoss);
      EXPECT_FALSE(node.running());
      node.restart();
      ++started;
    }
    world.run_for(milliseconds(1));
  }
  EXPECT_EQ(BusyProgram::destroyed, started);
  EXPECT_EQ(BusyProgram::ran_on, 0);
}

TEST(World, NewerTasksGoBeforeThoseTheyReferTo) {
  World world({.seed = 1});
  Node& node = world.add_node({.num_reactors = 2});
  node.start();
  std::string order;
  struct Local {
    std::string& order;
    const char* name;
    ~Local() { order += name; }
  };
  spawn(node, 0, "parent", [](Node& node, std::string& order) -> Task<> {
    const Local local{order, "parent "};
    co_await call_on(node.reactor(1), [&order]() -> Task<> {
      const Local local{order, "callee "};
      (void)co_await sleep_for(std::chrono::hours(1));
      order += "ran on ";
    });
  }(node, order));
  world.run_for(milliseconds(1));
  node.crash(CrashKind::kKill);
  EXPECT_EQ(order, "callee parent ");
}

TEST(World, AStoppedProcessCanBeFollowedByAnother) {
  World world({.seed = 1});
  Node& node = world.add_node({});
  for (int i = 0; i < 3; ++i) {
    node.start();
    EXPECT_EQ(world.run_task(
                  node, "sleep", []() -> Task<> { (void)co_await sleep_for(seconds(1)); }(), seconds(2)),
              RunResult::kDone);
    node.stop();
    EXPECT_FALSE(node.running());
    EXPECT_TRUE(node.powered());
  }
}

TEST(World, ANodeMayCrashItself) {
  World world({.seed = 1});
  Node& node = world.add_node({});
  node.start();
  bool after_wait = false;
  EXPECT_EQ(world.run_task(
                node, "suicide",
                [](Node& node, bool& after_wait) -> Task<> {
                  node.crash(CrashKind::kPowerLoss);
                  (void)co_await sleep_for(Duration{});
                  after_wait = true;
                }(node, after_wait),
                seconds(1)),
            RunResult::kDone);
  EXPECT_FALSE(after_wait);
  EXPECT_FALSE(node.running());
  EXPECT_FALSE(node.powered());
}

// --- determinism

// Sends numbered requests that the server stores in a file; both sides are crashed and cut off at random.
class Store final : public NodeProgram {
 public:
  explicit Store(Node& node) {
    Reactor& reactor = node.reactor(0);
    listener_ =
        *reactor.backend().listen(*SocketAddress::ip("10.0.0.1", 7), [&node](std::unique_ptr<AcceptedStream> a) {
          Reactor& other = node.reactor(1);
          auto shared = std::make_shared<std::unique_ptr<AcceptedStream>>(std::move(a));
          node.reactor(0).spawn("hand over", [](Reactor& other, auto shared) -> Task<> {
            co_await call_on(other, [&other, shared]() -> Task<> {
              other.spawn("serve", serve(other, std::move(*shared)));
              co_return;
            });
          }(other, std::move(shared)));
        });
  }

 private:
  static Task<> serve(Reactor& reactor, std::unique_ptr<AcceptedStream> accepted) {
    TestStream stream(reactor.backend().adopt(std::move(accepted)));
    auto file = co_await reactor.backend().open_file("/log", {.create = true});
    uint64_t offset = 0;
    while (!stream.closed()) {
      const std::string text = co_await stream.receive(1000);
      if (text.size() < 1000) break;
      if (!co_await (*file)->write(offset, std::as_bytes(std::span(text)))) break;
      if (reactor.random().one_in(4) && !co_await (*file)->flush()) break;
      offset += text.size();
      if (co_await stream.send(text.substr(0, 10)) != 0) break;
    }
    stream->close();
    co_await stream.wait_closed();
  }
  std::unique_ptr<Listener> listener_;
};

Task<> request(Reactor& reactor, uint64_t& answered) {
  for (;;) {
    auto stream = co_await reactor.backend().connect(*SocketAddress::ip("10.0.0.1", 7));
    if (!stream) {
      (void)co_await sleep_for(milliseconds(5));
      continue;
    }
    TestStream connection(std::move(*stream));
    while (!connection.closed()) {
      if (co_await connection.send(std::string(1000, static_cast<char>('a' + reactor.random().below(26)))) != 0) break;
      if ((co_await connection.receive(10)).size() < 10) break;
      ++answered;
    }
    connection->close();
    co_await connection.wait_closed();
  }
}

struct Outcome {
  uint64_t hash;
  std::string text;
  uint64_t answered;
  uint64_t events;
};

Outcome run_store(uint64_t seed, bool text, Duration duration = milliseconds(500)) {
  World world({.seed = seed, .trace_text = text});
  Node& server = world.add_node({.name = "server", .num_reactors = 2});
  Node& client = world.add_node({.name = "client"});
  server.start([](Node& node) { return std::make_unique<Store>(node); });
  client.start();
  uint64_t answered = 0;
  for (int i = 0; i < 4; ++i) spawn(client, 0, "request", request(client.reactor(0), answered));
  const TimePoint end = world.now() + duration;
  while (world.now() < end) {
    world.run_for(microseconds(world.random().below(60'000)));
    switch (world.random().below(4)) {
      case 0:
        server.crash(world.random().one_in(2) ? CrashKind::kKill : CrashKind::kPowerLoss);
        world.run_for(milliseconds(world.random().below(10)));
        server.restart();
        break;
      case 1:
        world.network().cut(client, server);
        break;
      case 2:
        world.network().heal_all();
        break;
      case 3:
        server.pause(microseconds(world.random().below(10'000)));
        break;
    }
  }
  return {world.trace().hash(), world.trace().text(), answered, world.num_events()};
}

TEST(World, EqualSeedsGiveEqualTraces) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Outcome first = run_store(seed, true);
    const Outcome second = run_store(seed, true);
    ASSERT_EQ(first.text, second.text) << "seed " << seed;
    EXPECT_EQ(first.hash, second.hash);
    EXPECT_GT(first.text.size(), 1000u);
    EXPECT_EQ(run_store(seed, false).hash, first.hash);  // keeping text changes nothing
  }
}

TEST(World, DifferentSeedsGoDifferentWays) {
  std::set<uint64_t> hashes;
  uint64_t answered = 0;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const Outcome outcome = run_store(seed, false, milliseconds(100));
    hashes.insert(outcome.hash);
    answered += outcome.answered;
  }
  EXPECT_EQ(hashes.size(), 100u);
  EXPECT_GT(answered, 1000u);
}

}  // namespace
}  // namespace cairn::runtime::sim
