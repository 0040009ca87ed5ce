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
      }),
      memory_share_(std::max(memory_for(target.options().max_io_size),
                             reactor_.buffers().region().size() / kConnectionsToFillPool)),
      patience_timer_([this] { end_if_withholding(); }) {
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
  patience_timer_.disarm();
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

void TcpConnection::execute(TcpRequest& request) {
  request.phase = TcpPhase::kCore;
  queue_pair_.execute(request);
}

void TcpConnection::log_protocol_error(std::string_view what) const {
  log::warn("nvmf: connection from {}: {}", stream_->peer_address().to_string(), what);
}

}  // namespace cairn::nvmf::target
