#include "runtime/uring_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "runtime/reactor.h"

namespace cairn::runtime {

namespace {

// How long a stream without input stays hot: a round trip to a peer that answers at once.
constexpr Duration kHotFor = std::chrono::microseconds(50);

}  // namespace

UringStream::UringStream(UringBackend& backend, IntrusiveList<KernelStream>& attention, FileDescriptor socket)
    : KernelStream(attention, std::move(socket)), backend_(backend) {
  receive_.stream = send_.stream = this;
  receive_.complete = [](UringOp& op, int result, unsigned flags) {
    static_cast<Op&>(op).stream->receive_done(result, flags);
  };
  send_.complete = [](UringOp& op, int result, unsigned) { static_cast<Op&>(op).stream->send_done(result); };
}

size_t UringStream::service() {
  if (state() == State::kClosing) {
    ListLink<HotTag>::unlink();
    if (receive_.in_kernel || send_.in_kernel) {
      // Ends both at once. To cancel them would not be enough: an operation that is just being retried escapes, and
      // waits again.
      if (!shut_down_) ::shutdown(socket(), SHUT_RDWR);
      shut_down_ = true;
      return 0;
    }
    finish();
    return 1;
  }
  const size_t count = !send_.in_kernel && wants_output() ? start_send() : 0;
  if (!receive_.in_kernel && !is_hot() && wants_input()) start_receive();
  return count;
}

size_t UringStream::receive_hot() {
  if (!wants_input()) {
    ListLink<HotTag>::unlink();
    return 0;
  }
  const TimePoint now = Reactor::current().round_time();
  const Read read = receive_now(backend_.scratch_buffer());
  if (read != Read::kNothing) {
    last_input_ = now;
    return 1;
  }
  more_is_there_ = false;
  // A large window is better filled by the kernel than piece by piece.
  if (now - last_input_ > kHotFor || window().size() >= kSmallestWindow) cool_down();
  return 0;
}

void UringStream::cool_down() {
  ListLink<HotTag>::unlink();
  if (wants_input()) start_receive();
}

void UringStream::start_receive() {
  UringReceiveBuffers* buffers = backend_.receive_buffers();
  if (buffers == nullptr) {
    receive_kind_ = ReceiveKind::kReadable;
    io_uring_prep_poll_add(&backend_.ring().next_sqe(&receive_), socket(), POLLIN);
  } else if (const auto window = this->window(); window.size() >= kSmallestWindow) {
    receive_kind_ = ReceiveKind::kWindow;
    read_ahead(window.size(), 0);
    io_uring_sqe& sqe = backend_.ring().next_sqe(&receive_);
    io_uring_prep_recv(&sqe, socket(), window.data(), window.size(), MSG_WAITALL);
  } else {
    receive_kind_ = ReceiveKind::kBuffer;
    io_uring_sqe& sqe = backend_.ring().next_sqe(&receive_);
    io_uring_prep_recv(&sqe, socket(), nullptr, read_ahead(window.size(), buffers->buffer_bytes()), 0);
    sqe.flags |= IOSQE_BUFFER_SELECT;
    sqe.buf_group = UringReceiveBuffers::kGroup;
    if (!more_is_there_) sqe.ioprio |= IORING_RECVSEND_POLL_FIRST;
  }
  receive_.in_kernel = true;
}

void UringStream::receive_done(int result, unsigned flags) {
  receive_.in_kernel = false;
  need_attention();
  if (result == -EAGAIN || result == -EINTR) return;
  if (receive_kind_ == ReceiveKind::kReadable) {
    if (result < 0) {
      failed(-result, "receive from");
    } else if (wants_input() && receive_now(backend_.scratch_buffer()) != Read::kNothing) {
      heat_up();
    }
    return;
  }

  more_is_there_ = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
  const bool has_buffer = (flags & IORING_CQE_F_BUFFER) != 0;
  const unsigned buffer = flags >> IORING_CQE_BUFFER_SHIFT;
  if (result > 0 && receive_kind_ == ReceiveKind::kWindow) {
    window_filled(static_cast<size_t>(result));
  } else if (result > 0) {
    received(backend_.receive_buffers()->buffer(buffer).first(static_cast<size_t>(result)));
    heat_up();
  } else if (result == 0) {
    end_of_input();
  } else if (result == -ENOBUFS) {
    more_is_there_ = true;
    backend_.receive_buffers()->add_more();
  } else {
    failed(-result, "receive from");
  }
  if (has_buffer) backend_.receive_buffers()->recycle(buffer);
}

void UringStream::heat_up() {
  if (!is_hot() && backend_.add_hot(*this)) last_input_ = Reactor::current().round_time();
}

void UringStream::send_early() {
  if (!send_.in_kernel && wants_output() && is_hot()) start_send();
}

size_t UringStream::start_send() {
  UringScratch& scratch = backend_.scratch();
  SendQueue::Batch batch = output().gather(scratch.iovecs());
  if (batch.bytes == 0) {
    sent(0);  // operations without a byte
    return 1;
  }
  const bool direct = is_hot();
  if (direct) {
    if (send_directly(scratch.iovecs().first(batch.pieces), batch.bytes)) return 1;
    if (!wants_output()) return 1;
    batch = output().gather(scratch.iovecs());
  }
  msghdr* header = scratch.header(scratch.use(batch.pieces), batch.pieces);
  io_uring_prep_sendmsg(&backend_.ring().next_sqe(&send_), socket(), header, MSG_NOSIGNAL | MSG_WAITALL);
  send_.in_kernel = true;
  return direct ? 1 : 0;
}

bool UringStream::send_directly(std::span<iovec> pieces, size_t size) {
  msghdr header{};
  header.msg_iov = pieces.data();
  header.msg_iovlen = pieces.size();
  const ssize_t result = ::sendmsg(socket(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (result > 0) {
    sent(static_cast<size_t>(result));
    if (wants_output()) need_attention();
  } else if (result < 0 && errno != EAGAIN && errno != EINTR) {
    failed(errno, "send to");
  }
  return result == static_cast<ssize_t>(size);
}

void UringStream::send_done(int result) {
  send_.in_kernel = false;
  need_attention();
  if (result > 0) {
    sent(static_cast<size_t>(result));
  } else if (result != -EAGAIN && result != -EINTR) {
    failed(result == 0 ? EPIPE : -result, "send to");
  }
}

}  // namespace cairn::runtime
