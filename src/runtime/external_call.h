// The way from a thread that has no reactor (gRPC, signal handling) into one: runs a task there and brings its result
// back. Control path: allocates.
//
// The reactor must still run when the call is made and until the task has ended: stop the callers before the reactors.
#pragma once

#include <future>
#include <memory>
#include <type_traits>
#include <utility>

#include "runtime/message.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

namespace cairn::runtime {

template <typename MakeTask>
using TaskResult = decltype(std::declval<typename std::invoke_result_t<MakeTask&>::promise_type>().take());

namespace internal {

template <typename MakeTask, typename Done>
class ExternalCall {
 public:
  ExternalCall(Reactor& reactor, const char* name, MakeTask make_task, Done done)
      : make_task_(std::move(make_task)),
        done_(std::move(done)),
        message_([this, &reactor, name] { reactor.spawn(name, run(std::unique_ptr<ExternalCall>(this))); }) {
    reactor.post(message_);
  }

 private:
  static Task<> run(std::unique_ptr<ExternalCall> self) {
    if constexpr (std::is_void_v<TaskResult<MakeTask>>) {
      co_await self->make_task_();
      self->done_();
    } else {
      self->done_(co_await self->make_task_());
    }
  }

  MakeTask make_task_;
  Done done_;
  Message message_;
};

}  // namespace internal

// Any thread. Spawns make_task() on `reactor`; `done(result)` (done() for Task<void>) is called there when it has
// ended. `name`: a string literal.
template <typename MakeTask, typename Done>
void start_on(Reactor& reactor, const char* name, MakeTask make_task, Done done) {
  new internal::ExternalCall<MakeTask, Done>(reactor, name, std::move(make_task), std::move(done));  // owns itself
}

// Any thread but a reactor's: like start_on(), with the result as a future.
template <typename MakeTask>
std::future<TaskResult<MakeTask>> run_on(Reactor& reactor, const char* name, MakeTask make_task) {
  using T = TaskResult<MakeTask>;
  auto promise = std::make_shared<std::promise<T>>();
  std::future<T> future = promise->get_future();
  if constexpr (std::is_void_v<T>) {
    start_on(reactor, name, std::move(make_task), [promise] { promise->set_value(); });
  } else {
    start_on(reactor, name, std::move(make_task), [promise](T result) { promise->set_value(std::move(result)); });
  }
  return future;
}

}  // namespace cairn::runtime
