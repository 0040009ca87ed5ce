#include "runtime/task.h"

#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::runtime {

void Suspension::begin(std::coroutine_handle<> task, TaskContext& context) {
  CAIRN_CHECK(context_ == nullptr && context.waiting_ == nullptr);
  task_ = task;
  context_ = &context;
  context.waiting_ = this;
}

void Suspension::finish() {
  if (context_ == nullptr) return;  // finished already: an event and a cancellation may meet
  TaskContext& context = *context_;
  context.waiting_ = nullptr;
  context_ = nullptr;
  unlink();
  context.reactor().ready_.push_back(*this);
  resuming_ = &context;
}

std::optional<Error> Suspension::stop_error(const TaskContext& context) {
  if (!context.stop_reason()) return std::nullopt;
  if (*context.stop_reason() == Code::kDeadlineExceeded) {
    return Error(Code::kDeadlineExceeded, std::string(context.name()) + ": the time allowed has passed");
  }
  return Error(*context.stop_reason(), std::string(context.name()) + ": cancelled");
}

void TaskContext::cancel() {
  if (done_ || cancelled_) return;
  const bool stopped_before = stop_reason().has_value();
  cancelled_ = true;
  if (!stopped_before) interrupt();
}

void TaskContext::deadline_expired() {
  const bool stopped_before = stop_reason().has_value();
  ++expired_deadlines_;
  if (!stopped_before) interrupt();
}

void TaskContext::interrupt() {
  if (waiting_ != nullptr) waiting_->on_cancel();
}

void Event::set() {
  set_ = true;
  pulse();
}

void Event::pulse() {
  IntrusiveList<Suspension> woken;
  woken.splice_back(waiters_);
  while (Suspension* waiter = woken.pop_front()) static_cast<Awaiter*>(waiter)->wake();
}

void Mutex::unlock() {
  if (Suspension* next = waiters_.pop_front()) {
    static_cast<Awaiter*>(next)->take_over();
  } else {
    locked_ = false;
  }
}

}  // namespace cairn::runtime
