#include "pool/io_batch.h"

#include <utility>

#include "base/check.h"
#include "block/device.h"

namespace cairn::pool {

void IoBatch::add(block::IoType type, uint64_t offset_bytes, uint64_t size_bytes, std::byte* memory) {
  const uint32_t block_size = channel_.device().block_size();
  CAIRN_CHECK(offset_bytes % block_size == 0 && size_bytes % block_size == 0);
  Step& step = steps_.emplace_back();
  step.batch = this;
  step.type = type;
  step.lba = offset_bytes / block_size;
  step.num_blocks = size_bytes / block_size;
  step.may_deallocate = type == block::IoType::kWriteZeroes;
  if (memory != nullptr) {
    step.piece = {memory, size_bytes};
    step.data = {&step.piece, 1};
  }
  step.complete = [](block::Io& io) {
    IoBatch& batch = *static_cast<Step&>(io).batch;
    ++batch.completed_;
    batch.submit_more();
  };
}

void IoBatch::add(block::IoType type, uint64_t offset_bytes, std::vector<iovec> pieces) {
  CAIRN_CHECK(!pieces.empty() && pieces.size() <= block::Io::kMaxPieces);
  uint64_t size_bytes = 0;
  for (const iovec& piece : pieces) size_bytes += piece.iov_len;
  add(type, offset_bytes, size_bytes);
  Step& step = steps_.back();
  step.pieces = std::move(pieces);
  step.data = step.pieces;
}

void IoBatch::add_copy(uint64_t from_bytes, uint64_t to_bytes, uint64_t size_bytes, nvme::Status& status) {
  add(block::IoType::kCopy, to_bytes, size_bytes);
  steps_.back().outcome = &status;
  steps_.back().source_lba = from_bytes / channel_.device().block_size();
}

void IoBatch::add_write_of(const block::Io& host, uint64_t lba, nvme::Status& status) {
  const uint32_t block_size = channel_.device().block_size();
  add(block::IoType::kWrite, lba * block_size, host.num_blocks * block_size);
  Step& step = steps_.back();
  step.data = host.data;
  step.fua = host.fua;
  step.outcome = &status;
}

void IoBatch::submit_more() {
  if (submitting_) return;  // completed inside submit(): the loop below goes on
  submitting_ = true;
  while (next_ < steps_.size() && next_ - completed_ < max_in_flight_) channel_.submit(steps_[next_++]);
  submitting_ = false;
  if (completed_ == steps_.size() && awaiter_ != nullptr) std::exchange(awaiter_, nullptr)->done();
}

nvme::Status IoBatch::conclude() {
  nvme::Status result;
  for (const Step& step : steps_) {
    if (step.outcome != nullptr) *step.outcome = step.status;
    if (result.is_success()) result = step.status;
  }
  steps_.clear();
  next_ = completed_ = 0;
  return result;
}

}  // namespace cairn::pool
