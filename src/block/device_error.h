// The errors of making, finding and destroying block devices: codes and texts that clients know
// (docs/block-devices.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/uuid.h"

namespace cairn::block::device_error {

// INVALID_ARGUMENT
Error uri_parse_failed(std::string_view uri);
Error uri_scheme_unsupported(std::string_view scheme);
Error invalid_uri(std::string_view uri, std::string_view message);
Error bool_parameter(std::string_view uri, std::string_view key, std::string_view value);
Error integer_parameter(std::string_view uri, std::string_view key, std::string_view value);
Error uuid_parameter(std::string_view uri);
Error wrong_uuid(std::string_view name, const Uuid& uuid);

// NOT_FOUND
Error not_found(std::string_view name);
Error not_found(std::string_view name, Error cause);

// By the errno of the cause: ENOENT, ENODEV: NOT_FOUND; EEXIST: ALREADY_EXISTS; everything else, EINVAL among it:
// INVALID_ARGUMENT.
Error create_failed(std::string_view name, Error cause);
Error create_failed(std::string_view name, int errno_value, std::string_view why);

// INTERNAL
Error exists(std::string_view name);
Error no_matching_uri(std::string_view name, std::span<const std::string> aliases);
Error destroy_failed(std::string_view name, std::string_view why);
Error resize_failed(std::string_view name, Error cause);

}  // namespace cairn::block::device_error
