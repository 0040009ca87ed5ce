// Errors and results of the control path. The data path speaks NVMe status codes instead (nvme/status.h).
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cairn {

// The canonical codes of gRPC (grpc/status.h numbers), so that an error keeps its meaning up to the API.
enum class Code : uint8_t {
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
};

std::string_view code_name(Code code);  // "INVALID_ARGUMENT"

// What went wrong, in words a person can act on, with the error that caused it if there was one. Immutable; copies share the cause.
class Error {
 public:
  Error(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  Error(Code code, std::string message, Error cause)
      : code_(code), message_(std::move(message)), cause_(std::make_shared<const Error>(std::move(cause))) {}

  // From an errno value: the code that fits it, "<what>: <strerror>"; errno_value() keeps the number.
  static Error from_errno(int errno_value, std::string_view what);
  // The same of a number that stands for what `message` says and not for what the system means by it.
  static Error with_errno(int errno_value, std::string message);

  Code code() const { return code_; }
  const std::string& message() const { return message_; }
  const Error* cause() const { return cause_.get(); }
  int errno_value() const { return errno_value_; }  // 0: none

  // The whole chain: "message: cause: cause of the cause".
  std::string to_string() const;

 private:
  Code code_;
  int errno_value_ = 0;
  std::string message_;
  std::shared_ptr<const Error> cause_;
};

template <typename T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, std::string message) { return std::unexpected(Error(code, std::move(message))); }
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

}  // namespace cairn
