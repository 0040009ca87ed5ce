#include "nvmf/target/tcp_connection.h"

#include <algorithm>

#include "base/abandonment.h"
#include "base/log.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

TcpConnection::TcpConnection(Target& target, std::unique_ptr<runtime::Stream> stream)
    : target_(target),
      stream_(std::move(stream)),
      reactor_(runtime::Reactor::current()),
      queue_pair_(target, *this),
      connect_timer_([this] {
        log_protocol_error("no Connect command within the time allowed");
        disconnect();
      }) {
  target_.num_connections_.fetch_add(1, std::memory_order_relaxed);
  receive_rules_.receiver = nvme::PduReceiver::kController;
  // Before Connect the queue may be an admin queue, whose capsules may carry 8192 bytes.
  receive_rules_.max_capsule_data = std::max(nvme::kAdminCapsuleData, target.options().in_capsule_data_size);
  receive_rules_.max_data = std::max(nvme::kMinMaxH2cData, target.options().max_io_size);
}

TcpConnection::~TcpConnection() {
  CAIRN_CHECK(state_ == State::kClosed || abandoning());
  while (free_slots_.pop_front() != nullptr) {
  }
  target_.num_connections_.fetch_sub(1, std::memory_order_relaxed);
}

runtime::Task<> TcpConnection::run() {
  reactor_.arm(connect_timer_, reactor_.now() + target_.options().connect_timeout);
  stream_->start(*this);
  if (!co_await closed_.wait()) {
    disconnect();
    co_await closed_.wait_uninterrupted();
  }
  co_await queue_pair_.close();
}

void TcpConnection::disconnect() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  stream_->close();
}

void TcpConnection::on_closed(const Error& reason) {
  log::debug("nvmf: connection from {} ended: {}", peer_address().to_string(), reason.to_string());
  state_ = State::kClosed;
  connect_timer_.disarm();
  data_request_ = nullptr;
  // What waits for buffers or host data will never get on; what the core has comes back through complete(). Waiters go
  // first: the memory that the others give back must not wake them.
  for_each_slot([](TcpRequest& request) { request.waiter.unlink(); });
  for_each_slot([this](TcpRequest& request) {
    if (request.phase != TcpPhase::kBuffers && request.phase != TcpPhase::kHostData) return;
    request.phase = TcpPhase::kCore;
    queue_pair_.finish(request, nvme::Status::generic(nvme::GenericStatus::kAbortedSqDeletion));
  });
  closed_.set();
}

void TcpConnection::set_queue_depth(uint16_t entries) {
  connect_timer_.disarm();
  max_slots_ = std::max<size_t>(kSlotsPerChunk, size_t{2} * entries);
  if (queue_pair_.qid() != 0) receive_rules_.max_capsule_data = target_.options().in_capsule_data_size;
}

Request* TcpConnection::find_request(uint16_t cid) {
  Request* found = nullptr;
  for_each_slot([&](TcpRequest& request) {
    const bool outstanding = request.phase != TcpPhase::kFree && request.phase != TcpPhase::kSending;
    if (outstanding && request.command.cid == cid) found = &request;
  });
  return found;
}

bool TcpConnection::abort_waiting(Request& aborted) {
  auto& request = static_cast<TcpRequest&>(aborted);
  switch (request.phase) {
    case TcpPhase::kBuffers:
      request.waiter.unlink();
      request.phase = TcpPhase::kCore;
      queue_pair_.finish(request, nvme::Status::generic(nvme::GenericStatus::kAbortRequested));
      return true;
    case TcpPhase::kHostData:
      // The host may be sending the data already: it has to have a place until all of it came.
      request.abort_requested = true;
      return true;
    case TcpPhase::kFree:
    case TcpPhase::kCore:
    case TcpPhase::kSending:
      return false;
  }
  return false;
}

// ---- Slots ----

void TcpConnection::grow_slots() {
  auto chunk = std::make_unique<TcpRequest[]>(kSlotsPerChunk);
  for (size_t i = 0; i < kSlotsPerChunk; ++i) {
    TcpRequest& request = chunk[i];
    request.connection = this;
    request.queue_pair = &queue_pair_;
    request.index = static_cast<uint16_t>(num_slots_ + i);
    request.waiter.request = &request;
    request.waiter.ready = [](runtime::BufferPool::Waiter& waiter) {
      TcpRequest& served = *static_cast<TcpRequest::BufferWaiter&>(waiter).request;
      served.connection->buffers_ready(served);
    };
    for (TcpRequest::Output* output : {&request.answer, &request.r2t}) {
      output->request = &request;
      output->complete = [](runtime::SendOp& op, int) {
        TcpRequest& sent = *static_cast<TcpRequest::Output&>(op).request;
        sent.connection->output_done(sent);
      };
    }
    free_slots_.push_back(request);
  }
  num_slots_ += kSlotsPerChunk;
  chunks_.push_back(std::move(chunk));
}

TcpRequest* TcpConnection::take_slot() {
  if (free_slots_.empty() && num_slots_ < max_slots_) grow_slots();
  return static_cast<TcpRequest*>(free_slots_.pop_front());
}

void TcpConnection::free_slot(TcpRequest& request) {
  request.phase = TcpPhase::kFree;
  request.state = RequestState::kFree;
  free_slots_.push_front(request);  // the one whose memory is in the cache
}

// ---- Data buffers ----

// After begin(): finds memory for the data, then the host's data or the execution.
void TcpConnection::prepare_data(TcpRequest& request) {
  if (request.direction == nvme::DataDirection::kNone || request.data_length == 0 || request.in_place) {
    execute(request);
    return;
  }
  request.phase = TcpPhase::kBuffers;
  if (request.host_data_in_capsule) {
    // The bytes are here and cannot wait.
    if (reactor_.buffers().has_waiters() || !get_buffers(request)) attach_overflow(request);
    request.phase = TcpPhase::kHostData;
    return;
  }
  const auto* first_half = static_cast<const TcpRequest*>(request.fused_partner);
  if (first_half != nullptr && first_half->phase != TcpPhase::kBuffers) {
    take_buffers_at_once(request);
    return;
  }
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
  if (!get_buffers(request)) attach_overflow(request);
  go_on_with_buffers(request);
}

void TcpConnection::go_on_with_buffers(TcpRequest& request) {
  if (request.direction == nvme::DataDirection::kHostToController) {
    request.phase = TcpPhase::kHostData;
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
  const uint8_t count = std::exchange(request.num_buffers, uint8_t{0});
  for (size_t i = 0; i < count; ++i) reactor_.buffers().release(request.buffers[i]);
  request.overflow.reset();
}

void TcpConnection::execute(TcpRequest& request) {
  request.phase = TcpPhase::kCore;
  queue_pair_.execute(request);
}

void TcpConnection::log_protocol_error(std::string_view what) const {
  log::warn("nvmf: connection from {}: {}", stream_->peer_address().to_string(), what);
}

}  // namespace cairn::nvmf::target
