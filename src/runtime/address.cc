#include "runtime/address.h"

#include <arpa/inet.h>

#include <fmt/format.h>

namespace cairn::runtime {

Result<SocketAddress> SocketAddress::ip(std::string_view host, uint16_t port) {
  std::string text(host);
  if (text.size() > 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
  in_addr v4{};
  in6_addr v6{};
  char canonical[INET6_ADDRSTRLEN];
  if (inet_pton(AF_INET, text.c_str(), &v4) == 1) {
    return SocketAddress{AddressFamily::kIpv4, inet_ntop(AF_INET, &v4, canonical, sizeof canonical), port};
  }
  if (inet_pton(AF_INET6, text.c_str(), &v6) == 1) {
    return SocketAddress{AddressFamily::kIpv6, inet_ntop(AF_INET6, &v6, canonical, sizeof canonical), port};
  }
  return fail(Code::kInvalidArgument, fmt::format("'{}' is not a numeric IPv4 or IPv6 address", host));
}

std::string SocketAddress::to_string() const {
  switch (family) {
    case AddressFamily::kIpv4: return fmt::format("{}:{}", host, port);
    case AddressFamily::kIpv6: return fmt::format("[{}]:{}", host, port);
    case AddressFamily::kUnix: return fmt::format("unix:{}", host);
  }
  return host;
}

}  // namespace cairn::runtime
