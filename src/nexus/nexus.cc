#include "nexus/nexus.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "nexus/geometry.h"
#include "nexus/nexus_error.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::IoType;
using runtime::Task;

namespace {

constexpr uint16_t kMaxCntlid = 0xffef;

Result<> check_parameters(const NexusRequest& request) {
  const NvmeParameters& nvme = request.nvme;
  auto invalid = [&](std::string_view why) { return fail(nexus_error::invalid_arguments(request.name, why)); };
  if (nvme.min_cntlid < 1 || nvme.min_cntlid > nvme.max_cntlid || nvme.max_cntlid > kMaxCntlid) {
    return fail(nexus_error::invalid_cntlid_range(request.name, nvme.min_cntlid, nvme.max_cntlid));
  }
  const bool reserves = nvme.reservation_key != 0 || nvme.preempt_key != 0 || nvme.preempt_holder;
  if (reserves && (nvme.reservation_key == 0 || (nvme.preempt_holder && nvme.preempt_key != 0))) {
    return invalid("invalid NVMe reservation parameters");
  }
  if (request.children.size() > kMaxChildren) {
    return invalid(fmt::format("{} children, at most {} are possible", request.children.size(), kMaxChildren));
  }
  return {};
}

Uuid device_uuid(const NexusRequest& request) {
  const auto named = Uuid::parse(request.name);
  return named ? *named : request.uuid;
}

}  // namespace

Task<Result<std::shared_ptr<Nexus>>> Nexus::create(block::Registry& devices, const NexusOptions& options,
                                                   NexusRequest request) {
  if (auto checked = check_parameters(request); !checked) co_return fail(std::move(checked.error()));
  if (request.children.empty()) co_return fail(nexus_error::create(request.name, "it has no children"));
  if (request.health_key.empty()) request.health_key = request.uuid.to_string();

  std::vector<std::shared_ptr<block::Device>> made;
  std::optional<Error> problem;
  for (const std::string& uri : request.children) {
    auto device = co_await devices.create(uri);
    if (!device) {
      problem = nexus_error::create_child(request.name, std::move(device.error()));
      break;
    }
    made.push_back(std::move(*device));
  }
  block::Geometry geometry;
  if (!problem) {
    geometry.block_size = made.front()->block_size();
    for (const auto& device : made) {
      geometry.physical_block_size = std::max(geometry.physical_block_size, device->physical_block_size());
      if (device->block_size() != geometry.block_size) problem = nexus_error::mixed_block_sizes(request.name);
    }
  }
  std::shared_ptr<Nexus> nexus;
  if (!problem) {
    const uint64_t start = data_start(geometry.block_size);
    geometry.num_blocks = std::numeric_limits<uint64_t>::max();
    for (size_t i = 0; i < made.size(); ++i) {
      const auto end = data_end(made[i]->num_blocks(), geometry.block_size, request.size_bytes);
      if (!end || *end == start) {
        problem = nexus_error::child_too_small(request.name, request.children[i], made[i]->num_blocks(),
                                               geometry.block_size, request.size_bytes / geometry.block_size);
        break;
      }
      geometry.num_blocks = std::min(geometry.num_blocks, *end - start);
    }
  }
  if (!problem) {
    nexus = std::make_shared<Nexus>(devices, options, request, geometry);
    std::vector<ChildPtr> children;
    for (size_t i = 0; i < made.size(); ++i) {
      auto child = std::make_shared<Child>(*nexus, request.children[i], i);
      child->device = made[i];
      children.push_back(std::move(child));
    }
    made.clear();
    if (auto opened = co_await nexus->open(std::move(children)); !opened) {
      problem = std::move(opened.error());
      co_await nexus->close();
    }
    if (!problem) co_return nexus;
    co_return fail(std::move(*problem));
  }
  std::vector<std::string> ours;
  for (size_t i = 0; i < made.size(); ++i) {
    if (!made[i]->claimed_by() || request.children[i].starts_with("bdev:")) ours.push_back(request.children[i]);
  }
  made.clear();
  for (const std::string& uri : ours) {
    if (auto gone = co_await devices.destroy(uri); !gone) log::warn("{}", gone.error().to_string());
  }
  co_return fail(std::move(*problem));
}

Nexus::Nexus(block::Registry& devices, const NexusOptions& options, NexusRequest request,
             const block::Geometry& geometry)
    : Device({.name = request.name,
              .uuid = device_uuid(request),
              .product_name = "Nexus CAS Driver v0.0.1",
              .driver_name = "NEXUS_CAS_MODULE"},
             geometry),
      devices_(devices),
      options_(options),
      request_(std::move(request)),
      data_start_(nexus::data_start(geometry.block_size)),
      copy_watch_(options_.child_timeout, [this](const block::Device& device) { on_copy_slow(device); }),
      rebuild_limits_(options_.rebuild.limits) {
  CAIRN_CHECK(options_.first_zeroing_bytes > 0 && options_.first_zeroing_bytes % geometry.block_size == 0);
  for (runtime::Reactor* reactor : options_.reactors) {
    ports_.push_back(std::make_unique<NexusPort>(static_cast<NexusPort::Home&>(*this), *reactor, data_start_,
                                                 options_.child_timeout, options_.first_zeroing_bytes));
  }
}

Nexus::~Nexus() {
  CAIRN_CHECK(state_ == NexusState::kClosed || state_ == NexusState::kShutdown || abandoning());
}

// Takes the children over, also when it fails: close() follows then.
Task<Result<>> Nexus::open(std::vector<ChildPtr> children) {
  children_ = std::move(children);
  for (const ChildPtr& child : children_) {
    const uint64_t required = request_.size_bytes / block_size() + (request_.size_bytes % block_size() != 0 ? 1 : 0);
    if (child->device->num_blocks() < required) {
      const Error small =
          nexus_error::child_too_small(name(), child->uri, child->device->num_blocks(), block_size(), required);
      child->state = ChildState::kConfigInvalid;
      co_return fail(nexus_error::create(name(), small.message()));
    }
    if (auto attached = co_await attach(child, true); !attached) {
      if (attached.error().code() == Code::kInvalidArgument) co_return attached;
      co_return fail(nexus_error::create(name(), attached.error().to_string()));
    }
  }
  if (auto logged = co_await open_log(); !logged)
    co_return fail(nexus_error::create(name(), logged.error().to_string()));
  for (const ChildPtr& child : children_) child->recorded_healthy = child->in_sync;
  update_capabilities();
  note_unflushed_before();
  if (const uint32_t failed = co_await publish(); failed != 0) {
    co_return fail(nexus_error::create(name(), "a child cannot be opened"));
  }
  if (auto saved = co_await save(false); !saved) co_return fail(nexus_error::save_state(name(), saved.error()));
  if (fenced_) co_return fail(nexus_error::create(name(), "another host has reserved a child"));
  state_ = NexusState::kOpen;
  for (const ChildPtr& child : children_) {
    if (child->device->removed()) on_device_removed(*child);  // nobody heard it
  }
  for (const ChildPtr& child : std::vector(children_)) {
    if (!std::exchange(child->lost_early, false)) continue;
    const auto restored = co_await restore_after_loss(child);
    if (state_ != NexusState::kOpen) break;
    if (!restored && !child->has_left()) co_return fail(nexus_error::create(name(), restored.error().to_string()));
  }
  if (state_ != NexusState::kOpen) co_return fail(nexus_error::create(name(), "it had to shut itself down"));
  log::info("nexus {}: {} children, {} blocks of {} bytes", name(), children_.size(), num_blocks(), block_size());
  begin_recovery();
  for (const auto& [slot, failure] : std::exchange(early_log_failures_, {})) on_log_failed(slot, failure);
  look_for_unreachable();
  co_return Result<>{};
}

std::string Nexus::nqn() const {
  return fmt::format("nqn.2019-05.io.openebs:{}", name());
}

NexusStatus Nexus::status() const {
  switch (state_) {
    case NexusState::kInit:
      return NexusStatus::kDegraded;
    case NexusState::kShuttingDown:
      return NexusStatus::kShuttingDown;
    case NexusState::kShutdown:
      return NexusStatus::kShutdown;
    case NexusState::kClosed:
      return NexusStatus::kFaulted;
    case NexusState::kOpen:
    case NexusState::kReconfiguring:
      break;
  }
  const size_t healthy = num_healthy();
  if (healthy == 0) return NexusStatus::kFaulted;
  return healthy == children_.size() ? NexusStatus::kOnline : NexusStatus::kDegraded;
}

std::vector<ChildInfo> Nexus::children() const {
  std::vector<ChildInfo> infos;
  for (const ChildPtr& child : children_) {
    ChildInfo info{.uri = child->uri,
                   .device_name = child->device != nullptr ? child->device->name() : "",
                   .state = child->state,
                   .reason = child->reason,
                   .in_sync = child->in_sync,
                   .faulting = child->state == ChildState::kFaulted && (child->closing || child->leaving),
                   .rebuild_progress = {},
                   .fault_time = child->fault_time,
                   .has_log = child->role == SlotRole::kAway && child->map != nullptr};
    if (child->job != nullptr) info.rebuild_progress = child->job->statistics().progress;
    infos.push_back(std::move(info));
  }
  return infos;
}

size_t Nexus::num_rebuilds() const {
  return static_cast<size_t>(std::ranges::count_if(children_, [](const auto& child) { return child->job != nullptr; }));
}

size_t Nexus::num_healthy() const {
  return static_cast<size_t>(std::ranges::count_if(children_, [](const auto& child) { return child->healthy(); }));
}

Nexus::ChildPtr Nexus::find_child(const std::string& uri) const {
  const auto found =
      std::ranges::find(children_, uri, [](const auto& child) -> const std::string& { return child->uri; });
  return found == children_.end() ? nullptr : *found;
}

Nexus::ChildPtr Nexus::child_in(size_t slot) const {
  const auto found = std::ranges::find(children_, slot, [](const auto& child) { return child->slot; });
  return found == children_.end() ? nullptr : *found;
}

Result<> Nexus::check_operation() const {
  if (state_ == NexusState::kShuttingDown || state_ == NexusState::kShutdown || state_ == NexusState::kClosed) {
    return fail(nexus_error::operation_not_allowed("Nexus is shutdown"));
  }
  if (frozen_) return fail(nexus_error::operation_not_allowed("Nexus io subsystem is frozen"));
  return {};
}

void Nexus::update_capabilities() {
  // Flush and reset go to those that have them.
  uint32_t types = (1u << static_cast<unsigned>(IoType::kFlush)) | (1u << static_cast<unsigned>(IoType::kReset)) |
                   (1u << static_cast<unsigned>(IoType::kRead)) | (1u << static_cast<unsigned>(IoType::kWrite)) |
                   (1u << static_cast<unsigned>(IoType::kUnmap)) | (1u << static_cast<unsigned>(IoType::kWriteZeroes));
  bool cache = false;
  for (const ChildPtr& child : children_) {
    if (child->state != ChildState::kOpen || child->device == nullptr) continue;
    cache = cache || child->device->has_volatile_cache();
    for (const IoType type : {IoType::kUnmap, IoType::kWriteZeroes}) {
      if (!child->device->supports(type)) types &= ~(1u << static_cast<unsigned>(type));
    }
  }
  if (cache && unflushed_ == nullptr) {
    unflushed_ = std::make_shared<UnflushedMap>(num_blocks(), static_cast<uint32_t>(kSegmentBytes / block_size()));
  }
  supported_.store(types, std::memory_order_release);
  volatile_cache_.store(cache, std::memory_order_release);
}

// What the nexus before this one left in the caches of children is among its intents; without a log it is not known.
void Nexus::note_unflushed_before() {
  if (unflushed_ == nullptr || log_ == nullptr) return;
  const RegionMap& intents = log_->state().intents;
  const uint64_t region_blocks = log_->geometry().region_bytes / block_size();
  for (uint64_t region = intents.next(0); region < intents.size(); region = intents.next(region + 1)) {
    const uint64_t lba = region * region_blocks;
    unflushed_->note(lba, std::min(region_blocks, num_blocks() - lba));
  }
}

bool Nexus::supports_natively(IoType type) const {
  return (supported_.load(std::memory_order_acquire) >> static_cast<unsigned>(type) & 1) != 0;
}

Task<Result<std::unique_ptr<block::Channel>>> Nexus::make_channel() {
  const runtime::Reactor& here = runtime::Reactor::current();
  for (const auto& port : ports_) {
    if (&port->reactor() == &here) co_return std::make_unique<NexusChannel>(shared_from_this(), *port);
  }
  co_return fail(Code::kInternal, fmt::format("nexus {} has no port on reactor {}", name(), here.index()));
}

Task<Result<>> Nexus::resize(uint64_t size_bytes) {
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  if (auto allowed = check_operation(); !allowed) co_return allowed;
  if (size_bytes == request_.size_bytes) co_return Result<>{};
  if (size_bytes < request_.size_bytes) {
    co_return fail(nexus_error::resize(name(), "it can only grow"));
  }
  uint64_t blocks = std::numeric_limits<uint64_t>::max();
  for (const ChildPtr& child : children_) {
    if (child->device == nullptr) continue;  // away; checked when it comes back
    const auto end = data_end(child->device->num_blocks(), block_size(), size_bytes);
    if (!end || *end <= data_start_ + num_blocks()) {
      co_return fail(nexus_error::child_too_small(name(), child->uri, child->device->num_blocks(), block_size(),
                                                  size_bytes / block_size()));
    }
    blocks = std::min(blocks, *end - data_start_);
  }
  if (log_ != nullptr) {
    if (auto grown = co_await log_->grow(blocks); !grown) {
      co_return fail(nexus_error::resize(name(), grown.error().message()));
    }
  }
  auto rebuilt = co_await grow_maps(blocks);
  if (!rebuilt) co_return fail(std::move(rebuilt.error()));
  request_.size_bytes = size_bytes;
  set_num_blocks(blocks);
  if (scrub_ != nullptr) scrub_->grow(blocks);
  for (const StoppedRebuild& rebuild : *rebuilt) {
    co_await rebuild_or_retire(rebuild.child);
    if (rebuild.was_paused && rebuild.child->job != nullptr) static_cast<void>(rebuild.child->job->pause());
  }
  co_return Result<>{};
}

// What children that are not healthy have in the new blocks nobody knows. Gives the rebuilds that were stopped for it.
Task<Result<std::vector<Nexus::StoppedRebuild>>> Nexus::grow_maps(uint64_t blocks) {
  std::vector<StoppedRebuild> rebuilt;
  while (true) {
    const std::vector<ChildPtr> children = children_;
    for (const ChildPtr& child : children) {
      if (child->job == nullptr) continue;
      const RebuildState state = child->job->state();
      const bool is_known = std::ranges::find(rebuilt, child, &StoppedRebuild::child) != rebuilt.end();
      if (!is_known && state != RebuildState::kStopped) rebuilt.push_back({child, state == RebuildState::kPaused});
      static_cast<void>(child->job->stop());  // it may be over already
      static_cast<void>(co_await child->job->wait_ended());
    }
    const auto guard = co_await health_.lock();
    if (!guard) co_return fail(guard.error());
    if (auto allowed = check_operation(); !allowed) co_return fail(std::move(allowed.error()));
    if (num_rebuilds() > 0) continue;
    std::vector<std::pair<std::shared_ptr<DirtyMap>, std::shared_ptr<DirtyMap>>> grown;
    const auto segment_blocks = static_cast<uint32_t>(kSegmentBytes / block_size());
    for (const ChildPtr& child : children_) {
      if (child->map == nullptr) continue;
      grown.emplace_back(child->map, std::make_shared<DirtyMap>(blocks, segment_blocks));
      child->map = grown.back().second;
    }
    const std::shared_ptr<UnflushedMap> unflushed = unflushed_;
    if (unflushed != nullptr) {
      outgrown_.push_back(unflushed);
      unflushed_ = std::make_shared<UnflushedMap>(blocks, segment_blocks);
    }
    co_await publish();
    // Nobody writes down anything in the old ones any more.
    for (const auto& [old, present] : grown) {
      old->copy_to(*present);
      present->set(num_blocks(), blocks - num_blocks());
    }
    if (unflushed != nullptr) unflushed_->add(*unflushed);
    break;
  }
  std::erase_if(rebuilt, [](const StoppedRebuild& rebuild) {
    return rebuild.child->state != ChildState::kOpen || rebuild.child->in_sync;
  });
  co_return rebuilt;
}

Task<Result<>> Nexus::shutdown() {
  if (state_ == NexusState::kShutdown) co_return Result<>{};
  if (state_ == NexusState::kShuttingDown) {
    co_return fail(nexus_error::operation_not_allowed("Shutdown operation is already in progress"));
  }
  if (state_ == NexusState::kClosed) co_return fail(nexus_error::operation_not_allowed("Nexus is closed"));
  // First: an operation that waits for the store ends then.
  state_ = NexusState::kShuttingDown;
  const auto turn = co_await operations_.lock();
  if (!turn) co_return fail(turn.error());
  RangeLock everything(ports_);
  const bool ended = co_await everything.acquire_within(0, UINT64_MAX, end_patience());
  co_await close_log();
  Result<> left;
  {
    const auto guard = co_await health_.lock();
    if (guard) {
      co_await leave_children(PortMode::kFrozen);
    } else {
      left = fail(guard.error());
    }
  }
  if (ended) co_await everything.release();
  if (!left) co_return left;
  co_await close_children();
  const auto guard = co_await health_.lock();
  if (!guard) co_return fail(guard.error());
  const bool clean = ended || num_healthy() < 2;
  if (auto saved = co_await save(clean); !saved) {
    log::error("nexus {}: {}", name(), saved.error().to_string());
    unsaved_end_ = clean;
  }
  for (const ChildPtr& child : children_) {
    if (child->state == ChildState::kOpen) child->state = ChildState::kClosed;
  }
  if (state_ == NexusState::kShuttingDown) state_ = NexusState::kShutdown;  // not closed meanwhile
  co_return Result<>{};
}

Task<> Nexus::leave_children(PortMode mode) {
  children_left_ = true;
  if (mode_ != PortMode::kClosed) mode_ = mode;  // which is the end
  copy_watch_.note_departure();
  if (resync_ != nullptr) resync_->cancel();
  if (scrub_ != nullptr && !scrub_->ended()) scrub_->stop();
  for (const ChildPtr& child : children_) {
    child->role = SlotRole::kAbsent;
    if (child->job != nullptr) child->job->abandon();
  }
  co_await publish();
}

Task<> Nexus::set_waiting_fails(bool fails) {
  const auto guard = co_await health_.lock();
  if (!guard || state_ == NexusState::kClosed) co_return;
  waiting_fails_ = fails;
  if (mode_ == PortMode::kFrozen) co_await publish();
}

Task<> Nexus::close() {
  if (state_ == NexusState::kClosed) co_return;
  const bool was_serving = state_ == NexusState::kOpen;
  state_ = NexusState::kShuttingDown;
  const bool serving = was_serving && !frozen_;
  // Writes that would be cut may have been done by some children only.
  RangeLock everything(ports_);
  const bool ended = serving && co_await everything.acquire_within(0, UINT64_MAX, end_patience());
  if (serving) co_await close_log();
  {
    // Not granted only when the process ends: then nobody else goes on either.
    const auto guard = co_await health_.lock();
    co_await leave_children(PortMode::kClosed);
  }
  if (ended) co_await everything.release();
  co_await close_children();
  if (resync_ != nullptr) co_await resync_->stop();
  if (log_ != nullptr) co_await log_->close();
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(), [&port] { return port->close(); });
  }
  while (num_background_ > 0) static_cast<void>(co_await background_ended_.wait_uninterrupted());
  if (serving) unsaved_end_ = ended || num_healthy() < 2;
  if (unsaved_end_) {
    if (auto saved = co_await save(*unsaved_end_); !saved)
      log::error("nexus {}: {}", name(), saved.error().to_string());
  }
  state_ = NexusState::kClosed;
}

Task<> Nexus::stop() {
  co_await close();
}

}  // namespace cairn::nexus
