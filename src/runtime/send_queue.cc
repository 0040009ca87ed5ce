#include "runtime/send_queue.h"

#include "base/check.h"

namespace cairn::runtime {

SendQueue::Batch SendQueue::gather(std::span<iovec> into) {
  Batch batch;
  size_t piece = piece_;
  size_t offset = piece_offset_;
  for (SendOp* op = ops_.first(); op != nullptr; op = ops_.next(*op)) {
    for (; piece < op->pieces.size(); ++piece) {
      if (batch.pieces == into.size()) return batch;
      const iovec& source = op->pieces[piece];
      const size_t length = source.iov_len - offset;
      if (length > 0) {
        into[batch.pieces++] = {static_cast<std::byte*>(source.iov_base) + offset, length};
        batch.bytes += length;
      }
      offset = 0;
    }
    piece = 0;
  }
  return batch;
}

void SendQueue::advance(size_t bytes) {
  while (SendOp* op = ops_.first()) {
    while (piece_ < op->pieces.size()) {
      const size_t left = op->pieces[piece_].iov_len - piece_offset_;
      if (bytes < left) {
        piece_offset_ += bytes;
        return;
      }
      bytes -= left;
      piece_offset_ = 0;
      ++piece_;
    }
    pop_and_complete(0);
  }
  CAIRN_CHECK(bytes == 0);
}

void SendQueue::fail_all(int result) {
  while (!ops_.empty()) pop_and_complete(result);
}

void SendQueue::pop_and_complete(int result) {
  SendOp& op = *ops_.pop_front();
  piece_ = 0;
  piece_offset_ = 0;
  op.complete(op, result);
}

}  // namespace cairn::runtime
