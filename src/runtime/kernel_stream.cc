#include "runtime/kernel_stream.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "runtime/kernel_socket.h"
#include "runtime/reactor.h"

namespace cairn::runtime {

KernelStream::KernelStream(IntrusiveList<KernelStream>& attention, FileDescriptor socket)
    : attention_(attention),
      socket_(std::move(socket)),
      local_address_(runtime::local_address_of(socket_.get())),
      peer_address_(runtime::peer_address_of(socket_.get())),
      linger_timer_([this] { enter_closing(Error(Code::kCancelled, "closed, with input of the peer unread")); }) {
  prepare_connection(socket_.get(), local_address_.family);
}

KernelStream::~KernelStream() {
  CAIRN_CHECK(state_ == State::kNew || state_ == State::kClosed);
  unlink();
}

void KernelStream::start(StreamHandler& handler) {
  CAIRN_CHECK(state_ == State::kNew);
  handler_ = &handler;
  state_ = State::kOpen;
  need_attention();
}

void KernelStream::resume() {
  if (!paused_) return;
  paused_ = false;
  if (state_ == State::kOpen) need_attention();
}

void KernelStream::send(SendOp& op) {
  CAIRN_CHECK(state_ != State::kClosed);
  output_.push(op);
  need_attention();
}

void KernelStream::close() {
  CAIRN_CHECK(state_ != State::kNew);
  enter_closing(Error(Code::kCancelled, "closed"));
}

void KernelStream::reset() {
  CAIRN_CHECK(state_ != State::kNew);
  // Without lingering, closing a socket drops what was not acknowledged.
  const linger at_once{.l_onoff = 1, .l_linger = 0};
  if (state_ != State::kClosed) ::setsockopt(socket_.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  enter_closing(Error(Code::kCancelled, "reset"));
}

void KernelStream::close_after_send(std::chrono::nanoseconds linger) {
  CAIRN_CHECK(state_ != State::kNew);
  if (state_ != State::kOpen) return;
  state_ = State::kDraining;
  Reactor& reactor = Reactor::current();
  reactor.arm(linger_timer_, reactor.now() + linger);
  if (output_.empty()) all_sent();
  need_attention();
}

void KernelStream::sent(size_t bytes) {
  output_.advance(bytes);
  if (state_ == State::kDraining && output_.empty()) all_sent();
}

void KernelStream::all_sent() {
  if (peer_ended_) return enter_closing(Error(Code::kCancelled, "closed after the last output"));
  state_ = State::kLingering;
  ::shutdown(socket_.get(), SHUT_WR);
}

void KernelStream::received_all(std::span<const std::byte> data) {
  if (data.size() >= kWorthHalving) {
    const size_t half = data.size() / 2;
    received(data.first(half));
    send_early();
    data = data.subspan(half);
  }
  received(data);
}

KernelStream::Read KernelStream::receive_now(std::span<std::byte> rest) {
  const std::span<std::byte> window = this->window();
  rest = rest.first(read_ahead(window.size(), rest.size()));
  iovec pieces[2] = {{window.data(), window.size()}, {rest.data(), rest.size()}};
  msghdr header{};
  header.msg_iov = window.empty() ? pieces + 1 : pieces;
  header.msg_iovlen = window.empty() ? 1 : 2;
  const ssize_t result = ::recvmsg(socket(), &header, MSG_DONTWAIT);
  if (result < 0) {
    if (errno != EAGAIN && errno != EINTR) failed(errno, "receive from");
    return errno == EINTR ? Read::kMore : Read::kNothing;
  }
  if (result == 0) {
    end_of_input();
    return Read::kNothing;
  }
  const auto size = static_cast<size_t>(result);
  if (!window.empty()) window_filled(std::min(size, window.size()));
  const bool drained = size < window.size() + rest.size();
  if (size > window.size()) {
    rest = rest.first(size - window.size());
    drained ? received_all(rest) : received(rest);
  }
  return drained ? Read::kDrained : Read::kMore;
}

void KernelStream::end_of_input() {
  peer_ended_ = true;
  if (state_ == State::kDraining) return;  // output may still be wanted by a peer that only sends no more
  if (state_ == State::kLingering) return enter_closing(Error(Code::kCancelled, "closed after the last output"));
  enter_closing(Error(Code::kUnavailable, fmt::format("{} closed the connection", peer_address_.to_string())), -EPIPE);
}

void KernelStream::failed(int error, const char* action) {
  enter_closing(Error::from_errno(error, fmt::format("{} {}", action, peer_address_.to_string())), -error);
}

void KernelStream::enter_closing(Error reason, int output_result) {
  if (state_ >= State::kClosing) return;
  state_ = State::kClosing;
  reason_ = std::move(reason);
  output_result_ = output_result;
  linger_timer_.disarm();
  need_attention();
}

void KernelStream::finish() {
  CAIRN_CHECK(state_ == State::kClosing);
  output_.fail_all(output_result_);
  unlink();  // a callback may have asked for attention
  socket_.reset();
  state_ = State::kClosed;
  handler_->on_closed(*reason_);
}

}  // namespace cairn::runtime
