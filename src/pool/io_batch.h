// Several I/Os to one channel, awaited together: how metadata is read and written in bulk.
#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "block/channel.h"
#include "block/io.h"
#include "runtime/task.h"

namespace cairn::pool {

// Fill with add(), then co_await run(). Reusable after that. The memory of every I/O must stay until run() is over; a
// cancelled task waits on all the same.
class IoBatch {
 public:
  static constexpr size_t kMaxInFlight = 32;

  explicit IoBatch(block::Channel& channel, size_t max_in_flight = kMaxInFlight)
      : channel_(channel), max_in_flight_(max_in_flight) {}

  // Bytes are whole blocks of the device. Without memory for the types that transfer none.
  void add(block::IoType type, uint64_t offset_bytes, uint64_t size_bytes, std::byte* memory = nullptr);
  // One I/O with all these pieces of memory, whole blocks each and at most block::Io::kMaxPieces.
  void add(block::IoType type, uint64_t offset_bytes, std::vector<iovec> pieces);
  // `status` tells how this one has ended; it must stay until run() is over.
  void add_copy(uint64_t from_bytes, uint64_t to_bytes, uint64_t size_bytes, nvme::Status& status);
  // Writes what `host`, which must stay likewise, wants written, but at `lba` of this channel's device.
  void add_write_of(const block::Io& host, uint64_t lba, nvme::Status& status);
  // Begins at once; run() must follow all the same.
  void start() { submit_more(); }
  bool empty() const { return steps_.empty(); }

  class Awaiter final : public runtime::Suspension {
   public:
    explicit Awaiter(IoBatch& batch) : batch_(batch) {}
    bool await_ready() const { return batch_.steps_.empty(); }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> task) {
      begin(task);
      batch_.awaiter_ = this;
      batch_.submit_more();
      return true;
    }
    // The status of the first I/O that failed, in their order.
    nvme::Status await_resume() { return batch_.conclude(); }

   private:
    friend class IoBatch;
    void on_cancel() override {}
    void done() { finish(); }
    IoBatch& batch_;
  };
  Awaiter run() { return Awaiter(*this); }

 private:
  struct Step : block::Io {
    IoBatch* batch = nullptr;
    iovec piece{};
    std::vector<iovec> pieces;  // instead of `piece`
    nvme::Status* outcome = nullptr;
  };
  void submit_more();
  nvme::Status conclude();

  block::Channel& channel_;
  const size_t max_in_flight_;
  std::deque<Step> steps_;
  size_t next_ = 0;
  size_t completed_ = 0;
  bool submitting_ = false;
  Awaiter* awaiter_ = nullptr;
};

}  // namespace cairn::pool
