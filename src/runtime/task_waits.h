// The waits a task can do besides I/O: for time, for another task, with a deadline, on another reactor.
#pragma once

#include <concepts>
#include <type_traits>

#include "base/abandonment.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

namespace cairn::runtime {

// co_await sleep_until(t) / sleep_for(d): Result<>, an error only when cancelled.
class SleepAwaiter final : public Suspension {
 public:
  explicit SleepAwaiter(TimePoint wake_at) : wake_at_(wake_at), timer_([this] { finish(); }) {}
  bool await_ready() const { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    if ((error_ = stop_error(task))) return false;
    context_ = task.promise().context;
    begin(task);
    context_->reactor().arm(timer_, wake_at_);
    return true;
  }
  Result<> await_resume() {
    if (error_) return fail(std::move(*error_));
    return {};
  }

 private:
  void on_cancel() override {
    timer_.disarm();
    error_ = stop_error(*context_);
    finish();
  }
  TimePoint wake_at_;
  Timer timer_;
  TaskContext* context_ = nullptr;
  std::optional<Error> error_;
};

inline SleepAwaiter sleep_until(TimePoint wake_at) {
  return SleepAwaiter(wake_at);
}
inline SleepAwaiter sleep_for(Duration duration) {
  return SleepAwaiter(Reactor::current().now() + duration);
}

// While it lives, the task it was made in is stopped with DEADLINE_EXCEEDED when the time comes: its waits end with
// that error until the object is destroyed. Deadlines nest; the earliest wins. Made and destroyed inside one coroutine:
//   Deadline deadline(co_await current_context(), 5s);
class Deadline {
 public:
  Deadline(TaskContext& context, Duration after)
      : context_(context), timer_([this] {
          fired_ = true;
          context_.deadline_expired();
        }) {
    context_.reactor().arm(timer_, context_.reactor().now() + after);
  }
  ~Deadline() {
    if (fired_) --context_.expired_deadlines_;
  }
  bool fired() const { return fired_; }

 private:
  TaskContext& context_;
  bool fired_ = false;
  Timer timer_;
};

// co_await current_context(): the TaskContext of the running task, without suspending.
struct CurrentContextAwaiter {
  TaskContext* context = nullptr;
  bool await_ready() const { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    context = task.promise().context;
    return false;
  }
  TaskContext& await_resume() const { return *context; }
};
inline CurrentContextAwaiter current_context() {
  return {};
}

// Runs `make_task()` (which returns a Task<T>) on `target` and gives its T. Runs it in place when `target` is the
// current reactor. The callee is a spawned task of its own there, with the caller's name. A cancellation of the caller
// does not interrupt the callee: bound it with a Deadline of its own.
template <typename MakeTask>
class CallOnAwaiter final : public Suspension {
  using TaskType = std::invoke_result_t<MakeTask&>;
  using T = decltype(std::declval<typename TaskType::promise_type>().take());

 public:
  CallOnAwaiter(Reactor& target, MakeTask make_task)
      : target_(target),
        make_task_(std::move(make_task)),
        request_([this] { start(); }),
        reply_([this] { finish(); }) {}
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    name_ = task.promise().context->name();
    home_ = &task.promise().context->reactor();
    begin(task);
    target_.post(request_);
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(*result_);
  }

 private:
  void start() { target_.spawn(name_, run()); }  // on target_
  Task<> run() {
    if constexpr (std::is_void_v<T>) {
      co_await make_task_();
    } else {
      result_.emplace(co_await make_task_());
    }
    home_->post(reply_);
  }
  void on_cancel() override {}

  Reactor& target_;
  Reactor* home_ = nullptr;
  const char* name_ = nullptr;
  MakeTask make_task_;
  Message request_;
  Message reply_;
  std::optional<std::conditional_t<std::is_void_v<T>, char, T>> result_;
};

template <typename MakeTask>
auto call_on(Reactor& target, MakeTask make_task) -> std::invoke_result_t<MakeTask&> {
  if (&target == &Reactor::current()) {
    co_return co_await make_task();
  }
  co_return co_await CallOnAwaiter<MakeTask>(target, std::move(make_task));
}

// Something that happens and is waited for on one reactor: set() wakes all who wait and lets later waits pass until
// reset().
class Event {
 public:
  bool is_set() const { return set_; }
  void reset() { set_ = false; }
  void set();
  // Wakes those who wait now, without staying set.
  void pulse();
  // co_await: Result<>; an error only when the task was cancelled.
  auto wait() { return Awaiter(*this, true); }
  // The same, but a cancelled task waits on: for what must be over before memory may go.
  auto wait_uninterrupted() { return Awaiter(*this, false); }

 private:
  class Awaiter final : public Suspension {
   public:
    Awaiter(Event& event, bool interruptible) : event_(event), interruptible_(interruptible) {}
    bool await_ready() const { return event_.set_; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> task) {
      if (interruptible_ && (error_ = stop_error(task))) return false;
      context_ = task.promise().context;
      begin(task);
      event_.waiters_.push_back(*this);
      return true;
    }
    Result<> await_resume() {
      if (error_) return fail(std::move(*error_));
      return {};
    }

   private:
    friend class Event;
    void wake() { finish(); }
    void on_cancel() override {
      if (!interruptible_) return;
      unlink();
      error_ = stop_error(*context_);
      finish();
    }
    Event& event_;
    const bool interruptible_;
    TaskContext* context_ = nullptr;
    std::optional<Error> error_;
  };

  bool set_ = false;
  IntrusiveList<Suspension> waiters_;
};

// Mutual exclusion between tasks of one reactor, strictly in order of arrival. `auto guard = co_await mutex.lock();`
// gives a Result<Mutex::Guard>; an error only when the task was cancelled.
class Mutex {
 public:
  class Guard {
   public:
    Guard() = default;
    explicit Guard(Mutex& mutex) : mutex_(&mutex) {}
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&& other) noexcept {
      std::swap(mutex_, other.mutex_);
      return *this;
    }
    ~Guard() {
      if (mutex_ != nullptr && !abandoning()) mutex_->unlock();  // abandoned: the mutex may be gone already
    }

   private:
    Mutex* mutex_ = nullptr;
  };

  auto lock() { return Awaiter(*this); }

 private:
  class Awaiter final : public Suspension {
   public:
    explicit Awaiter(Mutex& mutex) : mutex_(mutex) {}
    bool await_ready() const { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> task) {
      if ((error_ = stop_error(task))) return false;
      if (!mutex_.locked_) {
        mutex_.locked_ = true;
        return false;
      }
      context_ = task.promise().context;
      begin(task);
      mutex_.waiters_.push_back(*this);
      return true;
    }
    Result<Guard> await_resume() {
      if (error_) return fail(std::move(*error_));
      return Guard(mutex_);
    }

   private:
    friend class Mutex;
    void take_over() { finish(); }
    void on_cancel() override {
      unlink();
      error_ = stop_error(*context_);
      finish();
    }
    Mutex& mutex_;
    TaskContext* context_ = nullptr;
    std::optional<Error> error_;
  };

  void unlock();
  bool locked_ = false;  // stays set while the mutex goes from one task to the next
  IntrusiveList<Suspension> waiters_;
};

}  // namespace cairn::runtime
