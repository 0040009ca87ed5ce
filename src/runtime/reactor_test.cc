// The loop of a reactor: messages, rounds, sleeping and waking.
#include "runtime/reactor.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "runtime/external_call.h"
#include "runtime/kernel_reactor_test.h"
#include "runtime/task_waits.h"

namespace cairn::runtime {
namespace {

using testing::ElementsAre;

TEST(MessageQueue, RunsMessagesInOrder) {
  MessageQueue queue;
  std::vector<int> order;
  Message first([&] { order.push_back(1); });
  Message second([&] { order.push_back(2); });
  queue.push(first);
  queue.push(second);
  EXPECT_FALSE(queue.empty());
  EXPECT_EQ(queue.run_all(), 2u);
  EXPECT_THAT(order, ElementsAre(1, 2));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(queue.run_all(), 0u);
}

TEST(MessageQueue, AMessageMayBePostedAgainAndDestroyedByItsFunction) {
  MessageQueue queue;
  int ran = 0;
  std::optional<Message> message;
  message.emplace([&] {
    if (++ran < 3) {
      queue.push(*message);
    } else {
      message.reset();
    }
  });
  queue.push(*message);
  EXPECT_EQ(queue.run_all(), 1u);  // what was posted meanwhile waits for the next call
  EXPECT_EQ(queue.run_all(), 1u);
  EXPECT_EQ(queue.run_all(), 1u);
  EXPECT_FALSE(message.has_value());
}

class ReactorTest : public KernelReactorTest {};
INSTANTIATE_TEST_SUITE_P(Kernel, ReactorTest, testing::ValuesIn(kernel_backend_variants()),
                         [](const auto& info) { return info.param.name; });

TEST_P(ReactorTest, DescribesItsBackend) {
  EXPECT_THAT(backend().description(), testing::StartsWith(GetParam().name == "epoll" ? "epoll" : "io_uring ("));
}

TEST_P(ReactorTest, MessagesFromOtherThreadsWakeItInTheirOrder) {
  constexpr int kThreads = 4;
  constexpr int kMessages = 3000;
  struct Sender {
    std::vector<std::unique_ptr<Message>> messages;
    std::atomic<int> ran{0};
  };
  std::vector<std::unique_ptr<Sender>> senders;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) senders.push_back(std::make_unique<Sender>());
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, &sender = *senders[static_cast<size_t>(t)]] {
      for (int i = 0; i < kMessages; ++i) {
        auto& message = *sender.messages.emplace_back(std::make_unique<Message>([&sender, i] {
          EXPECT_EQ(sender.ran, i);
          ++sender.ran;
        }));
        reactor().post(message);
        // Let it fall asleep now and then.
        if (i % 10 == 0) {
          while (sender.ran <= i) std::this_thread::yield();
        }
      }
    });
  }
  run_until(
      [&senders] { return std::ranges::all_of(senders, [](const auto& sender) { return sender->ran == kMessages; }); });
  for (std::thread& thread : threads) thread.join();
}

TEST_P(ReactorTest, StopEndsASleepingReactor) {
  std::thread stopper([this] {
    while (!reactor().sleeping()) std::this_thread::yield();
    reactor().stop();
  });
  reactor().run();
  stopper.join();
  // The fixture needs no further rounds: no task is left.
}

TEST_P(ReactorTest, TimersWakeIt) {
  bool expired = false;
  Timer timer([&expired] { expired = true; });
  const TimePoint due = reactor().now() + std::chrono::milliseconds(3);
  reactor().arm(timer, due);
  run_until([&expired] { return expired; });
  EXPECT_GE(reactor().now(), due);
}

TEST_P(ReactorTest, TasksSeeTheTimeOfTheirRound) {
  await([]() -> Task<> {
    Reactor& here = Reactor::current();
    const TimePoint before = here.now();
    EXPECT_TRUE((co_await sleep_for(std::chrono::milliseconds(2))).has_value());
    EXPECT_GE(here.round_time(), before + std::chrono::milliseconds(2));
    EXPECT_LE(here.round_time(), here.now());
  }());
}

// With idle connections, a listener and a timer far away: a reactor that sleeps makes no rounds.
TEST_P(ReactorTest, MakesNoRoundsWhileThereIsNothingToDo) {
  struct Quiet final : StreamHandler {
    void on_receive(std::span<const std::byte>) override {}
    void on_closed(const Error&) override { closed = true; }
    bool closed = false;
  };
  std::vector<std::unique_ptr<AcceptedStream>> accepted;
  auto listener = backend().listen(*SocketAddress::ip("127.0.0.1", 0), [&](std::unique_ptr<AcceptedStream> stream) {
    accepted.push_back(std::move(stream));
  });
  Quiet handler[2];
  auto client = std::move(*await(backend().connect((*listener)->local_address())));
  run_until([&accepted] { return accepted.size() == 1; });
  auto server = backend().adopt(std::move(accepted[0]));
  client->start(handler[0]);
  server->start(handler[1]);
  Timer far([] {});
  reactor().arm(far, reactor().now() + std::chrono::hours(1));

  uint64_t rounds_before = 0;
  uint64_t rounds_after = 0;
  std::atomic<bool> looked = false;
  Message wake([] {});
  std::thread observer([&] {
    // Asleep for good: the same round over many looks.
    for (int same = 0; same < 50;) {
      const uint64_t rounds = reactor().rounds();
      same = reactor().sleeping() && rounds == rounds_before ? same + 1 : 0;
      rounds_before = rounds;
      std::this_thread::yield();
    }
    // Time in which a reactor that polls would make thousands of rounds: sockets are made and closed.
    for (int i = 0; i < 300; ++i) {
      const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
      ::close(fd);
      std::this_thread::yield();
    }
    rounds_after = reactor().rounds();
    looked = true;
    reactor().post(wake);
  });
  run_until([&looked] { return looked.load(); });
  observer.join();
  // A late event of the connection may still wake it once or twice; a reactor that polls makes thousands.
  EXPECT_LE(rounds_after, rounds_before + 10);
  reactor().run_round();
  client->close();
  server->close();
  run_until([&handler] { return handler[0].closed && handler[1].closed; });
}

TEST_P(ReactorTest, ASpinningReactorDoesNotSleep) {
  Reactor spinning({.spin_budget = kSpinForever, .buffer_pool_bytes = 1}, GetParam().make());
  std::atomic<bool> slept = false;
  std::atomic<bool> done = false;
  std::thread observer([&] {
    while (spinning.rounds() < 2000) slept = slept || spinning.sleeping();
    done = true;
  });
  spinning.run_until([&done] { return done.load(); });
  observer.join();
  EXPECT_FALSE(slept);
}

}  // namespace
}  // namespace cairn::runtime
