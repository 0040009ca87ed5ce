#include "etcd/etcd_endpoints.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>

namespace cairn::etcd {

namespace {

std::unexpected<Error> bad(std::string_view endpoint, std::string_view why) {
  return fail(Code::kInvalidArgument, fmt::format("etcd endpoint '{}': {}", endpoint, why));
}

bool is_port(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

Result<std::string> parse_endpoint(std::string_view given) {
  std::string_view text = given;
  if (text.starts_with("https://")) return bad(given, "TLS is not supported, only http");
  if (text.starts_with("http://")) text.remove_prefix(7);
  while (text.ends_with('/')) text.remove_suffix(1);
  if (text.find('/') != std::string_view::npos)
    return bad(given, "expected host:port, with 'http://' before it or not");

  std::string_view host = text, port = kDefaultPort;
  const size_t bracket = text.rfind(']');
  const size_t colon = text.rfind(':');
  const bool is_bare_ipv6 = bracket == std::string_view::npos && std::ranges::count(text, ':') > 1;
  if (colon != std::string_view::npos && !is_bare_ipv6 && (bracket == std::string_view::npos || colon > bracket)) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
  }
  if (host.empty()) return bad(given, "the host is missing");
  if (!is_port(port)) return bad(given, "expected a port from 1 to 65535");
  return is_bare_ipv6 ? fmt::format("[{}]:{}", host, port) : fmt::format("{}:{}", host, port);
}

}  // namespace

Result<std::vector<std::string>> parse_endpoints(std::string_view text) {
  std::vector<std::string> endpoints;
  while (true) {
    const size_t comma = text.find(',');
    auto endpoint = parse_endpoint(text.substr(0, comma));
    if (!endpoint) return fail(std::move(endpoint.error()));
    endpoints.push_back(std::move(*endpoint));
    if (comma == std::string_view::npos) return endpoints;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace cairn::etcd
