// One io_uring: set-up with what the kernel offers, submission and completion. Knows nothing of files or sockets.
//
// Belongs to the thread that first calls next_sqe(), submit() or reap() (with single_issuer the kernel insists on it).
// Everything queued between two submissions goes to the kernel in one system call.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/duration.h"
#include "base/error.h"

namespace cairn::runtime {

// What may be used. Everything is also probed: an option that is on means "if the kernel has it".
struct UringOptions {
  unsigned submission_entries = 512;
  unsigned completion_entries = 8192;
  bool single_issuer = true;          // with deferred task work: completions are processed only when we ask (Linux 6.1)
  bool cooperative_task_work = true;  // no interrupt of the running thread for a completion (5.19)
  bool buffer_ring = true;            // receives take a shared buffer only when bytes arrive (5.19)
  bool multishot_accept = true;       // one operation accepts for ever (5.19)
  bool registered_buffers = true;     // I/O memory pinned once; RLIMIT_MEMLOCK may forbid it
  bool ring_messages =
      true;  // reactors wake each other through their rings (6.7 and newer, older ones have it with restrictions)
  unsigned hot_streams = 4;  // streams that are asked directly for a while after they received, 0: none
  unsigned receive_buffers = 64;
  size_t receive_buffer_bytes = size_t{64} << 10;
};

// Something that waits for a completion: its address is the operation's user data.
struct UringOp {
  void (*complete)(UringOp& op, int result, unsigned flags) = nullptr;
};

class UringRing {
 public:
  // What is in use.
  struct Features {
    bool single_issuer = false;
    bool cooperative_task_work = false;
    bool task_work_flag = false;  // the kernel tells in shared memory that completions wait to be processed
    bool submit_all = false;
  };

  // UNIMPLEMENTED, PERMISSION_DENIED: this kernel has no (usable) io_uring.
  static Result<std::unique_ptr<UringRing>> create(const UringOptions& options);
  ~UringRing();
  UringRing(const UringRing&) = delete;
  UringRing& operator=(const UringRing&) = delete;

  const Features& features() const { return features_; }
  bool supports(unsigned opcode) const { return opcode < opcodes_.size() && opcodes_[opcode]; }
  int fd() const { return ring_.ring_fd; }
  unsigned capacity() const { return *ring_.sq.kring_entries; }  // of the queue
  io_uring& raw() { return ring_; }

  // An entry, queued, to be filled by one of liburing's io_uring_prep functions (it is not clear). Submits by itself
  // when the queue is full.
  io_uring_sqe& next_sqe(UringOp* op);
  io_uring_sqe& next_sqe(uint64_t user_data);
  // Submits when the queue is full, so that the next next_sqe() does not.
  void make_room() {
    if (ring_.sq.sqe_tail - ring_.sq.sqe_head >= *ring_.sq.kring_entries) submit();
  }
  bool has_queued() const { return ring_.sq.sqe_tail != ring_.sq.sqe_head; }
  // Counts calls that made the kernel take the queue: memory that an entry refers to (iovecs, addresses) may be used
  // again after it.
  uint64_t submissions() const { return submissions_; }
  // Hands the queue to the kernel.
  void submit() { enter(0, nullptr); }
  // Hands the queue to the kernel if there is one, and lets it process completions if it has some.
  void submit_and_collect();
  // Hands the queue to the kernel and waits for a completion until `timeout` (negative: for ever) has passed.
  void submit_and_wait(Duration timeout);
  bool has_completions() const { return !stash_.empty() || cq_ready() > 0; }

  // Calls `handle(user_data, result, flags)` for every completion that is there when called. Returns how many.
  template <typename Handle>
  size_t reap(Handle handle) {
    size_t count = 0;
    if (!stash_.empty()) {
      std::vector<io_uring_cqe> stash;
      stash.swap(stash_);
      for (const io_uring_cqe& cqe : stash) handle(cqe.user_data, cqe.res, cqe.flags);
      count = stash.size();
    }
    for (unsigned left = cq_ready(); left > 0 && cq_ready() > 0; --left, ++count) {
      const io_uring_cqe cqe = take_cqe();
      handle(cqe.user_data, cqe.res, cqe.flags);
    }
    return count;
  }

 private:
  UringRing() = default;
  void enable();
  void enter(unsigned flags, Duration* timeout);
  void stash_completions();
  unsigned cq_ready() const { return __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE) - *ring_.cq.khead; }
  io_uring_cqe take_cqe() {
    const unsigned head = *ring_.cq.khead;
    const io_uring_cqe& slot = ring_.cq.cqes[head & *ring_.cq.kring_mask];
    io_uring_cqe cqe{};
    cqe.user_data = slot.user_data;
    cqe.res = slot.res;
    cqe.flags = slot.flags;
    __atomic_store_n(ring_.cq.khead, head + 1, __ATOMIC_RELEASE);
    return cqe;
  }

  io_uring ring_{};
  Features features_;
  std::vector<bool> opcodes_;
  bool enabled_ = false;
  bool registered_descriptor_ = false;
  uint64_t submissions_ = 0;
  std::vector<io_uring_cqe> stash_;  // completions taken out of a full ring before their turn
};

}  // namespace cairn::runtime
