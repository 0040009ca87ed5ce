// Memory that queued entries refer to until the kernel has taken them (it copies what it needs when an entry is
// submitted): iovecs and message headers.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <span>
#include <vector>

#include "runtime/uring_ring.h"

namespace cairn::runtime {

class UringScratch {
 public:
  static constexpr size_t kMaxPieces = 1024;  // of one call: the kernel's IOV_MAX

  explicit UringScratch(UringRing& ring) : ring_(ring), iovecs_(4 * kMaxPieces), headers_(ring.capacity()) {}

  // Room for kMaxPieces iovecs; use(n) keeps the first n until the next submission. Call before next_sqe(), which then
  // does not submit.
  std::span<iovec> iovecs() {
    ring_.make_room();
    if (submission_ != ring_.submissions()) {
      start_again();
    } else if (iovecs_.size() - used_ < kMaxPieces) {
      ring_.submit();
      start_again();
    }
    return {iovecs_.data() + used_, kMaxPieces};
  }
  iovec* use(size_t count) {
    iovec* const begin = iovecs_.data() + used_;
    used_ += count;
    return begin;
  }
  // A header for `pieces` iovecs, kept as long as they are.
  msghdr* header(iovec* iovecs, size_t pieces) {
    msghdr& header = headers_[num_headers_++];
    header = {};
    header.msg_iov = iovecs;
    header.msg_iovlen = pieces;
    return &header;
  }

 private:
  void start_again() {
    submission_ = ring_.submissions();
    used_ = 0;
    num_headers_ = 0;
  }

  UringRing& ring_;
  std::vector<iovec> iovecs_;
  size_t used_ = 0;
  std::vector<msghdr> headers_;  // one for each entry of the queue
  size_t num_headers_ = 0;
  uint64_t submission_ = 0;
};

}  // namespace cairn::runtime
