// A simulated TCP connection (or pair of unix sockets): two ends, each with what it has to send and what has arrived.
//
// States of an end:
//   kOpen     a program holds it, or will (it waits to be accepted or adopted)
//   kClosing  the program has let go; the kernel still sends what it was given, then a FIN
//   kGone     nothing is left; what arrives is answered with a reset
//
//   kOpen -> kClosing   close(), the process was killed
//   kOpen -> kGone      close() with unread data, a reset came, retransmissions were in vain, the machine lost power
//   kClosing -> kGone   the FIN was acknowledged, or as above
//
// One segment per direction is under way at a time; it is acknowledged as it arrives if the way back is open, and
// otherwise sent again until retransmit_limit.
#pragma once

#include <memory>
#include <string>

#include "runtime/address.h"
#include "runtime/sim/byte_queue.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/trace.h"

namespace cairn::runtime::sim {

class Network;
class Node;
class SimStream;

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  enum class State : uint8_t { kOpen, kClosing, kGone };

  // Side 0 is the one that connected.
  Connection(Network& network, uint64_t id, Node& client, Node& server, SocketAddress client_address,
             SocketAddress server_address);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Node& node(int side) { return *ends_[side].node; }
  State state(int side) const { return ends_[side].state; }
  const SocketAddress& address(int side) const { return ends_[side].address; }
  const std::string& label() const { return label_; }

  // The stream to tell about what happens at this side; nullptr: nobody.
  void attach(int side, SimStream* stream) { ends_[side].stream = stream; }

  size_t send_space(int side) const;
  void write(int side, std::span<const std::byte> bytes);  // at most send_space()
  void push(int side);                                     // sends what was written
  bool all_acknowledged(int side) const { return ends_[side].outgoing.empty() && ends_[side].unacknowledged == 0; }

  std::span<const std::byte> received(int side, size_t at_most) const { return ends_[side].incoming.front(at_most); }
  void consume(int side, size_t count);
  bool peer_closed(int side) const { return ends_[side].fin_received; }
  int error(int side) const { return ends_[side].error; }  // positive errno that ended the connection, 0: none

  void close(int side);   // as close(2)
  void reset(int side);   // sends a reset and is gone
  void vanish(int side);  // without a word
  void fail(int side, int error);

 private:
  struct End {
    Node* node = nullptr;
    SimStream* stream = nullptr;
    SocketAddress address;
    State state = State::kOpen;
    ByteQueue outgoing;
    size_t unacknowledged = 0;
    uint64_t sent = 0;       // bytes that arrived, since the start
    bool under_way = false;  // a segment or its repetition
    bool fin_wanted = false;
    bool fin_delivered = false;
    TimePoint trouble_since = kNever;
    Duration retransmit_after{};
    ScheduledEvent event;
    ByteQueue incoming;
    bool fin_received = false;
    int error = 0;
  };

  void pump(int side);
  void arrive(int side, size_t size);
  void deliver(int side, size_t size);
  void acknowledge(int side);
  void repeat_later(int side);
  void repeat(int side);
  void become_gone(int side);
  void tell(int side);
  void trace(int side, const TraceEvent& event, uint64_t first = 0, uint64_t second = 0);

  Network& network_;
  uint64_t id_;
  std::string label_;
  uint32_t send_buffer_;
  uint32_t receive_buffer_;
  End ends_[2];
};

}  // namespace cairn::runtime::sim
