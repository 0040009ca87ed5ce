// Measures the runtime's receive-handle-send path over loopback TCP: questions of one size, answers of another, some
// number of them in flight on one connection, server and client each on a reactor of its own core.
//
//   pingpong [--question 72] [--answer 4120] [--depth 1] [--seconds 2] [--spin-us forever|N] [--backend uring|epoll]
//   [--off feature,...] [--cores 0,1]
//            [--window]
//
// Prints round trips per second, the processor time of both sides and the heap allocations meanwhile. Compare variants
// in alternation: machines are noisy.
#include <getopt.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <future>
#include <memory>
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

std::atomic<uint64_t> allocations{0};

}  // namespace

// Counted, to see that the data path makes none.
void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  std::abort();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace {

using namespace cairn;
using namespace cairn::runtime;

struct Settings {
  size_t question = 72;
  size_t answer = 4120;
  unsigned depth = 1;
  double seconds = 2;
  bool window = false;  // what follows a header of 24 bytes goes through a window
  ReactorGroupOptions group;
};

// Messages of `out_bytes` out of a ring of pre-allocated operations.
class Messages {
 public:
  Messages(size_t bytes, unsigned count) : payload_(bytes, std::byte{1}), piece_{payload_.data(), bytes}, ops_(count) {
    for (Op& op : ops_) {
      op.owner = this;
      op.pieces = {&piece_, 1};
      op.complete = [](SendOp& done, int) {
        auto& self = static_cast<Op&>(done);
        self.owner->free_.push_back(&self);
      };
      free_.push_back(&op);
    }
  }
  void send(Stream& stream) {
    CAIRN_CHECK(!free_.empty());
    Op* op = free_.back();
    free_.pop_back();
    stream.send(*op);
  }

 private:
  struct Op : SendOp {
    Messages* owner = nullptr;
  };
  std::vector<std::byte> payload_;
  iovec piece_;
  std::vector<Op> ops_;
  std::vector<Op*> free_;
};

// Counts messages of `in_bytes` and answers (or asks again) for each.
class End final : public StreamHandler {
 public:
  End(std::unique_ptr<Stream> stream, size_t in_bytes, size_t out_bytes, unsigned depth, bool window)
      : stream_(std::move(stream)),
        in_bytes_(in_bytes),
        out_(out_bytes, 2 * depth + 1),
        window_(window ? in_bytes - kHeader : 0) {
    stream_->start(*this);
  }
  void ask() { out_.send(*stream_); }

  std::span<std::byte> receive_window() override {
    if (window_.empty() || partial_ < kHeader) return {};
    return std::span(window_).subspan(partial_ - kHeader);
  }
  void on_window_filled(size_t size) override { take(size); }
  void on_receive(std::span<const std::byte> data) override {
    if (window_.empty()) return take(data.size());
    while (!data.empty()) {
      size_t size = std::min(kHeader - std::min(partial_, kHeader), data.size());
      if (partial_ >= kHeader) {
        size = std::min(in_bytes_ - partial_, data.size());
        std::memcpy(window_.data() + partial_ - kHeader, data.data(), size);
      }
      data = data.subspan(size);
      take(size);
    }
  }
  void on_closed(const Error&) override { closed.set(); }

  Stream& stream() { return *stream_; }
  std::atomic<uint64_t> messages{0};
  std::atomic<bool> asking{true};
  Event closed;

 private:
  static constexpr size_t kHeader = 24;
  void take(size_t size) {
    partial_ += size;
    uint64_t whole = 0;
    for (; partial_ >= in_bytes_; partial_ -= in_bytes_) ++whole;
    messages.store(messages.load(std::memory_order_relaxed) + whole, std::memory_order_relaxed);
    if (!asking.load(std::memory_order_relaxed)) return;
    for (; whole > 0; --whole) out_.send(*stream_);
  }
  std::unique_ptr<Stream> stream_;
  size_t in_bytes_;
  size_t partial_ = 0;
  Messages out_;
  std::vector<std::byte> window_;
};

void switch_off(UringOptions& options, std::string_view features) {
  while (!features.empty()) {
    const std::string_view name = features.substr(0, features.find(','));
    features.remove_prefix(std::min(features.size(), name.size() + 1));
    if (name == "single_issuer")
      options.single_issuer = false;
    else if (name == "coop")
      options.cooperative_task_work = false;
    else if (name == "buffer_ring")
      options.buffer_ring = false;
    else if (name == "registered_buffers")
      options.registered_buffers = false;
    else if (name == "hot_streams")
      options.hot_streams = 0;
    else if (name == "ring_messages")
      options.ring_messages = false;
    else {
      std::fprintf(stderr, "unknown feature '%.*s'\n", static_cast<int>(name.size()), name.data());
      std::exit(2);
    }
  }
}

Settings parse(int argc, char** argv) {
  Settings settings;
  settings.group.spin_budget = kSpinForever;
  settings.group.cores = *parse_core_list("0,1");
  static const option options[] = {{"question", 1, nullptr, 'q'}, {"answer", 1, nullptr, 'a'},
                                   {"depth", 1, nullptr, 'd'},    {"seconds", 1, nullptr, 's'},
                                   {"spin-us", 1, nullptr, 'p'},  {"backend", 1, nullptr, 'b'},
                                   {"off", 1, nullptr, 'o'},      {"cores", 1, nullptr, 'c'},
                                   {"window", 0, nullptr, 'w'},   {}};
  for (int key; (key = getopt_long(argc, argv, "", options, nullptr)) != -1;) {
    switch (key) {
      case 'q':
        settings.question = std::strtoul(optarg, nullptr, 10);
        break;
      case 'a':
        settings.answer = std::strtoul(optarg, nullptr, 10);
        break;
      case 'd':
        settings.depth = static_cast<unsigned>(std::strtoul(optarg, nullptr, 10));
        break;
      case 's':
        settings.seconds = std::strtod(optarg, nullptr);
        break;
      case 'p':
        settings.group.spin_budget = std::string_view(optarg) == "forever"
                                         ? kSpinForever
                                         : std::chrono::microseconds(std::strtoul(optarg, nullptr, 10));
        break;
      case 'b':
        settings.group.backend = std::string_view(optarg) == "epoll" ? BackendChoice::kEpoll : BackendChoice::kUring;
        break;
      case 'o':
        switch_off(settings.group.uring, optarg);
        break;
      case 'c':
        settings.group.cores = parse_core_list(optarg).value();
        break;
      case 'w':
        settings.window = true;
        break;
      default:
        std::exit(2);
    }
  }
  return settings;
}

}  // namespace

int main(int argc, char** argv) {
  Settings settings = parse(argc, argv);
  log::set_level(log::Level::kWarn);
  auto group = ReactorGroup::start(settings.group);
  if (!group) {
    std::fprintf(stderr, "%s\n", group.error().to_string().c_str());
    return 1;
  }
  Reactor& server_reactor = (*group)->reactor(0);
  Reactor& client_reactor = (*group)->reactor((*group)->size() - 1);
  std::unique_ptr<Listener> listener;
  std::unique_ptr<End> server;
  std::unique_ptr<End> client;

  const SocketAddress address =
      run_on(server_reactor, "listen", [&]() -> Task<SocketAddress> {
        listener = std::move(*server_reactor.backend().listen(
            *SocketAddress::ip("127.0.0.1", 0), [&](std::unique_ptr<AcceptedStream> accepted) {
              server =
                  std::make_unique<End>(server_reactor.backend().adopt(std::move(accepted)), settings.question,
                                        settings.answer, settings.depth, settings.window && settings.question >= 8192);
            }));
        co_return listener->local_address();
      }).get();
  run_on(client_reactor, "connect", [&]() -> Task<> {
    auto stream = co_await client_reactor.backend().connect(address);
    client = std::make_unique<End>(std::move(*stream), settings.answer, settings.question, settings.depth,
                                   settings.window && settings.answer >= 8192);
    for (unsigned i = 0; i < settings.depth; ++i) client->ask();
  }).get();

  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // warm
  const uint64_t before = client->messages;
  const uint64_t allocations_before = allocations;
  rusage usage_before{};
  getrusage(RUSAGE_SELF, &usage_before);
  std::this_thread::sleep_for(std::chrono::duration<double>(settings.seconds));
  const uint64_t count = client->messages - before;
  const uint64_t allocated = allocations - allocations_before;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& end, const timeval& begin) {
    return static_cast<double>(end.tv_sec - begin.tv_sec) + static_cast<double>(end.tv_usec - begin.tv_usec) / 1e6;
  };
  std::printf("%10.0f round trips/s  %7.2f us each  (cpu: %.0f %% user, %.0f %% system; %llu allocations)\n",
              static_cast<double>(count) / settings.seconds,
              1e6 * settings.seconds * settings.depth / static_cast<double>(std::max<uint64_t>(count, 1)),
              100 * seconds(usage.ru_utime, usage_before.ru_utime) / settings.seconds,
              100 * seconds(usage.ru_stime, usage_before.ru_stime) / settings.seconds,
              static_cast<unsigned long long>(allocated));

  client->asking = false;
  run_on(client_reactor, "close", [&]() -> Task<> {
    client->stream().close();
    static_cast<void>(co_await client->closed.wait());
    client.reset();
  }).get();
  run_on(server_reactor, "close", [&]() -> Task<> {
    static_cast<void>(co_await server->closed.wait());
    server.reset();
    listener.reset();
  }).get();
}
