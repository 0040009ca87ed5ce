#include "runtime/reactor.h"

#include "base/abandonment.h"
#include "runtime/backend.h"

namespace cairn::runtime {

namespace {

thread_local Reactor* current_reactor = nullptr;
std::atomic<uint64_t> tasks_started{0};

// The coroutine at the root of a spawned task: owns the task's frame and context, ends by itself.
struct Root {
  struct promise_type {
    TaskContext* context = nullptr;
    Root get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { CAIRN_CHECK(!"an exception left a task"); }
  };
  std::coroutine_handle<promise_type> handle;
};

}  // namespace

// Puts a new task into the ready list; dies with its first resumption.
class StartSuspension final : public Suspension {
 public:
  void start(std::coroutine_handle<> task, TaskContext& context) {
    begin(task, context);
    finish();
  }

 private:
  void on_cancel() override {}
};

Reactor::Reactor(const ReactorOptions& options, std::unique_ptr<Backend> backend)
    : options_(options),
      backend_(std::move(backend)),
      random_(options.random_seed),
      buffers_(options.buffer_pool_bytes),
      round_time_(backend_->now()),
      counts_cycles_(backend_->has_kernel_clock() && CycleClock::usable()),
      adaptive_budget_(options.spin_budget) {
  backend_->use_buffer_region(buffers_.region());
}

Reactor::~Reactor() {
  CAIRN_CHECK(num_tasks_ == 0);
  Scope scope(*this);
  // The pointer stays valid meanwhile: a thread of the blocking pool may just be waking us.
  delete backend_.get();
  static_cast<void>(backend_.release());
}

Reactor& Reactor::current() {
  CAIRN_CHECK(current_reactor != nullptr);
  return *current_reactor;
}

Reactor* Reactor::current_or_null() {
  return current_reactor;
}

Reactor::Scope::Scope(Reactor& reactor) : previous_(current_reactor) {
  current_reactor = &reactor;
}
Reactor::Scope::~Scope() {
  current_reactor = previous_;
}

TimePoint Reactor::now() {
  return backend_->now();
}

TaskHandle Reactor::spawn(const char* name, Task<> task) {
  CAIRN_CHECK(current_reactor == this);
  auto context = std::make_shared<TaskContext>(*this, name);
  auto run = [](Reactor& reactor, std::shared_ptr<TaskContext> own, Task<> body,
                std::unique_ptr<StartSuspension> first) -> Root {
    first.reset();
    co_await std::move(body);
    {
      const Task<> frame = std::move(body);  // locals of the task are gone before anyone learns that it has ended
    }
    reactor.finish_task(*own);
  };
  auto first = std::make_unique<StartSuspension>();
  StartSuspension& start = *first;
  tasks_.push_back(*context);
  ++num_tasks_;
  Root root = run(*this, context, std::move(task), std::move(first));
  root.handle.promise().context = context.get();
  context->root_ = root.handle;
  context->order_ = tasks_started.fetch_add(1, std::memory_order_relaxed);
  start.start(root.handle, *context);
  return TaskHandle(std::move(context));
}

void Reactor::finish_task(TaskContext& context) {
  context.unlink();
  context.done_ = true;
  --num_tasks_;
  while (Suspension* joiner = context.joiners_.pop_front()) joiner->finish();
}

void Reactor::cancel_all_tasks() {
  for (TaskContext* task = tasks_.first(); task != nullptr; task = tasks_.next(*task)) task->cancel();
}

void Reactor::post(Message& message) {
  messages_.push(message);
  // Pairs with wait_for_work(): either the sleeper sees the message, or we see that it sleeps.
  if (sleeping_.load(std::memory_order_seq_cst)) backend_->wake();
}

void Reactor::abandon_tasks(std::span<Reactor* const> reactors) {
  const AbandonScope abandon;
  for (;;) {
    // Newest first over all of them: what a task started or called on another reactor may refer to its frames.
    Reactor* newest = nullptr;
    for (Reactor* reactor : reactors) {
      if (reactor->tasks_.empty()) continue;
      if (newest == nullptr || newest->tasks_.back().order_ < reactor->tasks_.back().order_) newest = reactor;
    }
    if (newest == nullptr) return;
    const auto context = newest->tasks_.back().shared_from_this();
    context->unlink();
    context->done_ = true;
    --newest->num_tasks_;
    const Scope scope(*newest);
    context->root_.destroy();
  }
}

void Reactor::for_each_task(const std::function<void(const TaskContext&)>& visit) {
  for (const TaskContext& task : tasks_) visit(task);
}

size_t Reactor::run_ready_tasks() {
  // Only what is ready now: a task that makes itself ready again waits for the next round.
  IntrusiveList<Suspension> batch;
  batch.splice_back(ready_);
  size_t count = 0;
  while (Suspension* suspension = batch.pop_front()) {
    TaskContext* context = std::exchange(suspension->resuming_, nullptr);
    running_task_.store(context->name(), std::memory_order_relaxed);
    suspension->task_.resume();
    ++count;
  }
  if (count > 0) running_task_.store(nullptr, std::memory_order_relaxed);
  return count;
}

void Reactor::begin_round() {
  const uint64_t before = counts_cycles_ ? CycleClock::counter() : 0;
  round_time_ = backend_->now();
  if (counts_cycles_) cycle_clock_.set(round_time_, before, CycleClock::counter());
}

bool Reactor::run_round() {
  Scope scope(*this);
  rounds_.store(rounds() + 1, std::memory_order_relaxed);  // only this thread writes
  begin_round();
  size_t done = messages_.run_all();
  done += run_ready_tasks();
  done += timers_.run_expired(round_time_);
  done += backend_->poll(TimePoint::min());
  return done > 0;
}

bool Reactor::has_ready_work() const {
  return !ready_.empty() || !messages_.empty();
}

void Reactor::wait_for_work() {
  if (has_ready_work()) return;
  // The time of the round that found nothing: the clock is read once a round.
  if (idle_since_ == TimePoint{}) idle_since_ = round_time_;
  const bool polls = options_.spin_budget == kSpinForever || round_time_ - idle_since_ < adaptive_budget_;
  if (polls && backend_->polling_pays()) return;

  Scope scope(*this);
  sleeping_.store(true, std::memory_order_seq_cst);
  if (messages_.empty() && !stop_.load(std::memory_order_seq_cst)) backend_->poll(timers_.next_expiry());
  sleeping_.store(false, std::memory_order_relaxed);

  // Spinning pays when work comes within the budget. Longer gaps halve the budget, one short gap restores it.
  const Duration gap = backend_->now() - idle_since_;
  adaptive_budget_ = gap <= options_.spin_budget ? options_.spin_budget : adaptive_budget_ / 2;
  idle_since_ = TimePoint{};
}

void Reactor::run() {
  run_until([] { return false; });
}

void Reactor::run_until(const std::function<bool()>& done) {
  Scope scope(*this);
  while (!done() && !stop_.load(std::memory_order_relaxed)) {
    if (run_round()) {
      idle_since_ = TimePoint{};
    } else {
      wait_for_work();
    }
  }
}

void Reactor::stop() {
  stop_.store(true, std::memory_order_seq_cst);
  backend_->wake();
}

}  // namespace cairn::runtime
