// Lets one at a time through, in order of arrival, across reactors. Nobody blocks: who must wait is called when it is
// its turn.
#pragma once

#include <functional>
#include <mutex>

#include "base/intrusive_list.h"
#include "runtime/reactor.h"

namespace cairn::block {

class TurnQueue {
 public:
  class Waiter : public ListLink<> {
   public:
    // `on_turn` runs on the reactor that called enter().
    explicit Waiter(std::function<void()> on_turn) : message_(std::move(on_turn)) {}

   private:
    friend class TurnQueue;
    runtime::Message message_;
    runtime::Reactor* reactor_ = nullptr;
  };

  // True: it is the caller's turn at once. False: `waiter` will be called. Either way leave() must follow.
  bool enter(Waiter& waiter) {
    const std::lock_guard lock(mutex_);
    if (!taken_) {
      taken_ = true;
      return true;
    }
    waiter.reactor_ = &runtime::Reactor::current();
    waiting_.push_back(waiter);
    return false;
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    Waiter* next = waiting_.pop_front();
    if (next == nullptr) {
      taken_ = false;
    } else {
      next->reactor_->post(next->message_);
    }
  }

 private:
  std::mutex mutex_;  // held for a few instructions
  bool taken_ = false;
  IntrusiveList<Waiter> waiting_;
};

}  // namespace cairn::block
