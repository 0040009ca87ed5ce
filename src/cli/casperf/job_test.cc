#include "cli/casperf/job.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "block/test_world.h"

namespace cairn::cli {
namespace {

using block::Io;
using block::IoType;
using runtime::Task;
using std::chrono::milliseconds;

constexpr uint32_t kBlockSize = 512;

// Memory that errs and dawdles on demand.
class TestDevice final : public block::Device {
 public:
  explicit TestDevice(uint64_t num_blocks)
      : Device({.name = "test", .uuid = {}, .product_name = "Test", .driver_name = "test"},
               {.block_size = kBlockSize, .physical_block_size = kBlockSize, .num_blocks = num_blocks}),
        memory(num_blocks * kBlockSize) {}

  bool has_volatile_cache() const override { return false; }
  Task<Result<>> rescan() override { co_return Result<>{}; }
  Task<> stop() override { co_return; }

  std::vector<std::byte> memory;
  uint64_t ios = 0;
  // Called for each I/O with its number, from 0 on, before it is done. False: it fails.
  std::function<bool(uint64_t number, Io& io)> on_io = [](uint64_t, Io&) { return true; };
  // How long the I/O of that number takes; I/Os are served one after the other. Unset: done in place.
  std::function<Duration(uint64_t number)> service_time;

 protected:
  bool supports_natively(IoType) const override { return true; }
  Task<Result<std::unique_ptr<block::Channel>>> make_channel() override;
};

class TestChannel final : public block::Channel {
 public:
  explicit TestChannel(std::shared_ptr<block::Device> device)
      : Channel(std::move(device)), timer_([this] { serve(); }) {}

 protected:
  void start(Io& io) override {
    if (!test_device().service_time) return conclude(io);
    queue_.push_back(io);
    if (!timer_.armed()) arm();
  }

 private:
  TestDevice& test_device() const { return static_cast<TestDevice&>(device()); }
  void arm() { reactor().arm(timer_, reactor().now() + test_device().service_time(test_device().ios)); }
  void serve() {
    Io& io = *queue_.pop_front();
    if (!queue_.empty()) arm();
    conclude(io);
  }
  void conclude(Io& io) {
    TestDevice& device = test_device();
    if (!device.on_io(device.ios++, io)) {
      return finish(io, nvme::Status::media(nvme::MediaStatus::kWriteFault));
    }
    std::byte* at = device.memory.data() + io.lba * kBlockSize;
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

  IntrusiveList<Io> queue_;
  runtime::Timer timer_;
};

Task<Result<std::unique_ptr<block::Channel>>> TestDevice::make_channel() {
  co_return std::make_unique<TestChannel>(shared_from_this());
}

class JobTest : public testing::Test {
 protected:
  JobTest() {
    const runtime::Reactor::Scope scope(*reactor_);
    device_ = std::make_shared<TestDevice>(1024);
  }
  ~JobTest() override {
    while (reactor_->run_round()) {  // reports of failed I/Os are on their way
    }
  }

  // A whole run. The result stays until the next one.
  const JobResult& run(const JobOptions& options) {
    job_ = std::make_unique<Job>(options);
    auto whole = [](Job& job, block::Device& device) -> Task<bool> {
      const auto opened = co_await job.open(device);
      CAIRN_CHECK(opened.has_value());
      if (job.options().verify) co_await job.fill();
      co_await job.measure();
      if (job.options().verify) co_await job.check();
      job.close();
      co_return true;
    };
    block::run_task(*reactor_, whole(*job_, *device_));
    return job_->result();
  }
  // Slots of one block over the whole device.
  static JobOptions verifying(uint64_t ios) {
    return {.workload = {.random = true, .read_percent = 50},
            .io_size = kBlockSize,
            .depth = 16,
            .num_slots = 1024,
            .count = ios,
            .verify = true};
  }

  std::unique_ptr<runtime::Reactor> reactor_ = block::make_bare_reactor();
  std::shared_ptr<TestDevice> device_;
  std::unique_ptr<Job> job_;
};

TEST_F(JobTest, DoesWhatWasAskedFor) {
  uint64_t reads = 0, writes = 0, next_lba = 0;
  device_->on_io = [&](uint64_t, Io& io) {
    (io.type == IoType::kRead ? reads : writes) += 1;
    EXPECT_EQ(io.lba, 512 + next_lba);
    EXPECT_EQ(io.num_blocks, 8u);
    next_lba = (next_lba + 8) % 256;
    return true;
  };
  const JobResult& result = run({.workload = {.random = false, .read_percent = 70},
                                 .io_size = 4096,
                                 .depth = 4,
                                 .first_lba = 512,
                                 .num_slots = 32,
                                 .count = 10'000});
  EXPECT_EQ(result.ios(), 10'000u);
  EXPECT_EQ(result.reads.count(), reads);
  EXPECT_EQ(result.writes.count(), writes);
  EXPECT_NEAR(static_cast<double>(reads), 7000, 200);
  EXPECT_EQ(result.errors, 0u);
}

TEST_F(JobTest, RandomSlotsCoverTheRangeAndNoMore) {
  std::vector<int> seen(1024);
  device_->on_io = [&](uint64_t, Io& io) { return ++seen[io.lba], true; };
  run({.io_size = kBlockSize, .depth = 4, .first_lba = 100, .num_slots = 200, .count = 5000});
  for (size_t lba = 0; lba < seen.size(); ++lba) EXPECT_EQ(seen[lba] > 0, lba >= 100 && lba < 300) << lba;
}

TEST_F(JobTest, KeepsItsDepthAndMeasuresForATime) {
  device_->service_time = [](uint64_t) { return milliseconds(1); };
  const JobResult& result = run({.io_size = kBlockSize,
                                 .depth = 10,
                                 .num_slots = 1024,
                                 .time = milliseconds(1000),
                                 .warm_up = milliseconds(500)});
  EXPECT_EQ(result.elapsed, milliseconds(1000));
  EXPECT_NEAR(static_cast<double>(result.ios()), 1000, 1);
  EXPECT_NEAR(static_cast<double>(device_->ios), 1500 + 10, 2);
  // Ten in line for one server.
  EXPECT_NEAR(static_cast<double>(result.reads.quantile(0.5).count()), 10e6, 0.2e6);
}

TEST_F(JobTest, LargeIosAreInPieces) {
  device_->on_io = [](uint64_t, Io& io) {
    EXPECT_EQ(io.data.size(), 3u);
    EXPECT_EQ(io.num_blocks, 512u + 8);
    return true;
  };
  const JobResult& result = run({.io_size = (256 << 10) + 4096, .depth = 2, .num_slots = 1, .count = 20});
  EXPECT_EQ(result.ios(), 20u);
}

TEST_F(JobTest, AFailedIoEndsTheJobOrIsCounted) {
  device_->on_io = [](uint64_t number, Io&) { return number % 100 != 50; };
  JobOptions options{.io_size = kBlockSize, .depth = 4, .num_slots = 1024, .count = 1000};
  EXPECT_EQ(run(options).errors, 1u);
  EXPECT_EQ(job_->result().ios(), 50u);
  EXPECT_TRUE(job_->result().first_error.starts_with("read of 1 blocks at ")) << job_->result().first_error;
  device_->ios = 0;
  options.continue_on_error = true;
  EXPECT_EQ(run(options).errors, 10u);
  EXPECT_EQ(job_->result().ios(), 990u);
}

TEST_F(JobTest, StopEndsItWithWhatItHas) {
  device_->service_time = [](uint64_t) { return milliseconds(1); };
  device_->on_io = [&](uint64_t number, Io&) {
    if (number == 100) job_->stop();
    return true;
  };
  const JobResult& result = run({.io_size = kBlockSize, .depth = 8, .num_slots = 1024});
  EXPECT_TRUE(job_->stopped());
  EXPECT_EQ(result.ios(), 100u);
  EXPECT_EQ(device_->ios, 108u);
  EXPECT_EQ(result.elapsed, milliseconds(101));
}

TEST_F(JobTest, VerificationPassesOnAGoodDevice) {
  const JobResult& result = run(verifying(5000));
  EXPECT_EQ(result.num_faults(), 0u);
  EXPECT_EQ(result.errors, 0u);
  EXPECT_EQ(result.blocks_checked, result.reads.count() + 1024);  // all of them are read back
}

// The device does what is wrong to one write in the middle of the load; the read-back at the latest finds it.
class JobFaultTest : public JobTest {
 protected:
  void expect(BlockFault fault, uint64_t lba) {
    const JobResult& result = job_->result();
    EXPECT_GE(result.faults[static_cast<size_t>(fault)], 1u) << block_fault_name(fault);
    ASSERT_FALSE(result.fault_texts.empty());
    EXPECT_TRUE(result.fault_texts.front().starts_with(fmt::format("block {}: {}", lba, block_fault_name(fault))))
        << result.fault_texts.front();
  }
  std::byte* block(uint64_t lba) { return device_->memory.data() + lba * kBlockSize; }
  // The block of the load's last write, once it has been written.
  void after_last_write(std::function<void(uint64_t lba)> harm) {
    device_->on_io = [this, harm](uint64_t number, Io& io) {
      if (number < 1024 + 2000) {
        if (io.type == IoType::kWrite) {
          last_ = io.lba;
          std::memcpy(old_, block(last_), kBlockSize);
        }
      } else if (number == 1024 + 2000) {
        harm(last_);
      }
      return true;
    };
    run(verifying(2000));
  }
  uint64_t last_ = 0;
  std::byte old_[kBlockSize];
};

TEST_F(JobFaultTest, Stale) {
  after_last_write([this](uint64_t lba) { std::memcpy(block(lba), old_, kBlockSize); });
  expect(BlockFault::kStale, last_);
}

TEST_F(JobFaultTest, Misplaced) {
  after_last_write([this](uint64_t lba) { std::memcpy(block(lba), block((lba + 1) % 1024), kBlockSize); });
  expect(BlockFault::kMisplaced, last_);
}

TEST_F(JobFaultTest, Torn) {
  after_last_write([this](uint64_t lba) { std::memcpy(block(lba) + 256, old_ + 256, 256); });
  expect(BlockFault::kTorn, last_);
}

TEST_F(JobFaultTest, Corrupt) {
  after_last_write([this](uint64_t lba) { block(lba)[300] ^= std::byte{1}; });
  expect(BlockFault::kCorrupt, last_);
}

// After a write that failed either content is right; the next write settles it.
TEST_F(JobTest, AFailedWriteIsNotAFault) {
  device_->on_io = [&](uint64_t number, Io& io) {
    return number < 1024 || io.type == IoType::kRead || number % 7 != 0;
  };
  JobOptions options = verifying(5000);
  options.continue_on_error = true;
  const JobResult& result = run(options);
  EXPECT_GT(result.errors, 100u);
  EXPECT_EQ(result.num_faults(), 0u);
}

TEST_F(JobTest, AScheduleIsKept) {
  device_->service_time = [](uint64_t) { return Duration(std::chrono::microseconds(10)); };
  const JobResult& result =
      run({.io_size = kBlockSize, .depth = 4, .num_slots = 1024, .time = milliseconds(1000), .gap = milliseconds(1)});
  EXPECT_NEAR(static_cast<double>(result.ios()), 1000, 1);
  EXPECT_EQ(result.late, 0u);
  EXPECT_EQ(result.reads.max(), std::chrono::microseconds(10));
}

// A device that stands still for 100 ms: every I/O that should have started meanwhile has waited, and says so, although
// only one was in flight.
TEST_F(JobTest, LatencyCountsFromTheSchedule) {
  device_->service_time = [](uint64_t number) { return Duration(number == 100 ? milliseconds(100) : Duration(1000)); };
  const JobResult& result =
      run({.io_size = kBlockSize, .depth = 1, .num_slots = 1024, .time = milliseconds(1000), .gap = milliseconds(1)});
  EXPECT_NEAR(static_cast<double>(result.ios()), 1000, 1);
  EXPECT_GE(result.reads.max(), milliseconds(99));
  // 100, 99, ... 1 ms: half of those hundred have waited for more than 50 ms.
  EXPECT_GE(result.reads.quantile(0.96), milliseconds(50));
  EXPECT_LE(result.reads.quantile(0.89), milliseconds(1));
  EXPECT_NEAR(static_cast<double>(result.late), 99, 2);
  EXPECT_EQ(result.not_started, 0u);
}

TEST_F(JobTest, TellsWhatItCouldNotStart) {
  device_->service_time = [](uint64_t) { return milliseconds(2); };
  const JobResult& result =
      run({.io_size = kBlockSize, .depth = 1, .num_slots = 1024, .time = milliseconds(1000), .gap = milliseconds(1)});
  EXPECT_NEAR(static_cast<double>(result.ios()), 500, 1);
  EXPECT_NEAR(static_cast<double>(result.not_started), 500, 2);
}

TEST_F(JobTest, RefusesWhatTheMemoryCannotHold) {
  job_ = std::make_unique<Job>(JobOptions{.io_size = 128 << 10, .depth = 64, .num_slots = 4});
  const auto opened = block::run_task(*reactor_, job_->open(*device_));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::kResourceExhausted);
  const size_t in_use = reactor_->buffers().bytes_in_use();
  EXPECT_EQ(in_use, 0u);
}

}  // namespace
}  // namespace cairn::cli
