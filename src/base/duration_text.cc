#include "base/duration_text.h"

#include <fmt/format.h>

#include <cctype>
#include <charconv>

namespace cairn {

namespace {

constexpr uint64_t kMaxNumber = 1'000'000'000'000;

std::unexpected<Error> bad(std::string_view text) {
  return fail(Code::kInvalidArgument,
              fmt::format("duration: '{}' is not valid: expected numbers with units: us, ms, s, m, h", text));
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  Duration total{};
  const char* at = text.data();
  const char* const end = at + text.size();
  bool any = false;
  while (at != end) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    uint64_t value = 0;
    const auto [after, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value > kMaxNumber) return bad(text);
    const char* unit_end = after;
    while (unit_end != end && std::isalpha(static_cast<unsigned char>(*unit_end)) != 0) ++unit_end;
    const std::string_view unit(after, static_cast<size_t>(unit_end - after));
    if (unit == "ns") {
      total += std::chrono::nanoseconds(value);
    } else if (unit == "us") {
      total += std::chrono::microseconds(value);
    } else if (unit == "ms") {
      total += std::chrono::milliseconds(value);
    } else if (unit == "s" || unit == "sec") {
      total += std::chrono::seconds(value);
    } else if (unit == "m" || unit == "min") {
      total += std::chrono::minutes(value);
    } else if (unit == "h" || unit == "hour") {
      total += std::chrono::hours(value);
    } else if (!(unit.empty() && value == 0)) {
      return bad(text);
    }
    at = unit_end;
    any = true;
  }
  if (!any) return bad(text);
  return total;
}

}  // namespace cairn
