#include "block/emulation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

#include "block/model_runner.h"
#include "block/test_world.h"

namespace cairn::block {
namespace {

// Memory that can only be read and written: at once or when the test says so, with errors when it says so.
class PlainDevice final : public Device {
 public:
  PlainDevice(uint32_t block_size, uint64_t num_blocks)
      : Device({"plain", Uuid(), "Plain disk", "plain"},
               {.block_size = block_size, .physical_block_size = block_size, .num_blocks = num_blocks}),
        memory_(num_blocks * block_size) {}

  bool has_volatile_cache() const override { return false; }
  runtime::Task<Result<>> rescan() override { co_return Result<>{}; }
  runtime::Task<> stop() override { co_return; }

  bool deferred = false;
  bool can_write = true;
  int fail_after = -1;  // this many reads and writes succeed, then one fails
  std::vector<IoType> seen;
  std::deque<std::function<void()>> deferred_work;

 protected:
  bool supports_natively(IoType type) const override {
    return type == IoType::kRead || (type == IoType::kWrite && can_write);
  }
  runtime::Task<Result<std::unique_ptr<Channel>>> make_channel() override;

 private:
  friend class PlainChannel;
  std::vector<std::byte> memory_;
};

class PlainChannel final : public Channel {
 public:
  explicit PlainChannel(std::shared_ptr<PlainDevice> device) : Channel(device), device_(*device) {}

 protected:
  void start(Io& io) override {
    device_.seen.push_back(io.type);
    if (device_.deferred) {
      device_.deferred_work.push_back([this, &io] { carry_out(io); });
    } else {
      carry_out(io);
    }
  }

 private:
  void carry_out(Io& io) {
    if (device_.fail_after >= 0 && device_.fail_after-- == 0) {
      finish(io, nvme::Status::media(nvme::MediaStatus::kWriteFault));
      return;
    }
    std::byte* at = device_.memory_.data() + io.lba * device_.block_size();
    for (const iovec& piece : io.data) {
      if (io.type == IoType::kRead) {
        std::memcpy(piece.iov_base, at, piece.iov_len);
      } else {
        std::memcpy(at, piece.iov_base, piece.iov_len);
      }
      at += piece.iov_len;
    }
    finish(io, nvme::Status::success());
  }
  PlainDevice& device_;
};

runtime::Task<Result<std::unique_ptr<Channel>>> PlainDevice::make_channel() {
  co_return std::make_unique<PlainChannel>(std::static_pointer_cast<PlainDevice>(shared_from_this()));
}

class EmulationTest : public testing::Test {
 protected:
  ~EmulationTest() override {
    while (reactor_->run_round()) {  // media errors on their way hold the device
    }
  }
  void make(uint32_t block_size, uint64_t num_blocks) {
    device_ = std::make_shared<PlainDevice>(block_size, num_blocks);
    channel_ = *run_task(*reactor_, device_->open_channel());
  }
  void run_until(const std::function<bool()>& done) {
    while (!done()) {
      if (!device_->deferred_work.empty()) {
        // Any order.
        const size_t index = random_.below(device_->deferred_work.size());
        auto work = std::move(device_->deferred_work[index]);
        device_->deferred_work.erase(device_->deferred_work.begin() + static_cast<ptrdiff_t>(index));
        work();
      }
      reactor_->run_round();
    }
  }

  std::unique_ptr<runtime::Reactor> reactor_ = make_bare_reactor(0, 256 << 10);  // two large buffers
  runtime::Reactor::Scope scope_{*reactor_};
  runtime::Random random_{5};
  std::shared_ptr<PlainDevice> device_;
  std::unique_ptr<Channel> channel_;
};

// As in a target whose commands have all buffers: each waits for its I/O, none for a buffer.
TEST_F(EmulationTest, NeedsNoBufferOfThePool) {
  make(512, 4096);
  std::vector<std::byte*> held;
  while (std::byte* buffer = reactor_->buffers().allocate(128 << 10)) held.push_back(buffer);
  EXPECT_EQ(held.size(), 2u);
  ModelRunner(*channel_, [this](const auto& done) { run_until(done); }, {.num_operations = 200}).run();
  for (std::byte* buffer : held) reactor_->buffers().release(buffer);
}

TEST_F(EmulationTest, ModelCompletingInline) {
  for (const uint32_t block_size : {512u, 4096u}) {
    make(block_size, (4 << 20) / block_size);
    ModelRunner(*channel_, [this](const auto& done) { run_until(done); }, {.num_operations = 2000}).run();
    EXPECT_EQ(reactor_->buffers().bytes_in_use(), 0u);
  }
}

TEST_F(EmulationTest, ModelCompletingLaterInAnyOrder) {
  for (const uint32_t block_size : {512u, 4096u}) {
    make(block_size, (4 << 20) / block_size);
    device_->deferred = true;
    ModelRunner(*channel_, [this](const auto& done) { run_until(done); }, {.num_operations = 2000, .depth = 40}).run();
    EXPECT_EQ(reactor_->buffers().bytes_in_use(), 0u);
  }
}

TEST_F(EmulationTest, OverlappingCopies) {
  make(512, 4096);
  std::vector<std::byte> data(1000 * 512);
  for (auto& byte : data) byte = static_cast<std::byte>(random_.next());
  for (const auto& [from, to] : {std::pair<uint64_t, uint64_t>{100, 101}, {101, 100}, {100, 700}, {700, 100}, {5, 5}}) {
    TestIo io;
    iovec piece{data.data(), data.size()};
    io.data = {&piece, 1};
    io.num_blocks = 1000;
    io.lba = from;
    io.type = IoType::kWrite;
    ASSERT_TRUE(run_io(*reactor_, *channel_, io).is_success());
    io.type = IoType::kCopy;
    io.source_lba = from;
    io.lba = to;
    ASSERT_TRUE(run_io(*reactor_, *channel_, io).is_success());
    io.type = IoType::kCompare;
    EXPECT_TRUE(run_io(*reactor_, *channel_, io).is_success()) << from << " to " << to;
  }
}

TEST_F(EmulationTest, ErrorsOfStepsEndTheWhole) {
  make(512, 4096);
  std::vector<std::byte> data(600 * 512);
  iovec piece{data.data(), data.size()};
  for (const IoType type : {IoType::kCompare, IoType::kCompareAndWrite, IoType::kCopy, IoType::kWriteZeroes}) {
    for (int fail_after = 0;; ++fail_after) {
      device_->fail_after = fail_after;
      TestIo io;
      io.type = type;
      io.num_blocks = type == IoType::kWriteZeroes ? 4096 : 600;
      io.source_lba = 1000;
      io.data = io.write_data = {&piece, 1};
      const auto status = run_io(*reactor_, *channel_, io);
      if (status.is_success()) {
        EXPECT_GE(fail_after, 2);
        break;
      }
      EXPECT_TRUE(status.is(nvme::MediaStatus::kWriteFault));
      ASSERT_LT(fail_after, 100);
    }
    device_->fail_after = -1;
    EXPECT_EQ(reactor_->buffers().bytes_in_use(), 0u);
  }
}

TEST_F(EmulationTest, CompareAndWriteIsSerial) {
  make(512, 16);
  device_->deferred = true;
  auto second = *run_task(*reactor_, device_->open_channel());
  std::vector<std::byte> old_data(512), new_data(512, std::byte{1});
  iovec old_piece{old_data.data(), 512}, new_piece{new_data.data(), 512};
  std::array<TestIo, 6> ios;
  for (size_t i = 0; i < ios.size(); ++i) {
    ios[i].type = IoType::kCompareAndWrite;
    ios[i].num_blocks = 1;
    ios[i].data = {&old_piece, 1};
    ios[i].write_data = {&new_piece, 1};
    (i % 2 == 0 ? *channel_ : *second).submit(ios[i]);
  }
  run_until([&] { return std::ranges::all_of(ios, &TestIo::done); });
  EXPECT_EQ(std::ranges::count_if(ios, [](const TestIo& io) { return io.status.is_success(); }), 1);
  EXPECT_THAT(device_->seen, testing::ElementsAre(IoType::kRead, IoType::kWrite, IoType::kRead, IoType::kRead,
                                                  IoType::kRead, IoType::kRead, IoType::kRead));
}

TEST_F(EmulationTest, NotWithoutWhatItIsMadeFrom) {
  make(512, 16);
  device_->can_write = false;
  EXPECT_TRUE(device_->supports(IoType::kCompare));
  for (const IoType type : {IoType::kWrite, IoType::kWriteZeroes, IoType::kCopy, IoType::kCompareAndWrite,
                            IoType::kUnmap, IoType::kFlush, IoType::kReset}) {
    EXPECT_FALSE(device_->supports(type));
    TestIo io;
    io.type = type;
    io.num_blocks = 1;
    const auto status = run_io(*reactor_, *channel_, io);
    EXPECT_TRUE(status.is(nvme::GenericStatus::kInvalidOpcode) && status.do_not_retry());
  }
}

}  // namespace
}  // namespace cairn::block
