// The contract of stream.h on every kernel back-end.
#include "runtime/stream.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>

#include "runtime/kernel_reactor_test.h"
#include "runtime/kernel_socket.h"
#include "runtime/task_waits.h"

namespace cairn::runtime {

namespace {

std::byte pattern(uint64_t position) {
  return static_cast<std::byte>((position * 2654435761U) >> 13);
}

std::vector<std::byte> pattern_bytes(uint64_t start, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = pattern(start + i);
  return bytes;
}

// One end of a connection: collects input, keeps its output alive.
class Peer : public StreamHandler {
 public:
  explicit Peer(std::unique_ptr<Stream> stream) : stream_(std::move(stream)) { stream_->start(*this); }
  virtual ~Peer() = default;

  void on_receive(std::span<const std::byte> data) override {
    EXPECT_FALSE(closed());
    EXPECT_FALSE(data.empty());
    ++num_receives;
    input.insert(input.end(), data.begin(), data.end());
    if (when_received) when_received();
  }
  void on_closed(const Error& reason) override {
    EXPECT_FALSE(closed());
    close_reason = reason;
    if (when_closed) when_closed();
  }

  void send(std::vector<std::byte> bytes) { send_pieces({std::move(bytes)}); }
  void send_pieces(std::vector<std::vector<std::byte>> pieces) {
    auto& out = *outputs_.emplace_back(std::make_unique<Output>());
    out.peer = this;
    out.bytes = std::move(pieces);
    for (auto& piece : out.bytes) out.iovecs.push_back({piece.data(), piece.size()});
    out.number = num_sends_++;
    out.pieces = out.iovecs;
    out.complete = [](SendOp& op, int result) {
      auto& done = static_cast<Output&>(op);
      EXPECT_FALSE(done.peer->closed());
      EXPECT_EQ(done.number, done.peer->send_results.size());  // in order
      done.peer->send_results.push_back(result);
      if (done.peer->when_sent) done.peer->when_sent();
    };
    stream_->send(out);
  }
  size_t num_sends() const { return num_sends_; }
  Stream& stream() { return *stream_; }
  void destroy_stream() { stream_.reset(); }
  bool closed() const { return close_reason.has_value(); }

  std::vector<std::byte> input;
  size_t num_receives = 0;
  std::vector<int> send_results;
  std::optional<Error> close_reason;
  std::function<void()> when_received;
  std::function<void()> when_sent;
  std::function<void()> when_closed;

 private:
  struct Output : SendOp {
    Peer* peer = nullptr;
    size_t number = 0;
    std::vector<std::vector<std::byte>> bytes;
    std::vector<iovec> iovecs;
  };
  std::unique_ptr<Stream> stream_;
  std::deque<std::unique_ptr<Output>> outputs_;
  size_t num_sends_ = 0;
};

class StreamTest : public KernelReactorTest {
 protected:
  // Makes a connected pair through a listener at `address`.
  struct Pair {
    std::unique_ptr<Stream> client;
    std::unique_ptr<Stream> server;
  };
  Pair connect_streams(const SocketAddress& address = *SocketAddress::ip("127.0.0.1", 0)) {
    std::unique_ptr<AcceptedStream> accepted;
    auto listener = backend().listen(
        address, [&accepted](std::unique_ptr<AcceptedStream> stream) { accepted = std::move(stream); });
    EXPECT_TRUE(listener.has_value()) << listener.error().to_string();
    auto client = await(backend().connect((*listener)->local_address()));
    EXPECT_TRUE(client.has_value()) << client.error().to_string();
    run_until([&accepted] { return accepted != nullptr; });
    return {std::move(*client), backend().adopt(std::move(accepted))};
  }
  void close_all(std::initializer_list<Peer*> peers) {
    for (Peer* peer : peers) {
      if (!peer->closed()) peer->stream().close();
    }
    run_until([&peers] { return std::ranges::all_of(peers, [](Peer* peer) { return peer->closed(); }); });
  }
};

INSTANTIATE_TEST_SUITE_P(Kernel, StreamTest, testing::ValuesIn(kernel_backend_variants()),
                         [](const auto& info) { return info.param.name; });

TEST_P(StreamTest, CarriesBytesBothWays) {
  auto pair = connect_streams();
  EXPECT_EQ(pair.client->local_address(), pair.server->peer_address());
  EXPECT_EQ(pair.client->peer_address(), pair.server->local_address());
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  client.send(pattern_bytes(0, 10000));
  server.send(pattern_bytes(7, 300));
  run_until([&] { return server.input.size() == 10000 && client.input.size() == 300; });
  EXPECT_EQ(server.input, pattern_bytes(0, 10000));
  EXPECT_EQ(client.input, pattern_bytes(7, 300));
  run_until([&] { return client.send_results.size() == 1 && server.send_results.size() == 1; });
  EXPECT_EQ(client.send_results[0], 0);
  close_all({&client, &server});
}

TEST_P(StreamTest, CarriesEveryChunking) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  uint64_t sent = 0;
  for (const size_t size : {size_t{1}, size_t{2}, size_t{3}, size_t{72}, size_t{4096}, size_t{4097}, size_t{65535},
                            size_t{65536}, size_t{65537}, size_t{300000}, size_t{1} << 20}) {
    client.send(pattern_bytes(sent, size));
    sent += size;
    run_until([&] { return server.input.size() == sent; });
  }
  // And all of it queued at once, in single bytes and small pieces.
  for (int i = 0; i < 3000; ++i) {
    const size_t size = 1 + static_cast<size_t>(i) % 7;
    client.send_pieces({pattern_bytes(sent, size), {}, pattern_bytes(sent + size, 1)});
    sent += size + 1;
  }
  run_until([&] { return server.input.size() == sent && client.send_results.size() == client.num_sends(); });
  EXPECT_EQ(server.input, pattern_bytes(0, sent));
  EXPECT_TRUE(std::ranges::all_of(client.send_results, [](int result) { return result == 0; }));
  close_all({&client, &server});
}

TEST_P(StreamTest, SingleByteWritesArriveInOrder) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  for (uint64_t i = 0; i < 500; ++i) {
    client.send(pattern_bytes(i, 1));
    if (i % 3 == 0) reactor().run_round();
  }
  run_until([&] { return server.input.size() == 500; });
  EXPECT_EQ(server.input, pattern_bytes(0, 500));
  close_all({&client, &server});
}

TEST_P(StreamTest, CompletesSendsWithoutBytesInTheirTurn) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  client.send_pieces({});
  client.send_pieces({{}, {}});
  client.send(pattern_bytes(0, 10));
  client.send_pieces({});
  run_until([&] { return client.send_results.size() == 4; });
  run_until([&] { return server.input.size() == 10; });
  close_all({&client, &server});
}

// Echoes what it gets.
TEST_P(StreamTest, EchoesConcurrently) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  size_t echoed = 0;
  server.when_received = [&] {
    server.send({server.input.begin() + static_cast<std::ptrdiff_t>(echoed), server.input.end()});
    echoed = server.input.size();
  };
  uint64_t sent = 0;
  for (int i = 0; i < 100; ++i) {
    client.send(pattern_bytes(sent, 20000));
    sent += 20000;
  }
  run_until([&] { return client.input.size() == sent; });
  EXPECT_EQ(client.input, pattern_bytes(0, sent));
  close_all({&client, &server});
}

// What a peer in conversation has sent comes in two halves, the answer to the first on its way before the second is
// looked at. Whether a message finds the stream in conversation depends on the time: some message will.
TEST_P(StreamTest, AnswersTheFirstHalfBeforeTheSecond) {
  const std::string& variant = GetParam().name;
  if (variant == "epoll" || variant == "uring_plain" || variant == "uring_without_hot_streams") {
    GTEST_SKIP() << "no stream is asked directly";
  }
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  constexpr size_t kMessage = 1024;
  size_t answers_before_second_half = 0;
  bool seen = false;
  server.when_received = [&] {
    const bool first_half = server.input.size() % kMessage == kMessage / 2;
    if (first_half) {
      answers_before_second_half = server.num_sends() + 1;
    } else if (server.input.size() % kMessage == 0 && server.send_results.size() == answers_before_second_half) {
      seen = true;
    }
    server.send(pattern_bytes(0, 1));
  };
  client.when_received = [&] {
    if (!seen && server.input.size() % kMessage == 0) client.send(pattern_bytes(0, kMessage));
  };
  client.send(pattern_bytes(0, kMessage));
  run_until([&] { return seen; });
  close_all({&client, &server});
}

// Takes everything through a window of `size`, again and again, after a head of `head` bytes that comes through
// on_receive. As protocols do: a small header tells the size of what follows.
class WindowPeer : public Peer {
 public:
  WindowPeer(std::unique_ptr<Stream> stream, size_t head, size_t size)
      : Peer(std::move(stream)), head_(head), window_(size) {}

  std::span<std::byte> receive_window() override {
    return head_left() > 0 ? std::span<std::byte>{} : std::span(window_).subspan(filled_);
  }
  void on_window_filled(size_t size) override {
    EXPECT_LE(size, window_.size() - filled_);
    EXPECT_GT(size, 0u);
    ++num_window_fills;
    advance(size);
  }
  void on_receive(std::span<const std::byte> data) override {
    while (!data.empty()) {
      if (head_left() > 0) {
        const size_t size = std::min(head_left(), data.size());
        Peer::on_receive(data.first(size));
        head_seen_ += size;
        data = data.subspan(size);
      } else {
        const size_t size = std::min(window_.size() - filled_, data.size());
        std::memcpy(window_.data() + filled_, data.data(), size);
        advance(size);
        data = data.subspan(size);
      }
    }
  }
  size_t num_window_fills = 0;

 private:
  size_t head_left() const { return head_ - head_seen_; }
  void advance(size_t size) {
    filled_ += size;
    if (filled_ < window_.size()) return;
    input.insert(input.end(), window_.begin(), window_.end());
    std::ranges::fill(window_, std::byte{0xee});
    filled_ = 0;
    head_seen_ = 0;
  }
  size_t head_;
  size_t head_seen_ = 0;
  std::vector<std::byte> window_;
  size_t filled_ = 0;
};

TEST_P(StreamTest, FillsWindows) {
  for (const size_t head : {size_t{0}, size_t{24}, size_t{5000}}) {
    for (const size_t window : {size_t{1}, size_t{4096}, size_t{8192}, size_t{100000}, size_t{131072}}) {
      SCOPED_TRACE(testing::Message() << head << " + " << window);
      auto pair = connect_streams();
      Peer client(std::move(pair.client));
      WindowPeer server(std::move(pair.server), head, window);
      const size_t rounds = std::min<size_t>(400000 / (head + window) + 2, 500);
      const size_t total = (head + window) * rounds;
      for (size_t sent = 0; sent < total;) {
        const size_t size = std::min<size_t>(total - sent, 1 + (sent * 7919) % 70000);
        client.send(pattern_bytes(sent, size));
        sent += size;
        if (size % 3 == 0) reactor().run_round();
      }
      run_until([&] { return server.input.size() == total; });
      EXPECT_EQ(server.input, pattern_bytes(0, total));
      close_all({&client, &server});
    }
  }
}

TEST_P(StreamTest, AWindowThatIsHalfFullIsLeftAloneAfterTheEnd) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  auto server = std::make_unique<WindowPeer>(std::move(pair.server), 0, 100000);
  client.send(pattern_bytes(0, 50000));
  run_until([&] { return client.send_results.size() == 1; });
  server->stream().close();
  run_until([&] { return server->closed(); });
  server.reset();  // with the window: ASan tells if somebody still writes
  run_until([&] { return client.closed(); });
}

TEST_P(StreamTest, TellsThatThePeerHasClosed) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  client.send(pattern_bytes(0, 5));
  client.stream().close_after_send(std::chrono::hours(1));
  run_until([&] { return server.closed() && client.closed(); });
  EXPECT_EQ(server.close_reason->code(), Code::kUnavailable);
  EXPECT_EQ(client.close_reason->code(), Code::kCancelled);
  EXPECT_EQ(server.input, pattern_bytes(0, 5));
}

// A connection whose other end is a plain socket of the test.
struct RawPair {
  FileDescriptor raw;
  std::unique_ptr<Stream> stream;
};
RawPair connect_raw(Backend& backend, Reactor& reactor) {
  std::unique_ptr<AcceptedStream> accepted;
  auto listener = backend.listen(*SocketAddress::ip("127.0.0.1", 0),
                                 [&accepted](std::unique_ptr<AcceptedStream> stream) { accepted = std::move(stream); });
  const KernelAddress address = *to_kernel_address((*listener)->local_address());
  FileDescriptor raw = *create_stream_socket(AddressFamily::kIpv4, 0);
  EXPECT_EQ(::connect(raw.get(), address.get(), address.size), 0);
  reactor.run_until([&accepted] { return accepted != nullptr; });
  return {std::move(raw), backend.adopt(std::move(accepted))};
}

TEST_P(StreamTest, HalfCloseByThePeerEndsTheStreamAfterItsBytes) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  ASSERT_EQ(::write(pair.raw.get(), "last", 4), 4);
  ::shutdown(pair.raw.get(), SHUT_WR);
  run_until([&] { return server.closed(); });
  EXPECT_EQ(server.input.size(), 4u);
  EXPECT_EQ(server.close_reason->code(), Code::kUnavailable);
}

TEST_P(StreamTest, AHalfClosedPeerStillGetsWhatWasToBeSentBeforeTheEnd) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  constexpr size_t kSize = 20 << 20;  // more than the sockets hold
  server.send(pattern_bytes(0, kSize));
  server.stream().close_after_send(std::chrono::hours(1));
  ::shutdown(pair.raw.get(), SHUT_WR);
  std::vector<std::byte> received(kSize + 1);
  size_t size = 0;
  // To the end of the stream: what the kernel took may still be on its way when the server's side is closed.
  for (ssize_t result = 1; result != 0; reactor().run_round()) {
    result = ::recv(pair.raw.get(), received.data() + size, kSize - size + 1, MSG_DONTWAIT);
    if (result > 0) size += static_cast<size_t>(result);
    ASSERT_TRUE(result >= 0 || errno == EAGAIN);
  }
  run_until([&] { return server.closed(); });
  EXPECT_EQ(server.send_results, std::vector<int>{0});
  EXPECT_EQ(size, kSize);
  received.resize(kSize);
  EXPECT_TRUE(received == pattern_bytes(0, kSize));
}

TEST_P(StreamTest, AResetByThePeerEndsTheStream) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(pair.raw.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  pair.raw.reset();
  run_until([&] { return server.closed(); });
  EXPECT_EQ(server.close_reason->code(), Code::kUnavailable);
  EXPECT_EQ(server.close_reason->errno_value(), ECONNRESET);
}

TEST_P(StreamTest, AResetFailsTheOutput) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  server.stream().pause();
  server.send(pattern_bytes(0, 20 << 20));
  server.send(pattern_bytes(0, 1));
  for (int i = 0; i < 5; ++i) reactor().run_round();
  const linger reset{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(pair.raw.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  pair.raw.reset();
  run_until([&] { return server.closed(); });
  ASSERT_EQ(server.send_results.size(), 2u);
  EXPECT_LT(server.send_results[0], 0);
  EXPECT_LT(server.send_results[1], 0);
}

TEST_P(StreamTest, CloseDropsWhatWaits) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  server.stream().pause();
  for (int i = 0; i < 40; ++i) client.send(pattern_bytes(0, 1 << 20));  // does not fit into the sockets
  for (int i = 0; i < 10; ++i) reactor().run_round();
  EXPECT_LT(client.send_results.size(), 40u);
  const size_t before = client.send_results.size();
  client.stream().close();
  client.stream().close();
  EXPECT_FALSE(client.closed());  // never inside the call
  EXPECT_EQ(client.send_results.size(), before);
  run_until([&] { return client.closed(); });
  ASSERT_EQ(client.send_results.size(), 40u);
  EXPECT_EQ(client.send_results.back(), -ECANCELED);
  EXPECT_EQ(client.close_reason->code(), Code::kCancelled);
  server.stream().resume();
  run_until([&] { return server.closed(); });
}

TEST_P(StreamTest, ResetTakesBackWhatThePeerHasNotReceived) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  constexpr size_t kSize = 20 << 20;  // more than the sockets hold
  server.send(pattern_bytes(0, kSize));
  for (int i = 0; i < 10; ++i) reactor().run_round();
  server.stream().reset();
  EXPECT_FALSE(server.closed());  // never inside the call
  run_until([&] { return server.closed(); });
  EXPECT_EQ(server.close_reason->code(), Code::kCancelled);
  std::vector<std::byte> some(1 << 20);
  ssize_t result = 0;
  while ((result = ::recv(pair.raw.get(), some.data(), some.size(), 0)) > 0) {
  }
  EXPECT_EQ(result, -1);  // an orderly end would give 0
  EXPECT_EQ(errno, ECONNRESET);
}

// A send that the kernel is just retrying when the stream ends must not go on for as long as the peer reads.
TEST_P(StreamTest, AnEndedStreamSendsNoMore) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  constexpr size_t kSize = 64 << 20;
  server.send(pattern_bytes(0, kSize));
  ::shutdown(pair.raw.get(), SHUT_WR);
  std::vector<std::byte> some(8 << 20);
  size_t received = 0;
  const auto read = [&] {
    const ssize_t result = ::recv(pair.raw.get(), some.data(), some.size(), MSG_DONTWAIT);
    if (result > 0) received += static_cast<size_t>(result);
    return result;
  };
  while (!server.closed()) {
    reactor().run_round();
    read();
  }
  EXPECT_EQ(server.send_results, std::vector<int>{-EPIPE});
  while (read() != 0 && errno != ECONNRESET) {
  }
  EXPECT_LT(received, kSize);
}

TEST_P(StreamTest, ClosesFromInsideEveryCallback) {
  for (int where = 0; where < 3; ++where) {
    SCOPED_TRACE(where);
    auto pair = connect_streams();
    Peer client(std::move(pair.client));
    Peer server(std::move(pair.server));
    if (where == 0) server.when_received = [&] { server.stream().close(); };
    if (where == 1) client.when_sent = [&] { client.stream().close(); };
    server.when_closed = [&] { server.destroy_stream(); };
    client.when_closed = [&] { client.destroy_stream(); };
    for (int i = 0; i < 3; ++i) client.send(pattern_bytes(0, 100));
    if (where == 2) client.stream().close_after_send(std::chrono::hours(1));
    run_until([&] { return server.closed() && client.closed(); });
    EXPECT_EQ(client.send_results.size(), 3u);
  }
}

TEST_P(StreamTest, NothingIsReceivedAfterClose) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  client.send(pattern_bytes(0, 100000));
  server.when_received = [&] {
    server.stream().close();
    server.when_received = [] { FAIL() << "received after close()"; };
  };
  run_until([&] { return server.closed() && client.closed(); });
}

TEST_P(StreamTest, LingersUntilThePeerHasTakenTheLastBytes) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  // The client goes on talking, unread, while the server says its last word: closing at once would reset the
  // connection.
  server.stream().pause();
  client.send(pattern_bytes(0, 100000));
  run_until([&] { return client.send_results.size() == 1; });
  server.send(pattern_bytes(9, 1 << 20));
  server.stream().close_after_send(std::chrono::hours(1));
  run_until([&] { return client.closed() && server.closed(); });
  EXPECT_EQ(client.input, pattern_bytes(9, 1 << 20));
  EXPECT_EQ(client.close_reason->code(), Code::kUnavailable);
  EXPECT_EQ(client.close_reason->errno_value(), 0);  // an orderly end
  EXPECT_TRUE(server.input.empty());
}

TEST_P(StreamTest, LingersNoLongerThanAllowed) {
  RawPair pair = connect_raw(backend(), reactor());
  Peer server(std::move(pair.stream));
  server.send(pattern_bytes(0, 20 << 20));  // nobody reads
  server.stream().close_after_send(std::chrono::milliseconds(1));
  run_until([&] { return server.closed(); });
  EXPECT_EQ(server.send_results, std::vector<int>{-ECANCELED});
}

TEST_P(StreamTest, PauseHoldsThePeerBack) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  server.stream().pause();
  for (int i = 0; i < 24; ++i) client.send(pattern_bytes(static_cast<uint64_t>(i) << 20, 1 << 20));
  size_t rounds_without_progress = 0;
  size_t last = 0;
  while (rounds_without_progress < 100) {
    reactor().run_round();
    rounds_without_progress = client.send_results.size() == last ? rounds_without_progress + 1 : 0;
    last = client.send_results.size();
  }
  EXPECT_LT(client.send_results.size(), 24u);
  EXPECT_LE(server.num_receives, 1u);
  server.when_received = [&] {
    // One more may come after pause().
    if (server.num_receives % 5 == 0) {
      server.stream().pause();
      server.stream().resume();
    }
  };
  server.stream().resume();
  run_until([&] { return server.input.size() == size_t{24} << 20; });
  EXPECT_TRUE(server.input == pattern_bytes(0, size_t{24} << 20));
  close_all({&client, &server});
}

TEST_P(StreamTest, AtMostOneReceiveFollowsAPause) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  server.when_received = [&] {
    if (server.num_receives == 1) server.stream().pause();
  };
  for (int i = 0; i < 20; ++i) {
    client.send(pattern_bytes(0, 1000));
    run_until([&] { return client.send_results.size() == client.num_sends(); });
    for (int round = 0; round < 5; ++round) reactor().run_round();
  }
  EXPECT_LE(server.num_receives, 2u);
  server.stream().resume();
  run_until([&] { return server.input.size() == 20000; });
  close_all({&client, &server});
}

TEST_P(StreamTest, CarriesManyConnections) {
  constexpr size_t kConnections = 1000;
  std::vector<std::unique_ptr<Peer>> servers;
  auto listener = backend().listen(*SocketAddress::ip("127.0.0.1", 0), [&](std::unique_ptr<AcceptedStream> accepted) {
    auto& server = *servers.emplace_back(std::make_unique<Peer>(backend().adopt(std::move(accepted))));
    server.when_received = [&server] { server.send(server.input); };
  });
  ASSERT_TRUE(listener.has_value());
  std::vector<std::unique_ptr<Peer>> clients;
  for (size_t i = 0; i < kConnections; ++i) {
    reactor().spawn("connect",
                    [](Backend& world, SocketAddress address, std::vector<std::unique_ptr<Peer>>& out) -> Task<> {
                      auto stream = co_await world.connect(address);
                      EXPECT_TRUE(stream.has_value());
                      auto& client = *out.emplace_back(std::make_unique<Peer>(std::move(*stream)));
                      client.send(pattern_bytes(out.size(), 64));
                    }(backend(), (*listener)->local_address(), clients));
  }
  run_until([&] {
    return clients.size() == kConnections &&
           std::ranges::all_of(clients, [](const auto& client) { return client->input.size() >= 64; });
  });
  for (size_t i = 0; i < kConnections; ++i) EXPECT_EQ(clients[i]->input, pattern_bytes(i + 1, 64));
  for (const auto& client : clients) client->stream().close();
  run_until([&] {
    return servers.size() == kConnections &&
           std::ranges::all_of(servers, [](const auto& server) { return server->closed(); }) &&
           std::ranges::all_of(clients, [](const auto& client) { return client->closed(); });
  });
}

TEST_P(StreamTest, SpeaksIpv6) {
  auto pair = connect_streams(*SocketAddress::ip("::1", 0));
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  EXPECT_EQ(client.stream().peer_address().host, "::1");
  EXPECT_EQ(client.stream().peer_address().family, AddressFamily::kIpv6);
  client.send(pattern_bytes(0, 100));
  run_until([&] { return server.input.size() == 100; });
  close_all({&client, &server});
}

class UnixSocketTest : public StreamTest {
 protected:
  UnixSocketTest() {
    std::string name = testing::TempDir() + "cairn-stream-test-XXXXXX";
    CAIRN_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name + "/socket";
  }
  ~UnixSocketTest() override { std::filesystem::remove_all(std::filesystem::path(path_).parent_path()); }
  static void ignore(std::unique_ptr<AcceptedStream>) {}
  std::string path_;
};
INSTANTIATE_TEST_SUITE_P(Kernel, UnixSocketTest, testing::ValuesIn(kernel_backend_variants()),
                         [](const auto& info) { return info.param.name; });

TEST_P(UnixSocketTest, CarriesBytesAndRemovesItsPath) {
  auto pair = connect_streams(SocketAddress::unix_path(path_));
  EXPECT_FALSE(std::filesystem::exists(path_));
  Peer client(std::move(pair.client));
  Peer server(std::move(pair.server));
  EXPECT_EQ(server.stream().local_address().host, path_);
  client.send(pattern_bytes(0, 500000));
  run_until([&] { return server.input.size() == 500000; });
  EXPECT_EQ(server.input, pattern_bytes(0, 500000));
  close_all({&client, &server});
}

TEST_P(UnixSocketTest, TakesOverAPathThatNobodyListensOn) {
  {
    const KernelAddress address = *to_kernel_address(SocketAddress::unix_path(path_));
    const FileDescriptor left_behind = *create_stream_socket(AddressFamily::kUnix, 0);
    ASSERT_EQ(::bind(left_behind.get(), address.get(), address.size), 0);
  }
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(backend().listen(SocketAddress::unix_path(path_), ignore).has_value());
}

TEST_P(UnixSocketTest, LeavesThePathOfALivingListenerAlone) {
  auto first = backend().listen(SocketAddress::unix_path(path_), ignore);
  ASSERT_TRUE(first.has_value());
  const auto second = backend().listen(SocketAddress::unix_path(path_), ignore);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_P(UnixSocketTest, LeavesAFileAlone) {
  {
    const FileDescriptor file(::creat(path_.c_str(), 0600));
  }
  EXPECT_FALSE(backend().listen(SocketAddress::unix_path(path_), ignore).has_value());
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_P(UnixSocketTest, RefusesPathsThatDoNotFit) {
  EXPECT_EQ(backend().listen(SocketAddress::unix_path(std::string(200, 'x')), ignore).error().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(await(backend().connect(SocketAddress::unix_path(""))).error().code(), Code::kInvalidArgument);
}

TEST_P(StreamTest, ConnectingWhereNobodyListensIsRefused) {
  auto listener = backend().listen(*SocketAddress::ip("127.0.0.1", 0), [](std::unique_ptr<AcceptedStream>) {});
  const SocketAddress address = (*listener)->local_address();
  listener->reset();
  const auto stream = await(backend().connect(address));
  ASSERT_FALSE(stream.has_value());
  EXPECT_EQ(stream.error().code(), Code::kUnavailable);
  EXPECT_NE(stream.error().message().find(address.to_string()), std::string::npos);
}

// A listener whose backlog is full leaves connecting ones in suspense.
TEST_P(StreamTest, ConnectingEndsWithItsDeadline) {
  const FileDescriptor listening = *create_stream_socket(AddressFamily::kIpv4, 0);
  const KernelAddress any = *to_kernel_address(*SocketAddress::ip("127.0.0.1", 0));
  ASSERT_EQ(::bind(listening.get(), any.get(), any.size), 0);
  ASSERT_EQ(::listen(listening.get(), 0), 0);
  const SocketAddress address = local_address_of(listening.get());
  auto attempt = [](Backend& world, SocketAddress target) -> Task<Result<std::unique_ptr<Stream>>> {
    Deadline deadline(co_await current_context(), std::chrono::milliseconds(20));
    co_return co_await world.connect(target);
  };
  std::vector<std::unique_ptr<Stream>> connected;
  for (int i = 0; i < 4; ++i) {
    auto stream = await(attempt(backend(), address));
    if (stream) {
      connected.push_back(std::move(*stream));
      continue;
    }
    EXPECT_EQ(stream.error().code(), Code::kDeadlineExceeded) << stream.error().to_string();
    return;
  }
  FAIL() << "the backlog never filled";
}

TEST_P(StreamTest, AListenerTellsWhyItCannotListen) {
  auto listener = backend().listen(*SocketAddress::ip("127.0.0.1", 0), [](std::unique_ptr<AcceptedStream>) {});
  const auto second = backend().listen((*listener)->local_address(), [](std::unique_ptr<AcceptedStream>) {});
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), Code::kAlreadyExists);
  const auto foreign = backend().listen(*SocketAddress::ip("192.0.2.1", 1), [](std::unique_ptr<AcceptedStream>) {});
  ASSERT_FALSE(foreign.has_value());
  EXPECT_NE(foreign.error().message().find("192.0.2.1:1"), std::string::npos);
}

TEST_P(StreamTest, AListenerMayBeDestroyedFromItsHandler) {
  std::unique_ptr<Listener> listener;
  int accepted = 0;
  listener = std::move(*backend().listen(*SocketAddress::ip("127.0.0.1", 0), [&](std::unique_ptr<AcceptedStream>) {
    ++accepted;
    listener.reset();
  }));
  const SocketAddress address = listener->local_address();
  auto first = await(backend().connect(address));
  run_until([&] { return accepted == 1; });
  EXPECT_FALSE(await(backend().connect(address)).has_value());
}

TEST_P(StreamTest, APortIsFreeAsSoonAsItsListenerIsGone) {
  uint16_t port = 0;
  for (int i = 0; i < 20; ++i) {
    auto listener = backend().listen(*SocketAddress::ip("127.0.0.1", port), [](std::unique_ptr<AcceptedStream>) {});
    ASSERT_TRUE(listener.has_value()) << listener.error().to_string();
    port = (*listener)->local_address().port;
    if (i % 2 == 0) reactor().run_round();
  }
}

// Out of descriptors, a listener tries again later, without turning in circles meanwhile.
TEST_P(StreamTest, AcceptsAgainWhenThereAreDescriptors) {
  std::unique_ptr<AcceptedStream> accepted;
  auto listener =
      backend().listen(*SocketAddress::ip("127.0.0.1", 0),
                       [&accepted](std::unique_ptr<AcceptedStream> stream) { accepted = std::move(stream); });
  const KernelAddress address = *to_kernel_address((*listener)->local_address());
  const FileDescriptor raw = *create_stream_socket(AddressFamily::kIpv4, 0);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  // Before the first round: the kernel takes the limit of the time when the accept was submitted.
  const rlimit none{.rlim_cur = 0, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
  ASSERT_EQ(::connect(raw.get(), address.get(), address.size), 0);
  // The failure is there when the listener waits for its timer.
  run_until([this] { return reactor().next_timer() != kNever; });
  const uint64_t rounds = reactor().rounds();
  EXPECT_EQ(accepted, nullptr);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  run_until([&accepted] { return accepted != nullptr; });
  EXPECT_LT(reactor().rounds(), rounds + 50);
}

TEST_P(StreamTest, AnAcceptedStreamThatIsDroppedIsClosed) {
  auto pair = connect_streams();
  Peer client(std::move(pair.client));
  pair.server.reset();  // never started
  run_until([&] { return client.closed(); });
}

}  // namespace

}  // namespace cairn::runtime
