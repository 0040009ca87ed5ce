#include "runtime/sim/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "runtime/sim/network.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_stream.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

namespace {

constexpr TraceEvent kSegment("net.segment", "offset", "bytes");
constexpr TraceEvent kFin("net.fin");
constexpr TraceEvent kReset("net.reset");
constexpr TraceEvent kLost("net.lost", "offset", "repeat_ns");
constexpr TraceEvent kFailed("net.failed", "errno");

}  // namespace

Connection::Connection(Network& network, uint64_t id, Node& client, Node& server, SocketAddress client_address,
                       SocketAddress server_address)
    : network_(network), id_(id) {
  label_ = fmt::format("#{} {}->{}", id, client_address.to_string(), server_address.to_string());
  Random& random = network.random();
  const NetworkOptions& options = network.options();
  const auto draw = [&] {
    return options.min_buffer_bytes +
           static_cast<uint32_t>(random.below(options.max_buffer_bytes - options.min_buffer_bytes + 1));
  };
  send_buffer_ = draw();
  receive_buffer_ = draw();
  ends_[0].node = &client;
  ends_[0].address = std::move(client_address);
  ends_[1].node = &server;
  ends_[1].address = std::move(server_address);
  for (End& end : ends_) end.retransmit_after = options.retransmit_min;
}

void Connection::trace(int side, const TraceEvent& event, uint64_t first, uint64_t second) {
  ends_[side].node->trace(event, label_, first, second);
}

void Connection::tell(int side) {
  if (ends_[side].stream != nullptr) ends_[side].stream->wake();
}

size_t Connection::send_space(int side) const {
  const End& end = ends_[side];
  const size_t used = end.outgoing.size() + end.unacknowledged;
  return used < send_buffer_ ? send_buffer_ - used : 0;
}

void Connection::write(int side, std::span<const std::byte> bytes) {
  if (ends_[side].state == State::kOpen) ends_[side].outgoing.append(bytes);
}

void Connection::push(int side) {
  pump(side);
}

void Connection::consume(int side, size_t count) {
  ends_[side].incoming.consume(count);
  pump(1 - side);  // the window has opened
}

// Sends the next segment of one direction, unless one is under way, there is nothing to send or the other side has no
// room.
void Connection::pump(int side) {
  End& from = ends_[side];
  const End& to = ends_[1 - side];
  if (from.state == State::kGone || from.under_way) return;
  size_t size = from.outgoing.size();
  if (size > 0) {
    if (to.state == State::kOpen) {
      if (to.incoming.size() >= receive_buffer_) return;
      size = std::min(size, receive_buffer_ - to.incoming.size());
    }
    Random& random = network_.random();
    if (random.one_in(network_.options().small_segment_one_in)) size = std::min<size_t>(size, 1 + random.below(100));
  } else if (!from.fin_wanted || from.fin_delivered) {
    return;
  }
  from.under_way = true;
  from.event = network_.world().schedule(network_.delay(*from.node, *to.node),
                                         [self = shared_from_this(), side, size] { self->arrive(side, size); });
}

void Connection::arrive(int side, size_t size) {
  End& from = ends_[side];
  End& to = ends_[1 - side];
  from.under_way = false;
  ++network_.count().segments;
  if (!network_.passes(*from.node, *to.node)) return repeat_later(side);
  const bool way_back = network_.passes(*to.node, *from.node);
  if (to.state == State::kOpen) {
    deliver(side, size);
    return way_back ? acknowledge(side) : repeat_later(side);
  }
  if (size == 0) {  // a FIN for one who has closed too
    from.fin_delivered = true;
    return way_back ? acknowledge(side) : repeat_later(side);
  }
  // Data for one who reads no more: a reset comes back.
  if (to.state == State::kClosing) become_gone(1 - side);
  if (!way_back) return repeat_later(side);
  from.under_way = true;
  from.event = network_.world().schedule(network_.delay(*to.node, *from.node),
                                         [self = shared_from_this(), side] { self->fail(side, ECONNRESET); });
}

void Connection::deliver(int side, size_t size) {
  End& from = ends_[side];
  End& to = ends_[1 - side];
  if (size == 0) {
    from.fin_delivered = true;
    to.fin_received = true;
    trace(side, kFin);
  } else {
    trace(side, kSegment, from.sent, size);
    to.incoming.take(from.outgoing, size);
    from.unacknowledged += size;
    from.sent += size;
  }
  tell(1 - side);
}

void Connection::acknowledge(int side) {
  End& end = ends_[side];
  end.unacknowledged = 0;
  end.trouble_since = kNever;
  end.retransmit_after = network_.options().retransmit_min;
  if (end.fin_delivered) return become_gone(side);
  tell(side);
  pump(side);
}

void Connection::repeat_later(int side) {
  End& end = ends_[side];
  const NetworkOptions& options = network_.options();
  const TimePoint now = network_.world().now();
  ++network_.count().lost_segments;
  if (end.trouble_since == kNever) end.trouble_since = now;
  if (now - end.trouble_since >= options.retransmit_limit) {
    ++network_.count().timeouts;
    return fail(side, ETIMEDOUT);
  }
  trace(side, kLost, end.sent, static_cast<uint64_t>(end.retransmit_after.count()));
  end.under_way = true;
  end.event =
      network_.world().schedule(end.retransmit_after, [self = shared_from_this(), side] { self->repeat(side); });
  end.retransmit_after = std::min(end.retransmit_after * 2, options.retransmit_max);
}

void Connection::repeat(int side) {
  End& from = ends_[side];
  const End& to = ends_[1 - side];
  from.under_way = false;
  if (from.unacknowledged == 0 && !from.fin_delivered) return pump(side);
  // It had arrived, only the acknowledgement is missing.
  if (!network_.passes(*from.node, *to.node) || !network_.passes(*to.node, *from.node)) return repeat_later(side);
  if (to.state == State::kGone && !from.fin_delivered) return fail(side, ECONNRESET);
  acknowledge(side);
}

void Connection::close(int side) {
  End& end = ends_[side];
  end.stream = nullptr;
  if (end.state != State::kOpen) return;
  if (!end.incoming.empty()) return reset(side);
  end.state = State::kClosing;
  end.fin_wanted = true;
  pump(side);
}

void Connection::reset(int side) {
  End& end = ends_[side];
  End& other = ends_[1 - side];
  if (end.state == State::kGone) return;
  ++network_.count().resets;
  trace(side, kReset);
  if (network_.passes(*end.node, *other.node)) {
    network_.world().after(network_.delay(*end.node, *other.node),
                           [self = shared_from_this(), side] { self->fail(1 - side, ECONNRESET); });
  }
  become_gone(side);
}

void Connection::vanish(int side) {
  ends_[side].stream = nullptr;
  become_gone(side);
}

void Connection::fail(int side, int error) {
  End& end = ends_[side];
  if (end.state == State::kGone) return;
  trace(side, kFailed, static_cast<uint64_t>(error));
  end.error = error;
  SimStream* stream = end.stream;
  const bool open = end.state == State::kOpen;
  become_gone(side);
  if (open && stream != nullptr) stream->wake();
}

void Connection::become_gone(int side) {
  End& end = ends_[side];
  end.state = State::kGone;
  end.event.cancel();
  end.under_way = false;
  end.outgoing.clear();
  end.unacknowledged = 0;
  if (end.stream == nullptr) end.incoming.clear();
  if (ends_[1 - side].state == State::kGone) network_.forget(id_);
}

}  // namespace cairn::runtime::sim
