// Tasks with a result, from outside of the simulated world.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "base/check.h"
#include "runtime/sim/world.h"

namespace cairn::runtime::sim {

// World::run_task of a task with a result; none: it has not ended within `limit`.
template <typename T>
std::optional<T> try_task(World& world, Node& node, Task<T> task, Duration limit) {
  std::optional<T> result;
  auto keep = [](Task<T> body, std::optional<T>& out) -> Task<> { out.emplace(co_await std::move(body)); };
  if (world.run_task(node, "test", keep(std::move(task), result), limit) != RunResult::kDone) return std::nullopt;
  return result;
}

// The process ends when the task does not, and says who waits.
template <typename T>
T run_task(World& world, Node& node, Task<T> task, Duration limit) {
  std::optional<T> result = try_task(world, node, std::move(task), limit);
  if (!result) fmt::print(stderr, "{}\n", world.waiting_tasks());
  CAIRN_CHECK(result.has_value());
  return std::move(*result);
}

}  // namespace cairn::runtime::sim
