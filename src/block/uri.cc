#include "block/uri.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "block/device_error.h"

namespace cairn::block {

namespace {

bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_blank_or_control(char c) {
  return static_cast<unsigned char>(c) <= 0x20;
}
char to_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  c = to_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// "Forbidden host code points" of the standard.
bool forbidden_in_host(char c) {
  return c == '\0' || std::string_view("\t\n\r #/:<>?@[\\]^|").find(c) != std::string_view::npos;
}

bool is_ipv4(std::string_view text) {
  int parts = 0;
  while (true) {
    const size_t end = std::min(text.find('.'), text.size());
    unsigned value = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + end, value);
    if (error != std::errc() || stop != text.data() + end || value > 255 || (end > 1 && text[0] == '0')) return false;
    if (++parts > 4) return false;
    if (end == text.size()) return parts == 4;
    text.remove_prefix(end + 1);
  }
}

// RFC 4291, section 2.2; the text between the brackets.
bool is_ipv6(std::string_view text) {
  int groups = 0;
  bool compressed = false;
  if (text.starts_with("::")) {
    compressed = true;
    text.remove_prefix(2);
  } else if (text.starts_with(':')) {
    return false;
  }
  while (!text.empty()) {
    const size_t end = std::min(text.find(':'), text.size());
    const std::string_view group = text.substr(0, end);
    if (end == text.size() && group.find('.') != std::string_view::npos) {
      groups += 2;
      return is_ipv4(group) && (compressed ? groups < 8 : groups == 8);
    }
    if (group.empty() || group.size() > 4 || !std::ranges::all_of(group, [](char c) { return hex_value(c) >= 0; })) {
      return false;
    }
    if (++groups > 8) return false;
    if (end == text.size()) break;
    text.remove_prefix(end + 1);
    if (text.starts_with(':')) {
      if (compressed) return false;
      compressed = true;
      text.remove_prefix(1);
    } else if (text.empty()) {
      return false;
    }
  }
  return compressed ? groups < 8 : groups == 8;
}

bool is_valid_host(std::string_view host) {
  if (host.starts_with('[')) return host.ends_with(']') && is_ipv6(host.substr(1, host.size() - 2));
  return std::ranges::none_of(host, forbidden_in_host);
}

bool is_dot(std::string_view segment) {
  const std::string decoded = segment.size() <= 3 ? percent_decode(segment) : std::string();
  return decoded == ".";
}
bool is_double_dot(std::string_view segment) {
  const std::string decoded = segment.size() <= 6 ? percent_decode(segment) : std::string();
  return decoded == "..";
}

// Resolves "." and ".." in an absolute path.
std::string resolve_dots(std::string_view path) {
  std::vector<std::string_view> kept;
  std::string_view rest = path.substr(1);
  while (true) {
    const size_t end = std::min(rest.find('/'), rest.size());
    const std::string_view segment = rest.substr(0, end);
    const bool last = end == rest.size();
    if (is_double_dot(segment)) {
      if (!kept.empty()) kept.pop_back();
      if (last) kept.push_back({});
    } else if (is_dot(segment)) {
      if (last) kept.push_back({});
    } else {
      kept.push_back(segment);
    }
    if (last) break;
    rest.remove_prefix(end + 1);
  }
  std::string resolved;
  for (const std::string_view segment : kept) {
    resolved += '/';
    resolved += segment;
  }
  return resolved;
}

std::string form_decode(std::string_view text) {
  std::string spaced(text);
  std::ranges::replace(spaced, '+', ' ');
  return percent_decode(spaced);
}

std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    if (!pair.empty()) {
      const size_t equals = std::min(pair.find('='), pair.size());
      pairs.emplace_back(form_decode(pair.substr(0, equals)),
                         equals < pair.size() ? form_decode(pair.substr(equals + 1)) : std::string());
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return pairs;
}

struct Authority {
  std::string host;
  std::optional<uint16_t> port;
};

std::optional<Authority> parse_authority(std::string_view text) {
  // User and password have no meaning for a device; the last '@' ends them.
  const size_t at = text.rfind('@');
  const bool has_credentials = at != std::string_view::npos;
  if (has_credentials) text.remove_prefix(at + 1);

  size_t host_end = text.size();
  if (text.starts_with('[')) {
    const size_t bracket = text.find(']');
    if (bracket == std::string_view::npos) return std::nullopt;
    host_end = bracket + 1;
    if (host_end < text.size() && text[host_end] != ':') return std::nullopt;
  } else {
    host_end = std::min(text.find(':'), text.size());
  }
  Authority authority;
  authority.host = text.substr(0, host_end);
  if (!is_valid_host(authority.host)) return std::nullopt;
  if (authority.host.empty() && (has_credentials || host_end < text.size())) return std::nullopt;
  if (host_end < text.size()) {
    const std::string_view port = text.substr(host_end + 1);
    uint16_t value = 0;
    const auto [stop, error] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (!port.empty()) {
      if (error != std::errc() || stop != port.data() + port.size()) return std::nullopt;
      authority.port = value;
    }
  }
  return authority;
}

}  // namespace

std::string percent_decode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0) {
      decoded += static_cast<char>(hex_value(text[i + 1]) << 4 | hex_value(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

Result<Uri> Uri::parse(std::string_view text) {
  auto malformed = [&] { return fail(device_error::uri_parse_failed(text)); };
  if (text.size() > kMaxLength) {
    return fail(Code::kInvalidArgument,
                fmt::format("Error parsing URI: {} bytes long, at most {} allowed", text.size(), kMaxLength));
  }
  Uri uri;
  uri.text_ = text;

  std::string_view trimmed = text;
  while (!trimmed.empty() && is_blank_or_control(trimmed.front())) trimmed.remove_prefix(1);
  while (!trimmed.empty() && is_blank_or_control(trimmed.back())) trimmed.remove_suffix(1);
  std::string cleaned(trimmed);
  std::erase_if(cleaned, [](char c) { return c == '\t' || c == '\n' || c == '\r'; });
  std::string_view rest = cleaned;

  const size_t colon = rest.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_alpha(rest[0])) return malformed();
  for (const char c : rest.substr(0, colon)) {
    if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return malformed();
    uri.scheme_ += to_lower(c);
  }
  rest.remove_prefix(colon + 1);

  rest = rest.substr(0, std::min(rest.find('#'), rest.size()));
  if (const size_t mark = rest.find('?'); mark != std::string_view::npos) {
    uri.has_query_ = true;
    uri.query_ = parse_query(rest.substr(mark + 1));
    rest = rest.substr(0, mark);
  }
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const size_t end = std::min(rest.find('/'), rest.size());
    auto authority = parse_authority(rest.substr(0, end));
    if (!authority) return malformed();
    uri.host_ = std::move(authority->host);
    uri.port_ = authority->port;
    rest.remove_prefix(end);
  }
  uri.path_ = rest.starts_with('/') ? resolve_dots(rest) : std::string(rest);
  return uri;
}

std::vector<std::string> Uri::segments() const {
  std::vector<std::string> segments;
  if (path_.empty() || path_ == "/") return segments;
  std::string_view rest = path_;
  if (rest.starts_with('/')) rest.remove_prefix(1);
  while (true) {
    const size_t end = std::min(rest.find('/'), rest.size());
    segments.emplace_back(rest.substr(0, end));
    if (end == rest.size()) return segments;
    rest.remove_prefix(end + 1);
  }
}

std::string Uri::decoded_path() const {
  return percent_decode(path_);
}

std::string Uri::decoded_name() const {
  return percent_decode(path_.starts_with('/') ? std::string_view(path_).substr(1) : std::string_view(path_));
}

UriParameters::UriParameters(const Uri& uri) : uri_text_(uri.text()) {
  for (const auto& [key, value] : uri.query()) {
    const auto earlier = std::ranges::find(left_, key, &std::pair<std::string, std::string>::first);
    if (earlier != left_.end()) {
      earlier->second = value;
    } else {
      left_.emplace_back(key, value);
    }
  }
}

std::optional<std::string> UriParameters::take(std::string_view key) {
  const auto found = std::ranges::find(left_, key, &std::pair<std::string, std::string>::first);
  if (found == left_.end()) return std::nullopt;
  std::string value = std::move(found->second);
  left_.erase(found);
  return value;
}

template <typename Integer>
Result<std::optional<Integer>> UriParameters::take_integer(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::nullopt;
  Integer value = 0;
  const char* begin = text->data() + (text->starts_with('+') ? 1 : 0);
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || stop != end) return fail(device_error::integer_parameter(uri_text_, key, *text));
  return value;
}

Result<std::optional<uint32_t>> UriParameters::take_u32(std::string_view key) {
  return take_integer<uint32_t>(key);
}
Result<std::optional<uint64_t>> UriParameters::take_u64(std::string_view key) {
  return take_integer<uint64_t>(key);
}

Result<std::optional<bool>> UriParameters::take_bool(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::nullopt;
  if (text->empty() || *text == "true" || *text == "yes" || *text == "on") return true;
  if (*text == "false" || *text == "no" || *text == "off") return false;
  uint32_t number = 0;
  const char* begin = text->data() + (text->starts_with('+') ? 1 : 0);
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(begin, end, number);
  if (error != std::errc() || stop != end) return fail(device_error::bool_parameter(uri_text_, key, *text));
  return number != 0;
}

Result<std::optional<Uuid>> UriParameters::take_uuid(std::string_view key) {
  const auto text = take(key);
  if (!text) return std::nullopt;
  auto uuid = Uuid::parse(*text);
  if (!uuid) return fail(device_error::uuid_parameter(uri_text_));
  return *uuid;
}

Result<> UriParameters::finish() const {
  if (left_.empty()) return {};
  std::string list;
  for (const auto& [key, value] : left_) {
    if (!list.empty()) list += ", ";
    list += fmt::format("{}={}", key, value);
  }
  return fail(device_error::invalid_uri(uri_text_, "unrecognized parameter(s): " + list));
}

}  // namespace cairn::block
