// I/O from tasks: co_await perform(channel, {.type = ..., ...}) gives the status. For control paths (metadata, wiping,
// tests); the data path has Ios of its own and completion functions.
#pragma once

#include "block/channel.h"
#include "runtime/task.h"

namespace cairn::block {

// The fields of Io that a submitter fills.
struct IoRequest {
  IoType type = IoType::kRead;
  uint64_t lba = 0;
  uint64_t num_blocks = 0;
  std::span<const iovec> data = {};
  std::span<const iovec> write_data = {};
  uint64_t source_lba = 0;
  bool fua = false;
  bool may_deallocate = false;
  uint32_t read_flags = 0;
};

// A cancelled task waits for the I/O all the same: the device may be using its memory.
class IoAwaiter final : public runtime::Suspension, private Io {
 public:
  IoAwaiter(Channel& channel, const IoRequest& request) : channel_(channel) {
    type = request.type;
    lba = request.lba;
    num_blocks = request.num_blocks;
    data = request.data;
    write_data = request.write_data;
    source_lba = request.source_lba;
    fua = request.fua;
    may_deallocate = request.may_deallocate;
    read_flags = request.read_flags;
    complete = [](Io& io) { static_cast<IoAwaiter&>(io).finish(); };
  }
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    begin(task);
    channel_.submit(*this);
  }
  nvme::Status await_resume() const { return status; }

 private:
  void on_cancel() override {}
  Channel& channel_;
};

inline IoAwaiter perform(Channel& channel, const IoRequest& request) {
  return IoAwaiter(channel, request);
}

}  // namespace cairn::block
