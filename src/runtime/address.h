// Addresses of stream sockets: IPv4, IPv6 or a unix socket path.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cairn::runtime {

enum class AddressFamily : uint8_t { kIpv4, kIpv6, kUnix };

struct SocketAddress {
  AddressFamily family = AddressFamily::kIpv4;
  std::string host;   // numeric IP text without brackets, or the path of a unix socket
  uint16_t port = 0;  // 0 for unix sockets; 0 in listen() means any free port

  // "10.0.0.1", "fe80::1", "[::1]" with a port beside it. INVALID_ARGUMENT when `host` is not a numeric address.
  static Result<SocketAddress> ip(std::string_view host, uint16_t port);
  static SocketAddress unix_path(std::string_view path) { return {AddressFamily::kUnix, std::string(path), 0}; }

  std::string to_string() const;  // "10.0.0.1:8420", "[::1]:8420", "unix:/run/x.sock"
  bool operator==(const SocketAddress&) const = default;
};

}  // namespace cairn::runtime
