// The write-intent log of a nexus: what it tells when the nexus is opened, and how children come and go.
#include <algorithm>
#include <bit>

#include "base/log.h"
#include "nexus/geometry.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

// The UUID of the replica, whichever way it is reached.
Uuid Nexus::Child::log_uuid() const {
  if (uuid.empty()) return device != nullptr ? device->uuid() : Uuid();
  const auto parsed = Uuid::parse(uuid);
  return parsed ? *parsed : Uuid::of_name(Uuid(), uuid);
}

std::shared_ptr<DirtyMap> Nexus::make_map() const {
  return std::make_shared<DirtyMap>(num_blocks(), static_cast<uint32_t>(kSegmentBytes / block_size()));
}

std::optional<IntentLogInfo> Nexus::intent_log() const {
  if (log_ == nullptr) return std::nullopt;
  return log_->info();
}

std::optional<ResyncStatistics> Nexus::resync_statistics() const {
  if (resync_ != nullptr) return resync_->statistics();
  return resynced_;
}

Task<Result<IntentLog::Member>> Nexus::log_member(ChildPtr child) {
  if (child->device == nullptr) co_return fail(Code::kUnavailable, "the child has gone");
  auto channel = co_await child->device->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  // By the UUID of the volume: whoever moves one makes a nexus with a UUID of its own.
  LogImage image = co_await read_log(**channel, uuid(), child->log_uuid());
  co_return IntentLog::Member{
      .slot = child->slot, .uuid = child->log_uuid(), .channel = std::move(*channel), .image = std::move(image)};
}

Task<Result<>> Nexus::make_logs_void() {
  for (const ChildPtr& child : children_) {
    if (child->log_uuid().is_nil()) continue;
    auto member = co_await log_member(child);
    if (!member) co_return fail(std::move(member.error()));
    auto done = co_await IntentLog::make_void(*member->channel, member->image, uuid(), member->uuid);
    if (!done) co_return done;
  }
  co_return Result<>{};
}

Task<Result<>> Nexus::open_log() {
  const bool all_named = std::ranges::none_of(children_, [](const auto& child) { return child->log_uuid().is_nil(); });
  if (!options_.intent_log.enabled || !all_named) co_return co_await make_logs_void();

  std::vector<Uuid> uuids;
  std::vector<IntentLog::Member> members;
  std::vector<LogImage> images;
  for (const ChildPtr& child : children_) {
    auto member = co_await log_member(child);
    if (!member) co_return fail(std::move(member.error()));
    uuids.push_back(member->uuid);
    images.push_back(member->image);
    members.push_back(std::move(*member));
  }
  LogGeometry geometry{.num_bytes = num_blocks() * block_size()};
  geometry.region_bytes =
      region_bytes_for(geometry.num_bytes, std::max(options_.intent_log.min_region_bytes, kSegmentBytes));
  geometry.num_regions = (geometry.num_bytes + geometry.region_bytes - 1) / geometry.region_bytes;
  uint64_t tag = 0;
  while (tag == 0) tag = home().random().next();
  LogState state = verdict_on(uuids, images, geometry, tag);
  for (size_t i = 0; i < children_.size(); ++i) {
    Child& child = *children_[i];
    if (state.find(uuids[i])->in_sync) continue;
    log::warn("nexus {}: child {} is not in sync, by the write-intent log", name(), child.uri);
    child.in_sync = false;
    child.role = SlotRole::kAway;
    child.log_image = std::make_unique<LogImage>(std::move(images[i]));
    child.map = make_map();
  }
  std::erase_if(members, [&](const auto& member) { return !state.find(member.uuid)->in_sync; });
  if (members.size() > 1 && state.intents.any()) {
    unequal_ = std::make_shared<UnequalMap>(num_blocks(), static_cast<uint32_t>(kSegmentBytes / block_size()));
    const uint64_t region_blocks = geometry.region_bytes / block_size();
    for (uint64_t region = state.intents.next(0); region < state.intents.size();
         region = state.intents.next(region + 1)) {
      const uint64_t lba = region * region_blocks;
      unequal_->map().set(lba, std::min(region_blocks, num_blocks() - lba));
    }
    log::info("nexus {}: {} of {} regions to be resynchronised", name(), state.intents.count(), geometry.num_regions);
  }
  log_ = std::make_unique<IntentLog>(static_cast<IntentLog::Owner&>(*this), ports_, uuid(), geometry, block_size(),
                                     num_blocks(), options_.child_timeout, options_.intent_log);
  const auto shift = static_cast<unsigned>(std::countr_zero(geometry.region_bytes / block_size()));
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(),
                     [&port, this, shift, &geometry] { return port->use_permits(*log_, shift, geometry.num_regions); });
  }
  co_return co_await log_->start(std::move(state), std::move(members));
}

// A replica that was made again or put back to an older state has its name and not its content. The log that it has
// itself tells.
// For no longer than it may keep an I/O.
Task<bool> Nexus::is_what_left(ChildPtr child) {
  struct Look {
    bool is_same = false;
    runtime::Event ended;
  };
  const auto look = std::make_shared<Look>();
  run_in_background("look at log", [child, look](Nexus& nexus) -> Task<> {
    if (const auto member = co_await nexus.log_member(child); member) {
      const LogState::Member* entry = nexus.log_->state().find(member->uuid);
      look->is_same = entry != nullptr && !entry->in_sync && was_last_in(*entry, member->image);
    }
    look->ended.set();
  });
  const runtime::Deadline deadline(co_await runtime::current_context(), options_.child_timeout);
  static_cast<void>(co_await look->ended.wait());
  co_return look->is_same;
}

void Nexus::fill_map(Child& child) {
  const std::unique_ptr<LogImage> image = std::move(child.log_image);
  const auto missed = missed_by(log_->state(), child.log_uuid(), *image, log_->geometry());
  if (!missed || !options_.partial_rebuild || child.map == nullptr || child.map->outgrown()) {
    child.map = nullptr;  // begin_rebuild() makes one that is all set
    return;
  }
  const uint64_t region_blocks = log_->geometry().region_bytes / block_size();
  for (uint64_t region = missed->next(0); region < missed->size(); region = missed->next(region + 1)) {
    const uint64_t lba = region * region_blocks;
    if (lba < num_blocks()) child.map->set(lba, std::min(region_blocks, num_blocks() - lba));
  }
}

void Nexus::begin_recovery() {
  if (unequal_ != nullptr) {
    resync_ = std::make_unique<Resync>(static_cast<Resync::Owner&>(*this), ports_, unequal_, num_blocks(), data_start_,
                                       block_size());
    resync_->start();
  }
  for (const ChildPtr& child : children_) {
    if (child->log_image == nullptr) continue;
    fill_map(*child);
    run_in_background("rebuild", [child](Nexus& nexus) -> Task<> { co_await nexus.rebuild_or_retire(child); });
  }
}

// With the hosts' I/O still going on: what is in flight stays an intent.
Task<> Nexus::close_log() {
  if (resync_ != nullptr) co_await resync_->stop();
  if (log_ != nullptr) co_await log_->settle();
}

void Nexus::on_log_failed(size_t slot, ChildFailure failure) {
  const ChildPtr child = child_in(slot);
  if (child == nullptr) return;
  if (failure.conflict) {
    on_conflict(child->uri);
    return;
  }
  // The log is there, and cleans up by itself, before the record is saved.
  if (state_ == NexusState::kInit) {
    early_log_failures_.emplace_back(slot, failure);
    return;
  }
  run_in_background("retire child", [child, failure](Nexus& nexus) -> Task<> {
    const Retirement retired = co_await nexus.retire(child, ChildState::kFaulted, failure.reason, failure.lost);
    if (retired == Retirement::kKept) nexus.log_->kept(child->slot);
  });
}

void Nexus::keep_intents(RegionMap& idle) {
  if (unequal_ == nullptr) return;
  const DirtyMap& map = unequal_->map();
  const uint64_t region_blocks = log_->geometry().region_bytes / block_size();
  RegionMap unequal(idle.size());
  for (uint64_t segment = map.next(0); segment < map.num_segments(); segment = map.next(segment + 1)) {
    unequal.set(segment * map.segment_blocks() / region_blocks);
  }
  idle.remove(unequal);
}

Task<bool> Nexus::on_resync_failed(std::string uri, nvme::Status status) {
  log::warn("nexus {}: resynchronisation: child {}: {}", name(), uri, status.to_string());
  const ChildPtr child = find_child(uri);
  if (child == nullptr) co_return true;
  const ChildFailure failure = failure_of(status);
  if (failure.conflict) {
    on_conflict(uri);
    co_return false;
  }
  co_await retire(child, ChildState::kFaulted, failure.reason, failure.lost);
  co_return !child->healthy();
}

void Nexus::on_resync_copies(uint64_t lba, uint64_t num_blocks) {
  if (unflushed_ != nullptr) unflushed_->note(lba, num_blocks);
  for (const ChildPtr& child : children_) {
    if (!child->healthy() && child->map != nullptr) child->map->set(lba, num_blocks);
  }
}

void Nexus::on_resync_ended() {
  run_in_background("end resync", [](Nexus& nexus) -> Task<> {
    const auto guard = co_await nexus.health_.lock();
    if (!guard || nexus.state_ != NexusState::kOpen) co_return;
    nexus.resynced_ = nexus.resync_->statistics();
    log::info("nexus {}: resynchronised, {} of {} segments differed", nexus.name(), nexus.resynced_->segments_copied,
              nexus.resynced_->segments_total);
    nexus.unequal_ = nullptr;
    co_await nexus.publish();
    nexus.resync_ = nullptr;
  });
}

}  // namespace cairn::nexus
