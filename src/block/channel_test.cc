// The times of an I/O in a stack of devices.
#include "block/channel.h"

#include <gtest/gtest.h>

#include "block/test_world.h"

namespace cairn::block {
namespace {

using runtime::Task;

constexpr Duration kTick = std::chrono::microseconds(1);

// Each look at the clock takes a tick.
class TickingBackend final : public BareBackend {
 public:
  TimePoint now() override { return TimePoint(kTick * ++looks); }
  int looks = 0;
};

// Hands every I/O to the channel below.
class PassingDevice final : public Device {
 public:
  explicit PassingDevice(std::unique_ptr<Channel> below)
      : Device({.name = "passing", .uuid = {}, .product_name = "Test", .driver_name = "test"},
               {.num_blocks = below->device().num_blocks()}),
        below_(std::move(below)) {}

  bool has_volatile_cache() const override { return false; }
  Task<Result<>> rescan() override { co_return Result<>{}; }
  Task<> stop() override { co_return; }
  Channel& below() { return *below_; }

 protected:
  bool supports_natively(IoType) const override { return true; }
  Task<Result<std::unique_ptr<Channel>>> make_channel() override;

 private:
  std::unique_ptr<Channel> below_;
};

class PassingChannel final : public Channel {
 public:
  using Channel::Channel;

 protected:
  void start(Io& io) override {
    above_ = &io;
    io_.channel = this;
    io_.type = io.type;
    io_.lba = io.lba;
    io_.num_blocks = io.num_blocks;
    io_.complete = [](Io& done) {
      PassingChannel& self = *static_cast<Below&>(done).channel;
      self.finish(*self.above_, done.status);
    };
    static_cast<PassingDevice&>(device()).below().submit(io_);
  }

 private:
  struct Below : Io {
    PassingChannel* channel = nullptr;
  };
  Io* above_ = nullptr;
  Below io_;
};

Task<Result<std::unique_ptr<Channel>>> PassingDevice::make_channel() {
  co_return std::make_unique<PassingChannel>(shared_from_this());
}

TEST(ChannelTimes, AreReadOnceForAStackAndAnewForEachIo) {
  auto backend = std::make_unique<TickingBackend>();
  TickingBackend& clock = *backend;
  runtime::Reactor reactor({.random_seed = 1, .spin_budget = Duration(0), .buffer_pool_bytes = 1 << 20},
                           std::move(backend));
  Registry registry;
  add_null_scheme(registry);
  auto null = *run_task(reactor, registry.create("null:///n?size_mb=1"));
  const runtime::Reactor::Scope scope(reactor);
  auto passing = std::make_shared<PassingDevice>(*run_task(reactor, null->open_channel()));
  auto channel = *run_task(reactor, passing->open_channel());

  // The second I/O starts in the completion of the first.
  struct Chained : Io {
    Channel* channel = nullptr;
    int left = 2;
    int looks_before = 0;
    TimePoint completed[2];
  } io;
  io.channel = channel.get();
  io.type = IoType::kRead;
  io.num_blocks = 1;
  io.complete = [](Io& done) {
    auto& self = static_cast<Chained&>(done);
    EXPECT_EQ(self.completed_at() - self.submitted_at(), kTick);
    self.completed[--self.left] = self.completed_at();
    if (self.left > 0) self.channel->submit(self);
  };
  const int looks = clock.looks;
  channel->submit(io);
  EXPECT_EQ(clock.looks - looks, 4);
  EXPECT_EQ(io.completed[0] - io.completed[1], 2 * kTick);
  for (const Device* device : {static_cast<const Device*>(passing.get()), static_cast<const Device*>(null.get())}) {
    const auto read = device->statistics().read;
    EXPECT_EQ(read.operations, 2u);
    EXPECT_EQ(read.latency_total_ns, 2 * static_cast<uint64_t>(kTick.count()));
  }
  channel.reset();
  passing.reset();
  null.reset();
  run_task(reactor, registry.remove_all());
}

}  // namespace
}  // namespace cairn::block
