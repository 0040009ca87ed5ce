#include "nvmf/host/lane.h"

#include <fmt/format.h>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "nvmf/host/nvme_channel.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::host {

using nvme::AnaState;
using nvme::GenericStatus;
using nvme::PathStatus;
using nvme::Status;
using runtime::Task;

namespace {

constexpr uint8_t kMaxRetries = 3;
// Before a try after an error that takes its time to pass.
constexpr Duration kRest = std::chrono::milliseconds(100);

Status no_path() {
  return Status::path(PathStatus::kHostPathingError);
}

// The higher the better; 0 is unusable.
int rank(AnaState state) {
  return state == AnaState::kOptimized ? 2 : state == AnaState::kNonOptimized ? 1 : 0;
}

// Errors of the moment: the same command may do better, some time later...
bool passes_with_time(Status status) {
  return status.is(GenericStatus::kCommandInterrupted) || status.is(GenericStatus::kNamespaceNotReady);
}
// ... or at once.
bool passes(Status status) {
  return passes_with_time(status) || status.is(GenericStatus::kTransientTransportError) ||
         status.is(GenericStatus::kAbortedSqDeletion);
}

}  // namespace

Lane::Lane(Home& home, runtime::Reactor& reactor, const ConnectionOptions& options, const NamespaceInfo& ns,
           uint16_t qid, size_t num_paths)
    : home_(home),
      reactor_(reactor),
      options_(options),
      namespace_(ns),
      qid_(qid),
      io_timeout_ms_(
          static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(options.io_timeout).count())),
      paths_(num_paths),
      without_path_since_(runtime::Reactor::current().now()),
      patience_([this] {
        if (out_of_patience()) fail_waiting();
      }),
      rest_([this] {
        while (Command* command = resting_.pop_front()) wait(static_cast<IoCommand&>(*command));
        send_waiting();
      }) {
  for (size_t i = 0; i < num_paths; ++i) {
    Path& path = paths_[i];
    path.lane = this;
    path.index = i;
    path.message = std::make_unique<runtime::Message>([&path] { path.lane->deliver(path); });
  }
}

Lane::~Lane() {
  CAIRN_CHECK(stopped_ || abandoning());
  waiting_.forget();  // commands live in the Ios of others
  resting_.forget();
  for (Path& path : paths_) path.held.forget();
}

// ---- I/O ----

void Lane::start(IoCommand& command) {
  if (queue_ != nullptr && waiting_.empty() && queue_->has_room(command.num_commands())) {
    send(command);
  } else {
    wait(command);
  }
}

void Lane::send(IoCommand& command) {
  if (!command.prepare(namespace_)) {
    command.channel.end(command, Status::success());
    return;
  }
  command.path = static_cast<uint8_t>(best_->index);
  command.lost = false;
  command.commands_left = static_cast<uint8_t>(command.num_commands());
  if (command.is_fused()) {
    queue_->submit_fused(command, command.second());
  } else {
    queue_->submit(command);
  }
}

// Everything that comes to wait for a path does so here or in take_back().
void Lane::wait(IoCommand& command, bool first) {
  if (stopped_ || out_of_patience()) {
    command.channel.end(command, no_path());
    return;
  }
  if (first) {
    waiting_.push_front(command);
  } else {
    waiting_.push_back(command);
  }
  arm_patience();
}

void Lane::arm_patience() {
  if (queue_ == nullptr && !patience_.armed()) {
    reactor_.arm(patience_, without_path_since_ + options_.retry_window);
  }
}

void Lane::send_waiting() {
  while (queue_ != nullptr && !waiting_.empty()) {
    auto& command = static_cast<IoCommand&>(*waiting_.first());
    if (!queue_->has_room(command.num_commands())) return;
    command.unlink();
    send(command);
  }
}

void Lane::ended(IoCommand& command) {
  if (command.lost) {
    take_back(command);
    return;
  }
  Status status = command.status;
  if (command.is_fused() && status.is_success()) status = command.second().status;
  if (!status.is_success()) {
    judge(command, status);
    return;
  }
  if (!command.advance()) {
    wait(command, true);
    send_waiting();
    return;
  }
  if (!waiting_.empty()) send_waiting();
  command.channel.end(command, status);
}

void Lane::judge(IoCommand& command, Status status) {
  Path& path = paths_[command.path];
  const TimePoint now = reactor_.round_time();
  if (command.timed_out && status.is(GenericStatus::kAbortRequested)) {
    // It has used up its time-out of the window.
    if (command.troubled_since == kNever) command.troubled_since = now - options_.io_timeout;
    if (command.may_be_repeated() && !stopped_ && now - command.troubled_since < options_.retry_window) {
      wait(command);
      send_waiting();
      return;
    }
    status = Status::path(PathStatus::kAbortedByHost);
  } else if (status.do_not_retry()) {
  } else if (status.type() == nvme::StatusCodeType::kPath && command.may_be_repeated()) {
    const bool ana = status.is(PathStatus::kAnaInaccessible) || status.is(PathStatus::kAnaTransition) ||
                     status.is(PathStatus::kAnaPersistentLoss);
    if (command.troubled_since == kNever) command.troubled_since = now;
    const bool patient =
        ana ? now - command.troubled_since < options_.retry_window : command.num_retries++ < kMaxRetries;
    if (patient && !stopped_) {
      if (ana && rank(path.ana) > 0) {
        path.ana = AnaState::kChange;
        choose_path();
        tell_home(path, kAnaDoubt);
      }
      wait(command);
      send_waiting();
      return;
    }
  } else if (passes(status) && command.may_be_repeated() && command.num_retries++ < kMaxRetries && !stopped_) {
    if (passes_with_time(status)) {
      resting_.push_back(command);
      if (!rest_.armed()) reactor_.arm(rest_, now + kRest);
      send_waiting();
      return;
    }
    wait(command, true);
    send_waiting();
    return;
  }
  if (!waiting_.empty()) send_waiting();
  command.channel.end(command, status);
}

void Lane::take_back(IoCommand& command) {
  const TimePoint now = reactor_.now();
  if (command.troubled_since == kNever) command.troubled_since = now;
  const bool patient = command.may_be_repeated() && !stopped_ && now - command.troubled_since < options_.retry_window;
  if (!patient || out_of_patience()) {
    command.channel.end(command, no_path());
  } else if (command.changes_nothing()) {
    wait(command, true);
  } else {
    paths_[command.path].held.push_back(command);
    arm_patience();
  }
}

// ---- Paths ----

bool Lane::out_of_patience() const {
  return queue_ == nullptr && reactor_.now() >= without_path_since_ + options_.retry_window;
}

void Lane::fail_waiting() {
  IntrusiveList<Command> failed;
  failed.splice_back(waiting_);
  failed.splice_back(resting_);
  for (Path& path : paths_) failed.splice_back(path.held);
  fail_all(failed);
}

void Lane::fail_all(IntrusiveList<Command>& commands) {
  while (Command* command = commands.pop_front()) {
    auto& io = static_cast<IoCommand&>(*command);
    io.channel.end(io, no_path());
  }
}

void Lane::choose_path() {
  auto usable = [](const Path& path) { return path.queue != nullptr && path.queue->is_open() ? rank(path.ana) : 0; };
  Path* best = best_ != nullptr && usable(*best_) > 0 ? best_ : nullptr;
  for (Path& path : paths_) {
    if (usable(path) > (best != nullptr ? usable(*best) : 0)) best = &path;
  }
  if (best == nullptr && best_ != nullptr) {
    without_path_since_ = reactor_.now();
    reactor_.arm(patience_, without_path_since_ + options_.retry_window);
  } else if (best != nullptr) {
    patience_.disarm();
  }
  best_ = best;
  queue_ = best != nullptr ? best->queue.get() : nullptr;
  send_waiting();
}

Lane::Path* Lane::path_of(const QueuePair& queue) {
  for (Path& path : paths_) {
    if (path.queue.get() == &queue) return &path;
  }
  return nullptr;  // is being connected
}

bool Lane::on_timeout(QueuePair& queue, uint16_t cid) {
  Path* path = path_of(queue);
  if (path == nullptr) return false;
  for (auto& slow : path->slow_cids) {
    if (slow.load(std::memory_order_relaxed) != 0) continue;
    slow.store(cid | kSlowCid, std::memory_order_release);
    tell_home(*path, kSlow);
    break;
  }
  return true;
}

void Lane::on_closed(QueuePair& queue, const Error& reason) {
  Path* path = path_of(queue);
  if (path == nullptr) return;
  choose_path();
  if (stopped_ || path->disconnecting) return;
  log::warn("{}: lost I/O queue {} to {}: {}", options_.device_name, qid_, options_.paths[path->index].to_string(),
            reason.to_string());
  tell_home(*path, kLost);
}

void Lane::tell_home(Path& path, Notice notice) {
  if (path.notices.fetch_or(notice, std::memory_order_acq_rel) == 0) home_.reactor().post(*path.message);
}

void Lane::deliver(Path& path) {
  const uint32_t notices = path.notices.exchange(0, std::memory_order_acq_rel);
  if ((notices & kSlow) != 0) {
    for (auto& slow : path.slow_cids) {
      const uint32_t cid = slow.exchange(0, std::memory_order_acquire);
      if (cid != 0) home_.on_slow_command(path.index, qid_, static_cast<uint16_t>(cid));
    }
  }
  if ((notices & kAnaDoubt) != 0) home_.on_ana_doubt(path.index);
  if ((notices & kLost) != 0) home_.on_queue_lost(path.index);
}

Task<Result<>> Lane::connect(size_t index, PathConnection connection) {
  Path& path = paths_[index];
  path.ana = connection.ana;
  if (path.queue != nullptr && path.queue->is_open()) {
    choose_path();
    co_return Result<>{};
  }
  co_await disconnect(index);
  if (stopped_) co_return fail(Code::kCancelled, "the device is being removed");
  const uint16_t entries = std::min(options_.queue_entries, connection.entries);
  std::unique_ptr<QueuePair> queue;
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), options_.connect_timeout);
    auto opened = co_await QueuePair::open(connection.address,
                                           {.header_digest = options_.header_digest,
                                            .data_digest = options_.data_digest,
                                            .entries = entries,
                                            .max_capsule_data = connection.max_capsule_data},
                                           *this);
    if (!opened) co_return fail(std::move(opened.error()));
    queue = std::move(*opened);
  }
  const nvme::Connect command{.qid = qid_, .sqsize = static_cast<uint16_t>(entries - 1)};
  const auto connected = co_await queue->connect(command, connection.connect_data, options_.connect_timeout);
  if (!connected || stopped_ || !queue->is_open()) {
    co_await queue->close();
    co_return fail(connected ? Error(Code::kCancelled, "the connection was lost") : connected.error());
  }
  path.queue = std::move(queue);
  choose_path();
  co_return Result<>{};
}

Task<> Lane::disconnect(size_t index) {
  Path& path = paths_[index];
  if (path.queue == nullptr) co_return;
  path.disconnecting = true;
  co_await path.queue->close();
  path.disconnecting = false;
  while (path.num_users > 0) static_cast<void>(co_await user_left_.wait_uninterrupted());
  path.queue.reset();
  choose_path();
}

void Lane::settle(size_t index) {
  Path& path = paths_[index];
  path.held.splice_back(waiting_);
  waiting_.splice_back(path.held);
  if (out_of_patience()) return fail_waiting();
  if (!waiting_.empty()) arm_patience();
  send_waiting();
}

void Lane::fail_held(size_t index) {
  IntrusiveList<Command> failed;
  failed.splice_back(paths_[index].held);
  fail_all(failed);
}

void Lane::set_ana_state(size_t index, AnaState state) {
  paths_[index].ana = state;
  choose_path();
}

Task<> Lane::stop() {
  stopped_ = true;
  for (size_t i = 0; i < paths_.size(); ++i) co_await disconnect(i);
  patience_.disarm();
  rest_.disarm();
  fail_waiting();
}

Task<Result<QueuePair::Answer>> Lane::run(nvme::Sqe sqe, std::span<std::byte> data) {
  Path* usable = best_;
  for (Path& path : paths_) {
    if (usable == nullptr && path.queue != nullptr && path.queue->is_open() && !path.disconnecting) usable = &path;
  }
  if (usable == nullptr) co_return fail(Code::kUnavailable, fmt::format("{}: no path", options_.device_name));
  Path& path = *usable;
  ++path.num_users;
  sqe.nsid = namespace_.nsid;
  QueuePair& queue = *path.queue;
  Result<QueuePair::Answer> answer = fail(Code::kUnavailable, "");
  if (data.empty()) {
    answer = co_await queue.run(sqe, options_.io_timeout);
  } else if (nvme::data_direction(sqe.opcode) == nvme::DataDirection::kControllerToHost) {
    answer = co_await queue.run_receiving(sqe, data, options_.io_timeout);
  } else {
    answer = co_await queue.run_sending(sqe, data, options_.io_timeout);
  }
  --path.num_users;
  user_left_.pulse();
  send_waiting();  // they have waited for the slot, if there was one
  co_return answer;
}

}  // namespace cairn::nvmf::host
