// An I/O on its way through a stack of devices.
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

// Hands every I/O to the channel below, `offset` blocks further on: as an I/O of its own, or (`itself`) as it is.
class PassingDevice final : public Device {
 public:
  explicit PassingDevice(std::unique_ptr<Channel> below, bool itself, uint64_t offset = 0)
      : Device({.name = "passing", .uuid = {}, .product_name = "Test", .driver_name = "test"},
               {.num_blocks = below->device().num_blocks() - offset}),
        itself(itself),
        offset(offset),
        below_(std::move(below)) {}

  bool has_volatile_cache() const override { return false; }
  Task<Result<>> rescan() override { co_return Result<>{}; }
  Task<> stop() override { co_return; }
  Channel& below() { return *below_; }
  const bool itself;
  const uint64_t offset;
  int passed_on = 0;

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
    auto& passing = static_cast<PassingDevice&>(device());
    if (passing.itself && may_pass_on(io)) {
      ++passing.passed_on;
      pass_on(io, passing.below(), io.lba + passing.offset, 7, [](Io& back) {
        const TakenBack taken = take_back(back);
        EXPECT_EQ(taken.mark, 7);
        static_cast<PassingChannel&>(taken.channel).finish(back, back.status);
      });
      return;
    }
    above_ = &io;
    io_.channel = this;
    io_.type = io.type;
    io_.lba = io.lba + passing.offset;
    io_.data = io.data;
    io_.num_blocks = io.num_blocks;
    io_.complete = [](Io& done) {
      PassingChannel& self = *static_cast<Below&>(done).channel;
      self.finish(*self.above_, done.status);
    };
    passing.below().submit(io_);
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

void expect_one_reading_a_passage(bool itself) {
  auto backend = std::make_unique<TickingBackend>();
  TickingBackend& clock = *backend;
  runtime::Reactor reactor({.random_seed = 1, .spin_budget = Duration(0), .buffer_pool_bytes = 1 << 20},
                           std::move(backend));
  Registry registry;
  add_null_scheme(registry);
  auto null = *run_task(reactor, registry.create("null:///n?size_mb=1"));
  const runtime::Reactor::Scope scope(reactor);
  auto passing = std::make_shared<PassingDevice>(*run_task(reactor, null->open_channel()), itself);
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

TEST(ChannelTimes, AreReadOnceForAStackAndAnewForEachIo) {
  expect_one_reading_a_passage(false);
}
TEST(ChannelTimes, AreReadOnceForAnIoThatIsPassedOn) {
  expect_one_reading_a_passage(true);
}

// A stack of two devices that pass on above memory: only the upper one may.
class PassedOnIo : public testing::Test {
 protected:
  PassedOnIo() {
    add_malloc_scheme(registry_);
    memory_ = *run_task(reactor_, registry_.create("malloc:///m?size_mb=1"));
    lower_ = std::make_shared<PassingDevice>(*run_task(reactor_, memory_->open_channel()), true, 100);
    upper_ = std::make_shared<PassingDevice>(*run_task(reactor_, lower_->open_channel()), true, 10);
    channel_ = *run_task(reactor_, upper_->open_channel());
  }
  ~PassedOnIo() override {
    channel_.reset();
    upper_.reset();
    lower_.reset();
    memory_.reset();
    run_task(reactor_, registry_.remove_all());
  }

  nvme::Status perform(Channel& channel, IoType type, uint64_t lba, std::vector<std::byte>& data) {
    struct Watched : Io {
      int completions = 0;
    } io;
    iovec piece{data.data(), data.size()};
    io.type = type;
    io.lba = lba;
    io.num_blocks = data.size() / 512;
    io.data = {&piece, 1};
    auto* const complete = +[](Io& done) { ++static_cast<Watched&>(done).completions; };
    io.complete = complete;
    channel.submit(io);
    EXPECT_EQ(io.completions, 1);
    EXPECT_EQ(io.lba, lba);
    EXPECT_EQ(io.complete, complete);
    return io.status;
  }

  runtime::Reactor reactor_{{.random_seed = 1, .spin_budget = Duration(0), .buffer_pool_bytes = 1 << 20},
                            std::make_unique<BareBackend>()};
  Registry registry_;
  const runtime::Reactor::Scope scope_{reactor_};
  std::shared_ptr<Device> memory_;
  std::shared_ptr<PassingDevice> lower_, upper_;
  std::unique_ptr<Channel> channel_;
};

TEST_F(PassedOnIo, LandsWhereTheStackPutsItAndComesBackAsItWas) {
  std::vector<std::byte> data(1024, std::byte{0x5a});
  EXPECT_TRUE(perform(*channel_, IoType::kWrite, 3, data).is_success());
  EXPECT_EQ(upper_->passed_on, 1);
  EXPECT_EQ(lower_->passed_on, 0);
  auto direct = *run_task(reactor_, memory_->open_channel());
  std::vector<std::byte> seen(1024);
  EXPECT_TRUE(perform(*direct, IoType::kRead, 113, seen).is_success());
  EXPECT_EQ(seen, data);
  for (const Device* device : {static_cast<const Device*>(upper_.get()), static_cast<const Device*>(lower_.get())}) {
    EXPECT_EQ(device->statistics().write.operations, 1u);
  }
  EXPECT_EQ(channel_->in_flight(), 0u);
}

TEST_F(PassedOnIo, BringsTheErrorOfTheDeviceBelow) {
  lower_->announce_removal();
  std::vector<std::byte> data(512);
  EXPECT_TRUE(perform(*channel_, IoType::kRead, 3, data).is(nvme::GenericStatus::kInvalidNamespaceOrFormat));
  EXPECT_EQ(upper_->passed_on, 1);
  EXPECT_EQ(upper_->statistics().read.errors, 1u);
}

}  // namespace
}  // namespace cairn::block
