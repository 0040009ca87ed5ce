// Values of command line options and environment variables: refusals that name the option, and numbers.
#pragma once

#include <fmt/format.h>

#include <charconv>
#include <expected>
#include <string_view>

#include "base/error.h"

namespace cairn {

// INVALID_ARGUMENT "<option>: '<value>' is not valid: <reason>". The reason says what is accepted.
inline std::unexpected<Error> bad_option(std::string_view option, std::string_view value, std::string_view reason) {
  return fail(Code::kInvalidArgument, fmt::format("{}: '{}' is not valid: {}", option, value, reason));
}

// A whole number from `min` to `max`, in decimal digits.
template <typename Number>
Result<Number> parse_option_number(std::string_view option, std::string_view text, Number min, Number max) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < min || value > max) {
    return bad_option(option, text, fmt::format("expected a whole number from {} to {}", min, max));
  }
  return value;
}

}  // namespace cairn
