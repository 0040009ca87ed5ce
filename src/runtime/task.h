// Coroutine tasks: everything that is not per-I/O (connection set-up, admin commands, device management) is a Task.
//
// A Task<T> is lazy: it runs when awaited, on the awaiting reactor, and is destroyed with its result. A tree of awaited
// tasks that was started by Reactor::spawn shares one TaskContext: its name (for the stall detector), its cancellation
// and its deadline. At any moment the innermost coroutine of the tree waits in at most one Suspension.
//
// Cancellation is cooperative: it ends the present Suspension with an error and every later one at once, so a task
// unwinds through its ordinary error paths. All of this belongs to one reactor and is not thread safe.
#pragma once

#include <coroutine>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/duration.h"
#include "base/error.h"
#include "base/intrusive_list.h"

namespace cairn::runtime {

class Reactor;
class Suspension;
class TaskContext;

namespace internal {

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  TaskContext* context = nullptr;

  struct FinalAwaiter {
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> finished) const noexcept {
      return finished.promise().continuation;
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  void unhandled_exception() const noexcept { CAIRN_CHECK(!"an exception left a task"); }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  std::coroutine_handle<Promise> get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  template <typename U>
  void return_value(U&& result) {
    value.emplace(std::forward<U>(result));
  }
  T take() {
    CAIRN_CHECK(value.has_value());
    return std::move(*value);
  }
};

template <>
struct Promise<void> : PromiseBase {
  std::coroutine_handle<Promise> get_return_object() { return std::coroutine_handle<Promise>::from_promise(*this); }
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace internal

template <typename T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task(Handle handle) : handle_(handle) {}  // NOLINT: made by the compiler from get_return_object
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    template <typename Parent>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
      handle.promise().continuation = parent;
      handle.promise().context = parent.promise().context;
      return handle;
    }
    T await_resume() const { return handle.promise().take(); }
  };
  // Awaiting runs the task to its end and gives its result. Once only.
  Awaiter operator co_await() && noexcept { return Awaiter{handle_}; }

 private:
  void destroy() {
    if (handle_) handle_.destroy();
  }
  Handle handle_;
};

// A place where a task waits for something outside of it. Derive, call begin() from await_suspend and finish() when the
// awaited thing has happened; the task goes on in the reactor's next round (never inside finish()).
class Suspension : public ListLink<> {
 public:
  Suspension() = default;
  Suspension(const Suspension&) = delete;
  Suspension& operator=(const Suspension&) = delete;

 protected:
  virtual ~Suspension() = default;

  template <typename Promise>
  void begin(std::coroutine_handle<Promise> task) {
    begin(task, *task.promise().context);
  }
  void begin(std::coroutine_handle<> task, TaskContext& context);
  void finish();
  bool suspended() const { return context_ != nullptr; }

  // The error with which a cancelled task's waits end, or nothing. For await_ready and await_resume of derived classes.
  template <typename Promise>
  static std::optional<Error> stop_error(std::coroutine_handle<Promise> task) {
    return stop_error(*task.promise().context);
  }
  static std::optional<Error> stop_error(const TaskContext& context);

  // The task was cancelled (or its deadline has passed) while it waits here. Must lead to finish(), now or later.
  // Called once at most.
  virtual void on_cancel() = 0;

 private:
  friend class TaskContext;
  friend class Reactor;
  std::coroutine_handle<> task_;
  TaskContext* context_ = nullptr;   // while suspended
  TaskContext* resuming_ = nullptr;  // between finish() and the task going on
};

// What the coroutines of one spawned task share.
class TaskContext : public ListLink<>, public std::enable_shared_from_this<TaskContext> {
 public:
  // `name` must live for ever (a string literal): the stall detector reads it from another thread.
  TaskContext(Reactor& reactor, const char* name) : reactor_(reactor), name_(name) {}

  Reactor& reactor() const { return reactor_; }
  const char* name() const { return name_; }
  bool done() const { return done_; }

  // Asks the task to end. Does nothing when it has ended or was cancelled already.
  void cancel();
  // Why the waits of the task end at once at present, if they do. A cancellation is for ever, a deadline for as long as
  // its object lives.
  std::optional<Code> stop_reason() const {
    if (cancelled_) return Code::kCancelled;
    if (expired_deadlines_ > 0) return Code::kDeadlineExceeded;
    return std::nullopt;
  }

 private:
  friend class Suspension;
  friend class Reactor;
  friend class Deadline;
  friend class JoinAwaiter;

  void deadline_expired();
  // The task was not stopped until now: ends the wait it is in.
  void interrupt();

  Reactor& reactor_;
  const char* name_;
  Suspension* waiting_ = nullptr;
  bool cancelled_ = false;
  unsigned expired_deadlines_ = 0;  // of those that live
  bool done_ = false;
  std::coroutine_handle<> root_;  // owns the task's frames; for a task that is abandoned
  uint64_t order_ = 0;            // of its start, among all reactors
  IntrusiveList<Suspension> joiners_;
};

// What TaskHandle::join() awaits.
class JoinAwaiter final : public Suspension {
 public:
  explicit JoinAwaiter(std::shared_ptr<TaskContext> target) : target_(std::move(target)) {}
  bool await_ready() const { return target_ == nullptr || target_->done_; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> task) {
    if ((error_ = stop_error(task))) return false;
    context_ = task.promise().context;
    begin(task);
    target_->joiners_.push_back(*this);
    return true;
  }
  Result<> await_resume() {
    if (error_) return fail(std::move(*error_));
    return {};
  }

 private:
  void on_cancel() override {
    unlink();
    error_ = stop_error(*context_);
    finish();
  }
  std::shared_ptr<TaskContext> target_;
  TaskContext* context_ = nullptr;
  std::optional<Error> error_;
};

// The spawner's grip on a task; copyable, may be dropped (the task runs on).
class TaskHandle {
 public:
  TaskHandle() = default;
  explicit TaskHandle(std::shared_ptr<TaskContext> context) : context_(std::move(context)) {}

  bool valid() const { return context_ != nullptr; }
  bool done() const { return context_ == nullptr || context_->done(); }
  void cancel() const {
    if (context_ != nullptr) context_->cancel();
  }
  // co_await: until the task has ended. Also ends (with an error) when the awaiting task is cancelled.
  JoinAwaiter join() const { return JoinAwaiter(context_); }

 private:
  std::shared_ptr<TaskContext> context_;
};

}  // namespace cairn::runtime
