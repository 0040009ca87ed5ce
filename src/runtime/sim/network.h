// The simulated network: which node reaches which, how fast, who listens where, and the connections.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/address.h"
#include "runtime/random.h"
#include "runtime/sim/disk.h"
#include "runtime/sim/file_system.h"
#include "runtime/stream.h"

namespace cairn::runtime::sim {

class Connection;
class ConnectAttempt;
class Node;
class SimListener;
class World;

// Of TCP, roughly as Linux has them where the comment says nothing else.
struct NetworkOptions {
  Latency delay{std::chrono::microseconds(20), std::chrono::microseconds(200), 500};      // one way between nodes
  Latency local_delay{std::chrono::microseconds(1), std::chrono::microseconds(10), 500};  // within a node
  uint32_t min_buffer_bytes = 4 << 10;  // send and receive buffers: drawn for each connection
  uint32_t max_buffer_bytes = 256 << 10;
  uint32_t small_segment_one_in = 8;  // so many segments carry few bytes; the others as much as there is
  Duration retransmit_min = std::chrono::milliseconds(200);
  Duration retransmit_max = std::chrono::seconds(10);     // shorter than Linux's 120 s, to find healed links again soon
  Duration retransmit_limit = std::chrono::seconds(120);  // then the connection fails with ETIMEDOUT
  Duration connect_retry = std::chrono::seconds(1);       // doubles each time
  Duration connect_limit = std::chrono::seconds(127);     // then connect fails with ETIMEDOUT
  size_t accept_backlog = 512;
};

struct NetworkCounters {
  uint64_t connections = 0;
  uint64_t refused = 0;
  uint64_t segments = 0;
  uint64_t lost_segments = 0;
  uint64_t resets = 0;
  uint64_t timeouts = 0;
};

class Network {
 public:
  Network(World& world, const NetworkOptions& options, uint64_t seed);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // --- for the author of a simulated world. Links are directed; a node always reaches itself.
  void cut(const Node& from, const Node& to);  // one way
  void heal(const Node& from, const Node& to);
  void cut_both(const Node& a, const Node& b);
  void heal_both(const Node& a, const Node& b);
  void isolate(const Node& node);  // from all others
  // Nodes of `group` reach each other, the others reach each other, nothing passes between.
  void partition(std::span<const Node* const> group);
  void heal_all();                                                   // cuts, losses and slowness
  void set_loss(const Node& from, const Node& to, uint32_t one_in);  // 0: none
  void set_slowness(const Node& from, const Node& to, uint32_t factor);
  // Ends every connection between two nodes with a reset at both ends, as a meddling middle box would.
  void reset_connections(const Node& a, const Node& b);
  const NetworkCounters& counters() const { return counters_; }
  size_t num_connections() const { return connections_.size(); }

  // --- for the back-end and for connections
  const NetworkOptions& options() const { return options_; }
  World& world() { return world_; }
  Random& random() { return random_; }
  NetworkCounters& count() { return counters_; }
  // Whether a packet sent now arrives: link, loss, and both machines on.
  bool passes(const Node& from, const Node& to);
  Duration delay(const Node& from, const Node& to);

  // 0 or -errno. Fills in a port of 0.
  int listen(SimListener& listener, Node& node, SocketAddress& address);
  void unlisten(SimListener& listener);
  void connect(const std::shared_ptr<ConnectAttempt>& attempt);
  void forget(uint64_t connection);
  // Before the process of `node` is torn down.
  void crash(Node& node, CrashKind kind);

 private:
  struct Link {
    bool cut = false;
    uint32_t loss_one_in = 0;
    uint32_t slowness = 1;
  };
  Link& link(const Node& from, const Node& to);
  void change_link(const Node& from, const Node& to, bool cut);
  Node* owner(const Node& from, const SocketAddress& address);
  SimListener* find_listener(const Node& node, const SocketAddress& address);
  void arrive(const std::shared_ptr<ConnectAttempt>& attempt);
  void retry(const std::shared_ptr<ConnectAttempt>& attempt, Node& from);

  World& world_;
  NetworkOptions options_;
  Random random_;
  NetworkCounters counters_;
  std::map<std::pair<int, int>, Link> links_;
  std::map<std::pair<int, std::string>, SimListener*> listeners_;  // node and address
  std::map<uint64_t, std::shared_ptr<Connection>> connections_;
  uint64_t next_connection_ = 1;
  uint16_t next_port_ = 32768;
};

}  // namespace cairn::runtime::sim
