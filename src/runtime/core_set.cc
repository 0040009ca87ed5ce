#include "runtime/core_set.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <string>

namespace cairn::runtime {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<unsigned> parse_core(std::string_view text, std::string_view whole) {
  unsigned core = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), core);
  if (error != std::errc{} || end != text.data() + text.size() || core >= kMaxCores) {
    return fail(Code::kInvalidArgument,
                fmt::format("core list '{}': '{}' is not a core number from 0 to {}", whole, text, kMaxCores - 1));
  }
  return core;
}

}  // namespace

Result<std::vector<unsigned>> parse_core_mask(std::string_view mask) {
  std::string_view digits = mask;
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  if (digits.empty() || digits.size() > kMaxCores / 4) {
    return fail(Code::kInvalidArgument,
                fmt::format("core mask '{}' is not a hexadecimal number of 1 to {} digits", mask, kMaxCores / 4));
  }
  std::vector<unsigned> cores;
  for (size_t i = 0; i < digits.size(); ++i) {
    const int digit = hex_digit(digits[digits.size() - 1 - i]);
    if (digit < 0) {
      return fail(Code::kInvalidArgument, fmt::format("core mask '{}' holds '{}', which is not a hexadecimal digit",
                                                      mask, digits[digits.size() - 1 - i]));
    }
    for (unsigned bit = 0; bit < 4; ++bit) {
      if ((digit >> bit & 1) != 0) cores.push_back(static_cast<unsigned>(i) * 4 + bit);
    }
  }
  if (cores.empty()) return fail(Code::kInvalidArgument, fmt::format("core mask '{}' names no core", mask));
  return cores;
}

Result<std::vector<unsigned>> parse_core_list(std::string_view list) {
  std::vector<unsigned> cores;
  for (std::string_view rest = list;;) {
    const size_t comma = rest.find(',');
    const std::string_view item = rest.substr(0, comma);
    const size_t dash = item.find('-');
    const auto first = parse_core(item.substr(0, dash), list);
    if (!first) return fail(first.error());
    const auto last = dash == std::string_view::npos ? first : parse_core(item.substr(dash + 1), list);
    if (!last) return fail(last.error());
    if (*last < *first) {
      return fail(Code::kInvalidArgument, fmt::format("core list '{}': the range '{}' runs backwards", list, item));
    }
    for (unsigned core = *first; core <= *last; ++core) {
      if (std::ranges::find(cores, core) != cores.end()) {
        return fail(Code::kInvalidArgument, fmt::format("core list '{}' names core {} twice", list, core));
      }
      cores.push_back(core);
    }
    if (comma == std::string_view::npos) return cores;
    rest.remove_prefix(comma + 1);
  }
}

std::vector<unsigned> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<unsigned> cores;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (unsigned core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::string to_string(const std::vector<unsigned>& cores) {
  std::string text;
  for (size_t i = 0; i < cores.size();) {
    size_t end = i + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    if (!text.empty()) text += ',';
    text += end - i == 1 ? fmt::format("{}", cores[i]) : fmt::format("{}-{}", cores[i], cores[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace cairn::runtime
