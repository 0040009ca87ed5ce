#include "runtime/sim/sim_stream.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "runtime/sim/network.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_backend.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

SimStream::SimStream(SimBackend& backend, std::shared_ptr<Connection> connection, int side)
    : backend_(backend),
      connection_(std::move(connection)),
      side_(side),
      local_(connection_->address(side)),
      peer_(connection_->address(1 - side)),
      placing_(static_cast<uint8_t>(backend.random().below(4))) {
  backend_.add(*this);
  connection_->attach(side_, this);
}

SimStream::~SimStream() {
  CAIRN_CHECK(handler_ == nullptr || abandoning());  // only before start() or after on_closed
  CAIRN_CHECK((waiting_.empty() && sent_.empty()) || abandoning());
  if (connection_ != nullptr) connection_->close(side_);
  ListLink<StreamList>::unlink();
  Wakeup::unlink();
}

void SimStream::wake() {
  if (connection_ != nullptr || ended_ || !waiting_.empty()) backend_.make_ready(*this);
}

void SimStream::start(StreamHandler& handler) {
  CAIRN_CHECK(handler_ == nullptr);
  handler_ = &handler;
  wake();
}

void SimStream::resume() {
  paused_ = false;
  wake();
}

void SimStream::send(SendOp& op) {
  CAIRN_CHECK(op.pieces.size() <= SendOp::kMaxPieces);
  waiting_.push_back(op);
  wake();
}

void SimStream::close() {
  close_wanted_ = true;
  wake();
}

void SimStream::reset() {
  reset_wanted_ = true;
  close();
}

void SimStream::close_after_send(std::chrono::nanoseconds linger) {
  if (connection_ == nullptr || close_after_send_) return;
  close_after_send_ = true;
  linger_ = backend_.node().world().schedule(linger, [this] { close(); });
  wake();
}

void SimStream::abandon() {
  while (waiting_.pop_front() != nullptr) {
  }
  while (sent_.pop_front() != nullptr) {
  }
  connection_.reset();
  handler_ = nullptr;
  ended_.reset();
  linger_.cancel();
}

void SimStream::run() {
  if (connection_ == nullptr) {  // ended: late output, or on_closed that waited for start()
    while (SendOp* op = waiting_.pop_front()) op->complete(*op, -ECANCELED);
    if (ended_ && handler_ != nullptr) {
      const Error reason = *std::exchange(ended_, std::nullopt);
      std::exchange(handler_, nullptr)->on_closed(reason);
    }
    return;
  }
  if (close_wanted_)
    return end(Error(Code::kCancelled, fmt::format("connection to {} was closed here", peer_.to_string())), -ECANCELED);
  complete_sent();
  if (!close_wanted_ && connection_->error(side_) == 0) write_output();
  deliver_input();
  if (close_wanted_) return wake();
  if (const int error = connection_->error(side_)) {
    return end(Error::from_errno(error, fmt::format("connection to {}", peer_.to_string())), -error);
  }
  const bool all_read = connection_->received(side_, 1).empty();
  if (connection_->peer_closed(side_) && all_read && !paused_ && handler_ != nullptr) {
    return end(Error(Code::kUnavailable, fmt::format("connection closed by {}", peer_.to_string())), -EPIPE);
  }
  if (close_after_send_ && waiting_.empty() && sent_.empty() && connection_->all_acknowledged(side_)) close();
}

// Moves output to the send buffer as far as that has room.
void SimStream::write_output() {
  size_t space = connection_->send_space(side_);
  bool wrote = false;
  while (SendOp* op = waiting_.first()) {
    for (; piece_ < op->pieces.size(); ++piece_, piece_offset_ = 0) {
      const iovec& piece = op->pieces[piece_];
      const size_t size = std::min(space, piece.iov_len - piece_offset_);
      if (size > 0) {
        connection_->write(side_, {static_cast<const std::byte*>(piece.iov_base) + piece_offset_, size});
        wrote = true;
      }
      space -= size;
      piece_offset_ += size;
      if (piece_offset_ < piece.iov_len) break;
    }
    if (piece_ < op->pieces.size()) break;
    piece_ = piece_offset_ = 0;
    op->unlink();
    sent_.push_back(*op);
  }
  if (wrote) connection_->push(side_);
  if (!sent_.empty()) wake();  // completed in the next round
}

void SimStream::complete_sent() {
  IntrusiveList<SendOp> done;
  done.splice_back(sent_);
  while (SendOp* op = done.pop_front()) op->complete(*op, 0);
}

// Hands over what has arrived.
void SimStream::deliver_input() {
  if (handler_ == nullptr) return;
  Random& random = backend_.random();
  while (!paused_ && !close_wanted_) {
    const size_t at_most = random.one_in(8) ? 1 + random.below(256) : SIZE_MAX;
    std::span<const std::byte> data = connection_->received(side_, at_most);
    if (data.empty()) return;
    const std::span<std::byte> window = handler_->receive_window();
    const bool place = !window.empty() && (placing_ == 0 || (placing_ > 1 && random.one_in(2)));
    if (place) {
      data = data.first(std::min(data.size(), window.size()));
      std::memcpy(window.data(), data.data(), data.size());
      handler_->on_window_filled(data.size());
    } else {
      handler_->on_receive(data);
    }
    connection_->consume(side_, data.size());
  }
}

void SimStream::end(Error reason, int send_error) {
  const auto connection = std::exchange(connection_, nullptr);
  if (reset_wanted_) {
    connection->attach(side_, nullptr);
    connection->reset(side_);
  } else {
    connection->close(side_);
  }
  linger_.cancel();
  complete_sent();
  while (SendOp* op = waiting_.pop_front()) op->complete(*op, send_error);
  if (handler_ == nullptr) {
    ended_ = std::move(reason);
    return;
  }
  std::exchange(handler_, nullptr)->on_closed(reason);  // may destroy this
}

// --- listening

SimListener::~SimListener() {
  unlink();
  backend_.node().world().network().unlisten(*this);
  for (const auto& connection : arrived_) connection->reset(1);
}

int SimListener::open(SocketAddress address) {
  address_ = std::move(address);
  return backend_.node().world().network().listen(*this, backend_.node(), address_);
}

void SimListener::arrive(std::shared_ptr<Connection> connection) {
  arrived_.push_back(std::move(connection));
  backend_.make_ready(*this);
}

void SimListener::run() {
  auto connection = std::move(arrived_.front());
  arrived_.pop_front();
  if (!arrived_.empty()) backend_.make_ready(*this);
  const AcceptHandler accept = accept_;  // a copy: it may destroy this listener
  accept(std::make_unique<SimAccepted>(std::move(connection)));
}

// --- connecting

void ConnectAttempt::finish(int error, std::shared_ptr<Connection> connection) {
  if (awaiter_ == nullptr) {
    if (connection != nullptr) connection->reset(0);
    return;
  }
  ConnectAwaiter& awaiter = *std::exchange(awaiter_, nullptr);
  awaiter.error_ = error;
  awaiter.connection_ = std::move(connection);
  awaiter.end();
  backend_->consider();
}

void ConnectAwaiter::begin_attempt() {
  attempt_->awaiter_ = this;
  network_.connect(attempt_);
}

ConnectAwaiter::~ConnectAwaiter() {
  attempt_->awaiter_ = nullptr;
  if (connection_ != nullptr) connection_->close(0);
}

void ConnectAwaiter::on_cancel() {
  attempt_->awaiter_ = nullptr;
  stopped_ = stop_error(*context_);
  finish();
}

Result<std::shared_ptr<Connection>> ConnectAwaiter::await_resume() {
  if (stopped_) return cairn::fail(std::move(*stopped_));
  if (error_ != 0) {
    return cairn::fail(Error::from_errno(error_, fmt::format("connect to {}", attempt_->to().to_string())));
  }
  return std::move(connection_);
}

}  // namespace cairn::runtime::sim
