#include "nexus/segment_copy.h"

#include <cstring>

#include "block/device.h"
#include "block/io_wait.h"
#include "nexus/nexus_port.h"

namespace cairn::nexus {

using block::IoType;
using nvme::MediaStatus;
using nvme::Status;
using runtime::Task;
using Outcome = SegmentCopy::Outcome;

namespace {

constexpr uint32_t kFailUnwritten = 1u << 22;  // read flag: no data, a status

Task<Status> transfer(block::Channel& channel, IoType type, uint64_t lba, uint64_t num_blocks, std::byte* memory,
                      CopyWatch* watch) {
  iovec piece{memory, num_blocks * channel.device().block_size()};
  co_return co_await perform_watched(watch, channel,
                                     {.type = type,
                                      .lba = lba,
                                      .num_blocks = num_blocks,
                                      .data = {&piece, 1},
                                      .read_flags = type == IoType::kRead ? kFailUnwritten : 0});
}

// Of the source, or that the destination may have another user by now. That another host holds the reservation must not
// be forgotten.
bool is_outdated(const CopyWatch* watch, uint64_t departures, Status read) {
  return num_departures(watch) != departures && !failure_of(read).conflict;
}

bool is_unwritten(Status status) {
  return status.is(MediaStatus::kDeallocatedOrUnwrittenBlock);
}

Task<SegmentCopy> write(block::Channel& to, uint64_t lba, uint64_t num_blocks, std::byte* memory, CopyWatch* watch) {
  const Status written = co_await transfer(to, IoType::kWrite, lba, num_blocks, memory, watch);
  if (!written.is_success()) co_return SegmentCopy{Outcome::kWriteFailed, written};
  co_return SegmentCopy{Outcome::kCopied, written};
}

Task<SegmentCopy> release(block::Channel& to, uint64_t lba, uint64_t num_blocks, CopyWatch* watch) {
  const Status released = co_await perform_watched(
      watch, to, {.type = IoType::kWriteZeroes, .lba = lba, .num_blocks = num_blocks, .may_deallocate = true});
  if (!released.is_success()) co_return SegmentCopy{Outcome::kWriteFailed, released};
  co_return SegmentCopy{Outcome::kReleased, released};
}

}  // namespace

Task<SegmentCopy> copy_written(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                               std::byte* memory, CopyWatch* watch, uint64_t departures, ReadTurns& turns) {
  co_await turns.begin();
  Status read;
  const bool outdated = num_departures(watch) != departures;
  if (!outdated) read = co_await transfer(from, IoType::kRead, lba, num_blocks, memory, watch);
  turns.end();
  if (outdated) co_return SegmentCopy{Outcome::kOutdated, {}};
  if (is_outdated(watch, departures, read)) co_return SegmentCopy{Outcome::kOutdated, read};
  if (read.is_success()) co_return co_await write(to, lba, num_blocks, memory, watch);
  co_return SegmentCopy{is_unwritten(read) ? Outcome::kUnwritten : Outcome::kReadFailed, read};
}

Task<SegmentCopy> copy_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                               std::byte* memory, CopyWatch* watch, uint64_t departures, ReadTurns& turns) {
  const SegmentCopy done = co_await copy_written(from, to, lba, num_blocks, memory, watch, departures, turns);
  if (done.outcome != Outcome::kUnwritten) co_return done;
  if (is_unwritten(co_await transfer(to, IoType::kRead, lba, num_blocks, memory, watch))) co_return SegmentCopy{};
  co_return co_await release(to, lba, num_blocks, watch);
}

Task<SegmentCopy> equalize_segment(block::Channel& from, block::Channel& to, uint64_t lba, uint64_t num_blocks,
                                   std::byte* memory, CopyWatch* watch, uint64_t departures) {
  const uint64_t size = num_blocks * from.device().block_size();
  if (num_departures(watch) != departures) co_return SegmentCopy{Outcome::kOutdated, {}};
  const Status source = co_await transfer(from, IoType::kRead, lba, num_blocks, memory, watch);
  if (is_outdated(watch, departures, source)) co_return SegmentCopy{Outcome::kOutdated, source};
  if (!source.is_success() && !is_unwritten(source)) co_return SegmentCopy{Outcome::kReadFailed, source};
  const Status present = co_await transfer(to, IoType::kRead, lba, num_blocks, memory + size, watch);
  if (is_outdated(watch, departures, present)) co_return SegmentCopy{Outcome::kOutdated, present};
  if (failure_of(present).conflict) co_return SegmentCopy{Outcome::kWriteFailed, present};
  if (is_unwritten(source)) {
    if (is_unwritten(present)) co_return SegmentCopy{};
    co_return co_await release(to, lba, num_blocks, watch);
  }
  if (present.is_success() && std::memcmp(memory, memory + size, size) == 0) co_return SegmentCopy{};
  co_return co_await write(to, lba, num_blocks, memory, watch);
}

}  // namespace cairn::nexus
