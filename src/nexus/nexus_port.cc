#include "nexus/nexus_port.h"

#include <algorithm>
#include <bit>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/seeded_bug.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::DriverArea;
using block::Io;
using block::IoType;
using nvme::GenericStatus;
using nvme::MediaStatus;
using nvme::Status;
using runtime::Task;

namespace {

constexpr uint32_t bit(size_t slot) {
  return uint32_t{1} << slot;
}

// The request is at fault, not who was asked.
bool is_request_error(Status status) {
  return status.is(GenericStatus::kInvalidOpcode) || status.is(GenericStatus::kInvalidField) ||
         status.is(GenericStatus::kLbaOutOfRange) || status.is(MediaStatus::kDeallocatedOrUnwrittenBlock);
}

bool is_lost(Status status) {
  return status.type() == nvme::StatusCodeType::kPath || status.is(GenericStatus::kAbortedSqDeletion) ||
         status.is(GenericStatus::kInvalidNamespaceOrFormat) || status.is(GenericStatus::kTransientTransportError) ||
         status.is(GenericStatus::kNamespaceNotReady);
}

// Portions of zeroes grow while all children are fast, to about what a lock on their range may have to wait for.
constexpr Duration kQuickPortion = std::chrono::milliseconds(50);  // the next one is twice as large
constexpr Duration kSlowPortion = std::chrono::milliseconds(200);  // half as large

}  // namespace

ChildFailure failure_of(Status status) {
  return {.reason = status.is(GenericStatus::kCapacityExceeded) ? FaultReason::kNoSpace : FaultReason::kIoError,
          .lost = is_lost(status),
          .conflict = status.is(GenericStatus::kReservationConflict)};
}

// One I/O of a host. Masks have a bit for each slot.
struct NexusPort::Op : ListLink<> {
  Op(NexusChannel& its_channel, Io& its_io) : channel(its_channel), io(its_io) {}
  bool is_read() const { return io.type == IoType::kRead; }
  bool is_zeroing() const { return io.type == IoType::kWriteZeroes || io.type == IoType::kUnmap; }
  void restart() { ok = failed = refused = missed = reported = kept = tried = bad = 0; }

  NexusChannel& channel;
  Io& io;
  // What is done of `io` at present: all of it, or a portion of its zeroes. Not changed while in `writes_`.
  uint64_t lba = io.lba;
  uint64_t num_blocks = io.num_blocks;
  // Of zeroes, what is known from the portion before.
  uint64_t wanted_blocks = 0;
  uint32_t used_to_it = 0;  // who has done it
  TimePoint began_at{};
  uint32_t legs = 0;                      // in flight
  uint32_t ok = 0;                        // have done it
  uint32_t failed = 0;                    // have not
  uint32_t refused = 0;                   // of the failed: by them, the request is at fault
  uint32_t missed = 0;                    // were retiring when it began
  uint32_t reported = 0;                  // of the failed: the home reactor was told after the failure
  uint32_t kept = 0;                      // of the reported: stays a member all the same
  uint32_t tried = 0;                     // reads: asked in vain
  uint32_t bad = 0;                       // reads: of the tried, with a media error
  Status status;                          // of the last failure
  UnflushedMap* settles_cache = nullptr;  // of the nexus, by this flush
};

struct NexusPort::LegLink {};

struct NexusPort::Leg : Io, ListLink<LegLink> {
  NexusPort* port = nullptr;
  Op* op = nullptr;
  Slot* slot = nullptr;
  uint32_t epoch = 0;  // of the slot when it began
  TimePoint started_at{};
};

struct NexusPort::Slot {
  Slot(NexusPort& its_port, size_t its_index)
      : port(its_port),
        index(its_index),
        to_home([this] { port.home_.on_child_failed(port, index, failure); }),
        answer([this] { port.answered(*this); }) {}

  NexusPort& port;
  const size_t index;
  SlotRole role = SlotRole::kAbsent;
  bool local = false;
  std::shared_ptr<block::Device> device;
  std::shared_ptr<DirtyMap> log;
  std::unique_ptr<block::Channel> channel;
  uint32_t num_legs = 0;
  uint32_t epoch = 0;  // counts how often it was no reader any more
  bool has_left() const { return role == SlotRole::kAway || role == SlotRole::kAbsent; }
  // One report at a time: posted to the home reactor, answered from there.
  bool reporting = false;
  bool kept = false;
  ChildFailure failure;
  Status last_status;  // of what it failed
  runtime::Message to_home;
  runtime::Message answer;
};

NexusPort::NexusPort(Home& home, runtime::Reactor& reactor, uint64_t data_start, Duration child_timeout,
                     uint64_t first_zeroing_bytes)
    : home_(home),
      reactor_(reactor),
      data_start_(data_start),
      child_timeout_(child_timeout),
      first_zeroing_bytes_(first_zeroing_bytes),
      timeout_check_([this] { check_timeouts(); }),
      fence_message_([this] {
        home_.on_child_conflict(fence_slot_);
        reactor_.post(fence_taken_);
      }),
      fence_taken_([this] {
        fence_reported_ = true;
        changed_.pulse();
      }),
      repair_message_([this] {
        home_.on_bad_blocks(repair_slot_, repair_lba_, repair_blocks_);
        reactor_.post(repair_taken_);
      }),
      repair_taken_([this] {
        repairing_ = false;
        changed_.pulse();
      }) {
  for (size_t i = 0; i < kMaxChildren; ++i) {
    slots_[i] = std::make_unique<Slot>(*this, i);
    set_role(*slots_[i], SlotRole::kAbsent);
  }
}

NexusPort::~NexusPort() {
  CAIRN_CHECK((legs_.empty() && held_.empty() && writes_.empty()) || abandoning());
  held_.forget();  // operations live in the Ios of hosts
  writes_.forget();
  while (free_legs_.pop_front() != nullptr) {
  }
}

void NexusPort::set_role(Slot& slot, SlotRole role) {
  roles_[static_cast<size_t>(slot.role)] &= ~bit(slot.index);
  slot.role = role;
  roles_[static_cast<size_t>(role)] |= bit(slot.index);
}

template <typename Visit>
void NexusPort::for_each_slot(uint32_t slots, Visit visit) {
  for (; slots != 0; slots &= slots - 1) visit(*slots_[static_cast<size_t>(std::countr_zero(slots))]);
}

// ---- From the host ----

void NexusPort::start(NexusChannel& channel, Io& io) {
  num_host_ios_.store(num_host_ios() + 1, std::memory_order_relaxed);
  begin(DriverArea::construct<Op>(io, channel, io));
}

void NexusPort::begin(Op& op) {
  if (op.is_zeroing()) cut_portion(op);
  if (mode_ == PortMode::kClosed) {
    finish(op, closed_status_);
  } else if (mode_ == PortMode::kFrozen || fenced_ || is_locked(op)) {
    held_.push_back(op);
  } else if (op.is_read()) {
    start_read(op);
  } else {
    start_write(op);
  }
}

bool NexusPort::is_locked(const Op& op) {
  if (op.is_read() || locks_.empty()) return false;
  for (const PortLock& lock : locks_) {
    if (lock.overlaps(op.lba, op.num_blocks)) return true;
  }
  return false;
}

void NexusPort::retry_held() {
  IntrusiveList<Op> again;
  again.splice_back(held_);
  starved_ = false;
  while (Op* op = again.pop_front()) begin(*op);
}

// Of a write that was started: it is not under way any more.
void NexusPort::leave_writes(Op& op) {
  op.unlink();
  for (PortLock& lock : locks_) {
    if (lock.num_before_ > 0 && lock.overlaps(op.lba, op.num_blocks) && --lock.num_before_ == 0) {
      lock.home_.post(lock.granted_);
    }
  }
}

void NexusPort::finish(Op& op, Status status) {
  if (op.is_linked()) leave_writes(op);
  if (op.settles_cache != nullptr) op.settles_cache->end_flush(status.is_success());
  num_host_ios_.store(num_host_ios() - 1, std::memory_order_relaxed);
  NexusChannel& channel = op.channel;
  Io& io = op.io;
  DriverArea::destroy<Op>(io);
  channel.finish(io, status);
}

// ---- Legs ----

bool NexusPort::have_legs(size_t count) {
  while (num_free_legs_ < count && leg_groups_.size() * kLegGroup < kMaxLegs) {
    leg_groups_.push_back(std::make_unique<Leg[]>(kLegGroup));
    for (size_t i = 0; i < kLegGroup; ++i) {
      Leg& leg = leg_groups_.back()[i];
      leg.port = this;
      leg.complete = [](Io& io) { static_cast<Leg&>(io).port->end_leg(static_cast<Leg&>(io)); };
      free_legs_.push_back(leg);
    }
    num_free_legs_ += kLegGroup;
  }
  return num_free_legs_ >= count;
}

void NexusPort::start_leg(Op& op, Slot& slot) {
  Leg& leg = *free_legs_.pop_front();
  --num_free_legs_;
  const bool has_range = op.io.type != IoType::kFlush && op.io.type != IoType::kReset;
  leg.op = &op;
  leg.slot = &slot;
  // What is unmapped reads as zeroes: every child that can write has a command for that, whether it can give back
  // blocks or not. A remote Unmap promises nothing.
  const bool unmaps = op.io.type == IoType::kUnmap;
  leg.type = unmaps ? IoType::kWriteZeroes : op.io.type;
  leg.fua = op.io.fua;
  leg.may_deallocate = unmaps || op.io.may_deallocate;
  leg.lba = has_range ? op.lba + data_start_ : 0;
  leg.num_blocks = op.num_blocks;
  leg.data = op.io.data;
  leg.read_flags = op.io.read_flags;
  leg.epoch = slot.epoch;
  leg.started_at = reactor_.round_time();
  legs_.push_back(leg);
  ++op.legs;
  ++slot.num_legs;
  if (!timeout_check_.armed()) reactor_.arm(timeout_check_, leg.started_at + child_timeout_);
  if (slot.device->unreachable()) report_unreachable(slot);
  slot.channel->submit(leg);
}

void NexusPort::end_leg(Leg& leg) {
  Op& op = *leg.op;
  Slot& slot = *leg.slot;
  const Status status = leg.status;
  static_cast<ListLink<LegLink>&>(leg).unlink();
  free_legs_.push_back(leg);
  ++num_free_legs_;
  if (--slot.num_legs == 0) changed_.pulse();
  --op.legs;
  if (status.is_success()) {
    op.ok |= bit(slot.index);
  } else {
    op.status = status;
    if (failure_of(status).conflict) fence(slot);
    if (!slot.has_left()) {
      op.failed |= bit(slot.index);
      if (is_request_error(status)) op.refused |= bit(slot.index);
      slot.last_status = status;
    } else if (!op.is_read()) {
      log_missed(op, bit(slot.index));  // it is no failure of that child, which may be there again when `op` is settled
    }
  }
  const bool answers = status.is_success() || status.is(MediaStatus::kDeallocatedOrUnwrittenBlock);
  if (op.is_read() && answers && leg.epoch != slot.epoch) {
    op.restart();  // the child has left meanwhile: nobody knows how old what it gave is
    begin(op);
  } else if (op.is_read()) {
    end_read(op, slot, status);
  } else if (op.legs == 0) {
    settle(op);
  }
  if (starved_) retry_held();
}

void NexusPort::check_timeouts() {
  const TimePoint now = reactor_.now();
  for (Leg& leg : legs_) {
    if (now - leg.started_at < child_timeout_) break;
    if (leg.slot->role == SlotRole::kReader || leg.slot->role == SlotRole::kWriter) {
      report(*leg.slot, {.reason = FaultReason::kTimedOut});
    }
  }
  if (legs_.empty()) return;
  // A child that was kept, or is away and has not given back what it has, is looked at again some time later.
  const TimePoint next = legs_.first()->started_at + child_timeout_;
  reactor_.arm(timeout_check_, next > now ? next : now + child_timeout_ / 4);
}

// It may come back, but what waits for it need not wait while others have the same.
void NexusPort::report_unreachable(Slot& slot) {
  if (slot.role == SlotRole::kReader || slot.role == SlotRole::kWriter) report(slot, {});
}

Task<> NexusPort::look_for_unreachable() {
  for (const auto& slot : slots_) {
    if (slot->num_legs > 0 && slot->device->unreachable()) report_unreachable(*slot);
  }
  co_return;
}

// ---- Reads ----

NexusPort::Slot* NexusPort::choose_reader(const Op& op) {
  uint32_t readable = mask(SlotRole::kReader);
  if (seeded(SeededBug::kReadFromRebuilding)) readable |= mask(SlotRole::kWriter);
  readable &= ~op.tried;
  if (readable == 0) return nullptr;
  // What comes of one that was reported may wait for the store, of one that cannot be reached for its node.
  uint32_t sound = 0, local = 0;
  for_each_slot(readable, [&](const Slot& slot) {
    if (slot.reporting || slot.device->unreachable()) return;
    sound |= bit(slot.index);
    if (slot.local) local |= bit(slot.index);
  });
  const uint32_t best = local != 0 ? local : sound != 0 ? sound : readable;
  const unsigned first = next_reader_ + 1;
  const auto after_first =
      static_cast<unsigned>(std::countr_zero(std::rotr(best, static_cast<int>(first % kMaxChildren))));
  return slots_[(first + after_first) % kMaxChildren].get();
}

void NexusPort::start_read(Op& op) {
  if (unequal_ != nullptr && unequal_->holds(op.io.lba, op.io.num_blocks)) {
    held_.push_back(op);
    return;
  }
  Slot* slot = choose_reader(op);
  if (slot != nullptr && have_legs(1)) {
    next_reader_ = static_cast<unsigned>(slot->index);
    start_leg(op, *slot);
    return;
  }
  if (slot != nullptr) {
    starved_ = true;
  } else if (op.tried != 0 && !is_lost(op.status)) {
    finish(op, op.status);
    return;
  } else {
    // Those that are lost have been reported, and what comes of it starts this again; or they have left before they
    // answered.
    op.restart();
    const bool awaits_decision = std::ranges::any_of(slots_, [](const auto& each) { return each->reporting; });
    if (mask(SlotRole::kReader) != 0 && !awaits_decision) {
      begin(op);
      return;
    }
  }
  held_.push_back(op);
}

// The nexus has checked the request: a child that refuses it is asked in vain, as one that fails, but others may know
// better and it stays.
void NexusPort::end_read(Op& op, Slot& slot, Status status) {
  if (fenced_) {
    op.restart();
    begin(op);
    return;
  }
  if (status.is_success() && op.bad != 0) repair(op);
  if (status.is_success() || status.is(MediaStatus::kDeallocatedOrUnwrittenBlock)) {
    finish(op, status);
    return;
  }
  op.tried |= bit(slot.index);
  if (status.type() == nvme::StatusCodeType::kMedia) {
    op.bad |= bit(slot.index);
  } else if (!is_request_error(status) && slot.role == SlotRole::kReader) {
    report(slot, failure_of(status));
  }
  begin(op);
}

void NexusPort::repair(const Op& op) {
  if (repairing_) return;
  repairing_ = true;
  repair_slot_ = static_cast<size_t>(std::countr_zero(op.bad));
  repair_lba_ = op.io.lba;
  repair_blocks_ = op.io.num_blocks;
  home_.home_reactor().post(repair_message_);
}

void NexusPort::fence(const Slot& slot) {
  if (fenced_) return;
  fenced_ = true;
  fence_reported_ = false;
  fence_slot_ = slot.index;
  home_.home_reactor().post(fence_message_);
}

// ---- Writes and everything else that goes to all ----

void NexusPort::start_write(Op& op) {
  if (mask(SlotRole::kReader) == 0) {
    held_.push_back(op);
    return;
  }
  if (!have_legs(kMaxChildren)) {
    starved_ = true;
    held_.push_back(op);
    return;
  }
  if (permits_ != nullptr && !seeded(SeededBug::kSkipIntentLog) && !is_permitted(op)) {
    held_.push_back(op);
    return;
  }
  op.restart();
  op.began_at = reactor_.round_time();
  op.missed = mask(SlotRole::kRetiring);
  log_missed(op, op.missed | mask(SlotRole::kAway));
  if (op.io.type == IoType::kFlush && unflushed_ != nullptr && op.settles_cache == nullptr &&
      unflushed_->begin_flush()) {
    op.settles_cache = unflushed_.get();
  }
  writes_.push_back(op);
  op.legs = 1;  // ours: legs may end inside submit
  for_each_slot(mask(SlotRole::kReader) | mask(SlotRole::kWriter), [&](Slot& slot) {
    const bool skippable = op.io.type == IoType::kFlush || op.io.type == IoType::kReset;
    const bool dropped = seeded(SeededBug::kDropFlush) && op.io.type == IoType::kFlush;
    if (!dropped && (!skippable || slot.device->supports(op.io.type))) {
      start_leg(op, slot);
    } else {
      op.ok |= bit(slot.index);  // nothing to flush or to reset
    }
  });
  if (--op.legs == 0) settle(op);
}

// What is acknowledged may still be in the caches of children, also of one that has left since.
void NexusPort::note_done(const Op& op, uint32_t members) {
  if (op.io.type == IoType::kFlush || op.io.type == IoType::kReset || op.io.fua || unflushed_ == nullptr) return;
  unflushed_->note(op.lba, op.num_blocks);
  log_missed(op, op.ok & ~members);
}

void NexusPort::log_missed(const Op& op, uint32_t slots) {
  if (seeded(SeededBug::kSkipLog)) return;
  for_each_slot(slots, [&](const Slot& slot) {
    if (slot.log != nullptr) slot.log->set(op.lba, op.num_blocks);
  });
}

// Decides about a write that has no legs left.
void NexusPort::settle(Op& op) {
  if (mode_ == PortMode::kClosed) {
    finish(op, closed_status_);
    return;
  }
  if (fenced_) return;
  if (op.ok == 0 && op.failed != 0 && op.refused == op.failed) {
    finish(op, op.status);
    return;
  }
  const uint32_t readers = mask(SlotRole::kReader);
  const uint32_t members = readers | mask(SlotRole::kWriter);
  uint32_t undecided = (op.failed | op.missed) & (members | mask(SlotRole::kRetiring)) & ~op.kept;
  if (seeded(SeededBug::kAcknowledgeFailedWrite) && op.ok != 0) undecided = 0;
  if (seeded(SeededBug::kAcknowledgeBeforeRecord) && (op.failed & members) == 0) undecided = 0;
  if (undecided != 0) {
    for (const auto& slot : slots_) {
      if ((op.failed & ~op.reported & undecided & members & bit(slot->index)) == 0) continue;
      if (report(*slot, failure_of(slot->last_status))) op.reported |= bit(slot->index);
    }
    return;
  }
  if ((op.kept & members) != 0) {
    // Nobody knows which children have it: all that will be rebuilt get it again.
    log_missed(op, ~readers);
    finish(op, slots_[static_cast<size_t>(std::countr_zero(op.kept & members))]->last_status);
  } else if ((op.ok & readers) != 0) {
    log_missed(op, op.failed);
    note_done(op, members);
    if (op.is_zeroing() && op.lba + op.num_blocks < op.io.lba + op.io.num_blocks) {
      begin_next_portion(op);
    } else {
      finish(op, Status::success());
    }
  } else {
    // Those that have it are gone.
    leave_writes(op);
    held_.push_back(op);
    if (mode_ == PortMode::kServing && readers != 0) retry_held();
  }
}

// How much of the zeroes of `op` from op.lba on is done next. Small for a child that had none of the portion before.
void NexusPort::cut_portion(Op& op) {
  const uint32_t members = mask(SlotRole::kReader) | mask(SlotRole::kWriter);
  const uint64_t wanted = (members & ~op.used_to_it) == 0 ? op.wanted_blocks : 0;
  const uint64_t first = first_zeroing_bytes_ / op.channel.device().block_size();
  const uint64_t end = (data_start_ + op.lba + std::max(wanted, first)) / first * first - data_start_;
  op.num_blocks = std::min(op.io.lba + op.io.num_blocks, end) - op.lba;
}

void NexusPort::begin_next_portion(Op& op) {
  leave_writes(op);
  const Duration took = reactor_.round_time() - op.began_at;
  op.wanted_blocks = took <= kQuickPortion ? 2 * op.num_blocks
                     : took > kSlowPortion ? op.num_blocks / 2
                                           : op.num_blocks;
  op.used_to_it = op.ok;
  op.lba += op.num_blocks;
  begin(op);
}

void NexusPort::settle_all() {
  IntrusiveList<Op> all;
  all.splice_back(writes_);
  // An Op under a legs count stays; settle() may start new ones, which come to the end of writes_.
  while (Op* op = all.pop_front()) {
    writes_.push_back(*op);
    if (op->legs == 0) settle(*op);
  }
}

// ---- Decisions ----

bool NexusPort::report(Slot& slot, ChildFailure failure) {
  if (slot.reporting) return false;
  slot.reporting = true;
  slot.failure = failure;
  home_.home_reactor().post(slot.to_home);
  return true;
}

void NexusPort::answer(size_t slot, bool kept) {
  slots_.at(slot)->kept = kept;
  reactor_.post(slots_[slot]->answer);
}

void NexusPort::answered(Slot& slot) {
  slot.reporting = false;
  for (Op& op : writes_) {
    if ((op.reported & bit(slot.index)) == 0) continue;
    op.reported &= ~bit(slot.index);
    if (slot.kept) op.kept |= bit(slot.index);
  }
  settle_all();
  retry_held();
  changed_.pulse();
}

Task<uint32_t> NexusPort::apply(PortView view) {
  uint32_t failed = 0;
  std::array<std::unique_ptr<block::Channel>, kMaxChildren> opened;
  for (size_t i = 0; i < kMaxChildren; ++i) {
    const PortView::Slot& wanted = view.slots[i];
    if (wanted.role != SlotRole::kReader && wanted.role != SlotRole::kWriter) continue;
    if (slots_[i]->channel != nullptr && slots_[i]->device == wanted.device) continue;
    CAIRN_CHECK(slots_[i]->channel == nullptr);
    auto channel = co_await wanted.device->open_channel();
    if (channel) {
      opened[i] = std::move(*channel);
      opened[i]->mark_nexus_child();
    } else {
      failed |= bit(i);
    }
  }
  // From here on at once.
  mode_ = view.mode;
  closed_status_ = view.closed_status;
  if (view.unflushed != nullptr) unflushed_ = std::move(view.unflushed);
  unequal_ = std::move(view.unequal);
  for (size_t i = 0; i < kMaxChildren; ++i) {
    Slot& slot = *slots_[i];
    PortView::Slot& wanted = view.slots[i];
    const SlotRole role = (failed & bit(i)) != 0 ? SlotRole::kRetiring : wanted.role;
    if (slot.role == SlotRole::kReader && role != SlotRole::kReader) ++slot.epoch;
    set_role(slot, role);
    if (slot.role == SlotRole::kAbsent) forget(i);
    slot.local = wanted.local;
    slot.log = std::move(wanted.log);
    if (slot.role == SlotRole::kAway && !seeded(SeededBug::kRememberMisses)) forget_misses(slot);
    // Not of a child that has left: its slot may have been closed while this view was on its way.
    const bool used = wanted.role == SlotRole::kReader || wanted.role == SlotRole::kWriter;
    if (wanted.device != nullptr && (used || seeded(SeededBug::kViewRevivesDevice))) {
      slot.device = std::move(wanted.device);
    }
    if (opened[i] != nullptr) slot.channel = std::move(opened[i]);
  }
  settle_all();
  retry_held();
  co_return failed;
}

// The child is away, and known to be: writes that wait for others need not wait for that any more, also not when it is
// being rebuilt before they end. What it has done of them may be lost with its cache: they are not in the map of what
// is unflushed yet.
void NexusPort::forget_misses(Slot& slot) {
  for (Op& op : writes_) {
    log_missed(op, bit(slot.index));
    for (uint32_t* bits : {&op.failed, &op.missed, &op.reported}) *bits &= ~bit(slot.index);
  }
}

Task<> NexusPort::log_under_way() {
  const uint32_t readers = mask(SlotRole::kReader);
  for (const Op& op : writes_) log_missed(op, ~readers);
  co_return;
}

// The slot may get another child: what is under way has nothing to do with that one.
void NexusPort::forget(size_t slot) {
  for (Op& op : writes_) {
    for (uint32_t* bits : {&op.ok, &op.failed, &op.refused, &op.missed, &op.reported, &op.kept, &op.used_to_it}) {
      *bits &= ~bit(slot);
    }
  }
  for (Op& op : held_) op.used_to_it &= ~bit(slot);
}

Task<> NexusPort::close_slot(size_t index) {
  Slot& slot = *slots_.at(index);
  CAIRN_CHECK(slot.role == SlotRole::kAway || slot.role == SlotRole::kAbsent || mode_ == PortMode::kClosed);
  while (slot.num_legs > 0) static_cast<void>(co_await changed_.wait_uninterrupted());
  slot.channel.reset();
  slot.device.reset();
}

Task<> NexusPort::close() {
  CAIRN_CHECK(mode_ == PortMode::kClosed);
  auto busy = [this] {
    return repairing_ || !fence_reported_ || !legs_.empty() || (permits_ != nullptr && permits_->asking()) ||
           std::ranges::any_of(slots_, [](const auto& slot) { return slot->reporting; });
  };
  while (busy()) static_cast<void>(co_await changed_.wait_uninterrupted());
  timeout_check_.disarm();
}

// ---- The write-intent log ----

bool NexusPort::is_permitted(const Op& op) {
  if (op.io.type == IoType::kFlush || op.io.type == IoType::kReset) return true;
  return permits_->allow(op.lba, seeded(SeededBug::kMarkFirstRegion) ? 1 : op.num_blocks);
}

Task<> NexusPort::use_permits(WritePermits::Keeper& keeper, unsigned region_shift, uint64_t num_regions) {
  permits_ = std::make_unique<WritePermits>(keeper, home_.home_reactor(), reactor_, region_shift, num_regions,
                                            [this](Status status) { permits_answered(status); });
  co_return;
}

// Not granted: the last child does not take the log. Its hosts learn of it.
void NexusPort::permits_answered(Status status) {
  if (!status.is_success()) {
    IntrusiveList<Op> held, refused;
    held.splice_back(held_);
    while (Op* op = held.pop_front()) {
      const bool asked = !op->is_read() && op->num_blocks != 0 && permits_->asks_for(op->lba, op->num_blocks);
      (asked && mode_ == PortMode::kServing ? refused : held_).push_back(*op);
    }
    // Their hosts may ask for the same again in here.
    while (Op* op = refused.pop_front()) finish(*op, status);
  }
  retry_held();
  changed_.pulse();
}

Task<> NexusPort::withdraw_permits(bool at_once, RegionMap& kept) {
  if (permits_ == nullptr) co_return;
  RegionMap in_flight(kept.size());
  for (const Op& op : writes_) {
    if (op.num_blocks != 0) permits_->note_in_flight(in_flight, op.lba, op.num_blocks);
  }
  permits_->withdraw(in_flight, at_once, kept);
}

Task<> NexusPort::grow_permits(uint64_t num_regions) {
  if (permits_ != nullptr) permits_->grow(num_regions);
  co_return;
}

// ---- Locks ----

void NexusPort::lock(PortLock& lock) {
  lock.num_before_ = 0;
  for (const Op& op : writes_) {
    if (lock.overlaps(op.lba, op.num_blocks)) ++lock.num_before_;
  }
  locks_.push_back(lock);
  if (lock.num_before_ == 0) lock.home_.post(lock.granted_);
}

void NexusPort::unlock(PortLock& lock) {
  lock.unlink();
  if (lock.num_before_ > 0) lock.home_.post(lock.granted_);  // given up: nobody waits any more
  lock.num_before_ = 0;
  lock.home_.post(lock.released_);
  retry_held();
}

}  // namespace cairn::nexus
