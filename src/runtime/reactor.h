// A reactor: one thread (in the simulator: one turn of a scheduler) with its own tasks, timers, buffers and back-end.
// What is born on a reactor is served and completed there; other threads reach it only through post().
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/duration.h"
#include "base/intrusive_list.h"
#include "runtime/buffer_pool.h"
#include "runtime/cycle_clock.h"
#include "runtime/message.h"
#include "runtime/random.h"
#include "runtime/task.h"
#include "runtime/timer.h"

namespace cairn::runtime {

class Backend;

struct ReactorOptions {
  unsigned index = 0;  // 0 is the primary reactor, home of devices and subsystems
  uint64_t random_seed = 0;
  // How long run() polls without work before it sleeps in the kernel. 0: never polls; kSpinForever: always.
  Duration spin_budget = std::chrono::microseconds(200);
  size_t buffer_pool_bytes = size_t{32} << 20;
};
inline constexpr Duration kSpinForever = Duration::max();

class Reactor {
 public:
  Reactor(const ReactorOptions& options, std::unique_ptr<Backend> backend);
  ~Reactor();  // all tasks must have ended
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // The reactor whose code is running on this thread. Checked: there is one.
  static Reactor& current();
  static Reactor* current_or_null();

  unsigned index() const { return options_.index; }
  TimePoint now();  // exact
  // As now(), for what is measured: off by a microsecond and a thousandth of the time since the round began, or less,
  // and much cheaper.
  TimePoint measured_now() { return cycle_clock_.ready() ? cycle_clock_.now() : now(); }
  // When the present round of the loop began: cheap, for statistics and time-outs.
  TimePoint round_time() const { return round_time_; }
  Random& random() { return random_; }
  BufferPool& buffers() { return buffers_; }
  Backend& backend() { return *backend_; }

  // Starts a task in the next round. `name`: a string literal.
  TaskHandle spawn(const char* name, Task<> task);
  size_t num_tasks() const { return num_tasks_; }
  // Cancels every task; they end in the following rounds.
  void cancel_all_tasks();
  // Destroys every task of these reactors where it stands, newest first, without running any of it further: the end of
  // a crashed process in the simulator. Never while one of them runs.
  static void abandon_tasks(std::span<Reactor* const> reactors);
  void for_each_task(const std::function<void(const TaskContext&)>& visit);  // in the order of their start

  void arm(Timer& timer, TimePoint expires_at) { timers_.arm(timer, expires_at); }
  // Any thread. See Message for who owns what.
  void post(Message& message);

  // The loop. run() returns after stop() (any thread), with `run_until_idle` semantics left to the caller: tasks that
  // remain are the caller's to cancel and drain. A round: messages, ready tasks, timers, I/O completions.
  void run();
  void stop();
  // Runs rounds until `done()` holds. For start-up, shutdown and tests on the calling thread.
  void run_until(const std::function<bool()>& done);
  // One round without waiting. Returns whether anything ran. The simulator's and tests' way to drive a reactor.
  bool run_round();
  // The earliest timer, kNever when none. For the simulator.
  TimePoint next_timer() const { return timers_.next_expiry(); }
  bool has_ready_work() const;

  // For the stall detector, any thread: rounds begun so far; whether the reactor sleeps in its back-end; the name of
  // the task that runs (nullptr: none, I/O completions or timers).
  uint64_t rounds() const { return rounds_.load(std::memory_order_relaxed); }
  bool sleeping() const { return sleeping_.load(std::memory_order_relaxed); }
  const char* running_task() const { return running_task_.load(std::memory_order_relaxed); }

  // Makes `reactor` the current one for a scope (the simulator switches between several on one thread).
  class Scope {
   public:
    explicit Scope(Reactor& reactor);
    ~Scope();

   private:
    Reactor* previous_;
  };

 private:
  friend class Suspension;
  size_t run_ready_tasks();
  void begin_round();
  void wait_for_work();
  void finish_task(TaskContext& context);

  ReactorOptions options_;
  std::unique_ptr<Backend> backend_;
  Random random_;
  TimerQueue timers_;
  MessageQueue messages_;
  BufferPool buffers_;
  IntrusiveList<Suspension> ready_;
  IntrusiveList<TaskContext> tasks_;
  size_t num_tasks_ = 0;
  TimePoint round_time_{};
  const bool counts_cycles_;
  CycleClock cycle_clock_;  // set at each round
  TimePoint idle_since_{};
  Duration adaptive_budget_{};
  std::atomic<bool> stop_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<uint64_t> rounds_{0};
  std::atomic<const char*> running_task_{nullptr};
};

}  // namespace cairn::runtime
