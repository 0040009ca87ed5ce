// Fused Compare and Write (NVMe Base 2.0, section 3.4.2; NVM Command Set 1.0, section 3.1.2).
//
// The halves arrive one right behind the other but get their data in any order. begin_fused() pairs them; whichever
// gets its data last starts the one Io that does both. Until then a half may be in the transport's hands, where the
// core cannot complete it: what it is to end with is left in fused_abort for execute_fused() to find.
//
//   what arrives                                  first half                  second half
//   Compare, Write of the same blocks             by the outcome              by the outcome
//   Compare, anything but a second half           Aborted Missing Fused       (executed as usual)
//   a second half without a first                                             Aborted Missing Fused
//   no Compare, or a Compare that is refused      its own error               Aborted Failed Fused
//   Compare, a Write that is refused              Aborted Failed Fused        its own error
//   Compare, a second half that is no Write       Aborted Missing Fused       Invalid Field
//   Compare, Write of other blocks                Invalid Field               Invalid Field
//   one half aborted by the host or its data bad  Aborted Failed Fused or that error
//   the blocks differ                             Compare Failure             Aborted Failed Fused
//   writing fails                                 Success                     its error
//   the outcome is another error                  that error                  Aborted Failed Fused
#include "nvme/nvm_command.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/queue_pair.h"

namespace cairn::nvmf::target {

namespace {

using nvme::Dnr;
using nvme::Fuse;
using nvme::GenericStatus;
using nvme::NvmOpcode;
using nvme::Status;

constexpr Status kFailedFused = Status::generic(GenericStatus::kAbortedFailedFused);
constexpr Status kMissingFused = Status::generic(GenericStatus::kAbortedMissingFused);
constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);

bool same_blocks(const nvme::Sqe& a, const nvme::Sqe& b) {
  const auto range_a = nvme::BlockRange::decode(a);
  const auto range_b = nvme::BlockRange::decode(b);
  return a.nsid == b.nsid && range_a.slba == range_b.slba && range_a.num_blocks == range_b.num_blocks;
}

// Errors that only the writing half can have.
bool is_write_error(Status status) {
  return status.is(nvme::MediaStatus::kWriteFault) || status.is(GenericStatus::kCapacityExceeded) ||
         status.is(GenericStatus::kNamespaceWriteProtected);
}

}  // namespace

// A command that is a half, or that follows a first half.
void QueuePair::begin_fused(Request& request) {
  Request* first = std::exchange(fused_first_, nullptr);
  const bool first_refused = std::exchange(fused_first_refused_, false);
  const Fuse fuse = request.command.fuse();
  if (first != nullptr && fuse != Fuse::kSecond) abort_fused(*first, kMissingFused);
  Payload payload;

  switch (fuse) {
    case Fuse::kNormal:
      begin_io(request);
      return;
    case Fuse::kReserved:
      finish(request, kInvalidField);
      return;
    case Fuse::kFirst: {
      const bool compare = request.command.nvm_opcode() == NvmOpcode::kCompare;
      const Status status = compare ? check_io(request.command, payload) : kInvalidField;
      if (!status.is_success()) {
        fused_first_refused_ = true;
        finish(request, status);
      } else if (prepare(request, payload.direction, payload.size_bytes)) {
        fused_first_ = &request;
      } else {
        fused_first_refused_ = true;
      }
      return;
    }
    case Fuse::kSecond: {
      if (first == nullptr) {
        finish(request, first_refused ? kFailedFused : kMissingFused);
        return;
      }
      if (request.command.nvm_opcode() != NvmOpcode::kWrite) {
        abort_fused(*first, kMissingFused);
        finish(request, kInvalidField);
        return;
      }
      if (const Status status = check_io(request.command, payload); !status.is_success()) {
        abort_fused(*first, kFailedFused);
        finish(request, status);
        return;
      }
      if (!same_blocks(first->command, request.command)) {
        abort_fused(*first, kInvalidField);
        finish(request, kInvalidField);
        return;
      }
      first->fused_partner = &request;
      request.fused_partner = first;
      prepare(request, payload.direction, payload.size_bytes);  // or finishes it, which ends the first
      return;
    }
  }
}

void QueuePair::execute_fused(Request& request) {
  if (!request.fused_abort.is_success()) {
    finish(request, request.fused_abort);
    return;
  }
  request.fused_ready = true;
  Request* partner = request.fused_partner;
  if (partner == nullptr || !partner->fused_ready) return;
  start_fused(request.command.fuse() == Fuse::kFirst ? request : *partner);
}

void QueuePair::start_fused(Request& first) {
  Request& second = *first.fused_partner;
  NamespaceView* view = view_->find(first.command.nsid);
  const Status may_read = view == nullptr ? Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes)
                                          : admit(*view, {.read = true, .write = false});
  const Status may_write = may_read.is_success() ? admit(*view, {.read = false, .write = true}) : kFailedFused;
  if (!may_write.is_success()) {
    first.fused_partner = second.fused_partner = nullptr;
    finish(first, may_read.is_success() ? kFailedFused : may_read);
    finish(second, may_write);
    return;
  }
  view->enter(first);
  const auto range = nvme::BlockRange::decode(first.command);
  block::Io& io = first.io;
  io.type = block::IoType::kCompareAndWrite;
  io.fua = nvme::BlockFlags::decode(second.command).force_unit_access || controller_->write_through();
  io.may_deallocate = false;
  io.lba = range.slba;
  io.num_blocks = range.num_blocks;
  io.source_lba = 0;
  io.data = first.data();
  io.write_data = second.data();
  io.read_flags = 0;
  run_io(first);
}

// The one Io of a pair has ended.
void QueuePair::finish_fused(Request& first) {
  Request& second = *first.fused_partner;
  const Status status = first.io.status;
  first.fused_partner = second.fused_partner = nullptr;
  if (status.is_success() || is_write_error(status)) {
    finish(first, Status::success());
    finish(second, status);
  } else {
    finish(first, status);
    finish(second, kFailedFused);
  }
}

// Ends a half that is not executing together with its partner.
void QueuePair::abort_fused(Request& request, Status status) {
  if (request.fused_ready) {
    finish(request, status);
  } else {
    request.fused_abort = status;
  }
}

void QueuePair::leave_fused(Request& request) {
  if (fused_first_ == &request) {
    fused_first_ = nullptr;
    fused_first_refused_ = true;
  }
  if (Request* partner = std::exchange(request.fused_partner, nullptr); partner != nullptr) {
    partner->fused_partner = nullptr;
    abort_fused(*partner, kFailedFused);
  }
}

}  // namespace cairn::nvmf::target
