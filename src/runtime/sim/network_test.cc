#include "runtime/sim/network.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "runtime/backend.h"
#include "runtime/sim/connection.h"
#include "runtime/sim/test_stream.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const SocketAddress kServer = *SocketAddress::ip("10.0.0.1", 7);

// Sends back what it gets.
class EchoServer final : public NodeProgram {
 public:
  explicit EchoServer(Node& node, const SocketAddress& address = kServer) {
    Reactor& reactor = node.reactor(0);
    listener_ = *reactor.backend().listen(address, [&reactor](std::unique_ptr<AcceptedStream> accepted) {
      reactor.spawn("echo", serve(reactor.backend().adopt(std::move(accepted))));
    });
  }

 private:
  static Task<> serve(std::unique_ptr<Stream> accepted) {
    TestStream stream(std::move(accepted));
    while (!stream.closed()) {
      std::string text = std::move(stream.received());
      stream.received().clear();
      if (text.empty()) text = co_await stream.receive(1);
      if (!text.empty() && co_await stream.send(std::move(text)) != 0) break;
    }
    stream->close();
    co_await stream.wait_closed();
  }
  std::unique_ptr<Listener> listener_;
};

std::unique_ptr<NodeProgram> make_echo(Node& node) {
  return std::make_unique<EchoServer>(node);
}

class NetworkTest : public testing::Test {
 public:
  void build(uint64_t seed, bool text = false) {
    world.reset();
    NetworkOptions network;
    network.retransmit_limit = seconds(30);
    world = std::make_unique<World>(WorldOptions{.seed = seed, .trace_text = text, .network = network});
    server = &world->add_node({.name = "server"});
    client = &world->add_node({.name = "client"});
    server->start(make_echo);
    client->start();
  }
  Task<Result<std::unique_ptr<Stream>>> connect(SocketAddress to = kServer) {
    return client->reactor(0).backend().connect(std::move(to));
  }
  RunResult run(Task<> task, Duration limit = seconds(300)) {
    return world->run_task(*client, "client", std::move(task), limit);
  }
  static std::string pattern(size_t size) {
    std::string text(size, '\0');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * 7 % 23 + i / 4096 % 3);
    return text;
  }
  // Sends `text`, reads it back.
  Task<> echo(const std::string& text, bool& same) {
    auto stream = co_await connect();
    EXPECT_TRUE(stream) << stream.error().to_string();
    if (!stream) co_return;
    TestStream connection(std::move(*stream));
    const int sent = co_await connection.send(text);
    const std::string back = co_await connection.receive(text.size());
    same = sent == 0 && back == text;
    connection->close();
    co_await connection.wait_closed();
    EXPECT_EQ(connection.closed()->code(), Code::kCancelled);
  }

  std::unique_ptr<World> world;
  Node* server = nullptr;
  Node* client = nullptr;
};

TEST_F(NetworkTest, BytesComeBackInOrderWhateverTheSeed) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    build(seed);
    bool same = false;
    const std::string text = pattern(1 + world->random().below(100'000));
    ASSERT_EQ(run(echo(text, same)), RunResult::kDone) << "seed " << seed << "\n" << world->waiting_tasks();
    EXPECT_TRUE(same) << "seed " << seed;
    // Both ends let go of the connection and everything comes to rest.
    EXPECT_EQ(world->run_until_idle(seconds(10)), RunResult::kDeadlock);
    EXPECT_EQ(world->network().num_connections(), 0u);
    EXPECT_EQ(server->reactor(0).num_tasks(), 0u);
  }
}

TEST_F(NetworkTest, ManyClientsSurviveLossAndShortCuts) {
  build(7);
  world->network().set_loss(*client, *server, 10);
  world->network().set_loss(*server, *client, 10);
  int good = 0;
  for (int i = 0; i < 20; ++i) {
    client->reactor(0);
    Reactor::Scope scope(client->reactor(0));
    client->reactor(0).spawn("client", [](NetworkTest& test, int& count) -> Task<> {
      bool same = false;
      const std::string text = pattern(20'000);
      co_await test.echo(text, same);
      if (same) ++count;
    }(*this, good));
  }
  world->after(milliseconds(1), [&] { world->network().cut_both(*client, *server); });
  world->after(seconds(3), [&] { world->network().heal_both(*client, *server); });
  EXPECT_EQ(world->run_until([&] { return good == 20; }, seconds(600)), RunResult::kDone) << world->waiting_tasks();
  EXPECT_GT(world->network().counters().lost_segments, 0u);
}

TEST_F(NetworkTest, WindowsAndPlainReceptionAreBothUsed) {
  bool placed_all = false;
  bool placed_none = false;
  bool mixed = false;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    build(seed);
    size_t placed = 0;
    ASSERT_EQ(run([](NetworkTest& test, size_t& placed) -> Task<> {
                TestStream stream(std::move(*co_await test.connect()));
                EXPECT_EQ(co_await stream.send(pattern(50'000)), 0);
                EXPECT_EQ(co_await stream.receive(50'000), pattern(50'000));
                placed = stream.placed();
                stream->close();
                co_await stream.wait_closed();
              }(*this, placed)),
              RunResult::kDone);
    placed_all |= placed == 50'000;
    placed_none |= placed == 0;
    mixed |= placed > 0 && placed < 50'000;
  }
  EXPECT_TRUE(placed_all);
  EXPECT_TRUE(placed_none);
  EXPECT_TRUE(mixed);
}

TEST_F(NetworkTest, NobodyListensThereIsRefused) {
  build(1);
  std::optional<Error> error;
  ASSERT_EQ(run([](NetworkTest& test, std::optional<Error>& error) -> Task<> {
              auto stream = co_await test.connect(*SocketAddress::ip("10.0.0.1", 8));
              if (!stream) error = stream.error();
            }(*this, error)),
            RunResult::kDone);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->errno_value(), ECONNREFUSED);
}

TEST_F(NetworkTest, ConnectToAMachineThatIsOffTimesOutOrMeetsItsDeadline) {
  build(1);
  server->crash(CrashKind::kPowerLoss);
  std::optional<Error> error;
  const auto attempt = [](NetworkTest& test, std::optional<Error>& error, bool bounded) -> Task<> {
    std::optional<Deadline> deadline;
    if (bounded) deadline.emplace(co_await current_context(), seconds(2));
    auto stream = co_await test.connect();
    if (!stream) error = stream.error();
  };
  ASSERT_EQ(run(attempt(*this, error, false)), RunResult::kDone);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->errno_value(), ETIMEDOUT);
  EXPECT_GT(world->now(), TimePoint{} + seconds(100));
  const TimePoint before = world->now();
  ASSERT_EQ(run(attempt(*this, error, true)), RunResult::kDone);
  EXPECT_EQ(error->code(), Code::kDeadlineExceeded);
  EXPECT_EQ(error->errno_value(), 0);
  EXPECT_LT(world->now(), before + seconds(3));
}

TEST_F(NetworkTest, ConnectSucceedsOnceAPartitionHeals) {
  build(3);
  const Node* group[] = {server};
  world->network().partition(group);
  world->after(seconds(5), [&] { world->network().heal_all(); });
  bool same = false;
  const std::string text = pattern(100);
  ASSERT_EQ(run(echo(text, same)), RunResult::kDone);
  EXPECT_TRUE(same);
  EXPECT_GT(world->now(), TimePoint{} + seconds(5));
}

// What one client sees when something happens to the path after its first exchange.
struct Fate {
  bool first_exchange = false;
  std::optional<Error> closed;
  std::string late;
  TimePoint at{};
};

Task<> exchange_then_wait(NetworkTest&, World& world, Task<Result<std::unique_ptr<Stream>>> connect, Fate& fate,
                          bool send_more) {
  TestStream stream(std::move(*co_await std::move(connect)));
  EXPECT_EQ(co_await stream.send("hello"), 0);
  fate.first_exchange = co_await stream.receive(5) == "hello";
  (void)co_await sleep_for(seconds(1));  // meanwhile the fault comes
  if (send_more) (void)co_await stream.send("again");
  fate.late = co_await stream.receive(5);
  if (fate.late.size() < 5) {
    co_await stream.wait_closed();
    fate.closed = stream.closed();
  }
  fate.at = world.now();
  stream->close();
  co_await stream.wait_closed();
}

TEST_F(NetworkTest, AKilledPeerClosesItsConnections) {
  build(1);
  Fate fate;
  world->after(milliseconds(500), [&] { server->crash(CrashKind::kKill); });
  ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, false)), RunResult::kDone);
  EXPECT_TRUE(fate.first_exchange);
  ASSERT_TRUE(fate.closed);
  EXPECT_EQ(fate.closed->code(), Code::kUnavailable);
}

TEST_F(NetworkTest, APeerWithoutPowerLeavesAHalfOpenConnection) {
  build(1);
  Fate fate;
  world->after(milliseconds(500), [&] { server->crash(CrashKind::kPowerLoss); });
  // Who only listens never learns: nothing can happen any more.
  ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, false)), RunResult::kDeadlock);
  EXPECT_FALSE(fate.closed);
  EXPECT_EQ(world->waiting_tasks(), "client/0 client\n");
}

TEST_F(NetworkTest, AHalfOpenConnectionTimesOutForWhoSends) {
  build(1);
  Fate fate;
  world->after(milliseconds(500), [&] { server->crash(CrashKind::kPowerLoss); });
  ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, true)), RunResult::kDone);
  ASSERT_TRUE(fate.closed);
  EXPECT_EQ(fate.closed->errno_value(), ETIMEDOUT);
  EXPECT_GT(fate.at, TimePoint{} + seconds(30));
}

TEST_F(NetworkTest, ARebootedPeerResetsAHalfOpenConnection) {
  build(1);
  Fate fate;
  world->after(milliseconds(500), [&] {
    server->crash(CrashKind::kPowerLoss);
    server->restart();
  });
  ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, true)), RunResult::kDone);
  ASSERT_TRUE(fate.closed);
  EXPECT_EQ(fate.closed->errno_value(), ECONNRESET);
  EXPECT_LT(fate.at, TimePoint{} + seconds(2));
}

TEST_F(NetworkTest, AOneWayCutStopsTheAnswerOnly) {
  for (const bool heals : {false, true}) {
    build(5, true);
    Fate fate;
    world->after(milliseconds(500), [&] { world->network().cut(*server, *client); });
    if (heals) world->after(seconds(10), [&] { world->network().heal(*server, *client); });
    ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, true)), RunResult::kDone);
    if (heals) {
      EXPECT_EQ(fate.late, "again");
    } else {
      ASSERT_TRUE(fate.closed);
      EXPECT_EQ(fate.closed->errno_value(), ETIMEDOUT);
    }
    // The request itself went through.
    EXPECT_NE(world->trace().text().find("10.0.0.1:7 offset 5 bytes"), std::string::npos) << world->trace().text();
  }
}

TEST_F(NetworkTest, ResetsReachBothEnds) {
  build(1);
  Fate fate;
  world->after(milliseconds(500), [&] { world->network().reset_connections(*server, *client); });
  ASSERT_EQ(run(exchange_then_wait(*this, *world, connect(), fate, false)), RunResult::kDone);
  ASSERT_TRUE(fate.closed);
  EXPECT_EQ(fate.closed->errno_value(), ECONNRESET);
  EXPECT_EQ(server->reactor(0).num_tasks(), 0u);
}

TEST_F(NetworkTest, APausedReceiverHoldsTheSenderBack) {
  build(2);
  std::unique_ptr<Stream> accepted;
  auto listener = client->reactor(0).backend().listen(
      *SocketAddress::ip("10.0.0.2", 0), [&](std::unique_ptr<AcceptedStream> stream) {
        accepted = client->reactor(0).backend().adopt(std::move(stream));
      });
  ASSERT_TRUE(listener);
  const SocketAddress to = (*listener)->local_address();
  EXPECT_NE(to.port, 0);
  bool sent = false;
  {
    Reactor::Scope scope(server->reactor(0));
    server->reactor(0).spawn("sender", [](Node& node, SocketAddress to, bool& sent) -> Task<> {
      TestStream stream(std::move(*co_await node.reactor(0).backend().connect(to)));
      sent = co_await stream.send(pattern(2'000'000)) == 0;
      co_await stream.wait_closed();
    }(*server, to, sent));
  }
  EXPECT_EQ(world->run_until_idle(seconds(100)), RunResult::kDeadlock);
  EXPECT_FALSE(sent);
  ASSERT_NE(accepted, nullptr);
  ASSERT_EQ(run([](std::unique_ptr<Stream> stream) -> Task<> {
              TestStream receiver(std::move(stream));
              EXPECT_EQ(co_await receiver.receive(2'000'000), pattern(2'000'000));
              receiver->close();
              co_await receiver.wait_closed();
            }(std::move(accepted))),
            RunResult::kDone);
  EXPECT_TRUE(sent);
}

TEST_F(NetworkTest, CloseAfterSendDeliversEverythingFirst) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    build(seed);
    const SocketAddress address = SocketAddress::unix_path("/run/test.sock");
    std::string got;
    auto listener = client->reactor(0).backend().listen(address, [&](std::unique_ptr<AcceptedStream> accepted) {
      Reactor& reactor = client->reactor(0);
      reactor.spawn("reader", [](std::unique_ptr<Stream> stream, std::string& got) -> Task<> {
        TestStream reader(std::move(stream));
        got = co_await reader.receive(SIZE_MAX);
      }(reactor.backend().adopt(std::move(accepted)), got));
    });
    ASSERT_TRUE(listener);
    ASSERT_EQ(run([](NetworkTest& test, SocketAddress to) -> Task<> {
                TestStream stream(std::move(*co_await test.connect(to)));
                std::string text = pattern(600'000);
                struct Op : SendOp {
                  int result = 1;
                } op;
                iovec piece{text.data(), text.size()};
                op.pieces = {&piece, 1};
                op.complete = [](SendOp& base, int result) { static_cast<Op&>(base).result = result; };
                stream->send(op);
                stream->close_after_send(seconds(60));
                co_await stream.wait_closed();
                EXPECT_EQ(op.result, 0);
              }(*this, address)),
              RunResult::kDone);
    EXPECT_EQ(world->run_until_idle(seconds(100)), RunResult::kDeadlock);
    EXPECT_EQ(got, pattern(600'000)) << "seed " << seed;
  }
}

TEST_F(NetworkTest, AnAddressIsListenedOnOnceAndMustBeOnes) {
  build(1);
  const auto again = server->reactor(0).backend().listen(kServer, [](std::unique_ptr<AcceptedStream>) {});
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().errno_value(), EADDRINUSE);
  const auto foreign = client->reactor(0).backend().listen(kServer, [](std::unique_ptr<AcceptedStream>) {});
  ASSERT_FALSE(foreign);
  EXPECT_EQ(foreign.error().errno_value(), EADDRNOTAVAIL);
}

}  // namespace
}  // namespace cairn::runtime::sim
