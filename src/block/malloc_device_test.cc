#include "block/malloc_device.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <latch>
#include <thread>

#include "block/malloc_memory.h"
#include "block/model_runner.h"
#include "block/test_world.h"

namespace cairn::block {
namespace {

class MallocDeviceTest : public testing::TestWithParam<uint32_t> {
 protected:
  MallocDeviceTest() { add_malloc_scheme(registry_); }
  ~MallocDeviceTest() override {
    channel_.reset();
    run_task(*reactor_, registry_.remove_all());
    EXPECT_TRUE(registry_.empty());
  }
  std::shared_ptr<Device> create(std::string uri) { return *run_task(*reactor_, registry_.create(std::move(uri))); }
  Device& open(const std::string& parameters) {
    const auto device = create(fmt::format("malloc:///m?blk_size={}&{}", GetParam(), parameters));
    channel_ = *run_task(*reactor_, device->open_channel());
    return channel_->device();
  }
  nvme::Status run(TestIo& io) { return run_io(*reactor_, *channel_, io); }
  nvme::Status write(uint64_t lba, std::vector<std::byte>& data) {
    TestIo io;
    iovec piece{data.data(), data.size()};
    io.type = IoType::kWrite;
    io.lba = lba;
    io.num_blocks = data.size() / GetParam();
    io.data = {&piece, 1};
    return run(io);
  }
  std::vector<std::byte> read(uint64_t lba, uint64_t num_blocks) {
    std::vector<std::byte> data(num_blocks * GetParam(), std::byte{0xcc});
    iovec piece{data.data(), data.size()};
    TestIo io;
    io.lba = lba;
    io.num_blocks = num_blocks;
    io.data = {&piece, 1};
    EXPECT_TRUE(run(io).is_success());
    return data;
  }

  std::unique_ptr<runtime::Reactor> reactor_ = make_bare_reactor();
  runtime::Reactor::Scope scope_{*reactor_};
  Registry registry_;
  std::unique_ptr<Channel> channel_;
};

INSTANTIATE_TEST_SUITE_P(BlockSizes, MallocDeviceTest, testing::Values(512, 4096));

TEST_P(MallocDeviceTest, Model) {
  open("size_mb=4");
  ModelRunner(*channel_, [this](const auto& done) { reactor_->run_until(done); }, {.num_operations = 6000}).run();
}

TEST_P(MallocDeviceTest, Beyond4GiB) {
  Device& device = open("size_mb=6144");
  EXPECT_EQ(device.size_bytes(), uint64_t{6} << 30);
  std::vector<std::byte> data(GetParam(), std::byte{0x5a});
  const uint64_t last = device.num_blocks() - 1;
  const uint64_t wrapped = last - (uint64_t{4} << 30) / GetParam();
  ASSERT_TRUE(write(last, data).is_success());
  EXPECT_EQ(read(last, 1), data);
  EXPECT_EQ(read(wrapped, 1), std::vector<std::byte>(GetParam()));
}

TEST_P(MallocDeviceTest, Refusals) {
  Device& device = open("num_blocks=100");
  struct Case {
    IoType type;
    uint64_t lba, num_blocks, source_lba;
    nvme::GenericStatus expected;
  };
  const Case table[] = {
      {IoType::kRead, 100, 1, 0, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kRead, 0, 101, 0, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kWrite, 99, 2, 0, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kWrite, UINT64_MAX, 2, 0, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kUnmap, 1, UINT64_MAX, 0, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kCopy, 0, 2, 99, nvme::GenericStatus::kLbaOutOfRange},
      {IoType::kRead, 0, 0, 0, nvme::GenericStatus::kInvalidField},
      {IoType::kUnmap, 0, 0, 0, nvme::GenericStatus::kInvalidField},
      {IoType::kFlush, 0, 0, 0, nvme::GenericStatus::kSuccess},
      {IoType::kReset, 0, 0, 0, nvme::GenericStatus::kSuccess},
      {IoType::kWriteZeroes, 0, 100, 0, nvme::GenericStatus::kSuccess},
  };
  for (const Case& c : table) {
    TestIo io;
    io.type = c.type;
    io.lba = c.lba;
    io.num_blocks = c.num_blocks;
    io.source_lba = c.source_lba;
    const auto status = run(io);
    EXPECT_TRUE(status.is(c.expected)) << status.to_string();
    EXPECT_EQ(status.do_not_retry(), !status.is_success());
  }
  EXPECT_EQ(device.statistics().read.errors, 3u);
  EXPECT_EQ(device.statistics().read.operations, 0u);
  EXPECT_EQ(device.statistics().write_zeroes.bytes, 100u * GetParam());
}

TEST_P(MallocDeviceTest, TooManyPieces) {
  open("num_blocks=100");
  std::vector<std::byte> data(41 * GetParam());
  std::vector<iovec> pieces;
  for (size_t i = 0; i < 41; ++i) pieces.push_back({data.data() + i * GetParam(), GetParam()});
  TestIo io;
  io.num_blocks = 41;
  io.data = pieces;
  EXPECT_TRUE(run(io).is(nvme::GenericStatus::kInvalidField));
  io.num_blocks = 40;
  io.data = io.data.first(40);
  EXPECT_TRUE(run(io).is_success());
}

TEST_P(MallocDeviceTest, UnmapGivesMemoryBack) {
  Device& device = open("size_mb=4");
  std::vector<std::byte> data(size_t{1} << 20, std::byte{0x77});
  ASSERT_TRUE(write(0, data).is_success());
  const uint64_t blocks = data.size() / GetParam();
  auto resident = [&] {
    const auto memory = device.readable_memory(0, blocks);
    std::vector<unsigned char> pages(memory.size() / 4096);
    EXPECT_EQ(mincore(const_cast<std::byte*>(memory.data()), memory.size(), pages.data()), 0);
    return std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; });
  };
  EXPECT_EQ(resident(), 256);
  TestIo io;
  io.type = IoType::kUnmap;
  io.lba = 1;  // with 512-byte blocks: neither end on a page
  io.num_blocks = blocks - 2;
  ASSERT_TRUE(run(io).is_success());
  EXPECT_LE(resident(), 2);
  std::vector<std::byte> expected(data.size());
  std::memset(expected.data(), 0x77, GetParam());
  std::memset(expected.data() + expected.size() - GetParam(), 0x77, GetParam());
  EXPECT_EQ(read(0, blocks), expected);
}

TEST_P(MallocDeviceTest, ResizeKeepsAndZeroes) {
  Device& device = open("size_mb=1");
  const uint64_t blocks = device.num_blocks();
  std::vector<std::byte> data(size_t{1} << 20, std::byte{0x11});
  ASSERT_TRUE(write(0, data).is_success());
  auto resize = [&](const std::string& size) {
    ASSERT_TRUE(run_task(*reactor_, registry_.create("malloc:///m?resize&" + size)));
  };
  const uint32_t per_block = GetParam() / 512;
  resize(fmt::format("num_blocks={}", 3 * per_block));  // inside a page
  EXPECT_EQ(device.num_blocks(), 3u);
  TestIo io;
  io.type = IoType::kWrite;
  io.lba = 3;
  io.num_blocks = 1;
  EXPECT_TRUE(run(io).is(nvme::GenericStatus::kLbaOutOfRange));
  resize("size_mb=3");  // what is back reads as zeroes, and the new memory joins it
  std::fill(data.begin() + 3 * GetParam(), data.end(), std::byte{0});
  EXPECT_EQ(read(0, blocks), data);
  EXPECT_EQ(device.readable_memory(0, blocks).size(), size_t{1} << 20);
  EXPECT_TRUE(device.readable_memory(blocks - 1, 2).empty());  // two pieces
  std::vector<std::byte> across(2 * GetParam(), std::byte{0x22});
  ASSERT_TRUE(write(blocks - 1, across).is_success());
  EXPECT_EQ(read(blocks - 1, 2), across);
  TestIo unmap;
  unmap.type = IoType::kUnmap;
  unmap.num_blocks = device.num_blocks();
  ASSERT_TRUE(run(unmap).is_success());
  EXPECT_EQ(read(0, device.num_blocks()), std::vector<std::byte>(size_t{3} << 20));
}

TEST_P(MallocDeviceTest, StatisticsOfClosedChannelsAndReset) {
  Device& device = open("size_mb=1");
  read(0, 4);
  auto second = *run_task(*reactor_, device.open_channel());
  std::swap(second, channel_);
  read(0, 2);
  EXPECT_EQ(device.statistics().read.operations, 2u);
  channel_.reset();
  channel_ = std::move(second);
  EXPECT_EQ(device.statistics().read.operations, 2u);
  EXPECT_EQ(device.statistics().read.bytes, 6u * GetParam());
  device.reset_statistics();
  EXPECT_EQ(device.statistics().read.operations, 0u);
  read(0, 1);
  EXPECT_EQ(device.statistics().read.operations, 1u);
  EXPECT_EQ(device.statistics().read.bytes, GetParam());
}

TEST_P(MallocDeviceTest, SubmitterMayDestroyTheChannelInTheLastCompletion) {
  open("size_mb=1");
  struct LastIo : Io {
    std::unique_ptr<Channel>* channel = nullptr;
  } io;
  io.type = IoType::kFlush;
  io.channel = &channel_;
  io.complete = [](Io& self) { static_cast<LastIo&>(self).channel->reset(); };
  channel_->submit(io);
  EXPECT_EQ(channel_, nullptr);
}

// Two reactors on two threads write, copy, unmap and read the same blocks: no block is ever a mixture, and
// compare-and-write loses no update.
TEST_P(MallocDeviceTest, ConcurrentWritersNeverTearABlock) {
  Device& device = open("size_mb=1");
  constexpr uint64_t kBlocks = 24;
  constexpr int kRounds = 3000;
  constexpr uint64_t kCounterLba = 100;
  std::atomic<uint64_t> increments{0};
  std::latch both_ready(2);
  auto work = [&](unsigned index) {
    const auto reactor = make_bare_reactor(index);
    const runtime::Reactor::Scope scope(*reactor);
    auto channel = *run_task(*reactor, device.open_channel());
    runtime::Random random(index);
    const size_t block = device.block_size();
    std::vector<std::byte> data(kBlocks * block);
    std::vector<std::byte> counter(block), next(block);
    both_ready.arrive_and_wait();
    for (int round = 0; round < kRounds; ++round) {
      const uint64_t blocks = 1 + random.below(kBlocks);
      iovec piece{data.data(), blocks * block};
      TestIo io;
      io.lba = random.below(kBlocks - blocks + 1);
      io.num_blocks = blocks;
      io.data = {&piece, 1};
      constexpr IoType kTypes[] = {IoType::kWrite, IoType::kRead, IoType::kUnmap, IoType::kCopy};
      io.type = kTypes[random.below(4)];
      io.source_lba = random.below(kBlocks - blocks + 1);
      if (io.type == IoType::kWrite) std::memset(data.data(), static_cast<int>(random.next()), data.size());
      ASSERT_TRUE(run_io(*reactor, *channel, io).is_success());
      if (io.type == IoType::kRead) {
        for (uint64_t i = 0; i < blocks; ++i) {
          const std::byte* begin = data.data() + i * block;
          ASSERT_TRUE(std::all_of(begin, begin + block, [&](std::byte b) { return b == *begin; }));
        }
      }
      // One increment by compare-and-write.
      uint64_t value;
      std::memcpy(&value, counter.data(), sizeof value);
      ++value;
      std::memcpy(next.data(), &value, sizeof value);
      iovec old_piece{counter.data(), block};
      iovec new_piece{next.data(), block};
      TestIo swap;
      swap.type = IoType::kCompareAndWrite;
      swap.lba = kCounterLba;
      swap.num_blocks = 1;
      swap.data = {&old_piece, 1};
      swap.write_data = {&new_piece, 1};
      if (run_io(*reactor, *channel, swap).is_success()) ++increments;
      TestIo load;
      load.lba = kCounterLba;
      load.num_blocks = 1;
      load.data = {&old_piece, 1};
      ASSERT_TRUE(run_io(*reactor, *channel, load).is_success());
    }
    channel.reset();
  };
  std::thread first(work, 1), second(work, 2);
  first.join();
  second.join();
  uint64_t value;
  std::memcpy(&value, read(kCounterLba, 1).data(), sizeof value);
  EXPECT_EQ(value, increments.load());
  EXPECT_GT(value, 0u);
  EXPECT_EQ(device.statistics().read.errors, 0u);
}

}  // namespace
}  // namespace cairn::block
