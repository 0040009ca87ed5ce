#include "cli/io-engine-client/endpoint.h"

#include <fmt/format.h>

#include <charconv>

namespace cairn::cli {
namespace {

std::unexpected<Error> refuse(std::string_view text, std::string_view reason) {
  return fail(Code::kInvalidArgument, fmt::format("'{}' is no address of an io-engine: {}", text, reason));
}

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

bool is_host(std::string_view host) {
  if (host.starts_with('[') && host.ends_with(']')) {
    return host.size() > 2 && host.find_first_not_of("0123456789abcdefABCDEF:.%", 1) == host.size() - 1;
  }
  for (const char c : host) {
    if (!is_host_character(c)) return false;
  }
  return !host.empty();
}

}  // namespace

Result<Endpoint> Endpoint::parse(std::string_view text) {
  std::string_view rest = text;
  if (const size_t scheme = rest.find("://"); scheme != std::string_view::npos) {
    if (rest.substr(0, scheme) != "http") return refuse(text, "the scheme has to be http");
    rest.remove_prefix(scheme + 3);
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.contains('/')) return refuse(text, "it must not have a path");

  Endpoint endpoint;
  const size_t host_end = rest.starts_with('[') ? rest.find(']') : 0;
  if (const size_t colon = rest.find(':', host_end == std::string_view::npos ? 0 : host_end);
      colon != std::string_view::npos) {
    const std::string_view digits = rest.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
    if (error != std::errc() || end != digits.data() + digits.size() || endpoint.port == 0) {
      return refuse(text,
                    fmt::format("port '{}' is not a number from 1 to 65535 (an IPv6 address needs brackets)", digits));
    }
    rest = rest.substr(0, colon);
  }
  if (!is_host(rest)) return refuse(text, fmt::format("'{}' is not a host name or address", rest));
  endpoint.host = rest;
  return endpoint;
}

std::string Endpoint::authority() const {
  return fmt::format("{}:{}", host, port);
}

std::string Endpoint::uri() const {
  return fmt::format("http://{}/", authority());
}

}  // namespace cairn::cli
