#include "runtime/stall_detector.h"

#include <pthread.h>

#include <algorithm>

#include "base/log.h"

namespace cairn::runtime {

namespace {

constexpr int kLooksPerLimit = 4;
constexpr Duration kShortestInterval = std::chrono::milliseconds(1);

}  // namespace

std::string Stall::to_string() const {
  const auto held_ms = std::chrono::duration_cast<std::chrono::milliseconds>(held).count();
  const std::string who = task == nullptr ? "I/O completions or timers" : fmt::format("task '{}'", task);
  return ended ? fmt::format("reactor {} goes on after {} held it for {} ms", reactor, who, held_ms)
               : fmt::format("reactor {} is held by {} for {} ms so far", reactor, who, held_ms);
}

void StallDetector::log_stall(const Stall& stall) {
  log::warn("{}", stall.to_string());
}

StallDetector::StallDetector(std::vector<Reactor*> reactors, Duration limit, std::function<void(const Stall&)> on_stall)
    : limit_(limit), on_stall_(std::move(on_stall)) {
  for (Reactor* reactor : reactors) watches_.push_back({.reactor = reactor, .since = std::chrono::steady_clock::now()});
  thread_ = std::thread([this] { watch(); });
  pthread_setname_np(thread_.native_handle(), "stall-detector");
}

StallDetector::~StallDetector() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stop_changed_.notify_all();
  thread_.join();
}

void StallDetector::watch() {
  const Duration interval = std::max(limit_ / kLooksPerLimit, kShortestInterval);
  std::unique_lock lock(mutex_);
  while (!stop_changed_.wait_for(lock, interval, [this] { return stop_; })) {
    for (Watch& watch : watches_) look_at(watch);
  }
}

void StallDetector::look_at(Watch& watch) {
  const auto now = std::chrono::steady_clock::now();
  const uint64_t rounds = watch.reactor->rounds();
  const char* task = watch.reactor->running_task();
  // Another task of the same round is a stall of its own, also when a starved reactor came late to it.
  if (rounds != watch.rounds || task != watch.task || watch.reactor->sleeping()) {
    if (watch.reported) on_stall_({watch.reactor->index(), watch.task, now - watch.since, true});
    watch = {.reactor = watch.reactor, .rounds = rounds, .since = now, .task = task};
    return;
  }
  if (watch.reported || now - watch.since < limit_) return;
  watch.reported = true;
  on_stall_({watch.reactor->index(), watch.task, now - watch.since, false});
}

}  // namespace cairn::runtime
