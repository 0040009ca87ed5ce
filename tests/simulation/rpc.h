// A call from a task on one node to the program of another, over the simulated network: the request and the answer each
// take their time and are lost when the way is cut or a machine is off. What happened at the other end is not known
// then, as with any remote call. Stands in for gRPC, which the simulator does not run.
#pragma once

#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>

#include "base/error.h"
#include "runtime/sim/world.h"
#include "runtime/task_waits.h"

namespace cairn::simulation {

namespace sim = runtime::sim;
using runtime::Task;

template <typename T>
struct RpcCall {
  std::optional<Result<T>> answer;
  runtime::Event answered;
};

// Runs `body` on the first reactor of `to`. Both nodes outlive the world's events.
//   UNAVAILABLE        no process there, and the machine said so
//   DEADLINE_EXCEEDED  no answer in time; it may have been done, or may be done later
template <typename T>
Task<Result<T>> call(sim::Node& from, sim::Node& to, Duration timeout, std::function<Task<Result<T>>()> body) {
  sim::World& world = from.world();
  const auto state = std::make_shared<RpcCall<T>>();
  const std::weak_ptr<RpcCall<T>> waiting = state;  // gone with the caller
  auto answer = [&world, &from, &to, waiting](Result<T> result) {
    world.after(world.network().delay(to, from), [&world, &from, &to, waiting, result = std::move(result)]() mutable {
      const auto caller = waiting.lock();
      if (caller == nullptr || !from.running() || !world.network().passes(to, from)) return;
      const runtime::Reactor::Scope scope(from.reactor(0));
      caller->answer.emplace(std::move(result));
      caller->answered.set();
    });
  };
  auto serve = [](std::function<Task<Result<T>>()> work, auto reply) -> Task<> { reply(co_await work()); };
  world.after(world.network().delay(from, to), [&world, &from, &to, answer, serve, body = std::move(body)]() mutable {
    if (!to.powered() || !world.network().passes(from, to)) return;
    if (!to.running()) {
      answer(fail(Code::kUnavailable, fmt::format("nobody listens on {}", to.name())));
      return;
    }
    const runtime::Reactor::Scope scope(to.reactor(0));
    to.reactor(0).spawn("rpc", serve(std::move(body), answer));
  });
  const runtime::Deadline deadline(co_await runtime::current_context(), timeout);
  static_cast<void>(co_await state->answered.wait());
  if (!state->answer) co_return fail(Code::kDeadlineExceeded, fmt::format("no answer from {}", to.name()));
  co_return std::move(*state->answer);
}

}  // namespace cairn::simulation
