// For tests: random I/O to a device, many at a time, checked against plain memory.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "block/device.h"
#include "runtime/random.h"
#include "runtime/reactor.h"

namespace cairn::block {

struct ModelOptions {
  uint64_t seed = 1;
  size_t num_operations = 2000;
  size_t depth = 24;               // operations in flight
  uint64_t max_bytes = 300 << 10;  // of one operation
  bool check_statistics = true;
};

class ModelRunner {
 public:
  // `run_until`: runs the world of `channel` until a predicate holds.
  using RunUntil = std::function<void(const std::function<bool()>&)>;

  ModelRunner(Channel& channel, RunUntil run_until, const ModelOptions& options)
      : channel_(channel),
        device_(channel.device()),
        run_until_(std::move(run_until)),
        options_(options),
        random_(options.seed),
        model_(device_.size_bytes()),
        slots_(options.depth) {}

  // The device must read as zeroes before.
  void run() {
    size_t started = 0;
    while (started < options_.num_operations) {
      run_until_([this] { return free_slot() != nullptr; });
      if (start_one(*free_slot())) {
        ++started;
      } else {
        run_until_([before = completed_, this] { return completed_ > before || idle(); });
      }
      if (testing::Test::HasFailure()) break;
    }
    run_until_([this] { return idle(); });
    EXPECT_EQ(channel_.in_flight(), 0u);
    check_everything();
    if (options_.check_statistics) check_statistics();
  }

 private:
  struct Slot : Io {
    ModelRunner* runner = nullptr;
    bool busy = false;
    uint64_t locked_lba = 0, locked_blocks = 0;  // written
    uint64_t shared_lba = 0, shared_blocks = 0;  // only read
    std::vector<std::byte> memory, write_memory, expected;
    std::vector<iovec> pieces, write_pieces;
    bool expect_miscompare = false;
  };

  uint64_t block_size() const { return device_.block_size(); }
  bool idle() const {
    for (const Slot& slot : slots_) {
      if (slot.busy) return false;
    }
    return true;
  }
  Slot* free_slot() {
    for (Slot& slot : slots_) {
      if (!slot.busy) return &slot;
    }
    return nullptr;
  }

  static bool overlap(uint64_t a, uint64_t a_blocks, uint64_t b, uint64_t b_blocks) {
    return a < b + b_blocks && b < a + a_blocks;
  }
  bool conflicts(uint64_t lba, uint64_t blocks, bool writes) const {
    for (const Slot& slot : slots_) {
      if (!slot.busy) continue;
      if (overlap(lba, blocks, slot.locked_lba, slot.locked_blocks)) return true;
      if (writes && overlap(lba, blocks, slot.shared_lba, slot.shared_blocks)) return true;
    }
    return false;
  }

  void fill(std::vector<std::byte>& memory) {
    for (auto& byte : memory) byte = static_cast<std::byte>(random_.next());
  }
  // Cuts `size` bytes at a random place of `memory` into pieces, aligned or not.
  std::byte* cut(std::vector<std::byte>& memory, std::vector<iovec>& pieces, size_t size) {
    const bool aligned = random_.one_in(2);
    memory.assign(size + 8192, std::byte{0xee});
    auto address = reinterpret_cast<uintptr_t>(memory.data());
    address = (address + 4095) & ~uintptr_t{4095};
    if (!aligned) address += random_.below(4096);
    auto* begin = reinterpret_cast<std::byte*>(address);
    pieces.clear();
    const size_t unit = aligned ? block_size() : 1;
    size_t at = 0;
    while (at < size) {
      size_t length = size - at;
      if (pieces.size() + 1 < Io::kMaxPieces && length > unit && !random_.one_in(3)) {
        length = unit * (1 + random_.below(length / unit));
      }
      pieces.push_back({begin + at, length});
      at += length;
    }
    return begin;
  }

  bool start_one(Slot& slot) {
    constexpr IoType kTypes[] = {IoType::kRead,  IoType::kRead,        IoType::kRead,    IoType::kWrite,
                                 IoType::kWrite, IoType::kWrite,       IoType::kFlush,   IoType::kUnmap,
                                 IoType::kCopy,  IoType::kWriteZeroes, IoType::kCompare, IoType::kCompareAndWrite};
    const IoType type = kTypes[random_.below(std::size(kTypes))];
    if (!device_.supports(type)) return true;
    const uint64_t total = device_.num_blocks();
    uint64_t max_blocks = std::min(total, options_.max_bytes / block_size());
    if (!random_.one_in(4)) max_blocks = std::min<uint64_t>(max_blocks, 8);
    const uint64_t blocks = type == IoType::kFlush ? 0 : 1 + random_.below(max_blocks);
    const uint64_t lba = random_.below(total - blocks + 1);
    const uint64_t source = random_.below(total - blocks + 1);
    const bool writes = type != IoType::kRead && type != IoType::kCompare && type != IoType::kFlush;
    if (conflicts(lba, blocks, writes)) return false;
    if (type == IoType::kCopy && conflicts(source, blocks, false)) return false;

    slot.runner = this;
    slot.type = type;
    slot.lba = type == IoType::kFlush ? 0 : lba;
    slot.num_blocks = blocks;
    slot.source_lba = source;
    slot.fua = writes && random_.one_in(5);
    slot.may_deallocate = random_.one_in(2);
    slot.data = slot.write_data = {};
    slot.expect_miscompare = false;
    slot.locked_lba = slot.shared_lba = lba;
    slot.locked_blocks = writes ? blocks : 0;
    slot.shared_blocks = writes ? 0 : blocks;
    if (type == IoType::kCopy) {
      slot.shared_lba = source;
      slot.shared_blocks = blocks;
    }
    prepare_data(slot);
    slot.busy = true;
    ++submitted_[static_cast<size_t>(type)];
    slot.complete = [](Io& io) {
      auto& self = static_cast<Slot&>(io);
      self.runner->on_complete(self);
    };
    channel_.submit(slot);
    return true;
  }

  // Sets the memory of the I/O up and carries it out on the model.
  void prepare_data(Slot& slot) {
    std::byte* blocks = model_.data() + slot.lba * block_size();
    const size_t size = slot.num_blocks * block_size();
    switch (slot.type) {
      case IoType::kRead:
        cut(slot.memory, slot.pieces, size);
        slot.data = slot.pieces;
        slot.expected.assign(blocks, blocks + size);
        break;
      case IoType::kWrite: {
        std::byte* data = cut(slot.memory, slot.pieces, size);
        for (size_t i = 0; i < size; ++i) data[i] = static_cast<std::byte>(random_.next());
        slot.data = slot.pieces;
        std::memcpy(blocks, data, size);
        break;
      }
      case IoType::kCompare:
      case IoType::kCompareAndWrite: {
        std::byte* data = cut(slot.memory, slot.pieces, size);
        std::memcpy(data, blocks, size);
        slot.expect_miscompare = random_.one_in(2);
        if (slot.expect_miscompare) data[random_.below(size)] ^= std::byte{1};
        slot.data = slot.pieces;
        if (slot.type == IoType::kCompare) break;
        std::byte* replacement = cut(slot.write_memory, slot.write_pieces, size);
        for (size_t i = 0; i < size; ++i) replacement[i] = static_cast<std::byte>(random_.next());
        slot.write_data = slot.write_pieces;
        if (!slot.expect_miscompare) std::memcpy(blocks, replacement, size);
        break;
      }
      case IoType::kUnmap:
      case IoType::kWriteZeroes:
        std::memset(blocks, 0, size);
        break;
      case IoType::kCopy:
        std::memmove(blocks, model_.data() + slot.source_lba * block_size(), size);
        break;
      case IoType::kFlush:
      case IoType::kReset:
        break;
    }
  }

  void on_complete(Slot& slot) {
    ++completed_;
    slot.busy = false;
    if (slot.expect_miscompare) {
      EXPECT_TRUE(slot.status.is(nvme::MediaStatus::kCompareFailure)) << slot.status.to_string();
      ++failed_;
      return;
    }
    EXPECT_TRUE(slot.status.is_success()) << describe(slot) << ": " << slot.status.to_string();
    if (slot.type != IoType::kRead) return;
    size_t at = 0;
    for (const iovec& piece : slot.pieces) {
      EXPECT_EQ(std::memcmp(slot.expected.data() + at, piece.iov_base, piece.iov_len), 0) << describe(slot);
      at += piece.iov_len;
    }
  }

  static std::string describe(const Slot& slot) {
    return "type " + std::to_string(static_cast<int>(slot.type)) + " lba " + std::to_string(slot.lba) + " blocks " +
           std::to_string(slot.num_blocks);
  }

  void check_everything() {
    const uint64_t step = (uint64_t{1} << 20) / block_size();
    for (uint64_t lba = 0; lba < device_.num_blocks(); lba += step) {
      Slot& slot = slots_.front();
      slot.type = IoType::kRead;
      slot.fua = false;
      slot.lba = lba;
      slot.num_blocks = std::min(step, device_.num_blocks() - lba);
      slot.expect_miscompare = false;
      prepare_data(slot);
      slot.busy = true;
      ++submitted_[static_cast<size_t>(IoType::kRead)];
      channel_.submit(slot);
      run_until_([&] { return !slot.busy; });
    }
  }

  void check_statistics() {
    const IoStatistics sum = device_.statistics();
    auto count = [&](IoType type) { return submitted_[static_cast<size_t>(type)]; };
    EXPECT_EQ(sum.read.operations, count(IoType::kRead));
    EXPECT_EQ(sum.write.operations, count(IoType::kWrite));
    EXPECT_EQ(sum.unmap.operations, count(IoType::kUnmap));
    EXPECT_EQ(sum.flush.operations, count(IoType::kFlush));
    EXPECT_EQ(sum.write_zeroes.operations, count(IoType::kWriteZeroes));
    EXPECT_EQ(sum.other.operations + failed_,
              count(IoType::kCopy) + count(IoType::kCompare) + count(IoType::kCompareAndWrite));
    EXPECT_EQ(sum.other.errors, failed_);
    EXPECT_EQ(sum.read.errors, 0u);
    EXPECT_GE(sum.read.latency_max_ns, sum.read.latency_min_ns);
    EXPECT_GE(sum.read.latency_total_ns, sum.read.latency_max_ns);
  }

  Channel& channel_;
  Device& device_;
  RunUntil run_until_;
  const ModelOptions options_;
  runtime::Random random_;
  std::vector<std::byte> model_;
  std::vector<Slot> slots_;
  size_t completed_ = 0;
  size_t failed_ = 0;
  std::array<size_t, kNumIoTypes> submitted_{};
};

}  // namespace cairn::block
