// Memory for the data of TcpConnection's commands.
//
// Buffers come from the reactor's pool, which all connections share. A host decides how long its commands hold them: it
// may be slow to send the data of a write, or to take the data of a read. So that it harms nobody else:
// - A connection has a share of the pool. What would exceed it waits in the connection's own line and leaves the pool
//   alone; a share takes the largest command, so the line moves on.
// - What has its share waits in the pool's line when the pool is used up, first come first served.
// - While anybody waits in the pool's line, a connection whose host keeps buffers waiting for Options::buffer_patience
//   is closed.
// The second half of a fused pair gets its buffers as soon as the first has, beyond share and line: the first half's
// buffers would wait with it.
#include <fmt/format.h>

#include <algorithm>

#include "nvmf/target/target.h"
#include "nvmf/target/tcp_connection.h"

namespace cairn::nvmf::target {

// After begin(): finds memory for the data, then the host's data or the execution.
void TcpConnection::prepare_data(TcpRequest& request) {
  if (request.direction == nvme::DataDirection::kNone || request.data_length == 0 || request.in_place) {
    execute(request);
    return;
  }
  request.phase = TcpPhase::kBuffers;
  if (request.host_data_in_capsule) {
    // The bytes are here and cannot wait.
    take_share(request);
    if (reactor_.buffers().has_waiters() || !get_buffers(request)) attach_overflow(request);
    request.phase = TcpPhase::kHostData;
    wait_for_host(request);
    return;
  }
  const auto* first_half = static_cast<const TcpRequest*>(request.fused_partner);
  if (first_half != nullptr && first_half->phase != TcpPhase::kBuffers) {
    take_buffers_at_once(request);
    return;
  }
  if (!share_waiters_.empty() || !share_left_for(request)) {
    share_waiters_.push_back(request.waiter);
    return;
  }
  seek_buffers(request);
}

// ---- The connection's share ----

size_t TcpConnection::memory_for(size_t data_length) {
  constexpr size_t kUnit = runtime::BufferPool::kMaxBufferSize;
  if (data_length <= kUnit) return runtime::BufferPool::buffer_size(data_length);
  return (data_length + kUnit - 1) / kUnit * kUnit;
}

bool TcpConnection::share_left_for(const TcpRequest& request) const {
  return memory_taken_ + memory_for(request.data_length) <= memory_share_;
}

// Once a request: the second half of a fused pair may have it already.
void TcpConnection::take_share(TcpRequest& request) {
  if (request.memory_taken > 0) return;
  request.memory_taken = memory_for(request.data_length);
  memory_taken_ += request.memory_taken;
}

void TcpConnection::serve_share_waiters() {
  while (runtime::BufferPool::Waiter* waiter = share_waiters_.first()) {
    TcpRequest& request = *static_cast<TcpRequest::BufferWaiter*>(waiter)->request;
    if (!share_left_for(request)) return;
    waiter->unlink();
    seek_buffers(request);
  }
}

// ---- The reactor's pool ----

void TcpConnection::seek_buffers(TcpRequest& request) {
  take_share(request);
  if (!reactor_.buffers().has_waiters() && get_buffers(request)) {
    buffers_ready(request);
    return;
  }
  request.waiter.size = std::min<size_t>(request.data_length, runtime::BufferPool::kMaxBufferSize);
  reactor_.buffers().wait(request.waiter);
}

// Gets what is still missing. False when the pool has no more; what was got is kept.
bool TcpConnection::get_buffers(TcpRequest& request) {
  constexpr size_t kUnit = runtime::BufferPool::kMaxBufferSize;
  const size_t needed = (request.data_length + kUnit - 1) / kUnit;
  while (request.num_buffers < needed) {
    std::byte* buffer = reactor_.buffers().allocate(std::min<size_t>(request.data_length, kUnit));
    if (buffer == nullptr) return false;
    request.buffers[request.num_buffers++] = buffer;
  }
  describe_buffers(request);
  return true;
}

void TcpConnection::buffers_ready(TcpRequest& request) {
  if (!get_buffers(request)) {
    reactor_.buffers().wait_first(request.waiter);
    return;
  }
  auto* second_half = static_cast<TcpRequest*>(request.fused_partner);
  go_on_with_buffers(request);
  if (second_half != nullptr && second_half->phase == TcpPhase::kBuffers) {
    second_half->waiter.unlink();
    take_buffers_at_once(*second_half);
  }
}

// For the second half of a fused pair whose first half has its buffers. If it waited in line, those before it might
// wait for just these buffers. The memory beyond the pool's is no more than what first halves have of the pool.
void TcpConnection::take_buffers_at_once(TcpRequest& request) {
  take_share(request);
  if (!get_buffers(request)) attach_overflow(request);
  go_on_with_buffers(request);
}

void TcpConnection::go_on_with_buffers(TcpRequest& request) {
  if (request.direction == nvme::DataDirection::kHostToController) {
    request.phase = TcpPhase::kHostData;
    wait_for_host(request);
    send_r2t(request);
  } else {
    execute(request);
  }
}

void TcpConnection::attach_overflow(TcpRequest& request) {
  release_data(request);
  request.overflow = std::make_unique<std::byte[]>(request.data_length);
  const iovec piece{request.overflow.get(), request.data_length};
  request.set_data({&piece, 1});
}

void TcpConnection::describe_buffers(TcpRequest& request) {
  std::array<iovec, TcpRequest::kMaxBuffers> pieces;
  size_t left = request.data_length;
  for (size_t i = 0; i < request.num_buffers; ++i) {
    const size_t size = std::min(left, runtime::BufferPool::kMaxBufferSize);
    pieces[i] = {request.buffers[i], size};
    left -= size;
  }
  request.set_data({pieces.data(), request.num_buffers});
}

void TcpConnection::release_data(TcpRequest& request) {
  // The list is emptied first: release() may run a waiter that looks at this slot.
  memory_taken_ -= std::exchange(request.memory_taken, size_t{0});
  const uint8_t count = std::exchange(request.num_buffers, uint8_t{0});
  for (size_t i = 0; i < count; ++i) reactor_.buffers().release(request.buffers[i]);
  request.overflow.reset();
  if (state_ == State::kOpen && !share_waiters_.empty()) serve_share_waiters();
}

// ---- Hosts that keep buffers waiting ----

void TcpConnection::wait_for_host(TcpRequest& request) {
  if (request.memory_taken == 0) return;
  request.host_since = reactor_.round_time();
  if (!patience_timer_.armed()) {
    reactor_.arm(patience_timer_, reactor_.round_time() + target_.options().buffer_patience);
  }
}

void TcpConnection::end_if_withholding() {
  if (state_ != State::kOpen) return;
  const TimePoint now = reactor_.now();
  size_t waiting = 0;   // bytes that wait for the host
  size_t withheld = 0;  // those of them that it kept too long
  for_each_slot([&](const TcpRequest& request) {
    if (request.phase != TcpPhase::kHostData && request.phase != TcpPhase::kSending) return;
    waiting += request.memory_taken;
    if (request.host_since + target_.options().buffer_patience <= now) withheld += request.memory_taken;
  });
  if (withheld > 0 && reactor_.buffers().has_waiters()) {
    log_protocol_error(fmt::format("the host keeps {} KiB of buffers waiting while others need them", withheld >> 10));
    disconnect();
  } else if (waiting > 0) {
    reactor_.arm(patience_timer_, now + target_.options().buffer_patience);
  }
}

}  // namespace cairn::nvmf::target
