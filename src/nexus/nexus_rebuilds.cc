// Rebuilds of a nexus: when they begin and what comes of them.
#include <algorithm>

#include "base/log.h"
#include "base/seeded_bug.h"
#include "block/io_wait.h"
#include "block/page_memory.h"
#include "nexus/geometry.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::IoType;
using runtime::Task;

namespace {

// All writes of a volume are held back for no longer, and not again before so much time has passed.
constexpr Duration kHoldLimit = std::chrono::milliseconds(100);
constexpr Duration kHoldPause = std::chrono::seconds(1);

}  // namespace

Task<Result<>> Nexus::start_rebuild(std::string uri) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  const ChildPtr child = find_child(uri);
  if (child == nullptr) co_return fail(nexus_error::child_not_found(name(), uri));
  co_return co_await begin_rebuild(child);
}

Task<Result<>> Nexus::begin_rebuild(ChildPtr child) {
  // A remote child connects an I/O queue for the first channel on a reactor. Here it holds up nobody if that takes
  // long; with `health_` held, nobody else could leave meanwhile.
  if (const std::shared_ptr<block::Device> device = child->device; device != nullptr) {
    for (const auto& port : ports_) {
      co_await call_on(port->reactor(), [&device]() -> Task<> { static_cast<void>(co_await device->open_channel()); });
    }
  }
  const auto guard = co_await health_.lock();
  if (!guard) co_return fail(guard.error());
  if (child->job != nullptr) co_return fail(nexus_error::rebuild_exists(name(), child->uri));
  if (child->state != ChildState::kOpen || child->in_sync) {
    co_return fail(nexus_error::child_not_degraded(name(), child->uri, to_text(child->state)));
  }
  if (num_healthy() == 0 || state_ != NexusState::kOpen) co_return fail(nexus_error::no_rebuild_source(name()));
  if (child->map == nullptr || child->map->outgrown()) {
    child->map = make_map();
    child->map->set_all();
  }
  child->role = SlotRole::kWriter;
  if (seeded(SeededBug::kHealthyBeforeRebuild)) {
    child->recorded_healthy = true;
    static_cast<void>(co_await save(false));
  }
  if (const uint32_t failed = co_await publish(); (failed >> child->slot & 1) != 0) {
    co_return fail(nexus_error::rebuild_operation(name(), child->uri, "the child cannot be opened"));
  }
  RebuildOptions job_options = options_.rebuild;
  job_options.limits = rebuild_limits_;
  child->job = std::make_unique<RebuildJob>(static_cast<RebuildJob::Owner&>(*this), child->uri, child->device,
                                            child->map, num_blocks(), data_start_, job_options);
  log::info("nexus {}: rebuild of {}, {} of {} segments", name(), child->uri, child->map->count(),
            child->map->num_segments());
  child->job->start();
  look_for_unreachable();
  co_return Result<>{};
}

std::vector<RebuildJob::Source> Nexus::rebuild_sources() {
  std::vector<RebuildJob::Source> sources;
  for (const bool local : {true, false}) {
    for (const ChildPtr& child : children_) {
      const bool usable = child->healthy() && child->device != nullptr;  // without one when the nexus ends
      if (usable && child->local == local) sources.push_back({child->uri, child->device});
    }
  }
  return sources;
}

// As if it were a host's.
void Nexus::on_copy_slow(const block::Device& device) {
  for (const ChildPtr& child : children_) {
    if (child->device.get() != &device || child->state != ChildState::kOpen || child->slow_copy_reported) continue;
    child->slow_copy_reported = true;
    run_in_background("retire child", [child](Nexus& nexus) -> Task<> {
      co_await nexus.retire(child, ChildState::kFaulted, FaultReason::kTimedOut, false);
      child->slow_copy_reported = false;
    });
  }
}

void Nexus::on_source_failed(const std::string& uri) {
  if (const ChildPtr child = find_child(uri); child != nullptr) {
    run_in_background("retire child", [child](Nexus& nexus) -> Task<> {
      co_await nexus.retire(child, ChildState::kFaulted, FaultReason::kIoError, false);
    });
  }
}

// Nothing to do when somebody else has begun it.
Task<> Nexus::rebuild_or_retire(ChildPtr child) {
  const auto begun = co_await begin_rebuild(child);
  if (begun || child->job != nullptr || child->in_sync || state_ != NexusState::kOpen) co_return;
  log::error("nexus {}: {}", name(), begun.error().to_string());
  co_await retire(child, ChildState::kFaulted, FaultReason::kRebuildFailed, false);
}

// With all writes held back for a moment, so that no port writes to the child as one that is being rebuilt while
// another one reads from it.
Task<bool> Nexus::promote(RebuildJob& job) {
  const ChildPtr child = find_child(job.child_uri());
  // An intent that is taken back from here on may be of a write that lies in the child's cache only.
  const uint64_t removals = log_ != nullptr ? log_->num_removals() : 0;
  // What was copied must not be lost with the child's cache once others rely on it.
  if (child == nullptr || child->state != ChildState::kOpen || state_ != NexusState::kOpen || !co_await job.flush()) {
    job.abandon();
    co_return false;
  }
  std::optional<IntentLog::Member> member;
  if (log_ != nullptr) {
    co_await log_->drop(child->slot);  // of a time before
    auto made = co_await log_member(child);
    if (!made) {
      log::error("nexus {}: write-intent log of child {}: {}", name(), child->uri, made.error().to_string());
      job.abandon();
      co_return false;
    }
    member = std::move(*made);
  }
  RangeLock everything(ports_);
  bool held = false, promoted = false;
  const auto is_done = [&job] { return job.map().next(0) == job.map().num_segments(); };
  {
    // First, so that no write waits for another change of health and its store. One that was begun and waits for that,
    // or hangs in a child, must not hold up the others: the end of the rebuild is put off then.
    const auto guard = co_await health_.lock();
    held = guard && co_await everything.acquire_within(0, UINT64_MAX, kHoldLimit);
    promoted = held && child->state == ChildState::kOpen && state_ == NexusState::kOpen && is_done() &&
               !job.map().outgrown() && job.state() == RebuildState::kRunning;
    if (log_ != nullptr && log_->num_removals() != removals) promoted = false;
    if (promoted && member) {
      if (auto joined = co_await log_->join(std::move(*member)); !joined) {
        log::error("nexus {}: child {}: {}", name(), child->uri, joined.error().to_string());
        job.abandon();
        promoted = false;
      } else if (!is_done()) {
        // A resynchronisation or a scrub has repaired meanwhile what was copied from a child before.
        co_await log_->take_back(child->slot);
        promoted = false;
      }
    }
    if (promoted) {
      child->in_sync = true;
      child->recorded_healthy = true;
      child->map = nullptr;
      child->role = SlotRole::kReader;
      co_await publish();
    }
    if (held) co_await everything.release();
  }
  if (!promoted && job.state() == RebuildState::kRunning) {
    if (auto slept = co_await runtime::sleep_for(kHoldPause); !slept) job.abandon();
  }
  if (promoted) {
    // After the log: what the record calls healthy is in sync there, too.
    const auto guard = co_await health_.lock();
    if (guard && state_ == NexusState::kOpen) {
      if (auto saved = co_await save(false); !saved) co_await self_shutdown(saved.error().to_string());
    }
  }
  co_return promoted;
}

void Nexus::on_rebuild_ended(RebuildJob& job) {
  const ChildPtr child = find_child(job.child_uri());
  if (history_.size() == kMaxHistory) history_.erase(history_.begin());
  history_.push_back(job.record());
  log::info("nexus {}: rebuild of {} {}", name(), job.child_uri(), to_text(job.state()));
  if (child == nullptr || child->job.get() != &job) return;
  const RebuildState state = job.state();
  // Its own task ends in this round. The job must not stay longer: it holds the child's device.
  run_in_background(
      "end rebuild",
      [child, state, job = std::shared_ptr<RebuildJob>(std::move(child->job))](Nexus& nexus) mutable -> Task<> {
        job.reset();
        if (state == RebuildState::kFailed) {
          co_await nexus.retire(child, ChildState::kFaulted, FaultReason::kRebuildFailed, false);
        } else if (state == RebuildState::kStopped) {
          const auto guard = co_await nexus.health_.lock();
          if (guard && child->state == ChildState::kOpen && child->role == SlotRole::kWriter && child->job == nullptr) {
            child->role = SlotRole::kAway;
            co_await nexus.publish();
          }
        }
      });
}

Result<RebuildJob*> Nexus::job_of(const std::string& uri) const {
  const ChildPtr child = find_child(uri);
  if (child == nullptr) return fail(nexus_error::child_not_found(name(), uri));
  if (child->job == nullptr) return fail(nexus_error::rebuild_not_found(name(), uri));
  return child->job.get();
}

Result<> Nexus::stop_rebuild(const std::string& uri) {
  const auto job = job_of(uri);
  if (!job) return {};
  auto stopped = (*job)->stop();
  if (!stopped) return fail(nexus_error::rebuild_operation(name(), uri, stopped.error().message()));
  return {};
}

Result<> Nexus::pause_rebuild(const std::string& uri) {
  const auto job = job_of(uri);
  if (!job) return fail(job.error());
  auto paused = (*job)->pause();
  if (!paused) return fail(nexus_error::rebuild_operation(name(), uri, paused.error().message()));
  return {};
}

Result<> Nexus::resume_rebuild(const std::string& uri) {
  const auto job = job_of(uri);
  if (!job) return fail(job.error());
  auto resumed = (*job)->resume();
  if (!resumed) return fail(nexus_error::rebuild_operation(name(), uri, resumed.error().message()));
  return {};
}

void Nexus::set_rebuild_limits(const RebuildLimits& limits) {
  rebuild_limits_ = limits;
  for (const ChildPtr& child : children_) {
    if (child->job != nullptr) child->job->set_limits(limits);
  }
}

Result<RebuildState> Nexus::rebuild_state(const std::string& uri) const {
  const auto job = job_of(uri);
  if (!job) return fail(job.error());
  return (*job)->state();
}

Result<RebuildStatistics> Nexus::rebuild_statistics(const std::string& uri) const {
  const auto job = job_of(uri);
  if (!job) return fail(job.error());
  return (*job)->statistics();
}

// Writes a range that the child could not read again, from another one. The child is retired when it does not take it.
Task<> Nexus::repair(ChildPtr child, uint64_t lba, uint64_t num_blocks) {
  const uint64_t segment_blocks = kSegmentBytes / block_size();
  const block::PageMemory memory = block::allocate_pages(kSegmentBytes);
  auto to = child->device != nullptr ? co_await child->device->open_channel()
                                     : Result<std::unique_ptr<block::Channel>>(fail(Code::kUnavailable, "closed"));
  RangeLock lock(ports_);
  uint64_t done = 0;
  while (done < num_blocks && to && child->healthy() && !children_left_) {
    const uint64_t count = std::min(segment_blocks, num_blocks - done);
    iovec piece{memory.get(), count * block_size()};
    const uint64_t departures = num_departures(&copy_watch_);  // the child may leave while the lock is waited for
    co_await lock.acquire(lba + done, count);
    nvme::Status status = nvme::Status::generic(nvme::GenericStatus::kInternalError);
    for (const RebuildJob::Source& source : rebuild_sources()) {
      if (source.uri == child->uri) continue;
      auto from = co_await source.device->open_channel();
      if (!from) continue;
      status = co_await perform_watched(
          &copy_watch_, **from,
          {.type = IoType::kRead, .lba = data_start_ + lba + done, .num_blocks = count, .data = {&piece, 1}});
      if (status.is_success() || failure_of(status).conflict) break;
    }
    bool refused = false;
    const bool outdated = num_departures(&copy_watch_) != departures;
    if (status.is_success() && !outdated) {
      status = co_await perform_watched(
          &copy_watch_, **to,
          {.type = IoType::kWrite, .lba = data_start_ + lba + done, .num_blocks = count, .data = {&piece, 1}});
      refused = !status.is_success();
    }
    co_await lock.release();
    if (failure_of(status).conflict) {
      on_conflict(child->uri);
      co_return;
    }
    if (refused) {
      to = fail(Code::kUnavailable, status.to_string());
      co_await retire(child, ChildState::kFaulted, FaultReason::kIoError, false);
      co_return;
    }
    if (outdated) continue;
    if (!status.is_success()) co_return;
    done += count;
  }
  if (done < num_blocks) co_return;
  log::info("nexus {}: child {}: blocks {} to {} written again", name(), child->uri, lba, lba + num_blocks - 1);
}

}  // namespace cairn::nexus
