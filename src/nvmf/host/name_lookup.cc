#include "nvmf/host/name_lookup.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>

#include <cerrno>
#include <memory>

#include "runtime/blocking_pool.h"

namespace cairn::nvmf::host {

using Addresses = std::vector<runtime::SocketAddress>;

namespace {

Error no_address(std::string what) {
  return Error::with_errno(ENXIO, std::move(what));
}

Result<Addresses> ask_resolver(const PathAddress& path) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  if (const int error = ::getaddrinfo(path.host.c_str(), nullptr, &hints, &list); error != 0) {
    return fail(no_address(fmt::format("cannot find the address of '{}': {}", path.host, ::gai_strerror(error))));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);
  Addresses addresses;
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    char text[NI_MAXHOST];
    if (::getnameinfo(entry->ai_addr, entry->ai_addrlen, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) continue;
    if (auto address = runtime::SocketAddress::ip(text, path.port)) addresses.push_back(std::move(*address));
  }
  if (addresses.empty()) return fail(no_address(fmt::format("'{}' has no IP address", path.host)));
  return addresses;
}

}  // namespace

runtime::Task<Result<Addresses>> look_up(PathAddress path) {
  if (auto numeric = runtime::SocketAddress::ip(path.host, path.port)) co_return Addresses{std::move(*numeric)};
  runtime::BlockingPool resolver(1);
  co_return co_await runtime::BlockingCall(resolver, [&path] { return ask_resolver(path); });
}

}  // namespace cairn::nvmf::host
