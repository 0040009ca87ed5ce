// A simulated world: virtual time, nodes with their reactors and disks, and the network between them, all drawn from
// one seed and run on the calling thread. Two runs of the same program with the same seed do the same things in the
// same order (Trace proves it).
//
// Time stands still while code runs: a round of a reactor happens at one instant and keeps that reactor busy for a
// random while, so reactors run side by side in virtual time. When nobody can run, time jumps to the next event.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/duration.h"
#include "runtime/random.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/network.h"
#include "runtime/sim/node.h"
#include "runtime/sim/trace.h"

namespace cairn::runtime::sim {

struct WorldOptions {
  uint64_t seed = 1;
  bool trace_text = false;
  Latency round_cost{std::chrono::nanoseconds(500), std::chrono::microseconds(5), 200};  // of one round of a reactor
  Latency scheduling_delay{Duration{}, std::chrono::microseconds(2),
                           500};  // from having work to the round that does it
  NetworkOptions network = {};
};

enum class RunResult : uint8_t {
  kDone,  // the predicate holds
  kTimeLimit,
  kDeadlock,  // nothing can ever happen again: no event, no timer, no ready task in the whole world
};
std::string_view run_result_name(RunResult result);

class World {
 public:
  explicit World(const WorldOptions& options);
  ~World();  // kills what still runs
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  TimePoint now() const { return now_; }  // 0 at the start; nodes have clocks of their own
  Random& random() { return random_; }    // for the author of the world: faults, choices
  Network& network() { return *network_; }
  Trace& trace() { return trace_; }

  Node& add_node(const NodeOptions& options);
  size_t num_nodes() const { return nodes_.size(); }
  Node& node(size_t index) { return *nodes_.at(index); }

  // Calls `function` at that time, outside of every node. The handle cancels it when it goes.
  [[nodiscard]] ScheduledEvent schedule(Duration after, EventQueue::Function&& function);
  // The same without a handle: it will happen.
  void after(Duration delay, EventQueue::Function function);

  // Each runs the world until something holds; `limit` is virtual time from now. The predicate is asked after every
  // event.
  RunResult run_until(const std::function<bool()>& done, Duration limit);
  void run_for(Duration duration);           // exactly so long
  RunResult run_until_idle(Duration limit);  // kDeadlock is the good end: everything has come to rest
  // Starts `task` on the first reactor of `node` and runs the world until it has ended. kDeadlock when it waits for
  // what cannot come.
  RunResult run_task(Node& node, const char* name, Task<> task, Duration limit);

  // Who waits: one line a task, "n1/0 rebuild". What to print after a deadlock.
  std::string waiting_tasks();
  uint64_t num_events() const { return num_events_; }
  // A line in the trace from the world's author.
  void note(std::string_view text);

 private:
  friend class Network;
  friend class Node;
  void step();
  void consider_all();

  WorldOptions options_;
  Random random_;
  Random scheduler_random_;
  Trace trace_;
  TimePoint now_{};
  uint64_t num_events_ = 0;
  EventQueue events_;
  std::unique_ptr<Network> network_;
  std::vector<std::unique_ptr<Node>> nodes_;
};

}  // namespace cairn::runtime::sim
