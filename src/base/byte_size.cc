#include "base/byte_size.h"

#include <fmt/format.h>

#include <cctype>
#include <limits>
#include <optional>

namespace cairn {
namespace {

using Wide = unsigned __int128;

constexpr std::string_view kPrefixes = "KMGTPE";
constexpr size_t kMaxDigits = 20;  // of 2^64 - 1; with as many decimals everything below fits 128 bits

std::optional<uint64_t> unit_bytes(std::string_view unit) {
  std::string upper;
  for (const char c : unit) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  std::string_view rest = upper;
  if (rest.ends_with('B')) rest.remove_suffix(1);
  if (rest.empty()) return 1;
  const size_t power = kPrefixes.find(rest.front());
  if (power == std::string_view::npos || (rest.size() > 1 && rest.substr(1) != "I")) return std::nullopt;
  uint64_t bytes = 1;
  for (size_t i = 0; i <= power; ++i) bytes *= rest.size() > 1 ? 1024 : 1000;
  return bytes;
}

std::string_view take_digits(std::string_view& text) {
  size_t count = 0;
  while (count < text.size() && text[count] >= '0' && text[count] <= '9') ++count;
  const std::string_view digits = text.substr(0, count);
  text.remove_prefix(count);
  return digits;
}

Wide to_number(std::string_view digits) {
  Wide value = 0;
  for (const char digit : digits) value = value * 10 + static_cast<unsigned>(digit - '0');
  return value;
}

std::optional<uint64_t> parse(std::string_view text) {
  const std::string_view whole = take_digits(text);
  if (whole.empty() || whole.size() > kMaxDigits) return std::nullopt;
  std::string_view fraction;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    fraction = take_digits(text);
    if (fraction.empty()) return std::nullopt;
  }
  if (text.starts_with(' ') && text.size() > 1) text.remove_prefix(1);
  const std::optional<uint64_t> unit = unit_bytes(text);
  if (!unit) return std::nullopt;

  // Decimals beyond the 18th are below one byte even of an exbibyte.
  fraction = fraction.substr(0, 18);
  Wide scale = 1;
  for (size_t i = 0; i < fraction.size(); ++i) scale *= 10;
  const Wide max = std::numeric_limits<uint64_t>::max();
  if (to_number(whole) > max / *unit) return std::nullopt;
  const Wide bytes = to_number(whole) * *unit + (to_number(fraction) * *unit + scale / 2) / scale;
  if (bytes > max) return std::nullopt;
  return static_cast<uint64_t>(bytes);
}

}  // namespace

Result<uint64_t> parse_byte_size(std::string_view text) {
  const std::optional<uint64_t> bytes = parse(text);
  if (!bytes) return fail(Code::kInvalidArgument, fmt::format("Bad size '{}'", text));
  return *bytes;
}

std::string format_byte_size(uint64_t size_bytes, SizeUnits units) {
  if (units == SizeUnits::kBytes) return std::to_string(size_bytes);
  const bool binary = units == SizeUnits::kBinary;
  const uint64_t step = binary ? 1024 : 1000;
  if (size_bytes < step) return fmt::format("{} B", size_bytes);
  uint64_t unit = step;
  size_t power = 0;
  while (power + 1 < kPrefixes.size() && size_bytes / unit >= step) {
    unit *= step;
    ++power;
  }
  return fmt::format("{:.2f} {}{}B", static_cast<double>(size_bytes) / static_cast<double>(unit), kPrefixes[power],
                     binary ? "i" : "");
}

}  // namespace cairn
