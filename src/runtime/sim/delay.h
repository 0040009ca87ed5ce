// co_await Delay(backend, duration): virtual time passes. A cancellation does not shorten it, as with system calls.
#pragma once

#include <coroutine>

#include "runtime/sim/event_queue.h"
#include "runtime/sim/node.h"
#include "runtime/sim/sim_backend.h"
#include "runtime/sim/world.h"
#include "runtime/task.h"

namespace cairn::runtime::sim {

class Delay final : public Suspension {
 public:
  Delay(SimBackend& backend, Duration duration) : backend_(backend), duration_(duration) {}
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    begin(task);
    event_ = backend_.node().world().schedule(duration_, [this] {
      finish();
      backend_.consider();
    });
  }
  void await_resume() const {}

 private:
  void on_cancel() override {}
  SimBackend& backend_;
  Duration duration_;
  ScheduledEvent event_;
};

}  // namespace cairn::runtime::sim
