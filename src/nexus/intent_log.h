// The write-intent log: regions that may be under way or differ are durably marked on every healthy child before a
// write to them starts, and what children that are away have missed is kept beside that.
//
// Invariants
//  1. A write is under way, or acknowledged and not yet on stable storage of all healthy children, only in regions that
//     are intents in the log of every healthy child.
//  2. Of a child that is away the log says so on every healthy child before a write that it missed is acknowledged;
//  from
//     then on what it missed is in the intents or in its map. An intent that goes is put into the maps before.
//  3. A child's log shows a generation in which it was in sync. Only what is in sync is written to.
//
// The log is a state here and a copy on each healthy child. A copy is brought up to date in rounds: what changed since
// the last one is written, maps before intents before the super block; all questions of a round are answered with it
// (group commit). Regions that nobody has written for a while are taken back, when the children that have volatile
// caches are flushed.
//
// Home reactor. The owner calls start(), then join() and leave() as children become healthy and cease to be, and
// close() at the end.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "block/channel.h"
#include "block/page_memory.h"
#include "nexus/intent_log_history.h"
#include "nexus/nexus_port.h"
#include "nexus/write_permits.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::nexus {

struct IntentLogOptions {
  bool enabled = true;
  uint64_t min_region_bytes = 4 << 20;            // at least a segment of a rebuild
  Duration idle_after = std::chrono::seconds(3);  // once or twice this long: not written any more
};

struct IntentLogInfo {
  uint64_t generation = 0;
  uint64_t region_bytes = 0;
  uint64_t num_regions = 0;
  uint64_t num_intents = 0;
  uint64_t num_rounds = 0;  // of writes, of all copies
};

class IntentLog final : public WritePermits::Keeper {
 public:
  class Owner {
   public:
    // The log of the child in `slot` cannot be written. Must lead to leave(), kept() or close().
    virtual void on_log_failed(size_t slot, ChildFailure failure) = 0;
    // Removes from `idle` what must stay an intent for a reason of the owner's.
    virtual void keep_intents(RegionMap& idle) = 0;

   protected:
    ~Owner() = default;
  };
  // A healthy child. The channel is one of the home reactor.
  struct Member {
    size_t slot = 0;
    Uuid uuid;
    std::unique_ptr<block::Channel> channel;
    LogImage image;
  };

  IntentLog(Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, Uuid nexus, const LogGeometry& geometry,
            uint32_t block_size, uint64_t num_blocks, Duration child_timeout, const IntentLogOptions& options);
  ~IntentLog();  // closed
  IntentLog(const IntentLog&) = delete;
  IntentLog& operator=(const IntentLog&) = delete;

  const LogGeometry& geometry() const { return geometry_; }
  const LogState& state() const { return state_; }
  IntentLogInfo info() const;
  // How often intents were taken back: what was written before may be in the caches of those only that are no member.
  uint64_t num_removals() const { return num_removals_; }

  // Writes `state` to all that are in sync. UNAVAILABLE when one does not take it.
  runtime::Task<Result<>> start(LogState state, std::vector<Member> members);
  // The child has become healthy: no write is under way, and it is equal but for the intents. An error: it is not, and
  // has left again; drop() before the next time.
  runtime::Task<Result<>> join(Member member);
  // The child is not healthy any more: returns when every other one says so, or has failed as well. `must_be_told`:
  // nobody else knows; then false when none says so.
  runtime::Task<bool> leave(size_t slot, bool must_be_told);
  // As leave(), of one that has joined and is not equal after all: it may miss anything.
  runtime::Task<> take_back(size_t slot);
  // The child whose log failed is the last one and stays: who asked gets its status.
  void kept(size_t slot);
  // Before the device of the child goes: waits for what is under way to it.
  runtime::Task<> drop(size_t slot);
  // The child is none of the nexus any more.
  runtime::Task<> forget(const Uuid& child);
  // OUT_OF_RANGE: the log cannot hold so many.
  runtime::Task<Result<>> grow(uint64_t num_blocks);
  // Takes back all intents that are not in flight. Afterwards nothing is granted any more.
  runtime::Task<> settle();
  // Takes back what is idle, as it happens by itself from time to time.
  runtime::Task<> sweep(bool at_once);
  // A child has become unreachable: has failed if it is being written to, or when it is written to next.
  void look_for_unreachable();
  // Another nexus may have the children: nothing is written any more, and whoever asks gets `answer`. close() follows.
  void halt(nvme::Status answer);
  // Answers all questions, ends what runs.
  runtime::Task<> close();

  // Makes what is read of a child's log void: from now on nobody keeps one.
  static runtime::Task<Result<>> make_void(block::Channel& channel, const LogImage& image, Uuid nexus, Uuid child);

 private:
  struct Copy;
  struct Question {
    WritePermits* permits;
    uint64_t version;  // of the state that must be durable
  };

  void on_asked(WritePermits& permits) override;
  runtime::Task<> run(Copy& copy);
  runtime::Task<> write_round(Copy& copy);
  void encode(const Copy& copy, size_t number, LogPage page);
  bool is_needed(size_t number) const;
  bool is_behind(const Copy& copy) const;
  void add_copy(Member member);
  void changed(LogPageId id) { page_versions_[page_number(id)] = version_; }
  void changed_map(LogPageId::Kind kind, uint32_t slot);
  void set(RegionMap& map, LogPageId::Kind kind, uint32_t slot, uint64_t region);
  void begin_generation();
  std::optional<uint32_t> free_slot() const;
  void mark_away(LogState::Member& member);
  uint64_t note_departure(Copy& copy, bool missed_is_known);
  bool is_settled(uint64_t version) const;
  bool is_told(uint64_t version) const;
  runtime::Task<> wait_settled(uint64_t version);
  void wake_all();
  void progress();
  void check_timeouts();
  void give_up(Copy& copy, ChildFailure failure);
  void sweep_in_background();
  runtime::Task<bool> flush(size_t slot, std::shared_ptr<block::Device> device);

  Owner& owner_;
  const std::span<const std::unique_ptr<NexusPort>> ports_;
  const Uuid nexus_;
  LogGeometry geometry_;
  const uint32_t block_size_;
  uint64_t num_blocks_;
  const Duration child_timeout_;
  const IntentLogOptions options_;
  LogState state_;
  uint64_t version_ = 1;
  std::array<uint64_t, kNumLogPages> page_versions_ = {};  // when the page changed; 0: never
  uint64_t sequence_ = 0;
  uint64_t num_rounds_ = 0;
  std::map<size_t, std::unique_ptr<Copy>> copies_;  // by slot of the child
  std::vector<Question> questions_;                 // one of each port at most
  RegionMap asked_since_;                           // during a sweep
  uint64_t num_removals_ = 0;
  bool sweeping_ = false;
  bool closed_ = false;
  nvme::Status closed_answer_;
  size_t num_tasks_ = 0;
  runtime::Event changed_;  // pulsed: a copy, a task
  runtime::Timer sweep_timer_;
  runtime::Timer timeout_check_;
};

}  // namespace cairn::nexus
