#include "nexus/intent_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "block/device.h"
#include "block/io_wait.h"
#include "nexus/bounded_flush.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::IoType;
using nvme::Status;
using runtime::Reactor;
using runtime::Task;

namespace {

// Sequences of one nexus are all higher than those of the ones before, also of pages that it has not read.
constexpr unsigned kEraShift = 40;
constexpr Status kClosedStatus = Status::generic(nvme::GenericStatus::kInternalError);

void write_order(std::vector<size_t>& pages) {
  constexpr size_t kFirstMissed = page_number({LogPageId::Kind::kMissed, 0, 0});
  for (size_t number = kFirstMissed; number < kNumLogPages; ++number) pages.push_back(number);
  for (size_t number = 1; number < kFirstMissed; ++number) pages.push_back(number);
  pages.push_back(0);
}

LogPageId id_of(size_t number) {
  if (number == 0) return {};
  const auto map = static_cast<uint32_t>((number - 1) / kMaxBitmapPages);
  const auto index = static_cast<uint32_t>((number - 1) % kMaxBitmapPages);
  if (map == 0) return {LogPageId::Kind::kIntent, 0, index};
  return {LogPageId::Kind::kMissed, map - 1, index};
}

Task<Status> write_page(block::Channel& channel, uint64_t offset, std::byte* page) {
  const uint32_t block_size = channel.device().block_size();
  iovec piece{page, kLogPageSize};
  co_return co_await block::perform(channel, {.type = IoType::kWrite,
                                              .lba = offset / block_size,
                                              .num_blocks = kLogPageSize / block_size,
                                              .data = {&piece, 1},
                                              .fua = true});
}

}  // namespace

struct IntentLog::Copy {
  size_t slot = 0;
  Uuid uuid;
  std::unique_ptr<block::Channel> channel;
  std::array<uint8_t, kNumLogPages> next_copy = {};
  std::array<uint64_t, kNumLogPages> written_versions = {};
  uint64_t written = 0;  // version of the state that it shows
  std::vector<size_t> pages;
  block::PageMemory memory;
  size_t num_memory_pages = 0;
  bool member = true;  // false: it has left
  bool failed = false;
  Status status;      // of the failure
  bool late = false;  // as failed, but the write may still come back
  bool kept = false;  // failed, and told so: tried again with the next question
  bool stopping = false;
  std::optional<TimePoint> started_at;  // of the write under way
  runtime::Event wake;                  // pulsed
  runtime::Event ended;
};

IntentLog::IntentLog(Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, Uuid nexus,
                     const LogGeometry& geometry, uint32_t block_size, uint64_t num_blocks, Duration child_timeout,
                     const IntentLogOptions& options)
    : owner_(owner),
      ports_(ports),
      nexus_(nexus),
      geometry_(geometry),
      block_size_(block_size),
      num_blocks_(num_blocks),
      child_timeout_(child_timeout),
      options_(options),
      asked_since_(geometry.num_regions),
      sweep_timer_([this] { sweep_in_background(); }),
      timeout_check_([this] { check_timeouts(); }) {}

IntentLog::~IntentLog() {
  CAIRN_CHECK((copies_.empty() && num_tasks_ == 0) || abandoning());
}

IntentLogInfo IntentLog::info() const {
  return {.generation = state_.generation,
          .region_bytes = geometry_.region_bytes,
          .num_regions = geometry_.num_regions,
          .num_intents = state_.intents.count(),
          .num_rounds = num_rounds_};
}

// ---- The state ----

void IntentLog::changed_map(LogPageId::Kind kind, uint32_t slot) {
  for (uint32_t i = 0; i * kRegionsPerPage < geometry_.num_regions; ++i) changed({kind, slot, i});
}

void IntentLog::set(RegionMap& map, LogPageId::Kind kind, uint32_t slot, uint64_t region) {
  if (map.test(region)) return;
  map.set(region);
  changed({kind, slot, static_cast<uint32_t>(region / kRegionsPerPage)});
}

void IntentLog::begin_generation() {
  ++state_.generation;
  state_.previous_tag = state_.tag;
  do {
    state_.tag = Reactor::current().random().next();
  } while (state_.tag == 0);
  changed({});
}

std::optional<uint32_t> IntentLog::free_slot() const {
  for (uint32_t slot = 0; slot < kMaxMissedMaps; ++slot) {
    if (std::ranges::none_of(state_.members, [slot](const auto& member) { return member.slot == slot; })) return slot;
  }
  return std::nullopt;
}

// With a map when there is room for one.
void IntentLog::mark_away(LogState::Member& member) {
  if (!member.slot) member.slot = free_slot();
  if (!member.slot) {
    // Who has been away for longest gives up its own.
    const auto oldest = std::ranges::find_if(
        state_.members, [&](const auto& other) { return &other != &member && !other.in_sync && other.slot; });
    if (oldest == state_.members.end()) {
      member.missed = std::nullopt;
      return;
    }
    member.slot = std::exchange(oldest->slot, std::nullopt);
    oldest->missed.reset();
  }
  if (!member.missed) member.missed = RegionMap(geometry_.num_regions);
  changed_map(LogPageId::Kind::kMissed, *member.slot);
}

Task<Result<>> IntentLog::start(LogState state, std::vector<Member> members) {
  state_ = std::move(state);
  for (LogState::Member& member : state_.members) {
    if (member.in_sync || !member.missed) {
      member.slot.reset();
      member.missed.reset();
    }
  }
  for (LogState::Member& member : state_.members) {
    if (member.missed) mark_away(member);
  }
  changed({});
  changed_map(LogPageId::Kind::kIntent, 0);
  uint64_t highest = 0;
  for (const Member& member : members) highest = std::max(highest, member.image.max_sequence);
  sequence_ = ((highest >> kEraShift) + 1) << kEraShift;
  for (Member& member : members) add_copy(std::move(member));
  co_await wait_settled(version_);
  if (state_.intents.any()) Reactor::current().arm(sweep_timer_, Reactor::current().now() + options_.idle_after);
  for (const auto& [slot, copy] : copies_) {
    if (copy->failed || copy->late) {
      co_return fail(Code::kUnavailable, fmt::format("the write-intent log of child {} cannot be written", slot));
    }
  }
  co_return Result<>{};
}

Task<Result<>> IntentLog::join(Member member) {
  ++version_;
  LogState::Member* entry = state_.find(member.uuid);
  if (entry == nullptr) {
    if (state_.members.size() == kMaxLogMembers) {
      // Somebody who has been away for long is not known any more.
      std::erase_if(state_.members, [](const auto& other) { return !other.in_sync; });
    }
    state_.members.emplace_back();
    entry = &state_.members.back();
  }
  *entry = {.uuid = member.uuid, .in_sync = true, .missed = {}, .slot = {}, .tags = {}};
  begin_generation();
  const size_t slot = member.slot;
  const uint64_t version = version_;
  sequence_ = std::max(sequence_, ((member.image.max_sequence >> kEraShift) + 1) << kEraShift);
  add_copy(std::move(member));
  wake_all();
  co_await wait_settled(version);
  const auto found = copies_.find(slot);
  if (found != copies_.end() && found->second->member && found->second->written >= version) co_return Result<>{};
  // The others call it in sync by now, and it may show the same.
  co_await take_back(slot);
  co_return fail(Code::kUnavailable, "its write-intent log cannot be written");
}

// Gives the version in which the others say so.
uint64_t IntentLog::note_departure(Copy& copy, bool missed_is_known) {
  copy.member = false;
  copy.stopping = true;
  copy.wake.pulse();
  ++version_;
  LogState::Member* entry = state_.find(copy.uuid);
  CAIRN_CHECK(entry != nullptr);
  *entry = {.uuid = copy.uuid, .in_sync = false, .missed = {}, .slot = {}, .tags = {state_.tag, state_.previous_tag}};
  if (missed_is_known) mark_away(*entry);
  begin_generation();
  wake_all();
  progress();
  return version_;
}

Task<> IntentLog::take_back(size_t slot) {
  const auto found = copies_.find(slot);
  if (found == copies_.end() || !found->second->member) co_return;
  co_await wait_settled(note_departure(*found->second, false));
}

Task<bool> IntentLog::leave(size_t slot, bool must_be_told) {
  const auto found = copies_.find(slot);
  if (found == copies_.end() || !found->second->member) co_return true;
  const uint64_t version = note_departure(*found->second, true);
  co_await wait_settled(version);
  // One that is late may still do it.
  auto is_awaited = [](const auto& one) { return one.second->member && !one.second->failed && !one.second->stopping; };
  while (must_be_told && !is_told(version) && std::ranges::any_of(copies_, is_awaited)) {
    static_cast<void>(co_await changed_.wait_uninterrupted());
  }
  co_return !must_be_told || is_told(version);
}

void IntentLog::kept(size_t slot) {
  const auto found = copies_.find(slot);
  if (found == copies_.end()) return;
  Copy& copy = *found->second;
  copy.late = false;
  if (!copy.failed) return;  // the write may still come back: all wait for it
  copy.kept = true;
  for (const Question& question : std::exchange(questions_, {})) question.permits->answer(copy.status);
  changed_.pulse();
}

Task<> IntentLog::drop(size_t slot) {
  const auto found = copies_.find(slot);
  if (found == copies_.end()) co_return;
  Copy& copy = *found->second;
  copy.stopping = true;
  copy.wake.pulse();
  static_cast<void>(co_await copy.ended.wait_uninterrupted());
  copies_.erase(slot);
  progress();
}

Task<> IntentLog::forget(const Uuid& child) {
  const LogState::Member* entry = state_.find(child);
  if (entry == nullptr || entry->in_sync) co_return;
  ++version_;
  std::erase_if(state_.members, [&](const auto& member) { return member.uuid == child; });
  begin_generation();
  const uint64_t version = version_;
  wake_all();
  co_await wait_settled(version);
}

Task<Result<>> IntentLog::grow(uint64_t num_blocks) {
  const uint64_t regions = (num_blocks * block_size_ + geometry_.region_bytes - 1) / geometry_.region_bytes;
  if (regions > kMaxRegions) {
    co_return fail(Code::kOutOfRange, fmt::format("{} regions, the write-intent log holds {}", regions, kMaxRegions));
  }
  ++version_;
  const uint64_t first_new = num_blocks_ * block_size_ / geometry_.region_bytes;  // in part
  num_blocks_ = num_blocks;
  geometry_.num_regions = regions;
  geometry_.num_bytes = num_blocks * block_size_;
  state_.intents.resize(regions);
  asked_since_.resize(regions);
  changed_map(LogPageId::Kind::kIntent, 0);
  for (LogState::Member& member : state_.members) {
    if (!member.missed) continue;
    member.missed->resize(regions);
    for (uint64_t region = first_new; region < regions; ++region) member.missed->set(region);
    changed_map(LogPageId::Kind::kMissed, *member.slot);
  }
  changed({});
  const uint64_t version = version_;
  wake_all();
  co_await wait_settled(version);
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(), [&port, regions] { return port->grow_permits(regions); });
  }
  co_return Result<>{};
}

// ---- Questions of ports ----

void IntentLog::on_asked(WritePermits& permits) {
  if (closed_) {
    permits.answer(closed_answer_);
    return;
  }
  const RegionMap& asked = permits.asked();
  asked_since_.add(asked);
  ++version_;
  for (uint64_t region = asked.next(0); region < asked.size(); region = asked.next(region + 1)) {
    set(state_.intents, LogPageId::Kind::kIntent, 0, region);
  }
  questions_.push_back({&permits, version_});
  for (const auto& [slot, copy] : copies_) {
    if (copy->kept) copy->failed = copy->kept = false;
  }
  Reactor& here = Reactor::current();
  if (!sweep_timer_.armed()) here.arm(sweep_timer_, here.now() + options_.idle_after);
  wake_all();
  progress();
}

bool IntentLog::is_settled(uint64_t version) const {
  return std::ranges::all_of(copies_, [version](const auto& one) {
    const Copy& copy = *one.second;
    return !copy.member || copy.failed || copy.late || copy.stopping || copy.written >= version;
  });
}

bool IntentLog::is_told(uint64_t version) const {
  return std::ranges::any_of(
      copies_, [version](const auto& one) { return one.second->member && one.second->written >= version; });
}

Task<> IntentLog::wait_settled(uint64_t version) {
  while (!is_settled(version)) static_cast<void>(co_await changed_.wait_uninterrupted());
}

void IntentLog::wake_all() {
  for (const auto& [slot, copy] : copies_) {
    if (!is_behind(*copy)) copy->written = version_;
    copy->wake.pulse();
  }
}

void IntentLog::progress() {
  uint64_t durable = version_;
  bool any = false;
  for (const auto& [slot, copy] : copies_) {
    if (!copy->member) continue;
    any = true;
    durable = std::min(durable, copy->written);
  }
  changed_.pulse();
  if (!any) return;
  std::erase_if(questions_, [durable](const Question& question) {
    if (question.version > durable) return false;
    question.permits->answer(Status::success());
    return true;
  });
}

// ---- Copies ----

void IntentLog::add_copy(Member member) {
  CAIRN_CHECK(!copies_.contains(member.slot));
  auto copy = std::make_unique<Copy>();
  copy->slot = member.slot;
  copy->uuid = member.uuid;
  copy->channel = std::move(member.channel);
  copy->next_copy = member.image.next_copy;
  copy->pages.reserve(kNumLogPages);
  Copy& added = *copy;
  copies_.emplace(member.slot, std::move(copy));
  ++num_tasks_;
  Reactor::current().spawn("intent log", run(added));
}

bool IntentLog::is_needed(size_t number) const {
  const LogPageId id = id_of(number);
  if (id.kind == LogPageId::Kind::kSuper) return true;
  if (id.index * kRegionsPerPage >= geometry_.num_regions) return false;
  return id.kind == LogPageId::Kind::kIntent ||
         std::ranges::any_of(state_.members, [&](const auto& member) { return member.slot == id.slot; });
}

bool IntentLog::is_behind(const Copy& copy) const {
  for (size_t number = 0; number < kNumLogPages; ++number) {
    if (copy.written_versions[number] < page_versions_[number] && is_needed(number)) return true;
  }
  return false;
}

void IntentLog::encode(const Copy& copy, size_t number, LogPage page) {
  LogPageHeader header{.id = id_of(number),
                       .sequence = ++sequence_,
                       .nexus = nexus_,
                       .child = copy.uuid,
                       .owner = {},
                       .region_bytes = geometry_.region_bytes};
  if (header.id.kind == LogPageId::Kind::kIntent) {
    encode_bitmap(header, state_.intents, page);
    return;
  }
  if (header.id.kind == LogPageId::Kind::kMissed) {
    const auto owner = std::ranges::find(state_.members, header.id.slot, &LogState::Member::slot);
    CAIRN_CHECK(owner != state_.members.end());
    header.owner = owner->uuid;
    encode_bitmap(header, *owner->missed, page);
    return;
  }
  LogSuper super{.generation = state_.generation,
                 .tag = state_.tag,
                 .previous_tag = state_.previous_tag,
                 .num_blocks = num_blocks_,
                 .block_size = block_size_,
                 .is_void = false,
                 .members = {}};
  for (const LogState::Member& member : state_.members) {
    super.members.push_back({.uuid = member.uuid, .in_sync = member.in_sync, .slot = member.slot, .tags = member.tags});
  }
  encode_super(header, super, page);
}

Task<> IntentLog::run(Copy& copy) {
  while (!copy.stopping) {
    if (!copy.failed && is_behind(copy)) {
      co_await write_round(copy);
    } else {
      // A cancelled task goes on: close() ends it, in order.
      static_cast<void>(co_await copy.wake.wait_uninterrupted());
    }
  }
  copy.channel.reset();
  --num_tasks_;
  copy.ended.set();
  changed_.pulse();
}

Task<> IntentLog::write_round(Copy& copy) {
  const uint64_t version = version_;
  copy.pages.clear();
  write_order(copy.pages);
  std::erase_if(copy.pages, [&](size_t number) {
    return copy.written_versions[number] >= page_versions_[number] || !is_needed(number);
  });
  if (copy.num_memory_pages < copy.pages.size()) {
    copy.memory = block::allocate_pages(copy.pages.size() * kLogPageSize);
    copy.num_memory_pages = copy.pages.size();
  }
  for (size_t i = 0; i < copy.pages.size(); ++i) {
    encode(copy, copy.pages[i], LogPage(copy.memory.get() + i * kLogPageSize, kLogPageSize));
  }
  copy.started_at = Reactor::current().now();
  if (!timeout_check_.armed()) Reactor::current().arm(timeout_check_, *copy.started_at + child_timeout_ / 4);
  if (copy.channel->device().unreachable()) give_up(copy, {});
  Status status = Status::success();
  for (size_t i = 0; i < copy.pages.size() && status.is_success() && !copy.stopping; ++i) {
    const size_t number = copy.pages[i];
    status = co_await write_page(*copy.channel, page_offset(number, copy.next_copy[number]),
                                 copy.memory.get() + i * kLogPageSize);
    if (!status.is_success()) break;
    copy.next_copy[number] = 1 - copy.next_copy[number];
    copy.written_versions[number] = version;
  }
  copy.started_at.reset();
  if (copy.stopping) co_return;
  if (status.is_success()) {
    copy.late = false;
    copy.written = is_behind(copy) ? version : version_;  // versions without a page of their own count, too
    ++num_rounds_;
  } else {
    log::warn("write-intent log of child {}: {}", copy.slot, status.to_string());
    copy.failed = true;
    copy.status = status;
    if (copy.member) owner_.on_log_failed(copy.slot, failure_of(status));
  }
  progress();
}

void IntentLog::check_timeouts() {
  const TimePoint now = Reactor::current().now();
  bool any = false;
  for (const auto& [slot, copy] : copies_) {
    if (!copy->started_at) continue;
    any = true;
    if (now - *copy->started_at >= child_timeout_) give_up(*copy, {.reason = FaultReason::kTimedOut});
  }
  if (any) Reactor::current().arm(timeout_check_, now + child_timeout_ / 4);
}

// What is being written may still come back.
void IntentLog::give_up(Copy& copy, ChildFailure failure) {
  if (!copy.member || copy.late) return;
  copy.late = true;
  owner_.on_log_failed(copy.slot, failure);
  changed_.pulse();
}

void IntentLog::look_for_unreachable() {
  for (const auto& [slot, copy] : copies_) {
    if (copy->started_at && copy->channel->device().unreachable()) give_up(*copy, {});
  }
}

// ---- Taking back ----

void IntentLog::sweep_in_background() {
  if (closed_) return;
  ++num_tasks_;
  Reactor::current().spawn("intent log sweep", [](IntentLog& log) -> Task<> {
    co_await log.sweep(false);
    --log.num_tasks_;
    log.changed_.pulse();
  }(*this));
}

// No longer than a child may keep an I/O.
Task<bool> IntentLog::flush(size_t slot, std::shared_ptr<block::Device> device) {
  const auto flush = std::make_shared<BoundedFlush>();
  ++num_tasks_;
  Reactor::current().spawn(
      "intent log flush",
      [](IntentLog& log, std::shared_ptr<block::Device> its_device, std::shared_ptr<BoundedFlush> its_flush) -> Task<> {
        co_await BoundedFlush::run(std::move(its_flush), std::move(its_device));
        --log.num_tasks_;
        log.changed_.pulse();
      }(*this, std::move(device), flush));
  const Status flushed = co_await flush->wait(child_timeout_);
  if (!flushed.is_success()) log::warn("write-intent log: flush: {}", flushed.to_string());
  // Who has been replaced must not go on because it only flushes.
  if (failure_of(flushed).conflict) owner_.on_log_failed(slot, failure_of(flushed));
  co_return flushed.is_success();
}

Task<> IntentLog::sweep(bool at_once) {
  while (sweeping_) static_cast<void>(co_await changed_.wait_uninterrupted());
  if (closed_) co_return;
  sweeping_ = true;
  const uint64_t generation = state_.generation;
  asked_since_.clear();
  for (const Question& question : questions_) asked_since_.add(question.permits->asked());
  RegionMap kept(geometry_.num_regions);
  for (const auto& port : ports_) {
    co_await call_on(port->reactor(), [&port, at_once, &kept] { return port->withdraw_permits(at_once, kept); });
  }
  RegionMap idle = state_.intents;
  idle.remove(kept);
  idle.remove(asked_since_);
  owner_.keep_intents(idle);
  // What is to go must be stable on all, and no child may be about to leave.
  auto steady = [&] {
    return state_.generation == generation && std::ranges::all_of(copies_, [this](const auto& one) {
             const Copy& copy = *one.second;
             return copy.member && !copy.failed && !copy.late && copy.written_versions[0] >= page_versions_[0];
           });
  };
  bool stable = idle.any() && !copies_.empty() && steady();
  std::vector<size_t> slots;
  for (const auto& [slot, copy] : copies_) slots.push_back(slot);
  for (const size_t slot : slots) {
    const auto found = copies_.find(slot);
    if (!stable || found == copies_.end() || found->second->stopping) {
      stable = false;
      break;
    }
    const std::shared_ptr<block::Device> device = found->second->channel->device().shared_from_this();
    if (!device->has_volatile_cache()) continue;
    stable = co_await flush(slot, device) && steady();
  }
  if (stable && steady() && !closed_) {
    idle.remove(asked_since_);
    ++version_;
    for (uint64_t region = idle.next(0); region < idle.size(); region = idle.next(region + 1)) {
      changed({LogPageId::Kind::kIntent, 0, static_cast<uint32_t>(region / kRegionsPerPage)});
      for (LogState::Member& member : state_.members) {
        if (member.missed) set(*member.missed, LogPageId::Kind::kMissed, *member.slot, region);
      }
    }
    state_.intents.remove(idle);
    ++num_removals_;
    wake_all();
  }
  sweeping_ = false;
  changed_.pulse();
  if (state_.intents.any() && !closed_ && !sweep_timer_.armed()) {
    Reactor::current().arm(sweep_timer_, Reactor::current().now() + options_.idle_after);
  }
}

// ---- The end ----

Task<> IntentLog::settle() {
  co_await sweep(true);
  co_await wait_settled(version_);
}

void IntentLog::halt(Status answer) {
  closed_answer_ = answer;
  closed_ = true;
  sweep_timer_.disarm();
  for (const auto& [slot, copy] : copies_) {
    copy->stopping = true;
    copy->wake.pulse();
  }
  for (const Question& question : std::exchange(questions_, {})) question.permits->answer(answer);
  changed_.pulse();
}

Task<> IntentLog::close() {
  if (!closed_) halt(kClosedStatus);
  while (!copies_.empty()) co_await drop(copies_.begin()->first);
  while (num_tasks_ > 0) static_cast<void>(co_await changed_.wait_uninterrupted());
  timeout_check_.disarm();
}

Task<Result<>> IntentLog::make_void(block::Channel& channel, const LogImage& image, Uuid nexus, Uuid child) {
  if (!image.super || image.super->is_void) co_return Result<>{};
  LogSuper super = *image.super;
  ++super.generation;
  super.is_void = true;
  super.members.clear();
  const block::PageMemory memory = block::allocate_pages(kLogPageSize);
  uint64_t sequence = ((image.max_sequence >> kEraShift) + 1) << kEraShift;
  for (const unsigned copy : {unsigned{image.next_copy[0]}, 1u - image.next_copy[0]}) {
    encode_super({.id = {},
                  .sequence = ++sequence,
                  .nexus = nexus,
                  .child = child,
                  .owner = {},
                  .region_bytes = image.region_bytes},
                 super, LogPage(memory.get(), kLogPageSize));
    const Status status = co_await write_page(channel, page_offset(0, copy), memory.get());
    if (!status.is_success()) co_return fail(Code::kUnavailable, status.to_string());
  }
  co_return Result<>{};
}

}  // namespace cairn::nexus
