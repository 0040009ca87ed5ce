// A small device in memory for tests of the target: writes down every Io it gets, may hold them back and fail them.
#pragma once

#include <cstring>
#include <deque>
#include <optional>
#include <set>
#include <vector>

#include "block/device.h"

namespace cairn::nvmf::target {

class TestDevice final : public block::Device {
 public:
  static constexpr uint32_t kBlockSize = 512;

  struct Record {
    block::IoType type;
    uint64_t lba;
    uint64_t num_blocks;
    uint64_t source_lba = 0;
    bool fua = false;
    bool may_deallocate = false;
    uint32_t read_flags = 0;
  };

  explicit TestDevice(uint64_t num_blocks)
      : Device({.name = "test", .uuid = Uuid::random_v4(1, 2), .product_name = "Test disk", .driver_name = "test"},
               {.num_blocks = num_blocks}),
        memory(num_blocks * kBlockSize) {}

  std::vector<std::byte> memory;
  std::vector<Record> log;
  std::set<block::IoType> unsupported;  // to be set before hosts connect
  bool cache = true;
  // Ios wait until release() instead of completing inside submit().
  bool hold = false;
  // The Io of this number (from 0, since clear()) ends with fail_status instead of being done.
  std::optional<size_t> fail_at;
  nvme::Status fail_status;

  void clear() {
    log.clear();
    fail_at.reset();
  }
  size_t num_held() const { return held_.size(); }
  // Completes the Io that waits longest, on its reactor.
  void release();
  void resize(uint64_t num_blocks) { set_num_blocks(num_blocks); }

  bool has_volatile_cache() const override { return cache; }
  runtime::Task<Result<>> rescan() override { co_return Result<>{}; }
  runtime::Task<> stop() override { co_return; }

 private:
  class TestChannel final : public block::Channel {
   public:
    explicit TestChannel(std::shared_ptr<block::Device> device) : Channel(std::move(device)) {}
    void end(block::Io& io) { finish(io, test_device().perform(io)); }

   private:
    TestDevice& test_device() { return static_cast<TestDevice&>(device()); }
    void start(block::Io& io) override {
      if (test_device().hold) {
        test_device().held_.emplace_back(this, &io);
      } else {
        end(io);
      }
    }
  };

  bool supports_natively(block::IoType type) const override { return !unsupported.contains(type); }
  runtime::Task<Result<std::unique_ptr<block::Channel>>> make_channel() override {
    co_return std::make_unique<TestChannel>(shared_from_this());
  }
  nvme::Status perform(block::Io& io);
  std::byte* at(uint64_t lba) { return memory.data() + lba * kBlockSize; }

  std::deque<std::pair<TestChannel*, block::Io*>> held_;
};

inline void TestDevice::release() {
  CAIRN_CHECK(!held_.empty());
  auto [channel, io] = held_.front();
  held_.pop_front();
  runtime::Reactor::Scope scope(channel->reactor());
  channel->end(*io);
}

inline nvme::Status TestDevice::perform(block::Io& io) {
  log.push_back({.type = io.type,
                 .lba = io.lba,
                 .num_blocks = io.num_blocks,
                 .source_lba = io.source_lba,
                 .fua = io.fua,
                 .may_deallocate = io.may_deallocate,
                 .read_flags = io.read_flags});
  if (fail_at == log.size() - 1) return fail_status;
  const auto transfer = [&](std::span<const iovec> pieces, auto move) {
    std::byte* block = at(io.lba);
    for (const iovec& piece : pieces) {
      move(block, static_cast<std::byte*>(piece.iov_base), piece.iov_len);
      block += piece.iov_len;
    }
    CAIRN_CHECK(block == at(io.lba + io.num_blocks));
  };
  const auto write = [](std::byte* block, const std::byte* from, size_t size) { std::memcpy(block, from, size); };
  bool equal = true;
  const auto compare = [&](const std::byte* block, const std::byte* with, size_t size) {
    equal = equal && std::memcmp(block, with, size) == 0;
  };
  switch (io.type) {
    case block::IoType::kRead:
      transfer(io.data, [](const std::byte* block, std::byte* to, size_t size) { std::memcpy(to, block, size); });
      break;
    case block::IoType::kWrite:
      transfer(io.data, write);
      break;
    case block::IoType::kUnmap:
    case block::IoType::kWriteZeroes:
      std::memset(at(io.lba), 0, io.num_blocks * kBlockSize);
      break;
    case block::IoType::kCompare:
    case block::IoType::kCompareAndWrite:
      transfer(io.data, compare);
      if (!equal) return nvme::Status::media(nvme::MediaStatus::kCompareFailure);
      if (io.type == block::IoType::kCompareAndWrite) transfer(io.write_data, write);
      break;
    case block::IoType::kCopy:
      std::memmove(at(io.lba), at(io.source_lba), io.num_blocks * kBlockSize);
      break;
    case block::IoType::kFlush:
    case block::IoType::kReset:
      break;
  }
  return nvme::Status::success();
}

}  // namespace cairn::nvmf::target
