#include "runtime/kernel_socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

namespace cairn::runtime {

namespace {

constexpr int kListenBacklog = 1024;  // connections that wait for accept(); the kernel cuts it to net.core.somaxconn

int kernel_family(AddressFamily family) {
  switch (family) {
    case AddressFamily::kIpv4:
      return AF_INET;
    case AddressFamily::kIpv6:
      return AF_INET6;
    case AddressFamily::kUnix:
      return AF_UNIX;
  }
  return AF_UNSPEC;
}

Error errno_error(const char* action, const SocketAddress& address) {
  return Error::from_errno(errno, fmt::format("{} {}", action, address.to_string()));
}

// Removes the unix socket at `path` if it was left behind by somebody who is gone. False with errno EADDRINUSE when it
// may not be removed.
bool remove_stale_socket(const std::string& path, const KernelAddress& address) {
  struct stat status{};
  const bool is_socket = ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
  if (is_socket) {
    const FileDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (probe.valid() && ::connect(probe.get(), address.get(), address.size) != 0 && errno == ECONNREFUSED) {
      return ::unlink(path.c_str()) == 0;
    }
  }
  errno = EADDRINUSE;
  return false;
}

}  // namespace

Result<KernelAddress> to_kernel_address(const SocketAddress& address) {
  KernelAddress result;
  if (address.family == AddressFamily::kIpv4) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(result.storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(address.port);
    result.size = sizeof v4;
    if (inet_pton(AF_INET, address.host.c_str(), &v4.sin_addr) == 1) return result;
    return fail(Code::kInvalidArgument, fmt::format("'{}' is not a numeric IPv4 address", address.host));
  }
  if (address.family == AddressFamily::kIpv6) {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(result.storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(address.port);
    result.size = sizeof v6;
    if (inet_pton(AF_INET6, address.host.c_str(), &v6.sin6_addr) == 1) return result;
    return fail(Code::kInvalidArgument, fmt::format("'{}' is not a numeric IPv6 address", address.host));
  }
  auto& local = reinterpret_cast<sockaddr_un&>(result.storage);
  if (address.host.empty() || address.host.size() >= sizeof local.sun_path) {
    return fail(Code::kInvalidArgument, fmt::format("the path of a unix socket has 1 to {} bytes: '{}' has {}",
                                                    sizeof local.sun_path - 1, address.host, address.host.size()));
  }
  local.sun_family = AF_UNIX;
  std::memcpy(local.sun_path, address.host.c_str(), address.host.size() + 1);
  result.size = sizeof local;
  return result;
}

SocketAddress from_kernel_address(const sockaddr_storage& storage, socklen_t size) {
  char text[INET6_ADDRSTRLEN];
  if (storage.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
    return {AddressFamily::kIpv4, inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text), ntohs(v4.sin_port)};
  }
  if (storage.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    return {AddressFamily::kIpv6, inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text), ntohs(v6.sin6_port)};
  }
  const auto& local = reinterpret_cast<const sockaddr_un&>(storage);
  const bool named = size > offsetof(sockaddr_un, sun_path) && local.sun_path[0] != '\0';
  return SocketAddress::unix_path(named ? local.sun_path : "");
}

SocketAddress local_address_of(int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &size);
  return from_kernel_address(storage, size);
}

SocketAddress peer_address_of(int socket) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  // A peer that has gone already has no address any more: an empty one of the right family is as good.
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&storage), &size) != 0) {
    size = sizeof storage;
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&storage), &size);
    SocketAddress gone = from_kernel_address(storage, size);
    gone.host = gone.family == AddressFamily::kIpv4 ? "0.0.0.0" : gone.family == AddressFamily::kIpv6 ? "::" : "";
    gone.port = 0;
    return gone;
  }
  return from_kernel_address(storage, size);
}

Result<FileDescriptor> create_stream_socket(AddressFamily family, int flags) {
  FileDescriptor socket(::socket(kernel_family(family), SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!socket.valid()) return fail(Error::from_errno(errno, "create a socket"));
  return socket;
}

void prepare_connection(int socket, AddressFamily family) {
  if (family == AddressFamily::kUnix) return;
  const int on = 1;
  // Fails only on a connection that is gone already, which the first transfer reports.
  static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

Result<ListeningSocket> ListeningSocket::create(const SocketAddress& address, int flags) {
  auto kernel_address = to_kernel_address(address);
  if (!kernel_address) return fail(std::move(kernel_address.error()));
  auto socket = create_stream_socket(address.family, flags);
  if (!socket) return fail(std::move(socket.error()));

  const int on = 1;
  if (address.family != AddressFamily::kUnix &&
      ::setsockopt(socket->get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) {
    return fail(errno_error("listen on", address));
  }
  if (address.family == AddressFamily::kIpv6 &&
      ::setsockopt(socket->get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) {
    return fail(errno_error("listen on", address));
  }
  int bound = ::bind(socket->get(), kernel_address->get(), kernel_address->size);
  if (bound != 0 && errno == EADDRINUSE && address.family == AddressFamily::kUnix &&
      remove_stale_socket(address.host, *kernel_address)) {
    bound = ::bind(socket->get(), kernel_address->get(), kernel_address->size);
  }
  if (bound != 0 || ::listen(socket->get(), kListenBacklog) != 0) return fail(errno_error("listen on", address));
  SocketAddress local = local_address_of(socket->get());
  return ListeningSocket(std::move(*socket), std::move(local));
}

ListeningSocket::ListeningSocket(FileDescriptor socket, SocketAddress local_address)
    : socket_(std::move(socket)), local_address_(std::move(local_address)) {
  struct stat status{};
  if (local_address_.family == AddressFamily::kUnix && ::lstat(local_address_.host.c_str(), &status) == 0) {
    path_device_ = status.st_dev;
    path_inode_ = status.st_ino;
  }
}

ListeningSocket::~ListeningSocket() {
  if (!socket_.valid()) return;
  ::shutdown(socket_.get(), SHUT_RDWR);
  struct stat status{};
  if (local_address_.family == AddressFamily::kUnix && ::lstat(local_address_.host.c_str(), &status) == 0 &&
      status.st_dev == path_device_ && status.st_ino == path_inode_) {
    ::unlink(local_address_.host.c_str());
  }
}

bool accept_error_is_transient(int error) {
  switch (error) {
    case EINTR:
    case EAGAIN:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
    case ENOPROTOOPT:
    case EPERM:
      return true;
    default:
      return false;
  }
}

}  // namespace cairn::runtime
