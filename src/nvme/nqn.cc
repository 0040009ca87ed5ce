#include "nvme/nqn.h"

#include <cstring>

#include "base/uuid.h"

namespace cairn::nvme {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_alphanumeric(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// RFC 3629: shortest form only, no surrogates, at most U+10FFFF.
bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    if (lead < 0x80) continue;
    size_t following;
    unsigned char low = 0x80, high = 0xbf;  // bounds of the first following byte
    if (lead >= 0xc2 && lead <= 0xdf) {
      following = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
      following = 2;
      if (lead == 0xe0) low = 0xa0;
      if (lead == 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      following = 3;
      if (lead == 0xf0) low = 0x90;
      if (lead == 0xf4) high = 0x8f;
    } else {
      return false;
    }
    for (; following > 0; --following) {
      if (i == text.size()) return false;
      const auto byte = static_cast<unsigned char>(text[i++]);
      if (byte < low || byte > high) return false;
      low = 0x80;
      high = 0xbf;
    }
  }
  return true;
}

// "2014-08." at the start.
bool starts_with_date(std::string_view text) {
  if (text.size() < 8 || text[4] != '-' || text[7] != '.') return false;
  for (size_t i : {0, 1, 2, 3, 5, 6}) {
    if (!is_digit(text[i])) return false;
  }
  const int month = (text[5] - '0') * 10 + (text[6] - '0');
  return month >= 1 && month <= 12;
}

// Labels of letters, digits and inner hyphens, 1 to 63 bytes each, separated by dots.
bool is_domain(std::string_view text) {
  size_t label = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    const bool end = i == text.size() || text[i] == '.';
    if (end) {
      if (label == 0 || label > 63 || text[i - 1] == '-') return false;
      label = 0;
      continue;
    }
    if (!is_alphanumeric(text[i]) && !(text[i] == '-' && label > 0)) return false;
    ++label;
  }
  return true;
}

}  // namespace

std::string_view nqn_error_text(NqnError error) {
  switch (error) {
    case NqnError::kEmpty:
      return "the name is empty";
    case NqnError::kNotTerminated:
      return "the name is not terminated by a NUL";
    case NqnError::kTooLong:
      return "the name is longer than 223 bytes";
    case NqnError::kNotUtf8:
      return "the name is not UTF-8";
    case NqnError::kNoPrefix:
      return "the name does not start with \"nqn.\"";
    case NqnError::kBadDate:
      return "the name has no date of the form yyyy-mm after \"nqn.\"";
    case NqnError::kBadDomain:
      return "the name has no reverse domain name after the date";
    case NqnError::kBadUuid:
      return "the name has no UUID after \":uuid:\"";
  }
  return "unknown error";
}

std::expected<std::string_view, NqnError> nqn_from_field(std::span<const char, kNqnFieldSize> field) {
  const void* end = std::memchr(field.data(), '\0', field.size());
  if (end == nullptr) return std::unexpected(NqnError::kNotTerminated);
  const std::string_view name(field.data(), static_cast<const char*>(end));
  if (name.empty()) return std::unexpected(NqnError::kEmpty);
  if (name.size() > kMaxNqnSize) return std::unexpected(NqnError::kTooLong);
  if (!is_utf8(name)) return std::unexpected(NqnError::kNotUtf8);
  return name;
}

std::expected<void, NqnError> check_nqn(std::string_view nqn) {
  if (nqn.empty()) return std::unexpected(NqnError::kEmpty);
  if (nqn.size() > kMaxNqnSize) return std::unexpected(NqnError::kTooLong);
  if (nqn.contains('\0') || !is_utf8(nqn)) return std::unexpected(NqnError::kNotUtf8);
  if (!nqn.starts_with("nqn.")) return std::unexpected(NqnError::kNoPrefix);
  const std::string_view after_prefix = nqn.substr(4);
  if (!starts_with_date(after_prefix)) return std::unexpected(NqnError::kBadDate);
  const std::string_view rest = after_prefix.substr(8);
  if (!is_domain(rest.substr(0, rest.find(':')))) return std::unexpected(NqnError::kBadDomain);
  if (nqn.starts_with(kUuidNqnPrefix) && !Uuid::parse(nqn.substr(kUuidNqnPrefix.size()))) {
    return std::unexpected(NqnError::kBadUuid);
  }
  return {};
}

}  // namespace cairn::nvme
