#include "engine/target_interface.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace cairn::engine {

namespace {

using Bytes = std::vector<uint8_t>;  // 4 or 16 bytes of an address, network order

struct Interface {
  std::string mac;  // "aa:bb:..", lower case
  std::vector<Bytes> addresses;
};

Bytes address_bytes(const sockaddr& address) {
  if (address.sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    const auto* p = reinterpret_cast<const uint8_t*>(&v4.sin_addr);
    return {p, p + 4};
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  const auto* p = reinterpret_cast<const uint8_t*>(&v6.sin6_addr);
  return {p, p + 16};
}

std::string to_text(const Bytes& bytes) {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

Result<Bytes> parse_address(const std::string& text) {
  uint8_t bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) return Bytes(bytes, bytes + 4);
  if (inet_pton(AF_INET6, text.c_str(), bytes) == 1) return Bytes(bytes, bytes + 16);
  return fail(Code::kInvalidArgument, fmt::format("'{}' is not an IP address", text));
}

Result<std::map<std::string, Interface>> list_interfaces() {
  ifaddrs* raw = nullptr;
  if (getifaddrs(&raw) != 0) return fail(Error::from_errno(errno, "cannot list the network interfaces"));
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> list(raw, freeifaddrs);
  std::map<std::string, Interface> interfaces;
  for (const ifaddrs* entry = list.get(); entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    Interface& interface = interfaces[entry->ifa_name];
    const auto family = entry->ifa_addr->sa_family;
    if (family == AF_INET || family == AF_INET6) {
      interface.addresses.push_back(address_bytes(*entry->ifa_addr));
    } else if (family == AF_PACKET) {
      const auto& link = reinterpret_cast<const sockaddr_ll&>(*entry->ifa_addr);
      for (unsigned i = 0; i < link.sll_halen; ++i)
        interface.mac += fmt::format("{}{:02x}", i == 0 ? "" : ":", link.sll_addr[i]);
    }
  }
  return interfaces;
}

bool in_network(const Bytes& address, const Bytes& network, unsigned bits) {
  if (address.size() != network.size()) return false;
  for (unsigned bit = 0; bit < bits; ++bit) {
    const uint8_t mask = static_cast<uint8_t>(0x80 >> (bit % 8));
    if ((address[bit / 8] & mask) != (network[bit / 8] & mask)) return false;
  }
  return true;
}

struct Match {
  std::string interface;
  Bytes address;
};

// The interfaces that `accept` picks an address of.
template <typename Accept>
Result<Match> single_match(const std::string& selector, Accept accept) {
  auto interfaces = list_interfaces();
  if (!interfaces) return fail(std::move(interfaces.error()));
  std::vector<Match> matches;
  for (const auto& [name, interface] : *interfaces) {
    if (auto address = accept(name, interface)) matches.push_back({name, *address});
  }
  if (matches.empty()) return fail(Code::kNotFound, fmt::format("Network interface matching '{}' not found", selector));
  if (matches.size() > 1) {
    return fail(Code::kFailedPrecondition,
                fmt::format("Multiple network interfaces that match '{}' are found", selector));
  }
  return matches.front();
}

// IPv4 before IPv6; an empty address when the interface has none.
Bytes preferred_address(const Interface& interface) {
  for (const size_t size : {size_t{4}, size_t{16}}) {
    for (const Bytes& address : interface.addresses) {
      if (address.size() == size) return address;
    }
  }
  return {};
}

}  // namespace

Result<runtime::SocketAddress> resolve_target_interface(const std::string& selector) {
  const size_t colon = selector.find(':');
  const std::string kind = colon == std::string::npos ? "name" : selector.substr(0, colon);
  const std::string value = colon == std::string::npos ? selector : selector.substr(colon + 1);
  auto invalid = [&] {
    return fail(Code::kInvalidArgument, fmt::format("Invalid NVMF target interface: '{}'", selector));
  };
  if (value.empty()) return invalid();

  Result<Match> match = invalid();
  if (kind == "name") {
    match = single_match(selector, [&](const std::string& name, const Interface& interface) -> std::optional<Bytes> {
      if (name != value) return std::nullopt;
      return preferred_address(interface);
    });
  } else if (kind == "mac") {
    std::string mac = value;
    std::ranges::transform(mac, mac.begin(), [](unsigned char c) { return std::tolower(c); });
    match = single_match(selector, [&](const std::string&, const Interface& interface) -> std::optional<Bytes> {
      if (interface.mac != mac) return std::nullopt;
      return preferred_address(interface);
    });
  } else if (kind == "ip") {
    auto wanted = parse_address(value);
    if (!wanted) return invalid();
    match = single_match(selector, [&](const std::string&, const Interface& interface) -> std::optional<Bytes> {
      return std::ranges::find(interface.addresses, *wanted) == interface.addresses.end() ? std::nullopt
                                                                                          : std::optional(*wanted);
    });
  } else if (kind == "subnet") {
    const size_t slash = value.find('/');
    if (slash == std::string::npos) return invalid();
    auto network = parse_address(value.substr(0, slash));
    unsigned bits = 0;
    const std::string bits_text = value.substr(slash + 1);
    const auto [end, error] = std::from_chars(bits_text.data(), bits_text.data() + bits_text.size(), bits);
    if (!network || error != std::errc() || end != bits_text.data() + bits_text.size() || bits > network->size() * 8)
      return invalid();
    match = single_match(selector, [&](const std::string&, const Interface& interface) -> std::optional<Bytes> {
      for (const Bytes& address : interface.addresses) {
        if (in_network(address, *network, bits)) return address;
      }
      return std::nullopt;
    });
  } else {
    return invalid();
  }
  if (!match) return fail(std::move(match.error()));
  if (match->address.empty()) {
    return fail(Code::kNotFound, fmt::format("Network interface '{}' has no IP address configured", match->interface));
  }
  return runtime::SocketAddress::ip(to_text(match->address), 0);
}

}  // namespace cairn::engine
