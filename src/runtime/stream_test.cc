// The contract of stream.h on every kernel back-end.
#include "runtime/stream.h"

#include <sys/socket.h>
#include <sys/stat.h>

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

}  // namespace

}  // namespace cairn::runtime
