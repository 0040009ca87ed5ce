#include "runtime/epoll_stream.h"

#include <sys/socket.h>

#include <cerrno>

#include "base/log.h"
#include "runtime/reactor.h"

namespace cairn::runtime {

namespace {

constexpr unsigned kAcceptsPerRound = 64;
constexpr auto kRetryAfter = std::chrono::milliseconds(100);  // when the process is out of descriptors or memory

}  // namespace

EpollStream::EpollStream(EpollBackend& backend, IntrusiveList<KernelStream>& attention, FileDescriptor socket)
    : KernelStream(attention, std::move(socket)), backend_(backend) {
  backend_.watch(this->socket(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, *this);
}

EpollStream::~EpollStream() {
  if (state() == State::kNew) backend_.unwatch(socket());
}

void EpollStream::on_events(uint32_t events) {
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) ended_ = readable_ = writable_ = true;
  if ((events & EPOLLIN) != 0) readable_ = true;
  if ((events & EPOLLOUT) != 0) writable_ = true;
  need_attention();
}

size_t EpollStream::service() {
  if (state() == State::kClosing) {
    backend_.unwatch(socket());
    finish();
    return 1;
  }
  size_t done = 0;
  if (writable_ && wants_output()) {
    send_now();
    ++done;
  }
  if (readable_ && wants_input()) {
    readable_ = receive_now(backend_.scratch_buffer()) == Read::kMore || ended_;
    ++done;
  }
  if ((readable_ && wants_input()) || (writable_ && wants_output())) need_attention();
  return done;
}

void EpollStream::send_now() {
  const SendQueue::Batch batch = output().gather(backend_.iovecs());
  if (batch.bytes == 0) return sent(0);  // operations without a byte
  msghdr header{};
  header.msg_iov = backend_.iovecs().data();
  header.msg_iovlen = batch.pieces;
  const ssize_t result = ::sendmsg(socket(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (result < 0) {
    writable_ = errno == EINTR;
    if (errno != EAGAIN && errno != EINTR) failed(errno, "send to");
    return;
  }
  writable_ = static_cast<size_t>(result) == batch.bytes;
  sent(static_cast<size_t>(result));
}

EpollAcceptor::EpollAcceptor(EpollBackend& backend, ListeningSocket socket, AcceptHandler accept)
    : backend_(backend),
      socket_(std::move(socket)),
      accept_(std::move(accept)),
      retry_([this] { on_events(EPOLLIN); }) {
  backend_.watch(socket_.get(), EPOLLIN | EPOLLET, *this);
}

EpollAcceptor::~EpollAcceptor() {
  backend_.unwatch(socket_.get());
  unlink();
  if (destroyed_ != nullptr) *destroyed_ = true;
}

void EpollAcceptor::on_events(uint32_t) {
  if (!is_linked()) backend_.ready_acceptors().push_back(*this);
}

size_t EpollAcceptor::service() {
  const AcceptHandler accept = accept_;  // outlives the acceptor, which its handler may destroy
  bool destroyed = false;
  destroyed_ = &destroyed;
  for (unsigned count = 0; count < kAcceptsPerRound; ++count) {
    FileDescriptor connection(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection.valid()) {
      const int error = errno;
      destroyed_ = nullptr;
      if (error == EAGAIN) return count;
      if (accept_error_is_transient(error)) {
        on_events(EPOLLIN);
      } else {
        log::warn("accept on {}: {}", local_address().to_string(), Error::from_errno(error, "accept").message());
        Reactor& reactor = Reactor::current();
        reactor.arm(retry_, reactor.now() + kRetryAfter);
      }
      return count;
    }
    accept(std::make_unique<AcceptedSocket>(std::move(connection)));
    if (destroyed) return count + 1;
  }
  destroyed_ = nullptr;
  on_events(EPOLLIN);
  return kAcceptsPerRound;
}

}  // namespace cairn::runtime
