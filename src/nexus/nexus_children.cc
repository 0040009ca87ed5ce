// Adding, removing and bringing back children.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/seeded_bug.h"
#include "nexus/bounded_flush.h"
#include "nexus/geometry.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "nvmf/host/nvme_device.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

namespace {

constexpr std::string_view kClaim = "NEXUS_CAS_MODULE";
constexpr Duration kClosePatience =
    std::chrono::seconds(20);  // with a device that is being closed: settling takes 11 s
constexpr Duration kFlushAgainLimit = std::chrono::seconds(1);

std::string uuid_in(const std::string& uri) {
  const auto parsed = block::Uri::parse(uri);
  if (!parsed) return {};
  for (const auto& [key, value] : parsed->query()) {
    if (key == "uuid") return value;
  }
  return {};
}

}  // namespace

// `child->device` is there. Afterwards the child is open, but no I/O goes to it before the next publish().
Task<Result<>> Nexus::attach(ChildPtr child, bool in_sync) {
  child->uuid = uuid_in(child->uri);
  if (options_.store != nullptr && child->uuid.empty()) {
    co_return fail(nexus_error::invalid_arguments(
        name(), fmt::format("the URI of child {} has no \"uuid=\", which its health is kept under", child->uri)));
  }
  const std::shared_ptr<block::Device> device = child->device;
  if (auto claimed = device->claim(std::string(kClaim)); !claimed) co_return claimed;
  for (const ChildPtr& other : children_) {
    // By two ways, or two copies of one disk: health and log could not tell the one from the other.
    if (other == child || other->state == ChildState::kInit) continue;
    if (child->log_uuid().is_nil() || other->log_uuid() != child->log_uuid()) continue;
    device->release_claim();
    co_return fail(nexus_error::invalid_arguments(
        name(), fmt::format("child {} has the UUID of child {}", child->uri, other->uri)));
  }
  auto reserved = co_await reserve_child(*child);
  // A nexus that shut itself down meanwhile has closed the child, and given back the claim.
  if (child->closing || child->device != device)
    co_return fail(nexus_error::operation_not_allowed("Nexus is shutdown"));
  if (!reserved) {
    device->release_claim();
    co_return reserved;
  }
  child->local = child->device->driver_name() != "nvme";
  child->state = ChildState::kOpen;
  child->reason = FaultReason::kUnknown;
  child->in_sync = in_sync;
  child->role = in_sync ? SlotRole::kReader : SlotRole::kAway;
  child->device->add_listener(*child);
  if (auto* remote = dynamic_cast<nvmf::host::NvmeDevice*>(child->device.get()); remote != nullptr) {
    remote->set_reconnect_hook([nexus = weak_from_this(), its = std::weak_ptr<Child>(child)](bool cache_lost) {
      return look_at_reconnected(std::static_pointer_cast<Nexus>(nexus.lock()), its.lock(), cache_lost);
    });
  }
  co_return Result<>{};
}

// Whatever I/O the child has comes back first. Its state stays.
Task<> Nexus::close_child(ChildPtr child) {
  while (child->closing) static_cast<void>(co_await child->closed.wait_uninterrupted());
  if (child->device == nullptr) co_return;
  child->closing = true;
  const bool was_removed = child->device->removed() && !std::exchange(child->ending_io, false);
  const bool was_claimed = child->state != ChildState::kInit && child->state != ChildState::kConfigInvalid;
  // It was there before, and has another user: a URI may ask for a change of a device that exists.
  const bool is_anothers = !was_claimed && child->device->claimed_by() && !child->uri.starts_with("bdev:");
  child->unlink();
  if (child->job != nullptr) child->job->abandon();
  for (const ChildPtr& other : children_) {
    if (other->job != nullptr) other->job->drop_source(child->uri);
  }
  if (resync_ != nullptr) resync_->drop_child(child->uri);
  if (scrub_ != nullptr) scrub_->drop_child(child->uri);
  // A remote child may keep I/O for long: ending its connections gives it back. What it was sent must not be written
  // after the child has come back, so this also waits until its controllers have come to an end.
  if (auto* remote = dynamic_cast<nvmf::host::NvmeDevice*>(child->device.get());
      remote != nullptr && child->uri.starts_with("nvmf") && !was_removed && !is_anothers) {
    remote->announce_removal();
    co_await remote->abort_io();
  }
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(), [&port, &child] { return port->close_slot(child->slot); });
  }
  if (child->job != nullptr) static_cast<void>(co_await child->job->wait_ended());
  co_await copy_watch_.writes_ended(*child->device);
  if (log_ != nullptr) co_await log_->drop(child->slot);
  if (was_claimed) {
    if (auto* remote = dynamic_cast<nvmf::host::NvmeDevice*>(child->device.get()); remote != nullptr) {
      remote->set_reconnect_hook(nullptr);
    }
    child->device->release_claim();
  }
  child->device.reset();
  // Also when it was removed before: a namespace that is gone announces that itself, and nobody else takes it from the
  // registry. When somebody does, that goes on by itself.
  if (!is_anothers) {
    auto gone = co_await devices_.destroy(child->uri);
    if (!gone && !was_removed) log::warn("nexus {}: child {}: {}", name(), child->uri, gone.error().to_string());
  }
  child->closing = false;
  child->closed.pulse();
}

// All at the same time: those that do not answer are waited for once.
Task<> Nexus::close_children() {
  const std::vector<ChildPtr> all = children_;
  for (const ChildPtr& child : all) {
    run_in_background("close child", [child](Nexus& nexus) { return nexus.close_child(child); });
  }
  for (const ChildPtr& child : all) co_await close_child(child);
}

void Nexus::close_in_background(ChildPtr child) {
  run_in_background("close child", [child](Nexus& nexus) -> Task<> {
    co_await nexus.close_child(child);
    child->leaving = false;
    child->closed.pulse();
  });
}

bool Nexus::Child::is_connected() const {
  const auto* remote = dynamic_cast<const nvmf::host::NvmeDevice*>(device.get());
  return device != nullptr && (remote == nullptr || remote->is_connected());
}

// Whether it may go although nothing is wrong with it: another healthy one is sure to have what was acknowledged. One
// that cannot be reached is not; nor is one whose node may have lost power a moment ago, which nobody knows before it
// has flushed.
Task<bool> Nexus::is_replaced(ChildPtr child, Duration limit) {
  if (!child->healthy()) co_return true;
  const std::vector<ChildPtr> others = children_;
  for (const ChildPtr& other : others) {
    auto is_there = [&] { return other->healthy() && other->is_connected(); };
    if (other == child || !is_there()) continue;
    if (!other->device->has_volatile_cache()) co_return true;
    // It may have come back meanwhile, without its cache.
    if (co_await flush_child(other, limit) && is_there()) co_return true;
  }
  co_return false;
}

Task<bool> Nexus::flush_child(ChildPtr child, Duration limit) {
  const auto flush = std::make_shared<BoundedFlush>();
  run_in_background("flush child", [device = child->device, flush](Nexus&) mutable {
    return BoundedFlush::run(flush, std::move(device));
  });
  const nvme::Status flushed = co_await flush->wait(limit);
  if (failure_of(flushed).conflict) on_conflict(child->uri);
  co_return flushed.is_success();
}

Task<Result<>> Nexus::retire_by_hand(ChildPtr child, FaultReason reason) {
  Retirement retired = Retirement::kKept;
  if (co_await is_replaced(child, options_.child_timeout)) {
    const auto guard = co_await health_.lock();
    if (!guard) co_return fail(guard.error());
    // Whoever had the lock may have taken long. Not much can be left to flush, and others wait for it now.
    if (co_await is_replaced(child, kFlushAgainLimit)) {
      retired = co_await retire_in_turn(child, ChildState::kFaulted, reason, false);
    }
  }
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  if (retired == Retirement::kKept) co_return fail(nexus_error::remove_last_healthy_child(name(), child->uri));
  co_return Result<>{};
}

// By this URI, or by another one of the same device.
bool Nexus::is_child(const std::string& uri) const {
  if (find_child(uri) != nullptr) return true;
  const auto named = devices_.device_name(uri);
  const auto device = named ? devices_.find(*named) : nullptr;
  return device != nullptr && std::ranges::find(children_, device, &Child::device) != children_.end();
}

Task<Result<>> Nexus::add_child(std::string uri, bool rebuild) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  if (is_child(uri)) co_return fail(nexus_error::child_already_exists(name(), uri));
  if (children_.size() == kMaxChildren) {
    co_return fail(nexus_error::invalid_arguments(name(), fmt::format("it has {} children already", kMaxChildren)));
  }
  auto device = co_await devices_.create(uri);
  if (!device) co_return fail(nexus_error::create_child(name(), std::move(device.error())));
  std::optional<Error> problem;
  const auto end = data_end((*device)->num_blocks(), block_size(), request_.size_bytes);
  size_t slot = 0;
  while (child_in(slot) != nullptr) ++slot;
  auto child = std::make_shared<Child>(*this, uri, slot);
  child->device = std::move(*device);
  if (auto allowed = check_operation(); !allowed) {
    problem = std::move(allowed.error());  // it took a while to connect
  } else if (child->device->block_size() != block_size() || !end || *end < data_start_ + num_blocks()) {
    problem = nexus_error::child_geometry(name(), uri);
  } else if (auto attached = co_await attach(child, false); !attached) {
    problem = nexus_error::open_child(name(), uri, std::move(attached.error()));
  } else {
    if (log_ != nullptr) {
      if (auto member = co_await log_member(child); member) {
        child->log_image = std::make_unique<LogImage>(std::move(member->image));
        child->map = make_map();
      }
    }
    const auto guard = co_await health_.lock();
    if (!guard) {
      problem = guard.error();
    } else if (auto allowed = check_operation(); !allowed) {
      problem = std::move(allowed.error());
    } else {
      children_.push_back(child);
      if (auto saved = co_await save(false); !saved) {
        std::erase(children_, child);
        problem = nexus_error::save_state(name(), std::move(saved.error()));
      } else {
        co_await publish();
        if (child->log_image != nullptr) fill_map(*child);
        // Nobody heard it.
        if (child->device->removed()) retire_in_background(child, ChildState::kClosed, FaultReason::kUnknown);
      }
    }
  }
  if (problem) {
    co_await close_child(child);
    co_return fail(std::move(*problem));
  }
  update_capabilities();
  if (!rebuild) co_return Result<>{};
  co_await rebuild_or_retire(child);
  co_return Result<>{};
}

Task<Result<>> Nexus::remove_child(std::string uri) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  const ChildPtr child = find_child(uri);
  if (child == nullptr) co_return Result<>{};
  if (children_.size() == 1) co_return fail(nexus_error::remove_last_child(name(), uri));
  const Uuid log_uuid = child->log_uuid();  // it may be the device's
  if (auto retired = co_await retire_by_hand(child, FaultReason::kOffline); !retired) co_return retired;
  co_await close_child(child);
  const auto guard = co_await health_.lock();
  if (!guard) co_return fail(guard.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  std::erase(children_, child);
  if (auto saved = co_await save(false); !saved) {
    co_await self_shutdown(saved.error().to_string());
    co_return fail(nexus_error::save_state(name(), std::move(saved.error())));
  }
  co_await publish();
  if (log_ != nullptr) co_await log_->forget(log_uuid);
  update_capabilities();
  co_return Result<>{};
}

Task<Result<>> Nexus::fault_child(std::string uri, FaultReason reason) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  const ChildPtr child = find_child(uri);
  if (child == nullptr) co_return fail(nexus_error::child_not_found(name(), uri));
  co_return co_await retire_by_hand(child, reason);
}

Task<Result<>> Nexus::online_child(std::string uri) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  const ChildPtr child = find_child(uri);
  if (child == nullptr) co_return fail(nexus_error::child_not_found(name(), uri));
  if (child->state == ChildState::kOpen) co_return Result<>{};
  if (child->state == ChildState::kFaulted && !is_recoverable(child->reason)) {
    co_return fail(nexus_error::permanently_faulted());
  }
  {
    runtime::Deadline deadline(co_await runtime::current_context(), kClosePatience);
    while (child->closing || (child->leaving && !seeded(SeededBug::kOnlineLeavingChild))) {
      if (auto waited = co_await child->closed.wait(); !waited) {
        co_return fail(nexus_error::online_child(name(), uri, std::move(waited.error())));
      }
    }
  }
  auto device = co_await devices_.create(uri);
  if (!device) co_return fail(nexus_error::online_child(name(), uri, std::move(device.error())));
  const ChildState state_before = child->state;
  const FaultReason reason_before = child->reason;
  child->device = std::move(*device);
  const auto end = data_end(child->device->num_blocks(), block_size(), request_.size_bytes);
  std::optional<Error> problem;
  if (auto allowed = check_operation(); !allowed) {
    problem = std::move(allowed.error());  // it took a while to connect
    child->state = ChildState::kInit;      // nothing is claimed yet
  } else if (child->device->block_size() != block_size() || !end || *end < data_start_ + num_blocks()) {
    problem = nexus_error::child_geometry(name(), uri);
    child->state = ChildState::kInit;
  } else if (auto attached = co_await attach(child, false); !attached) {
    problem = std::move(attached.error());
    child->state = ChildState::kInit;
  }
  if (problem) {
    co_await close_child(child);
    child->state = state_before;
    child->reason = reason_before;
    co_return fail(nexus_error::online_child(name(), uri, std::move(*problem)));
  }
  update_capabilities();
  if (log_ != nullptr && child->map != nullptr && !co_await is_what_left(child)) child->map = nullptr;
  if (auto begun = co_await begin_rebuild(child); !begun) {
    co_await retire(child, ChildState::kFaulted, FaultReason::kRebuildFailed, false);
    if (state_ != NexusState::kOpen) co_await close_child(child);
    co_return fail(nexus_error::online_child(name(), uri, std::move(begun.error())));
  }
  co_return Result<>{};
}

}  // namespace cairn::nexus
