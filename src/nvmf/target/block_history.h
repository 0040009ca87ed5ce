// What blocks may read as, for tests in which several hosts write to them at once: a register with many writers for
// each block, told of the beginning and end of every command in the order in which they happened.
//
// A read may return the value of a write that began before the read ended, unless another write, certain to have
// happened, lies wholly between the two. A write is certain when it was acknowledged; a power loss takes that from all
// but those that were made durable (FUA, or a flush that began after their end). What was read once the write
// had ended has happened: what was over before that write began is not read again, unless power was lost.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cairn::nvmf::target {

class BlockHistory {
 public:
  static constexpr uint32_t kBlockSize = 512;

  // All blocks are zero.
  explicit BlockHistory(uint64_t num_blocks) : blocks_(num_blocks) {}
  uint64_t num_blocks() const { return blocks_.size(); }

  struct Write {
    uint64_t lba = 0;
    uint64_t num_blocks = 0;
    uint64_t tag = 0;
    uint64_t begin = 0;
    bool zero = false;
    bool fua = false;
  };
  // Before the command is sent. `zero`: the blocks are zeroed.
  Write begin_write(uint64_t lba, uint64_t num_blocks, bool zero, bool fua);
  // The data that goes with it.
  static std::vector<std::byte> data_of(const Write& write);
  void acknowledge(const Write& write);
  // It ended with an error: it may have happened in part, but nothing comes any more.
  void fail(const Write& write);

  uint64_t begin_read() { return ++clock_; }
  // What was read from `lba` on by a read that began then. Gives what is wrong with it; empty: nothing.
  std::string check_read(uint64_t begin, uint64_t lba, std::span<const std::byte> data);

  uint64_t begin_flush() { return ++clock_; }
  void acknowledge_flush(uint64_t begin);

  // Nothing that was sent until now takes effect any more; with `power_loss`, what is not durable may be gone.
  void crash(bool power_loss);
  // What is not durable may be gone, and what is under way goes on: it may be gone, too, when its answer was on its
  // way.
  void lose_volatile();
  uint64_t num_writes() const { return num_writes_; }
  uint64_t num_reads() const { return num_reads_; }

 private:
  static constexpr uint64_t kRunning = UINT64_MAX;
  struct Version {
    uint64_t tag;
    uint64_t begin;
    uint64_t end;
    bool certain;
    bool durable;
    uint64_t seen = 0;  // when a read of it had ended; 0: none, or power was lost since
  };
  static void fill(std::span<std::byte> block, uint64_t tag, uint64_t lba);
  static uint64_t tag_in(std::span<const std::byte> block);
  // Its version of a block; the versions of a block are in the order in which they began.
  static Version& version_of(std::vector<Version>& versions, uint64_t begin);
  void end(const Write& write, bool certain);

  std::vector<std::vector<Version>> blocks_;
  std::vector<Write> volatile_;  // acknowledged, not durable
  uint64_t clock_ = 0;
  uint64_t last_tag_ = 0;
  uint64_t last_power_loss_ = 0;
  uint64_t num_writes_ = 0;
  uint64_t num_reads_ = 0;
};

}  // namespace cairn::nvmf::target
