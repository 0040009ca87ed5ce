// Accepting connections with io_uring.
//
// The operation in the kernel outlives the Listener that the user destroys, so it belongs to an acceptor that the
// back-end keeps until the operation's last completion.
#pragma once

#include "runtime/kernel_socket.h"
#include "runtime/timer.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

class UringAcceptor final : public UringOp {
 public:
  UringAcceptor(UringBackend& backend, ListeningSocket socket, AcceptHandler accept);

  void start();
  // Nothing is accepted any more from here on. The acceptor is dropped when the kernel is done with it.
  void stop();
  const SocketAddress& local_address() const { return local_address_; }

 private:
  void accepted(int result, unsigned flags);

  UringBackend& backend_;
  std::optional<ListeningSocket> socket_;  // empty: stopped
  SocketAddress local_address_;
  AcceptHandler accept_;
  bool in_kernel_ = false;
  bool in_callback_ = false;
  Timer retry_;
};

class UringListener final : public Listener {
 public:
  explicit UringListener(UringAcceptor& acceptor) : acceptor_(acceptor) {}
  ~UringListener() override { acceptor_.stop(); }
  const SocketAddress& local_address() const override { return acceptor_.local_address(); }

 private:
  UringAcceptor& acceptor_;
};

}  // namespace cairn::runtime
