// Making a range of one child what it is on another one. The caller sees to it that nobody writes there meanwhile.
#pragma once

#include <cstddef>
#include <cstdint>

#include "block/channel.h"
#include "nexus/copy_watch.h"
#include "nvme/status.h"
#include "runtime/task.h"

namespace cairn::nexus {

struct SegmentCopy {
  enum class Outcome : uint8_t {
    kCopied,
    kReleased,   // the source has nothing there; now the destination has nothing there either
    kEqual,      // nothing had to be done
    kUnwritten,  // some of it in the source: nothing has been done
    kOutdated,   // a child has ceased to be healthy before the source answered: to be done again with another choice
    kReadFailed,
    kWriteFailed,
  };
  Outcome outcome = Outcome::kEqual;
  nvme::Status status;  // of what failed
};

// Copies any number of segments, if the source has all of them. Else kUnwritten, kReadFailed, kOutdated or
// kWriteFailed. `memory`: as many bytes as the blocks. `watch` may be nullptr; `departures` is its number when `from`
// was found healthy.
runtime::Task<SegmentCopy> copy_written(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                        std::byte* memory, CopyWatch* watch, uint64_t departures);
// Copies without looking. What is unwritten in the source is released in the destination unless it is unwritten there
// too: nothing stale survives, thin stays thin.
runtime::Task<SegmentCopy> copy_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                        std::byte* memory, CopyWatch* watch, uint64_t departures);
// Reads both and writes only where they differ; what cannot be read in the destination is written. `memory`: twice as
// many bytes.
runtime::Task<SegmentCopy> equalize_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                            std::byte* memory, CopyWatch* watch, uint64_t departures);

}  // namespace cairn::nexus
