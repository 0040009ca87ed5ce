#include "runtime/uring_ring.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"

namespace cairn::runtime {

namespace {

// From the kernel's user interface; newer than the liburing we build with.
constexpr unsigned kRequiredFeatures = IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL |
                                       IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;

// Flag sets from the best to the plainest.
std::vector<unsigned> setup_flag_choices(const UringOptions& options) {
  const unsigned base = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  std::vector<unsigned> choices;
  if (options.single_issuer) {
    const unsigned flags = base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                           IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
    if (options.cooperative_task_work) choices.push_back(flags | IORING_SETUP_COOP_TASKRUN);
    choices.push_back(flags);
  }
  if (options.cooperative_task_work) {
    choices.push_back(base | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  }
  choices.push_back(base | IORING_SETUP_SUBMIT_ALL);
  choices.push_back(base);
  return choices;
}

}  // namespace

Result<std::unique_ptr<UringRing>> UringRing::create(const UringOptions& options) {
  std::unique_ptr<UringRing> ring(new UringRing);
  int error = ENOSYS;
  for (const unsigned flags : setup_flag_choices(options)) {
    io_uring_params params{};
    params.flags = flags;
    params.cq_entries = options.completion_entries;
    error = -io_uring_queue_init_params(options.submission_entries, &ring->ring_, &params);
    if (error != EINVAL) {
      ring->features_ = {.single_issuer = (flags & IORING_SETUP_SINGLE_ISSUER) != 0,
                         .cooperative_task_work = (flags & IORING_SETUP_COOP_TASKRUN) != 0,
                         .task_work_flag = (flags & IORING_SETUP_TASKRUN_FLAG) != 0,
                         .submit_all = (flags & IORING_SETUP_SUBMIT_ALL) != 0};
      ring->enabled_ = (flags & IORING_SETUP_R_DISABLED) == 0;
      break;
    }
  }
  if (error != 0) {
    ring->ring_.ring_fd = -1;
    return fail(Error::from_errno(error, "set up an io_uring"));
  }
  if ((ring->ring_.features & kRequiredFeatures) != kRequiredFeatures) {
    return fail(Code::kUnimplemented, "the io_uring of this kernel is too old (Linux 5.13 or newer is needed)");
  }
  // Entry i of the indirection array always names entry i.
  for (unsigned i = 0; i < *ring->ring_.sq.kring_entries; ++i) ring->ring_.sq.array[i] = i;

  io_uring_probe* probe = io_uring_get_probe_ring(&ring->ring_);
  if (probe != nullptr) {
    ring->opcodes_.resize(static_cast<size_t>(probe->last_op) + 1);
    for (unsigned op = 0; op <= probe->last_op && op < probe->ops_len; ++op) {
      ring->opcodes_[op] = (probe->ops[op].flags & IO_URING_OP_SUPPORTED) != 0;
    }
    io_uring_free_probe(probe);
  }
  return ring;
}

UringRing::~UringRing() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

// A ring of a single issuer starts disabled, so that it belongs to the thread that uses it and not to the one that made
// it.
void UringRing::enable() {
  if ((ring_.flags & IORING_SETUP_R_DISABLED) != 0)
    CAIRN_CHECK(io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  registered_descriptor_ =
      io_uring_register_ring_fd(&ring_) == 1;  // saves a look-up per system call where the kernel can
  enabled_ = true;
}

io_uring_sqe& UringRing::next_sqe(UringOp* op) {
  return next_sqe(reinterpret_cast<uint64_t>(op));
}

io_uring_sqe& UringRing::next_sqe(uint64_t user_data) {
  auto& sq = ring_.sq;
  make_room();
  io_uring_sqe& sqe = sq.sqes[sq.sqe_tail++ & *sq.kring_mask];
  sqe.user_data = user_data;
  return sqe;
}

void UringRing::submit_and_collect() {
  const unsigned sq_flags = __atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED);
  const bool kernel_has_work = (sq_flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
  // Completions are processed along with a submission in any case. A kernel that does not tell of them brings them by
  // itself.
  if (has_queued() || kernel_has_work) enter(IORING_ENTER_GETEVENTS, nullptr);
}

void UringRing::submit_and_wait(Duration timeout) {
  enter(IORING_ENTER_GETEVENTS, &timeout);
}

void UringRing::enter(unsigned flags, Duration* timeout) {
  if (!enabled_) enable();
  auto& sq = ring_.sq;
  __atomic_store_n(sq.ktail, sq.sqe_tail, __ATOMIC_RELEASE);

  __kernel_timespec time{};
  io_uring_getevents_arg argument{};
  argument.sigmask_sz = _NSIG / 8;
  unsigned min_complete = 0;
  if (timeout != nullptr) {
    min_complete = 1;
    if (timeout->count() >= 0) {
      time = {.tv_sec = timeout->count() / 1'000'000'000, .tv_nsec = timeout->count() % 1'000'000'000};
      argument.ts = reinterpret_cast<uint64_t>(&time);
    }
  }
  if (registered_descriptor_) flags |= IORING_ENTER_REGISTERED_RING;
  do {
    const unsigned to_submit = sq.sqe_tail - sq.sqe_head;
    const long result = ::syscall(__NR_io_uring_enter, ring_.enter_ring_fd, to_submit, min_complete,
                                  flags | IORING_ENTER_EXT_ARG, &argument, sizeof argument);
    const int error = result < 0 ? errno : 0;
    sq.sqe_head = __atomic_load_n(sq.khead, __ATOMIC_ACQUIRE);
    if (error == EBUSY || error == EAGAIN) {
      stash_completions();  // the kernel has no room: make some, try again
    } else {
      CAIRN_CHECK(error == 0 || error == EINTR || error == ETIME);
    }
    if (timeout != nullptr && (result >= 0 || error == EINTR || error == ETIME)) min_complete = 0;
  } while (sq.sqe_head != sq.sqe_tail);
  ++submissions_;
}

void UringRing::stash_completions() {
  while (cq_ready() > 0) stash_.push_back(take_cqe());
}

}  // namespace cairn::runtime
