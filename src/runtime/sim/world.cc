#include "runtime/sim/world.h"

#include <fmt/format.h>

#include <iterator>

namespace cairn::runtime::sim {

namespace {
constexpr TraceEvent kNoteEvent("note");
}

std::string_view run_result_name(RunResult result) {
  switch (result) {
    case RunResult::kDone:
      return "done";
    case RunResult::kTimeLimit:
      return "time limit";
    case RunResult::kDeadlock:
      return "deadlock";
  }
  return "unknown";
}

World::World(const WorldOptions& options)
    : options_(options),
      random_(options.seed),
      scheduler_random_(random_.next()),
      trace_(options.trace_text),
      network_(std::make_unique<Network>(*this, options.network, random_.next())) {}

World::~World() {
  for (const auto& node : nodes_) {
    if (node->running()) node->crash(CrashKind::kKill);
  }
  events_.clear();
  nodes_.clear();
  network_.reset();
}

Node& World::add_node(const NodeOptions& options) {
  nodes_.push_back(std::make_unique<Node>(*this, static_cast<int>(nodes_.size()), options, random_.next()));
  return *nodes_.back();
}

ScheduledEvent World::schedule(Duration after, EventQueue::Function&& function) {
  return {events_, events_.schedule(now_ + after, std::move(function))};
}

void World::after(Duration delay, EventQueue::Function function) {
  events_.schedule(now_ + delay, [this, function = std::move(function)]() mutable {
    function();
    consider_all();
  });
}

void World::consider_all() {
  for (const auto& node : nodes_) node->consider_all();
}

void World::step() {
  auto [at, function] = events_.pop();
  CAIRN_CHECK(at >= now_);
  now_ = at;
  ++num_events_;
  function();
}

RunResult World::run_until(const std::function<bool()>& done, Duration limit) {
  const TimePoint end = now_ + limit;
  consider_all();  // the caller may have started things
  while (!done()) {
    const TimePoint next = events_.next_time();
    if (next == kNever) return RunResult::kDeadlock;
    if (next > end) {
      now_ = end;
      return RunResult::kTimeLimit;
    }
    step();
  }
  return RunResult::kDone;
}

void World::run_for(Duration duration) {
  const TimePoint end = now_ + duration;
  run_until([] { return false; }, duration);
  now_ = end;
}

RunResult World::run_until_idle(Duration limit) {
  return run_until([] { return false; }, limit);
}

RunResult World::run_task(Node& node, const char* name, Task<> task, Duration limit) {
  TaskHandle handle;
  {
    const Reactor::Scope scope(node.reactor(0));
    handle = node.reactor(0).spawn(name, std::move(task));
  }
  return run_until([&] { return handle.done(); }, limit);
}

std::string World::waiting_tasks() {
  std::string text;
  for (const auto& node : nodes_) {
    for (const auto& slot : node->slots_) {
      slot->reactor->for_each_task([&](const TaskContext& task) {
        fmt::format_to(std::back_inserter(text), "{}/{} {}\n", node->name(), slot->reactor->index(), task.name());
      });
    }
  }
  return text;
}

void World::note(std::string_view text) {
  trace_.record(now_, -1, "world", kNoteEvent, text);
}

}  // namespace cairn::runtime::sim
