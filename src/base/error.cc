#include "base/error.h"

#include <cerrno>
#include <system_error>

#include <fmt/format.h>

namespace cairn {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kCancelled: return "CANCELLED";
    case Code::kUnknown: return "UNKNOWN";
    case Code::kInvalidArgument: return "INVALID_ARGUMENT";
    case Code::kDeadlineExceeded: return "DEADLINE_EXCEEDED";
    case Code::kNotFound: return "NOT_FOUND";
    case Code::kAlreadyExists: return "ALREADY_EXISTS";
    case Code::kPermissionDenied: return "PERMISSION_DENIED";
    case Code::kResourceExhausted: return "RESOURCE_EXHAUSTED";
    case Code::kFailedPrecondition: return "FAILED_PRECONDITION";
    case Code::kAborted: return "ABORTED";
    case Code::kOutOfRange: return "OUT_OF_RANGE";
    case Code::kUnimplemented: return "UNIMPLEMENTED";
    case Code::kInternal: return "INTERNAL";
    case Code::kUnavailable: return "UNAVAILABLE";
    case Code::kDataLoss: return "DATA_LOSS";
  }
  return "UNKNOWN";
}

namespace {

Code code_of_errno(int errno_value) {
  switch (errno_value) {
    case EINVAL: case ENAMETOOLONG: case ENOTDIR: case EISDIR: case ENOTBLK: return Code::kInvalidArgument;
    case ENOENT: case ENODEV: case ENXIO: return Code::kNotFound;
    case EEXIST: case EADDRINUSE: return Code::kAlreadyExists;
    case EACCES: case EPERM: case EROFS: return Code::kPermissionDenied;
    case ENOMEM: case ENOSPC: case EMFILE: case ENFILE: case ENOBUFS: case EDQUOT: return Code::kResourceExhausted;
    case EBUSY: return Code::kFailedPrecondition;
    case EAGAIN: case ECONNREFUSED: case ECONNRESET: case EPIPE: case ENOTCONN: case EHOSTUNREACH: case ENETUNREACH:
    case ENETDOWN: return Code::kUnavailable;
    case ETIMEDOUT: return Code::kDeadlineExceeded;
    case ECANCELED: return Code::kCancelled;
    case EOPNOTSUPP: case ENOSYS: return Code::kUnimplemented;
    case EOVERFLOW: case ERANGE: case EFBIG: return Code::kOutOfRange;
    default: return Code::kInternal;
  }
}

}  // namespace

Error Error::from_errno(int errno_value, std::string_view what) {
  return with_errno(errno_value, fmt::format("{}: {}", what, std::generic_category().message(errno_value)));
}

Error Error::with_errno(int errno_value, std::string message) {
  Error error(code_of_errno(errno_value), std::move(message));
  error.errno_value_ = errno_value;
  return error;
}

std::string Error::to_string() const {
  std::string text = message_;
  for (const Error* error = cause(); error != nullptr; error = error->cause()) text += ": " + error->message_;
  return text;
}

}  // namespace cairn
