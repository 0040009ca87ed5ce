// Tasks that read and write through a block device's channels by chance and check what they read, whatever happens to
// the connections below.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "initiator_site.h"
#include "nvmf/target/block_history.h"

namespace cairn::nvmf {

struct ChannelLoadOptions {
  unsigned depth = 6;  // tasks of each channel
  uint64_t max_blocks = 64;
  uint64_t num_operations = 300;  // of each task; 0: until stop()
  Duration max_pause{};           // between two of a task
  bool expect_path_errors = false;
};

class ChannelLoad {
 public:
  ChannelLoad(InitiatorSite& site, const ChannelLoadOptions& options)
      : site_(site), options_(options), history_(site.site().options().num_blocks) {}

  void start() {
    for (unsigned i = 0; i < site_.node().num_reactors(); ++i) {
      const runtime::Reactor::Scope scope(site_.node().reactor(i));
      for (unsigned task = 0; task < options_.depth; ++task) {
        ++num_running_;
        site_.node().reactor(i).spawn("load", run(site_.channel(i)));
      }
    }
  }
  void stop() { stopping_ = true; }
  bool ended() const { return num_running_ == 0; }
  void finish() {
    site_.run_until([this] { return ended(); });
    EXPECT_EQ(failure_, "");
    site_.run_plain(read_everything(site_.channel()));
    EXPECT_EQ(failure_, "");
  }

  target::BlockHistory& history() { return history_; }
  const std::string& failure() const { return failure_; }
  uint64_t num_done() const { return num_done_; }
  uint64_t num_path_errors() const { return num_path_errors_; }

 private:
  using IoType = block::IoType;

  runtime::Task<> run(block::Channel& channel) {
    runtime::Random& random = runtime::Reactor::current().random();
    for (uint64_t i = 0; (options_.num_operations == 0 || i < options_.num_operations) && !stopping_; ++i) {
      if (!failure_.empty()) break;
      co_await operate(channel, random);
      ++num_done_;
      if (options_.max_pause > Duration{}) {
        co_await runtime::sleep_for(Duration(random.below(static_cast<uint64_t>(options_.max_pause.count()))));
      }
    }
    --num_running_;
  }

  runtime::Task<> operate(block::Channel& channel, runtime::Random& random) {
    const uint64_t choice = random.below(100);
    const uint64_t count = 1 + random.below(random.one_in(4) ? options_.max_blocks : 8);
    // Half of all go to the same few blocks.
    const uint64_t lba =
        std::min(random.below(random.one_in(2) ? 16 : history_.num_blocks()), history_.num_blocks() - count);
    if (choice < 45) {
      co_await write(channel, random, lba, count);
    } else if (choice < 96) {
      co_await read(channel, lba, count);
    } else {
      const uint64_t begin = history_.begin_flush();
      if (succeeded(co_await block::perform(channel, {.type = IoType::kFlush}), "flush")) {
        history_.acknowledge_flush(begin);
      }
    }
  }

  runtime::Task<> write(block::Channel& channel, runtime::Random& random, uint64_t lba, uint64_t count) {
    const uint64_t kind = random.below(16);
    const bool fua = random.one_in(8);
    const auto write = history_.begin_write(lba, count, kind < 2, fua);
    std::vector<std::byte> data = target::BlockHistory::data_of(write);
    const iovec piece{data.data(), data.size()};
    block::IoRequest request{.type = kind == 0   ? IoType::kWriteZeroes
                                     : kind == 1 ? IoType::kUnmap
                                                 : IoType::kWrite,
                             .lba = lba,
                             .num_blocks = count,
                             .fua = fua};
    if (request.type == IoType::kWrite) request.data = {&piece, 1};
    if (succeeded(co_await block::perform(channel, request), "write")) history_.acknowledge(write);
    // Else it may happen, now or later.
  }

  runtime::Task<> read(block::Channel& channel, uint64_t lba, uint64_t count) {
    const uint64_t begin = history_.begin_read();
    std::vector<std::byte> data(count * target::SimSite::kBlockSize, std::byte{0xee});
    const iovec piece{data.data(), data.size()};
    const auto status =
        co_await block::perform(channel, {.type = IoType::kRead, .lba = lba, .num_blocks = count, .data = {&piece, 1}});
    if (succeeded(status, "read")) note(history_.check_read(begin, lba, data));
  }

  runtime::Task<> read_everything(block::Channel& channel) {
    for (uint64_t lba = 0; lba < history_.num_blocks(); lba += 64) {
      co_await read(channel, lba, std::min<uint64_t>(64, history_.num_blocks() - lba));
    }
  }

  bool succeeded(nvme::Status status, const char* what) {
    if (status.is_success()) return true;
    if (options_.expect_path_errors && status.is(nvme::PathStatus::kHostPathingError)) {
      ++num_path_errors_;
    } else {
      note(fmt::format("{}: {}", what, status.to_string()));
    }
    return false;
  }
  void note(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }

  InitiatorSite& site_;
  const ChannelLoadOptions options_;
  target::BlockHistory history_;
  bool stopping_ = false;
  unsigned num_running_ = 0;
  std::string failure_;
  uint64_t num_done_ = 0;
  uint64_t num_path_errors_ = 0;
};

}  // namespace cairn::nvmf
