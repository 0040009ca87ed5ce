// How a child leaves the healthy ones.
//
//   1. No I/O goes to it any more, on any reactor; what it misses is logged and not acknowledged ("retiring").
//   2. The record that it is not healthy is saved, in the store and in the write-intent log of the others. Reads, and
//      writes of before, go on meanwhile.
//   3. What it missed is acknowledged, on every reactor ("away").
//   4. In the background it gives back its I/O and its device is closed.
// The rest of the volume is never paused.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/seeded_bug.h"
#include "nexus/geometry.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "nvmf/host/nvme_device.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

namespace {

constexpr unsigned kAttemptsBetweenWarnings = 10;
constexpr Duration kCleanSavePatience = std::chrono::seconds(10);

}  // namespace

Task<Nexus::Retirement> Nexus::retire(ChildPtr child, ChildState state, FaultReason reason, bool lost) {
  const auto guard = co_await health_.lock();
  co_return guard ? co_await retire_in_turn(std::move(child), state, reason, lost) : Retirement::kAlready;
}

// Also while the nexus waits for its last I/O, which could not end otherwise.
bool Nexus::may_retire() const {
  return state_ == NexusState::kOpen || (state_ == NexusState::kShuttingDown && !children_left_);
}

Task<Nexus::Retirement> Nexus::retire_in_turn(ChildPtr child, ChildState state, FaultReason reason, bool lost) {
  if (!may_retire() || child->state != ChildState::kOpen) co_return Retirement::kAlready;
  const bool last = child->healthy() && num_healthy() == 1;
  if (last && !lost) co_return Retirement::kKept;

  log::warn("nexus {}: child {} is {}, {}{}", name(), child->uri, to_text(state), to_text(reason),
            last ? ": the last one, I/O waits" : "");
  const bool was_in_sync = child->in_sync;
  child->state = state;
  child->reason = reason;
  child->fault_time = home().now();
  if (child->in_sync) copy_watch_.note_departure();
  child->in_sync = false;
  child->leaving = true;
  if (child->job != nullptr) child->job->abandon();
  if (last) {
    // The record goes on saying that it is healthy: it has everything that was ever acknowledged.
    frozen_ = true;
    mode_ = PortMode::kFrozen;
    child->role = SlotRole::kAway;
    co_await publish();
  } else if (!co_await take_out(child, was_in_sync)) {
    co_return Retirement::kRetired;
  }
  close_in_background(child);
  co_return Retirement::kRetired;
}

Task<bool> Nexus::take_out(ChildPtr child, bool logged) {
  taking_out_ = true;
  const bool taken = co_await take_out_in_turn(std::move(child), logged);
  taking_out_ = false;
  co_return taken;
}

Task<bool> Nexus::take_out_in_turn(ChildPtr child, bool logged) {
  child->map = logged && options_.partial_rebuild ? make_map() : nullptr;
  child->role = SlotRole::kRetiring;
  co_await publish();
  if (child->state != ChildState::kOpen) end_remote_io(*child);
  // All ports write down by themselves what comes from now on.
  if (child->map != nullptr && unflushed_ != nullptr && !seeded(SeededBug::kForgetUnflushed)) {
    unflushed_->copy_to(*child->map);
  }
  if (child->map != nullptr && resync_ != nullptr) resync_->unequal().map().copy_to(*child->map);
  if (child->recorded_healthy && !seeded(SeededBug::kSkipRecord)) {
    child->recorded_healthy = false;
    if (auto saved = co_await save(false); !saved) {
      co_await self_shutdown(saved.error().to_string());
      co_return false;
    }
  }
  if (log_ != nullptr && logged && !co_await log_->leave(child->slot, options_.store == nullptr)) {
    co_await self_shutdown(fmt::format("nobody could be told that child {} has left", child->uri));
    co_return false;
  }
  if (fenced_) {
    co_await self_shutdown("another host has reserved a child");
    co_return false;
  }
  child->role = SlotRole::kAway;
  co_await publish();
  update_capabilities();
  co_return true;
}

// What it keeps, and does not answer, is given back: reads go on elsewhere while the record waits for the store.
void Nexus::end_remote_io(Child& child) {
  auto remote = std::dynamic_pointer_cast<nvmf::host::NvmeDevice>(child.device);
  if (remote == nullptr || !child.uri.starts_with("nvmf") || remote->removed()) return;
  child.ending_io = true;
  child.unlink();
  remote->announce_removal();
  run_in_background("end I/O of child",
                    [remote = std::move(remote)](Nexus&) -> Task<> { co_await remote->abort_io(); });
}

// In a task of its own: that of the device may be cancelled, and a change of health must not end half-way.
Task<Result<>> Nexus::look_at_reconnected(std::shared_ptr<Nexus> nexus, ChildPtr child, bool cache_lost) {
  if (nexus == nullptr || child == nullptr) co_return fail(Code::kCancelled, "the nexus is gone");
  struct Look {
    Result<> result;
    runtime::Event ended;
  };
  const auto look = std::make_shared<Look>();
  nexus->run_in_background("look at child", [child, cache_lost, look](Nexus& owner) -> Task<> {
    look->result = co_await owner.on_reconnected(child, cache_lost);
    look->ended.set();
  });
  nexus.reset();
  child.reset();
  if (auto waited = co_await look->ended.wait(); !waited) co_return fail(waited.error());
  co_return look->result;
}

// Its engine may have been started anew, and then it may not know any more whose it is; nor have what it had
// acknowledged since the last flush, if it was the node.
Task<Result<>> Nexus::on_reconnected(ChildPtr child, bool cache_lost) {
  if (auto renewed = co_await renew_reservation(child); !renewed) co_return renewed;
  if (child->has_left()) co_return fail(Code::kCancelled, "the child has left");
  if (!cache_lost || seeded(SeededBug::kTrustReconnected)) co_return Result<>{};
  if (state_ == NexusState::kInit) {
    child->lost_early = true;
    co_return Result<>{};
  }
  co_return co_await restore_after_loss(child);
}

// Of a child whose node was started anew, or may have been.
Task<Result<>> Nexus::restore_after_loss(ChildPtr child) {
  if (child->has_left()) co_return fail(Code::kCancelled, "the child has left");
  if (!child->device->has_volatile_cache() || unflushed_ == nullptr) co_return Result<>{};
  // Who takes another child out may be waiting for this one. Roles are not changed here, nor is anybody promoted there.
  if (taking_out_ && child->healthy() && num_healthy() == 1) {
    co_await distrust_copies_of_last();
    co_return Result<>{};
  }
  const auto guard = co_await health_.lock();
  if (!guard || state_ != NexusState::kOpen || child->has_left())
    co_return fail(Code::kCancelled, "the child has left");
  co_await restore_lost_writes(child);
  co_return Result<>{};
}

// Nobody has anything better than the last healthy child. What was copied from it may be newer than what it has now,
// and so may be what others have of writes that are still under way; those first, for they are noted as unflushed when
// they end.
Task<> Nexus::distrust_copies_of_last() {
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(), [&port] { return port->log_under_way(); });
  }
  for (const ChildPtr& other : children_) {
    if (other->map != nullptr) unflushed_->copy_to(*other->map);
  }
}

// It is made equal to the others before it is read again. It stays open; its I/O waits in its device meanwhile.
Task<> Nexus::restore_lost_writes(ChildPtr child) {
  if (!child->healthy()) {
    // What was copied to it may be gone.
    if (child->job != nullptr) {
      child->job->abandon();
    } else if (child->map != nullptr) {
      child->map->set_all();
    }
    co_return;
  }
  if (num_healthy() == 1) {
    co_await distrust_copies_of_last();
    co_return;
  }
  log::warn("nexus {}: child {} was away for a moment, what it may have lost is copied again", name(), child->uri);
  copy_watch_.note_departure();
  child->in_sync = false;
  if (!co_await take_out(child, true)) co_return;
  run_in_background("rebuild child", [child](Nexus& nexus) -> Task<> {
    if (child->state != ChildState::kOpen || nexus.state_ != NexusState::kOpen) co_return;
    if (nexus.log_ != nullptr) co_await nexus.log_->drop(child->slot);
    co_await nexus.rebuild_or_retire(child);
  });
}

void Nexus::retire_in_background(ChildPtr child, ChildState state, FaultReason reason) {
  run_in_background("retire child", [child, state, reason](Nexus& nexus) -> Task<> {
    co_await nexus.retire(child, state, reason, true);
  });
}

void Nexus::on_device_removed(Child& child) {
  if (const ChildPtr self = child_in(child.slot); self != nullptr) {
    retire_in_background(self, ChildState::kClosed, FaultReason::kUnknown);
  }
}

// It is retired when something waits for it, now or later, and another one is healthy: by the ports, the write-intent
// log, or here. Otherwise it may come back, within the retry window of the device.
void Nexus::on_child_unreachable(Child& child) {
  const ChildPtr self = child_in(child.slot);
  if (self == nullptr || state_ != NexusState::kOpen) return;
  log::warn("nexus {}: child {} cannot be reached", name(), child.uri);
  // Copiers hold locks.
  const bool copied = resync_ != nullptr || (scrub_ != nullptr && !scrub_->ended()) ||
                      std::ranges::any_of(children_, [&](const ChildPtr& other) {
                        return other->job != nullptr && (other == self || other->job->source_uri() == self->uri);
                      });
  run_in_background("unreachable child", [self, copied](Nexus& nexus) -> Task<> {
    if (nexus.log_ != nullptr) nexus.log_->look_for_unreachable();
    for (const auto& port : nexus.ports_) {
      co_await call_on(port->reactor(), [&port] { return port->look_for_unreachable(); });
    }
    if (copied) co_await nexus.retire(self, ChildState::kFaulted, FaultReason::kIoError, false);
  });
}

void Nexus::look_for_unreachable() {
  for (const ChildPtr& child : children_) {
    if (child->device != nullptr && child->device->unreachable()) on_child_unreachable(*child);
  }
}

void Nexus::on_child_failed(NexusPort& port, size_t slot, ChildFailure failure) {
  const ChildPtr child = child_in(slot);
  if (child == nullptr) {
    port.answer(slot, false);
    return;
  }
  run_in_background("retire child", [child, failure, &port, slot](Nexus& nexus) {
    return nexus.retire_and_answer(child, failure, port, slot);
  });
}

Task<> Nexus::retire_and_answer(ChildPtr child, ChildFailure failure, NexusPort& port, size_t slot) {
  const Retirement retired = co_await retire(child, ChildState::kFaulted, failure.reason, failure.lost);
  port.answer(slot, retired == Retirement::kKept);
}

nvme::Status Nexus::closed_status() const {
  return nvme::Status::generic(fenced_ ? nvme::GenericStatus::kReservationConflict
                                       : nvme::GenericStatus::kInternalError);
}

Task<uint32_t> Nexus::publish() {
  PortView view;
  view.mode = mode_ == PortMode::kFrozen && waiting_fails_ ? PortMode::kClosed : mode_;
  view.closed_status = closed_status();
  view.unflushed = unflushed_;
  view.unequal = unequal_;
  for (const ChildPtr& child : children_) {
    view.slots[child->slot] = {.role = child->role, .local = child->local, .device = child->device, .log = child->map};
  }
  uint32_t failed = 0;
  for (const auto& port : ports_) {
    failed |= co_await call_on(port->reactor(), [&port, &view] { return port->apply(view); });
  }
  if (failed != 0 && state_ == NexusState::kOpen) {
    for (const ChildPtr& child : children_) {
      if ((failed >> child->slot & 1) != 0) retire_in_background(child, ChildState::kFaulted, FaultReason::kCantOpen);
    }
  }
  co_return failed;
}

Task<Result<>> Nexus::save(bool clean_shutdown) {
  if (options_.store == nullptr) co_return Result<>{};
  HealthRecord record{.clean_shutdown = clean_shutdown, .children = {}};
  for (const ChildPtr& child : children_) record.children.push_back({child->uuid, child->recorded_healthy});
  const TimePoint begin = home().now();
  Result<> saved;
  for (unsigned attempt = 1;; ++attempt) {
    saved = co_await options_.store->save(request_.health_key, record);
    if (saved || attempt == options_.save_attempts) break;
    if (attempt == 1 || attempt % kAttemptsBetweenWarnings == 0) {
      log::warn("nexus {}: its state cannot be saved, attempt {}: {}", name(), attempt, saved.error().to_string());
    }
    // Nobody waits any more for what a nexus that is being ended has not acknowledged; that it was clean is good to
    // know, but not needed.
    if (clean_shutdown ? home().now() - begin >= kCleanSavePatience : state_ == NexusState::kShuttingDown || fenced_) {
      break;
    }
    if (auto slept = co_await runtime::sleep_for(options_.save_pause); !slept) break;
  }
  co_return saved;
}

Task<> Nexus::self_shutdown(std::string why) {
  if (state_ != NexusState::kOpen) co_return;
  log::error("nexus {} shuts itself down: {}", name(), why);
  state_ = NexusState::kShuttingDown;
  if (log_ != nullptr) log_->halt(closed_status());
  co_await leave_children(PortMode::kClosed);
  run_in_background("shut down", [](Nexus& nexus) -> Task<> {
    co_await nexus.close_children();
    for (const ChildPtr& child : nexus.children_) {
      if (child->state == ChildState::kOpen) child->state = ChildState::kClosed;
    }
    if (nexus.state_ == NexusState::kShuttingDown) nexus.state_ = NexusState::kShutdown;
  });
}

// ---- Another host has reserved a child ----

// The one who did it has replaced this nexus. It believes that its children have all that was acknowledged, so this one
// may acknowledge nothing more; a retirement that is under way acknowledges nothing either.
void Nexus::on_conflict(const std::string& uri) {
  if (fenced_) return;
  fenced_ = true;
  run_in_background("shut down", [uri](Nexus& nexus) -> Task<> {
    const auto guard = co_await nexus.health_.lock();
    if (guard) co_await nexus.self_shutdown(fmt::format("another host has reserved child {}", uri));
  });
}

void Nexus::on_child_conflict(size_t slot) {
  const ChildPtr child = child_in(slot);
  on_conflict(child != nullptr ? child->uri : "");
}

// ---- A bad range of a child that is healthy otherwise ----

void Nexus::on_bad_blocks(size_t slot, uint64_t lba, uint64_t num_blocks) {
  const ChildPtr child = child_in(slot);
  if (child == nullptr || !child->healthy() || child->repairing) return;  // the next read tells again
  child->repairing = true;
  run_in_background("repair blocks", [child, lba, num_blocks](Nexus& nexus) -> Task<> {
    co_await nexus.repair(child, lba, num_blocks);
    child->repairing = false;
  });
}

}  // namespace cairn::nexus
