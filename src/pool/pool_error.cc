#include "pool/pool_error.h"

#include <fmt/format.h>

#include <cerrno>

namespace cairn::pool::pool_error {

namespace {

// What the original's names for error numbers say after the operation.
std::string_view errno_reason(int errno_value) {
  switch (errno_value) {
    case ENOENT:
      return ": volume not found";
    case EEXIST:
      return ": volume already exists";
    case EBUSY:
      return ": volume is busy";
    case EILSEQ:
      return ": cannot import LVS";
    case ENOMEDIUM:
      return ": LVS not found or was not loaded";
    case EMEDIUMTYPE:
      return ": LVS name or UUID mismatch";
    case ENOSPC:
      return ": not enough space";
    case EMFILE:
      return ": out of metadata pages";
    case EOVERFLOW:
      return ": capacity overflow";
    default:
      return "";
  }
}

Error with_cause(Code code, std::string message, Error cause) {
  return Error(code, std::move(message), std::move(cause));
}

}  // namespace

Error import_failed(std::string_view pool, Code code, std::string_view reason) {
  return Error(code, fmt::format("failed to import pool {}{}", pool, reason));
}
Error import_failed(std::string_view pool, Error cause) {
  return with_cause(Code::kInvalidArgument, fmt::format("failed to import pool {}", pool), std::move(cause));
}
Error create_failed(std::string_view pool, Code code, std::string_view reason) {
  return Error(code, fmt::format("failed to create pool {}{}", pool, reason));
}
Error create_failed(std::string_view pool, Error cause) {
  const Code code = cause.errno_value() == EEXIST                                             ? Code::kAlreadyExists
                    : cause.errno_value() == EINVAL || cause.code() == Code::kInvalidArgument ? Code::kInvalidArgument
                    : cause.code() == Code::kResourceExhausted                                ? Code::kResourceExhausted
                                                                                              : Code::kInternal;
  return with_cause(code, fmt::format("failed to create pool {}", pool), std::move(cause));
}
Error export_failed(std::string_view pool, Error cause) {
  return with_cause(Code::kInternal, fmt::format("failed to export pool {}", pool), std::move(cause));
}
Error destroy_failed(std::string_view pool, Error cause) {
  return with_cause(Code::kInternal, fmt::format("failed to destroy pool {}", pool), std::move(cause));
}
Error grow_failed(std::string_view pool, Error cause) {
  const Code code = cause.code() == Code::kResourceExhausted ? cause.code() : Code::kInternal;
  return with_cause(code, fmt::format("failed to grow pool {}", pool), std::move(cause));
}
Error pool_not_found(std::string_view pool) {
  return Error(Code::kNotFound, fmt::format("Pool {} not found", pool));
}
Error invalid(std::string_view message) {
  return Error(Code::kInvalidArgument, fmt::format("Invalid argument: {}", message));
}
Error invalid_cluster_size(std::string_view pool, std::string_view why) {
  return Error(Code::kInternal, fmt::format("Invalid cluster-size {}, for pool {}", why, pool));
}
Error invalid_metadata_ratio(std::string_view pool, float ratio) {
  return Error(Code::kInternal,
               fmt::format("pool {}: invalid metadata parameter: bad metadata resevation ratio: {}", pool, ratio));
}

Error replica_exists(std::string_view name) {
  return Error(Code::kAlreadyExists, fmt::format("lvol exists {}", name));
}
Error replica_create_failed(std::string_view name, Error cause) {
  const int number = cause.errno_value();
  const Code code = number == ENOSPC                                 ? Code::kResourceExhausted
                    : cause.code() == Code::kInternal && number == 0 ? Code::kInternal
                                                                     : Code::kInvalidArgument;
  return with_cause(code, fmt::format("failed to create lvol {}{}", name, errno_reason(number)), std::move(cause));
}
Error replica_destroy_failed(std::string_view name, Error cause) {
  const Code code =
      cause.errno_value() == ENOENT || cause.code() == Code::kNotFound ? Code::kNotFound : Code::kInternal;
  return with_cause(code, fmt::format("failed to destroy lvol {}{}", name, errno_reason(cause.errno_value())),
                    std::move(cause));
}
Error replica_resize_failed(std::string_view name, Error cause) {
  Code code = Code::kInternal;
  switch (cause.errno_value()) {
    case ENOSPC:
    case ENOMEM:
      code = Code::kResourceExhausted;
      break;
    case EPERM:
      code = Code::kPermissionDenied;
      break;
    case EINVAL:
    case ENOENT:
    case EOVERFLOW:
      code = Code::kInvalidArgument;
      break;
    default:
      break;
  }
  return with_cause(code, fmt::format("failed to resize lvol {}{}", name, errno_reason(cause.errno_value())),
                    std::move(cause));
}
Error replica_not_found(std::string_view name) {
  return Error(Code::kNotFound, fmt::format("Replica {} not found", name));
}
Error share_failed(std::string_view name, Error cause) {
  const Code code = cause.code() == Code::kInvalidArgument ? cause.code() : Code::kInternal;
  return with_cause(code, fmt::format("failed to share lvol {}", name), std::move(cause));
}
Error set_property_failed(std::string_view property, std::string_view name, Error cause) {
  return with_cause(Code::kDataLoss, fmt::format("failed to set property {} on {}", property, name), std::move(cause));
}
Error snapshot_parameters(std::string_view replica, std::string_view why, Code code) {
  return Error(code, fmt::format("Snapshot parameters for replica {} is not correct: {}", replica, why));
}
Error snapshot_create_failed(std::string_view name, Error cause) {
  return with_cause(Code::kInternal,
                    fmt::format("Snapshot {} creation failed{}", name, errno_reason(cause.errno_value())),
                    std::move(cause));
}
Error clone_parameters(std::string_view snapshot, std::string_view why, Code code) {
  return Error(code, fmt::format("Clone parameters for replica {} are not correct: {}", snapshot, why));
}
Error clone_create_failed(std::string_view name, Error cause) {
  return with_cause(Code::kInternal,
                    fmt::format("SnapshotClone {} creation failed{}", name, errno_reason(cause.errno_value())),
                    std::move(cause));
}

}  // namespace cairn::pool::pool_error
