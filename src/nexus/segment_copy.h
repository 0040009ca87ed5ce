// Making a range of one child what it is on another one. The caller sees to it that nobody writes there meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "block/channel.h"
#include "nexus/copy_watch.h"
#include "nvme/status.h"
#include "runtime/task.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

struct SegmentCopy {
  enum class Outcome : uint8_t {
    kCopied,
    kReleased,   // the source has nothing there; now the destination has nothing there either
    kEqual,      // nothing had to be done
    kUnwritten,  // some of it in the source: nothing has been done
    kOutdated,   // a child has ceased to be healthy before anything was written: to be done again with another choice
    kReadFailed,
    kWriteFailed,
  };
  Outcome outcome = Outcome::kEqual;
  nvme::Status status;  // of what failed
};

// Who copies reads only in his turn, so that some read while others write. If all read, and then all write, the source
// waits for the destination and the other way round: disks like to end what they were given all at the same time.
class ReadTurns {
 public:
  explicit ReadTurns(size_t num_at_a_time) : num_free_(num_at_a_time) {}
  ReadTurns(const ReadTurns&) = delete;
  ReadTurns& operator=(const ReadTurns&) = delete;

  // Not interrupted by a cancellation.
  runtime::Task<> begin() {
    while (num_free_ == 0) static_cast<void>(co_await ended_.wait_uninterrupted());
    --num_free_;
  }
  void end() {
    ++num_free_;
    ended_.pulse();
  }

 private:
  size_t num_free_;
  runtime::Event ended_;
};

// Copies any number of segments, if the source has all of them. Else kUnwritten, kReadFailed, kOutdated or
// kWriteFailed. `memory`: as many bytes as the blocks. `watch` may be nullptr; `departures` is its number when `from`
// was found healthy.
runtime::Task<SegmentCopy> copy_written(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                        std::byte* memory, CopyWatch* watch, uint64_t departures, ReadTurns& turns);
// Copies without looking. What is unwritten in the source is released in the destination unless it is unwritten there
// too: nothing stale survives, thin stays thin.
runtime::Task<SegmentCopy> copy_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                        std::byte* memory, CopyWatch* watch, uint64_t departures, ReadTurns& turns);
// Reads both and writes only where they differ; what cannot be read in the destination is written. `memory`: twice as
// many bytes.
runtime::Task<SegmentCopy> equalize_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                            std::byte* memory, CopyWatch* watch, uint64_t departures);

}  // namespace cairn::nexus
