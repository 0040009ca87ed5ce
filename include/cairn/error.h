// Errors and results of the library: values, no exceptions. docs/library.md shows the whole library in use.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace cairn::embed {

// The canonical codes of gRPC, with their numbers.
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

// "INVALID_ARGUMENT"
[[gnu::visibility("default")]] std::string_view code_name(Code code);

struct Error {
  Code code = Code::kUnknown;
  std::string message;  // what went wrong, with its causes, for a person
};

template <typename T = void>
using Result = std::expected<T, Error>;

}  // namespace cairn::embed
