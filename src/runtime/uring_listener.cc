#include "runtime/uring_listener.h"

#include <cerrno>

#include "base/log.h"
#include "runtime/reactor.h"

namespace cairn::runtime {

namespace {

constexpr auto kRetryAfter = std::chrono::milliseconds(100);  // when the process is out of descriptors or memory

}  // namespace

UringAcceptor::UringAcceptor(UringBackend& backend, ListeningSocket socket, AcceptHandler accept)
    : backend_(backend),
      socket_(std::move(socket)),
      local_address_(socket_->local_address()),
      accept_(std::move(accept)),
      retry_([this] { start(); }) {
  complete = [](UringOp& op, int result, unsigned flags) { static_cast<UringAcceptor&>(op).accepted(result, flags); };
}

void UringAcceptor::start() {
  io_uring_sqe& sqe = backend_.ring().next_sqe(this);
  if (backend_.multishot_accept()) {
    io_uring_prep_multishot_accept(&sqe, socket_->get(), nullptr, nullptr, SOCK_CLOEXEC);
  } else {
    io_uring_prep_accept(&sqe, socket_->get(), nullptr, nullptr, SOCK_CLOEXEC);
  }
  in_kernel_ = true;
}

void UringAcceptor::stop() {
  retry_.disarm();
  if (in_kernel_) {
    backend_.cancel(*this);
    backend_.ring().submit();  // before the descriptor's number can be given to another file
  }
  socket_.reset();
  if (!in_kernel_ && !in_callback_) backend_.drop(*this);
}

void UringAcceptor::accepted(int result, unsigned flags) {
  in_kernel_ = (flags & IORING_CQE_F_MORE) != 0;
  FileDescriptor connection(result);
  if (connection.valid() && socket_) {
    in_callback_ = true;
    accept_(std::make_unique<AcceptedSocket>(std::move(connection)));
    in_callback_ = false;
  }
  if (in_kernel_) return;
  if (!socket_) return backend_.drop(*this);
  if (result >= 0 || accept_error_is_transient(-result)) return start();
  log::warn("accept on {}: {}", local_address_.to_string(), Error::from_errno(-result, "accept").message());
  Reactor& reactor = Reactor::current();
  reactor.arm(retry_, reactor.now() + kRetryAfter);
}

}  // namespace cairn::runtime
