// The I/O of a nexus on one reactor: its channels to the children and the operations under way.
//
// Invariants
//  1. A write is acknowledged only when every child that is a member at that moment (reader or writer) has it, and at
//     least one reader. What a child missed is in its log before that.
//  2. A child that misses a write stays "retiring", and what it missed stays unacknowledged, until the home reactor has
//     made it durable that the child is not healthy (or has decided that it stays: the last one; then the host gets its
//     status).
//  3. While a PortLock lies on a range, no write to it is under way here and none starts.
//  4. An Io goes back to its owner only when no child uses its memory any more.
//  5. With WritePermits, no write to a region that is not granted is under way.
//  6. What is set in the map of unequal segments is not read.
//
// Writing zeroes takes as long as it takes where a child has no command for it, and may be for the whole device. It is
// done in portions, one after the other, each a write of its own to all of the above and to time-outs. They end at
// multiples of the first one's size: a cluster of a pool that is cut in two could not be given back.
//
// Per I/O: an Op in the driver area of the host's Io, and for each child that takes part a Leg from a pool that grows
// in groups up to kMaxLegs. What finds no leg, meets a lock or a frozen nexus waits in `held_`.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/intrusive_list.h"
#include "block/device.h"
#include "nexus/dirty_map.h"
#include "nexus/nexus_state.h"
#include "nexus/range_lock.h"
#include "nexus/unequal_map.h"
#include "nexus/unflushed_map.h"
#include "nexus/write_permits.h"
#include "runtime/message.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::nexus {

class NexusChannel;

inline constexpr size_t kMaxChildren = 32;

// What a child is to I/O.
enum class SlotRole : uint8_t {
  kAbsent,
  kReader,    // healthy: reads and writes
  kWriter,    // being rebuilt: writes
  kRetiring,  // nothing; but what it misses may not be acknowledged yet
  kAway,      // nothing; what it misses goes into its log, if it has one
};

enum class PortMode : uint8_t {
  kServing,
  kFrozen,  // no child is left: I/O waits
  kClosed,  // I/O fails
};

// The decisions of the home reactor, given to every port.
struct PortView {
  struct Slot {
    SlotRole role = SlotRole::kAbsent;
    bool local = false;
    std::shared_ptr<block::Device> device;
    std::shared_ptr<DirtyMap> log;
  };
  PortMode mode = PortMode::kServing;
  nvme::Status closed_status;               // of I/O in mode kClosed
  std::shared_ptr<UnflushedMap> unflushed;  // nullptr: no child has a volatile cache
  std::shared_ptr<UnequalMap> unequal;      // nullptr: all healthy children are equal
  std::array<Slot, kMaxChildren> slots;
};

// What was wrong with a child.
struct ChildFailure {
  FaultReason reason = FaultReason::kIoError;
  bool lost = false;      // cannot be reached, as opposed to an error of this I/O
  bool conflict = false;  // another host holds the reservation: this nexus has been replaced
};
ChildFailure failure_of(nvme::Status status);

class NexusPort {
 public:
  // All called on the home reactor.
  class Home {
   public:
    virtual runtime::Reactor& home_reactor() = 0;
    // Must lead to port.answer(slot, ...).
    virtual void on_child_failed(NexusPort& port, size_t slot, ChildFailure failure) = 0;
    // Another host has reserved a child: this port acknowledges nothing any more until its mode is kClosed.
    virtual void on_child_conflict(size_t slot) = 0;
    // A child could not read what another one could.
    virtual void on_bad_blocks(size_t slot, uint64_t lba, uint64_t num_blocks) = 0;

   protected:
    ~Home() = default;
  };

  // On the home reactor.
  NexusPort(Home& home, runtime::Reactor& reactor, uint64_t data_start, Duration child_timeout,
            uint64_t first_zeroing_bytes);
  ~NexusPort();
  NexusPort(const NexusPort&) = delete;
  NexusPort& operator=(const NexusPort&) = delete;

  runtime::Reactor& reactor() const { return reactor_; }
  // Any reactor: I/Os of hosts under way.
  uint32_t num_host_ios() const { return num_host_ios_.load(std::memory_order_relaxed); }
  // On the home reactor: the report about the child in `slot` is dealt with. `kept`: the child stays.
  void answer(size_t slot, bool kept);

  // On the port's reactor from here.

  // A child has become unreachable: is reported if it has I/O. One that gets some later is reported then.
  runtime::Task<> look_for_unreachable();
  // Opens what the view needs, then I/O goes by it. Gives the slots whose channel could not be opened (a bit each).
  runtime::Task<uint32_t> apply(PortView view);
  // Nobody is sure any more that a child has what it answered for: writes under way are noted for all that are rebuilt.
  runtime::Task<> log_under_way();
  // Of a child that is away or absent: waits until it has given back all I/O, then closes its channel.
  runtime::Task<> close_slot(size_t slot);
  // After a view that is closed: waits until nothing is under way, neither I/O nor messages.
  runtime::Task<> close();

  // Before the first I/O: writes only what the keeper grants.
  runtime::Task<> use_permits(WritePermits::Keeper& keeper, unsigned region_shift, uint64_t num_regions);
  // See WritePermits; `kept` also gets what is in flight.
  runtime::Task<> withdraw_permits(bool at_once, RegionMap& kept);
  runtime::Task<> grow_permits(uint64_t num_regions);

  void start(NexusChannel& channel, block::Io& io);
  void lock(PortLock& lock);
  void unlock(PortLock& lock);

 private:
  static constexpr size_t kLegGroup = 32;
  static constexpr size_t kMaxLegs = 8192;
  struct Op;
  struct Leg;
  struct LegLink;
  struct Slot;

  void begin(Op& op);
  void start_write(Op& op);
  void start_read(Op& op);
  Slot* choose_reader(const Op& op);
  bool have_legs(size_t count);
  void start_leg(Op& op, Slot& slot);
  void end_leg(Leg& leg);
  void end_read(Op& op, Slot& slot, nvme::Status status);
  void settle(Op& op);
  void settle_all();
  void leave_writes(Op& op);
  void cut_portion(Op& op);
  void begin_next_portion(Op& op);
  void retry_held();
  void finish(Op& op, nvme::Status status);
  void note_done(const Op& op, uint32_t members);
  void log_missed(const Op& op, uint32_t slots);
  bool is_locked(const Op& op);
  bool is_permitted(const Op& op);
  void permits_answered(nvme::Status status);
  bool report(Slot& slot, ChildFailure failure);
  void answered(Slot& slot);
  void repair(const Op& op);
  void fence(const Slot& slot);
  void forget(size_t slot);
  void forget_misses(Slot& slot);
  void check_timeouts();
  void report_unreachable(Slot& slot);
  uint32_t mask(SlotRole role) const { return roles_[static_cast<size_t>(role)]; }
  void set_role(Slot& slot, SlotRole role);
  template <typename Visit>
  void for_each_slot(uint32_t slots, Visit visit);

  Home& home_;
  runtime::Reactor& reactor_;
  const uint64_t data_start_;
  const Duration child_timeout_;
  const uint64_t first_zeroing_bytes_;
  PortMode mode_ = PortMode::kServing;
  nvme::Status closed_status_;
  std::shared_ptr<UnflushedMap> unflushed_;
  std::shared_ptr<UnequalMap> unequal_;
  std::unique_ptr<WritePermits> permits_;  // nullptr: everything is granted
  std::array<std::unique_ptr<Slot>, kMaxChildren> slots_;
  std::array<uint32_t, 5> roles_{};  // the slots of each SlotRole
  unsigned next_reader_ = 0;
  std::atomic<uint32_t> num_host_ios_{0};

  IntrusiveList<Op> held_;    // not started
  IntrusiveList<Op> writes_;  // started; with no legs left: waiting for decisions
  IntrusiveList<PortLock> locks_;
  std::vector<std::unique_ptr<Leg[]>> leg_groups_;
  IntrusiveList<Leg, LegLink> free_legs_;
  IntrusiveList<Leg, LegLink> legs_;  // in flight, oldest first
  size_t num_free_legs_ = 0;
  bool starved_ = false;  // something in held_ waits for legs
  runtime::Timer timeout_check_;
  runtime::Event changed_;  // pulsed when a leg or a message has ended

  // From the first reservation conflict on.
  bool fenced_ = false;
  bool fence_reported_ = true;
  size_t fence_slot_ = 0;
  runtime::Message fence_message_;
  runtime::Message fence_taken_;

  // One repair is on its way to the home reactor at a time; others are left to the next read.
  bool repairing_ = false;
  size_t repair_slot_ = 0;
  uint64_t repair_lba_ = 0;
  uint64_t repair_blocks_ = 0;
  runtime::Message repair_message_;
  runtime::Message repair_taken_;
};

// A user's channel to the nexus: hands its I/O to the port of the reactor.
class NexusChannel final : public block::Channel {
 public:
  NexusChannel(std::shared_ptr<block::Device> device, NexusPort& port) : Channel(std::move(device)), port_(port) {}

 private:
  friend class NexusPort;
  void start(block::Io& io) override { port_.start(*this, io); }
  NexusPort& port_;
};

}  // namespace cairn::nexus
