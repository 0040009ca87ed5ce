// Sizes as people write and read them: "64MB", "1.5 GiB", "64.00 MiB".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cairn {

// A number of bytes from a decimal number and an optional unit: B; K, M, G, T, P, E with or without B (powers of 1000);
// Ki, Mi, Gi, Ti, Pi, Ei with or without B (powers of 1024). Upper and lower case are the same; one space may stand
// before the unit. A fraction is rounded to the nearest byte. INVALID_ARGUMENT "Bad size '<text>'" otherwise, and above
// 2^64 - 1.
Result<uint64_t> parse_byte_size(std::string_view text);

enum class SizeUnits : uint8_t {
  kBytes,    // "67108864"
  kBinary,   // "64.00 MiB", below 1024: "512 B"
  kDecimal,  // "67.11 MB", below 1000: "512 B"
};

// In the largest unit of which there is at least one, with two decimals.
std::string format_byte_size(uint64_t size_bytes, SizeUnits units);

}  // namespace cairn
