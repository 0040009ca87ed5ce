// Watches running reactors from a thread of its own: a task or completion that keeps a reactor from its next round for
// too long delays every connection of that core, and is named.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/duration.h"
#include "runtime/reactor.h"

namespace cairn::runtime {

struct Stall {
  unsigned reactor = 0;        // index
  const char* task = nullptr;  // the task that ran when the stall was noticed; nullptr: I/O completions or timers
  Duration held{};             // how long so far, or in the end; too short by up to a quarter of the limit
  bool ended = false;          // every stall is told twice: when it is noticed and when it is over

  std::string to_string() const;
};

class StallDetector {
 public:
  // `reactors` must be inside run() for as long as the detector lives. `on_stall` is called on the detector's thread;
  // the default logs.
  StallDetector(std::vector<Reactor*> reactors, Duration limit, std::function<void(const Stall&)> on_stall = log_stall);
  ~StallDetector();
  StallDetector(const StallDetector&) = delete;
  StallDetector& operator=(const StallDetector&) = delete;

  static void log_stall(const Stall& stall);

 private:
  struct Watch {
    Reactor* reactor = nullptr;
    uint64_t rounds = 0;
    std::chrono::steady_clock::time_point since;
    bool reported = false;
    const char* task = nullptr;
  };
  void watch();
  void look_at(Watch& watch);

  const Duration limit_;
  const std::function<void(const Stall&)> on_stall_;
  std::vector<Watch> watches_;
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace cairn::runtime
