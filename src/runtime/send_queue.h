// The output of a stream that waits to be handed to the kernel: SendOps in order, with the place reached in the first
// of them.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <span>

#include "runtime/stream.h"

namespace cairn::runtime {

class SendQueue {
 public:
  struct Batch {
    size_t pieces = 0;
    size_t bytes = 0;
  };

  bool empty() const { return ops_.empty(); }
  void push(SendOp& op) { ops_.push_back(op); }

  // Describes the next bytes in `into`, from as many ops as fit.
  Batch gather(std::span<iovec> into);
  // `bytes` more were handed to the kernel: completes the ops that end there. Runs callbacks, which may push.
  void advance(size_t bytes);
  // Completes everything with `result` (negative errno). Runs callbacks.
  void fail_all(int result);

 private:
  void pop_and_complete(int result);

  IntrusiveList<SendOp> ops_;
  size_t piece_ = 0;         // of the first op
  size_t piece_offset_ = 0;  // bytes of that piece that are gone already
};

}  // namespace cairn::runtime
