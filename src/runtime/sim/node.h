// A simulated machine: a clock, addresses, a file system with disks, and a process on it that lives between start() and
// crash().
//
// The process is one NodeProgram with the reactors it was given. A crash destroys, without running any of it further
// and inside an AbandonScope (base/abandonment.h): the tasks of all reactors, newest first; then the program; then the
// reactors. What the process had submitted to disks is interrupted before that, and its connections are closed or
// vanish, so no destructor can reach the world any more.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.h"
#include "runtime/reactor.h"
#include "runtime/sim/event_queue.h"
#include "runtime/sim/file_system.h"
#include "runtime/sim/trace.h"

namespace cairn::runtime::sim {

class Node;
class SimBackend;
class World;

// What runs on a node. Made on the node's first reactor; its destructor runs there too and must not expect an orderly
// end.
class NodeProgram {
 public:
  virtual ~NodeProgram() = default;
};
using ProgramFactory = std::function<std::unique_ptr<NodeProgram>(Node&)>;

struct NodeOptions {
  std::string name = {};                    // for the trace; empty: "n<index>"
  std::vector<std::string> addresses = {};  // numeric IP; empty: "10.0.0.<index + 1>"
  unsigned num_reactors = 1;
  size_t buffer_pool_bytes = size_t{4} << 20;  // of each reactor
  DiskOptions root_disk = {};
};

class Node {
 public:
  Node(World& world, int index, const NodeOptions& options, uint64_t seed);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  World& world() { return world_; }
  int index() const { return index_; }
  const std::string& name() const { return options_.name; }
  const std::vector<std::string>& addresses() const { return options_.addresses; }
  bool owns_address(std::string_view host) const;
  FileSystem& files() { return files_; }

  // Starts the machine if it is off, and a process on it. Not while one runs.
  void start(ProgramFactory factory);
  void start() {
    start([](Node&) { return std::make_unique<NodeProgram>(); });
  }
  // With the factory of the last start.
  void restart() { start(factory_); }
  // From outside of the node at once; from its own code after the present round, which is its last.
  void crash(CrashKind kind);
  // Ends the process from outside; its tasks must have ended. The machine stays on.
  void stop();
  // The process does not run for so long (SIGSTOP); the kernel goes on.
  void pause(Duration duration);

  // This node's clock is suddenly so much later, as after the machine was suspended.
  void jump_clock(Duration forward);

  bool running() const { return running_; }  // a process lives
  bool powered() const { return powered_; }  // the kernel answers
  // As /proc/sys/kernel/random/boot_id: another one after each power loss.
  Uuid boot_id() const;
  unsigned num_reactors() const { return options_.num_reactors; }
  Reactor& reactor(unsigned index) { return *slots_.at(index)->reactor; }
  // The program of the running process, as the type the factory made.
  template <typename Program>
  Program& program() {
    CAIRN_CHECK(running_);
    return static_cast<Program&>(*program_);
  }

  // This node's clock, which began at an arbitrary value.
  TimePoint clock(TimePoint world_time) const { return world_time + clock_offset_; }
  void trace(const TraceEvent& event, std::string_view subject, uint64_t first = 0, uint64_t second = 0,
             uint64_t third = 0);

 private:
  friend class SimBackend;
  friend class World;

  struct Slot {
    std::unique_ptr<Reactor> reactor;
    SimBackend* backend = nullptr;
    TimePoint busy_until{};       // in the world's time, like the next
    TimePoint round_at = kNever;  // of the event that is scheduled
    bool round_for_work = false;  // and not for a timer
    ScheduledEvent round;
  };
  // Sees to it that the reactor gets a round when it has something to do.
  void consider(Slot& slot);
  void consider_all();
  void run_round(Slot& slot);
  void end_process(bool abandon);

  World& world_;
  int index_;
  NodeOptions options_;
  Random random_;
  Duration clock_offset_{};
  FileSystem files_;
  ProgramFactory factory_;
  std::unique_ptr<NodeProgram> program_;
  std::vector<std::unique_ptr<Slot>> slots_;
  bool running_ = false;
  bool powered_ = true;
  uint64_t num_power_losses_ = 0;
  bool in_round_ = false;
  std::optional<CrashKind> crash_wanted_;
};

}  // namespace cairn::runtime::sim
