#include "block/errno_status.h"

#include <cerrno>

namespace cairn::block {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::MediaStatus;
using nvme::Status;

namespace {

bool only_reads(IoType type) {
  return type == IoType::kRead || type == IoType::kCompare;
}

}  // namespace

Status status_of_errno(int errno_value, IoType type) {
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return Status::generic(GenericStatus::kCapacityExceeded, Dnr::kYes);
    case EOPNOTSUPP:
    case ENOSYS:
      return Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
    case EINVAL:
      return Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
    case EIO:
    case EILSEQ:
    case ENODATA:
    case EBADMSG:
    case EUCLEAN:
    case EREMOTEIO:
      return Status::media(only_reads(type) ? MediaStatus::kUnrecoveredReadError : MediaStatus::kWriteFault);
    case EPERM:
    case EACCES:
    case EROFS:
      return only_reads(type) ? Status::media(MediaStatus::kAccessDenied, Dnr::kYes)
                              : Status::generic(GenericStatus::kNamespaceWriteProtected, Dnr::kYes);
    case EBADE:  // what the block layer makes of a reservation conflict
      return Status::generic(GenericStatus::kReservationConflict, Dnr::kYes);
    case ENODEV:
    case ENXIO:
    case ENOLINK:
    case ESTALE:  // the disk is gone
      return Status::generic(GenericStatus::kInternalError, Dnr::kYes);
    case EAGAIN:
    case ENOMEM:
    case ENOBUFS:
    case EBUSY:
    case EINTR:
    case ETIMEDOUT:
      return Status::generic(GenericStatus::kCommandInterrupted);
    case ECANCELED:
      return Status::generic(GenericStatus::kAbortRequested);
    default:
      return Status::generic(GenericStatus::kInternalError);
  }
}

}  // namespace cairn::block
