#include "block/device_error.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>
#include <system_error>

namespace cairn::block::device_error {

Error uri_parse_failed(std::string_view uri) {
  return Error(Code::kInvalidArgument, fmt::format("Error parsing URI '{}'", uri));
}

Error uri_scheme_unsupported(std::string_view scheme) {
  return Error(Code::kInvalidArgument, fmt::format("Unsupported URI scheme: '{}'", scheme));
}

Error invalid_uri(std::string_view uri, std::string_view message) {
  return Error(Code::kInvalidArgument, fmt::format("Invalid URI '{}': {}", uri, message));
}

Error bool_parameter(std::string_view uri, std::string_view key, std::string_view value) {
  return invalid_uri(
      uri, fmt::format("could not parse value of parameter '{}': '{}' is given, a boolean expected", key, value));
}

Error integer_parameter(std::string_view uri, std::string_view key, std::string_view value) {
  return invalid_uri(
      uri, fmt::format("could not parse value of parameter '{}': '{}' is given, an integer expected", key, value));
}

Error uuid_parameter(std::string_view uri) {
  return invalid_uri(uri, "could not parse value of UUID parameter");
}

Error wrong_uuid(std::string_view name, const Uuid& uuid) {
  return Error(
      Code::kInvalidArgument,
      fmt::format("Failed to create a BDEV: '{}' already exists with a different UUID: '{}'", name, uuid.to_string()));
}

namespace {
std::string not_found_text(std::string_view name) {
  return fmt::format("BDEV '{}' could not be found", name);
}

Code code_of_create_failure(const Error& cause) {
  if (cause.errno_value() == 0) {
    // Not an error of the system (the simulator's, a driver's own): its code says the same.
    return cause.code() == Code::kNotFound || cause.code() == Code::kAlreadyExists ? cause.code()
                                                                                   : Code::kInvalidArgument;
  }
  switch (cause.errno_value()) {
    case ENOENT:
    case ENODEV:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    default:
      return Code::kInvalidArgument;
  }
}
}  // namespace

Error not_found(std::string_view name) {
  return Error(Code::kNotFound, not_found_text(name));
}

Error not_found(std::string_view name, Error cause) {
  return Error(Code::kNotFound, not_found_text(name), std::move(cause));
}

Error create_failed(std::string_view name, Error cause) {
  const Code code = code_of_create_failure(cause);
  return Error(code, fmt::format("Failed to create a BDEV '{}'", name), std::move(cause));
}

Error create_failed(std::string_view name, int errno_value, std::string_view why) {
  return create_failed(name, Error::from_errno(errno_value, why));
}

Error exists(std::string_view name) {
  return Error(Code::kInternal, fmt::format("Failed to create a BDEV: name '{}' already exists", name));
}

Error no_matching_uri(std::string_view name, std::span<const std::string> aliases) {
  return Error(Code::kInternal,
               fmt::format("No matching URI found for BDEV '{}' in aliases [{:?}]", name, fmt::join(aliases, ", ")));
}

Error destroy_failed(std::string_view name, std::string_view why) {
  return Error(Code::kInternal, fmt::format("Failed to destroy a BDEV '{}'", name),
               Error(Code::kInternal, std::string(why)));
}

Error resize_failed(std::string_view name, Error cause) {
  return Error(Code::kInternal, fmt::format("Failed to resize a BDEV '{}'", name), std::move(cause));
}

}  // namespace cairn::block::device_error
