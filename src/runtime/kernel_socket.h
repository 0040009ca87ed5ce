// What the kernel back-ends share about sockets: addresses, listening, accepted connections.
#pragma once

#include <sys/socket.h>

#include <memory>

#include "runtime/address.h"
#include "runtime/file_descriptor.h"
#include "runtime/stream.h"

namespace cairn::runtime {

// A SocketAddress as system calls take it.
struct KernelAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

// INVALID_ARGUMENT: not a numeric address, or a unix socket path that is empty or too long for the kernel.
Result<KernelAddress> to_kernel_address(const SocketAddress& address);
SocketAddress from_kernel_address(const sockaddr_storage& storage, socklen_t size);
SocketAddress local_address_of(int socket);
SocketAddress peer_address_of(int socket);

// A stream socket of the family, close-on-exec. `flags`: 0 or SOCK_NONBLOCK.
Result<FileDescriptor> create_stream_socket(AddressFamily family, int flags);
// What every connection gets: no delay of small segments. Does nothing on unix sockets.
void prepare_connection(int socket, AddressFamily family);

// A bound and listening socket. Takes over the path of a unix socket that nobody listens on any more; never removes
// anything else.
class ListeningSocket {
 public:
  static Result<ListeningSocket> create(const SocketAddress& address, int flags);
  ListeningSocket(ListeningSocket&&) noexcept = default;
  ListeningSocket& operator=(ListeningSocket&&) noexcept = default;
  ~ListeningSocket();  // stops listening at once, even while the kernel holds further references; removes its unix
                       // socket path

  int get() const { return socket_.get(); }
  const SocketAddress& local_address() const { return local_address_; }

 private:
  ListeningSocket(FileDescriptor socket, SocketAddress local_address);
  FileDescriptor socket_;
  SocketAddress local_address_;
  dev_t path_device_ = 0;
  ino_t path_inode_ = 0;
};

class AcceptedSocket final : public AcceptedStream {
 public:
  explicit AcceptedSocket(FileDescriptor socket) : socket_(std::move(socket)) {}
  FileDescriptor take() { return std::move(socket_); }

 private:
  FileDescriptor socket_;
};

// Whether accept() may be tried again at once after `error`: it concerned the one connection, not the listener.
bool accept_error_is_transient(int error);

}  // namespace cairn::runtime
