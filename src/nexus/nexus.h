// A nexus: one block device in front of several children that hold the same data.
//
// Invariants
//  1. A child is healthy when it is open and in sync: it has every acknowledged write. Only healthy children are read.
//  2. The record in the ChildHealthStore never calls a child healthy that misses an acknowledged write: when a child
//     misses one, the write is acknowledged after the record says so. The last healthy child stays healthy in the
//     record.
//  3. Of a child that is not healthy, whatever may differ is set in its dirty map; without a map everything may.
//  4. A rebuild is the only way to become healthy again.
//  5. Healthy children are equal but for writes under way and what is in the map of unequal segments.
//
// Lives on the primary reactor; its I/O in a NexusPort on each reactor. Operations (add, remove, online, ...) exclude
// each other (`operations_`). Changes of health (a retirement, the end of a rebuild) exclude each other (`health_`) and
// wait for no operation, only for the store; the end of a rebuild also for writes under way, a moment (`kHoldLimit`).
//
//   init -> open -> shutting_down -> shutdown       closed: not registered any more
//
// The last child: an error of its I/O goes to the host and changes nothing; when it cannot be reached at all, the nexus
// freezes: all I/O waits until the nexus is destroyed and made anew, here or elsewhere.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/device.h"
#include "block/registry.h"
#include "nexus/child_health.h"
#include "nexus/child_reservation.h"
#include "nexus/copy_watch.h"
#include "nexus/intent_log.h"
#include "nexus/nexus_port.h"
#include "nexus/nexus_snapshot.h"
#include "nexus/nexus_state.h"
#include "nexus/rebuild_job.h"
#include "nexus/resync.h"
#include "nexus/scrub_job.h"
#include "nvme/reservation.h"
#include "nvme/snapshot_message.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

struct NexusOptions {
  std::vector<runtime::Reactor*> reactors;  // all that may open channels; the primary one among them
  ChildHealthStore* store = nullptr;        // nullptr: health is not kept
  // Until a nexus that cannot save shuts itself down; 0: it waits for the store. One that is being ended does neither.
  unsigned save_attempts = 30;
  Duration save_pause = std::chrono::seconds(1);  // between attempts
  // A child that keeps an I/O longer is retired while another one is healthy.
  Duration child_timeout = std::chrono::seconds(10);
  // Long zeroes are written in portions, the first of this size: a multiple of the block size and of the clusters of
  // pools.
  uint64_t first_zeroing_bytes = uint64_t{32} << 20;
  bool partial_rebuild = true;  // keep logs for children that are away
  RebuildOptions rebuild;
  // Takes the snapshot that the message describes of a replica in this process; INTERNAL and the like when it cannot.
  // Empty: there are none.
  std::function<runtime::Task<Result<>>(std::shared_ptr<block::Device>, nvme::SnapshotMessage)> local_snapshot;
  // Writes are held back no longer than this for a snapshot.
  Duration snapshot_limit = std::chrono::seconds(10);
  IntentLogOptions intent_log;  // on the children, for the next nexus
};

// What hosts and children are to see, for those who export the nexus.
struct NvmeParameters {
  uint16_t min_cntlid = 1;
  uint16_t max_cntlid = 0xffef;
  uint64_t reservation_key = 0;
  uint64_t preempt_key = 0;  // 0: none
  nvme::ReservationType reservation_type = nvme::ReservationType::kWriteExclusiveAllRegistrants;
  bool preempt_holder = false;  // policy Holder; else ArgKey

  ReservationParameters reservation() const {
    return {
        .key = reservation_key, .preempt_key = preempt_key, .type = reservation_type, .preempt_holder = preempt_holder};
  }
};

struct NexusRequest {
  std::string name;
  Uuid uuid;
  uint64_t size_bytes = 0;
  std::vector<std::string> children;  // URIs
  std::string health_key;             // empty: the uuid
  NvmeParameters nvme;
};

struct ChildInfo {
  std::string uri;
  std::string device_name;  // empty: none at present
  ChildState state = ChildState::kInit;
  FaultReason reason = FaultReason::kUnknown;  // of kFaulted
  bool in_sync = false;
  bool faulting = false;  // its device is still being closed
  std::optional<uint64_t> rebuild_progress;
  std::optional<TimePoint> fault_time;
  bool has_log = false;
};

class Nexus final : public block::Device,
                    private NexusPort::Home,
                    private RebuildJob::Owner,
                    private IntentLog::Owner,
                    private Resync::Owner {
 public:
  static constexpr size_t kMaxHistory = 128;  // rebuilds remembered

  // Makes the children and opens them; all must be there. On failure, what was made is gone again. A child that is not
  // in sync by the write-intent log is rebuilt; what was under way in a nexus that came to no orderly end is
  // resynchronised.
  //   INVALID_ARGUMENT  parameters; a child's URI, its device, its size or block size; no "uuid=" in it with a store
  //   INTERNAL          no children; one that cannot be opened; the store
  static runtime::Task<Result<std::shared_ptr<Nexus>>> create(block::Registry& devices, const NexusOptions& options,
                                                              NexusRequest request);

  struct Child;
  Nexus(block::Registry& devices, const NexusOptions& options, NexusRequest request, const block::Geometry& geometry);
  ~Nexus() override;

  const Uuid& nexus_uuid() const { return request_.uuid; }
  std::string nqn() const;  // under which it is to be exported
  const NvmeParameters& nvme_parameters() const { return request_.nvme; }
  uint64_t requested_bytes() const { return request_.size_bytes; }
  NexusState state() const { return state_; }
  NexusStatus status() const;
  bool frozen() const { return frozen_; }
  // FAILED_PRECONDITION when it is shut down or frozen.
  Result<> check_operation() const;
  std::vector<ChildInfo> children() const;
  size_t num_rebuilds() const;
  // Nothing: it is off, or a child cannot be told apart from others (no UUID).
  std::optional<IntentLogInfo> intent_log() const;
  // Nothing: there was nothing to resynchronise. Stays after the end.
  std::optional<ResyncStatistics> resync_statistics() const;

  // Operations. FAILED_PRECONDITION when the nexus is shut down or frozen.

  // ALREADY_EXISTS, INVALID_ARGUMENT. `rebuild`: starts a rebuild at once; its failure to start faults the child.
  runtime::Task<Result<>> add_child(std::string uri, bool rebuild);
  // Not a child: nothing happens. FAILED_PRECONDITION: the last one, or the last healthy one.
  runtime::Task<Result<>> remove_child(std::string uri);
  // NOT_FOUND; FAILED_PRECONDITION: the last healthy one.
  runtime::Task<Result<>> fault_child(std::string uri, FaultReason reason);
  // Opens a child again and rebuilds it. Nothing to do when it is open. NOT_FOUND, INTERNAL.
  runtime::Task<Result<>> online_child(std::string uri);
  // Children must have grown before. FAILED_PRECONDITION: smaller; INVALID_ARGUMENT: a child is too small.
  runtime::Task<Result<>> resize(uint64_t size_bytes);
  // A snapshot of every replica that the request does not skip, all of one moment (nexus_snapshot.h). INTERNAL: the
  // request does not fit the children, or the I/O under way did not end in time; nothing was taken then.
  runtime::Task<Result<SnapshotOutcome>> create_snapshot(SnapshotRequest request);
  // Ends I/O (it waits) and closes the children. Again: nothing to do.
  runtime::Task<Result<>> shutdown();
  // While it is set, I/O of a nexus that is frozen or shut down fails instead of waiting: for the end of an export
  // whose hosts get no answers any more.
  runtime::Task<> set_waiting_fails(bool fails);
  // Before the device is removed: I/O fails from now on, children are closed.
  runtime::Task<> close();

  runtime::Task<Result<>> start_rebuild(std::string uri);
  Result<> stop_rebuild(const std::string& uri);
  Result<> pause_rebuild(const std::string& uri);
  Result<> resume_rebuild(const std::string& uri);
  Result<RebuildState> rebuild_state(const std::string& uri) const;
  Result<RebuildStatistics> rebuild_statistics(const std::string& uri) const;
  const std::vector<RebuildRecord>& rebuild_history() const { return history_; }  // oldest first
  // Also of the rebuilds that run.
  void set_rebuild_limits(const RebuildLimits& limits);
  const RebuildLimits& rebuild_limits() const { return rebuild_limits_; }

  // FAILED_PRECONDITION: shut down, frozen, being resynchronised, fewer than two healthy children, a source that is not
  // healthy; ALREADY_EXISTS: one is under way; NOT_FOUND: no such source.
  Result<> start_scrub(ScrubRequest request);
  // NOT_FOUND: there was none; FAILED_PRECONDITION: it is over.
  Result<> pause_scrub();
  Result<> resume_scrub();
  // Returns when it has ended, so that another one may be started. Nothing to stop: nothing happens. DEADLINE_EXCEEDED:
  // it waits for I/O, its own or that of hosts in its segment, which takes too long, and ends with that.
  runtime::Task<Result<>> stop_scrub();
  std::optional<ScrubReport> scrub_report() const;  // of the one under way, or the last one

  // block::Device
  bool has_volatile_cache() const override { return volatile_cache_.load(std::memory_order_acquire); }
  runtime::Task<Result<>> rescan() override { co_return Result<>{}; }
  runtime::Task<> stop() override;

 protected:
  bool supports_natively(block::IoType type) const override;
  runtime::Task<Result<std::unique_ptr<block::Channel>>> make_channel() override;

 private:
  using ChildPtr = std::shared_ptr<Child>;
  enum class Retirement : uint8_t { kRetired, kKept, kAlready };
  std::shared_ptr<Nexus> self() { return std::static_pointer_cast<Nexus>(shared_from_this()); }

  // nexus.cc
  runtime::Task<Result<>> open(std::vector<ChildPtr> children);
  void update_capabilities();
  struct StoppedRebuild {
    ChildPtr child;
    bool was_paused;
  };
  runtime::Task<Result<std::vector<StoppedRebuild>>> grow_maps(uint64_t blocks);
  void note_unflushed_before();
  ChildPtr find_child(const std::string& uri) const;
  bool is_child(const std::string& uri) const;
  bool may_retire() const;
  nvme::Status closed_status() const;  // of I/O that ends with the nexus
  // For the last writes to end: a child that does not answer has left by then.
  Duration end_patience() const { return options_.child_timeout * 3 / 2; }
  ChildPtr child_in(size_t slot) const;
  size_t num_healthy() const;

  // nexus_children.cc
  runtime::Task<Result<>> attach(ChildPtr child, bool in_sync);  // its device: claimed and reserved
  runtime::Task<> close_child(ChildPtr child);
  runtime::Task<> close_children();
  void close_in_background(ChildPtr child);
  runtime::Task<Result<>> retire_by_hand(ChildPtr child, FaultReason reason);
  runtime::Task<bool> is_replaced(ChildPtr child, Duration limit);
  runtime::Task<bool> flush_child(ChildPtr child, Duration limit);

  // nexus_reservations.cc
  runtime::Task<Result<>> reserve_child(Child& child);
  // Of a child whose device was connected anew. Error: no I/O may go to it.
  runtime::Task<Result<>> renew_reservation(ChildPtr child);

  // nexus_retire.cc
  runtime::Task<Retirement> retire(ChildPtr child, ChildState state, FaultReason reason, bool lost);
  // With `health_` held.
  runtime::Task<Retirement> retire_in_turn(ChildPtr child, ChildState state, FaultReason reason, bool lost);
  runtime::Task<> retire_and_answer(ChildPtr child, ChildFailure failure, NexusPort& port, size_t slot);
  void retire_in_background(ChildPtr child, ChildState state, FaultReason reason);
  // With `health_` held, of a child that is not the last healthy one: it gets no I/O and what it misses is logged, if
  // `logged`; the record says that it is not healthy. False: the nexus has shut itself down, or is ending and nobody
  // could be told.
  runtime::Task<bool> take_out(ChildPtr child, bool logged);
  void end_remote_io(Child& child);
  runtime::Task<bool> take_out_in_turn(ChildPtr child, bool logged);
  // With `health_` held: gives all ports the present roles; children that a port could not open are retired in the
  // background.
  runtime::Task<uint32_t> publish();
  // With `health_` held. Of a nexus that is being ended: one attempt; `clean_shutdown`: some more, for a short time.
  runtime::Task<Result<>> save(bool clean_shutdown);
  // With `health_` held: no write is acknowledged any more. The children are closed in the background. Does nothing
  // when the nexus is being ended already.
  runtime::Task<> self_shutdown(std::string why);
  // With `health_` held: I/O goes to no child any more.
  runtime::Task<> leave_children(PortMode mode);
  void on_device_removed(Child& child);
  void on_child_unreachable(Child& child);
  // The device of a remote child was connected anew; no I/O goes to it before this has ended. Error: as little after.
  static runtime::Task<Result<>> look_at_reconnected(std::shared_ptr<Nexus> nexus, ChildPtr child, bool cache_lost);
  runtime::Task<Result<>> on_reconnected(ChildPtr child, bool cache_lost);
  runtime::Task<Result<>> restore_after_loss(ChildPtr child);
  // With `health_` held, of one with a volatile cache.
  runtime::Task<> restore_lost_writes(ChildPtr child);
  runtime::Task<> distrust_copies_of_last();
  // Children that had become unreachable before somebody began to wait for them.
  void look_for_unreachable();
  runtime::Reactor& home_reactor() override { return home(); }
  void on_child_failed(NexusPort& port, size_t slot, ChildFailure failure) override;
  void on_child_conflict(size_t slot) override;
  void on_conflict(const std::string& uri) override;
  void on_bad_blocks(size_t slot, uint64_t lba, uint64_t num_blocks) override;
  runtime::Task<> repair(ChildPtr child, uint64_t lba, uint64_t num_blocks);

  // nexus_log.cc
  runtime::Task<Result<>> open_log();  // decides who of the children is in sync
  runtime::Task<Result<>> make_logs_void();
  runtime::Task<Result<IntentLog::Member>> log_member(ChildPtr child);
  // What a child that is not in sync has missed, from its log; after a publish() with `child->map`.
  void fill_map(Child& child);
  runtime::Task<bool> is_what_left(ChildPtr child);
  void begin_recovery();
  runtime::Task<> close_log();
  void on_log_failed(size_t slot, ChildFailure failure) override;
  void keep_intents(RegionMap& idle) override;
  std::vector<RebuildJob::Source> resync_children() override { return rebuild_sources(); }
  runtime::Task<bool> on_resync_failed(std::string uri, nvme::Status status) override;
  void on_resync_copies(uint64_t lba, uint64_t num_blocks) override;
  void on_resync_ended() override;
  std::shared_ptr<DirtyMap> make_map() const;

  // nexus_rebuilds.cc
  runtime::Task<Result<>> begin_rebuild(ChildPtr child);
  runtime::Task<> rebuild_or_retire(ChildPtr child);
  std::span<const std::unique_ptr<NexusPort>> rebuild_ports() override { return ports_; }
  std::vector<RebuildJob::Source> rebuild_sources() override;
  void on_source_failed(const std::string& uri) override;
  CopyWatch* copy_watch() override { return &copy_watch_; }
  void on_copy_slow(const block::Device& device);
  runtime::Task<bool> promote(RebuildJob& job) override;
  void on_rebuild_ended(RebuildJob& job) override;
  Result<RebuildJob*> job_of(const std::string& uri) const;

  // nexus_scrub.cc
  Result<> check_scrub_goes_on() const;

  // nexus_snapshot.cc
  struct SnapshotRun;
  Result<std::shared_ptr<SnapshotRun>> plan_snapshot(const SnapshotRequest& request) const;
  runtime::Task<> flush_within(Duration limit);
  runtime::Task<> take_within(std::shared_ptr<SnapshotRun> run, Duration limit);
  runtime::Task<> take_snapshot(std::shared_ptr<SnapshotRun> run, size_t index);

  // Tasks that run on after the call that started them; close() waits for them.
  template <typename MakeTask>
  void run_in_background(const char* name, MakeTask make_task);

  block::Registry& devices_;
  const NexusOptions options_;
  NexusRequest request_;
  const uint64_t data_start_;
  NexusState state_ = NexusState::kInit;
  bool frozen_ = false;
  bool taking_out_ = false;  // by the holder of `health_`
  bool fenced_ = false;      // another host has reserved a child: nothing is acknowledged any more
  PortMode mode_ = PortMode::kServing;
  bool waiting_fails_ = false;
  bool children_left_ = false;       // the nexus is ending: who fails now need not leave any more
  std::optional<bool> unsaved_end_;  // whether it was clean; not in the store yet
  std::vector<ChildPtr> children_;
  std::vector<std::unique_ptr<NexusPort>> ports_;
  std::shared_ptr<UnflushedMap> unflushed_;              // from the first child with a volatile cache on
  std::vector<std::shared_ptr<UnflushedMap>> outgrown_;  // by resizes; flushes that were under way then end there
  std::shared_ptr<UnequalMap> unequal_;                  // until all healthy children are equal
  std::unique_ptr<IntentLog> log_;
  std::vector<std::pair<size_t, ChildFailure>> early_log_failures_;  // by slot; to be decided once the nexus is open
  std::unique_ptr<Resync> resync_;
  std::optional<ResyncStatistics> resynced_;  // when it has ended
  std::shared_ptr<ScrubJob> scrub_;           // the last one
  CopyWatch copy_watch_;
  RebuildLimits rebuild_limits_;
  std::vector<RebuildRecord> history_;
  runtime::Mutex operations_;
  runtime::Mutex health_;
  size_t num_background_ = 0;
  runtime::Event background_ended_;  // pulsed
  std::atomic<uint32_t> supported_{0};
  std::atomic<bool> volatile_cache_{false};
};

// What a nexus knows about one of its children. It keeps its slot as long as it is one.
struct Nexus::Child final : block::DeviceListener {
  Child(Nexus& its_nexus, std::string its_uri, size_t its_slot)
      : nexus(its_nexus), uri(std::move(its_uri)), slot(its_slot) {}
  ~Child() { unlink(); }
  bool has_left() const { return state != ChildState::kOpen || device == nullptr; }
  bool healthy() const { return state == ChildState::kOpen && in_sync; }
  bool is_connected() const;  // I/O reaches it at present, as far as that is known
  void on_removed(block::Device&) override {
    unlink();
    nexus.on_device_removed(*this);
  }
  void on_unreachable(block::Device&) override { nexus.on_child_unreachable(*this); }

  Nexus& nexus;
  const std::string uri;
  const size_t slot;
  std::string uuid;  // in the URI; the key in the health record
  std::shared_ptr<block::Device> device;
  bool local = true;
  ChildState state = ChildState::kInit;
  FaultReason reason = FaultReason::kUnknown;
  bool in_sync = false;
  bool recorded_healthy = false;  // in the store
  SlotRole role = SlotRole::kAbsent;
  bool leaving = false;  // from its retirement until its device is closed
  bool closing = false;
  bool ending_io = false;           // its I/O was ended before it is closed
  bool repairing = false;           // blocks that it could not read
  bool slow_copy_reported = false;  // and not dealt with yet
  bool lost_early = false;          // what it had in its cache, while the nexus was made
  runtime::Event closed;            // pulsed when `closing` or `leaving` ends
  std::optional<TimePoint> fault_time;
  std::shared_ptr<DirtyMap> map;
  std::unique_ptr<LogImage> log_image;  // until fill_map()
  std::unique_ptr<RebuildJob> job;
  Uuid log_uuid() const;  // by which logs know it; nil: by nothing
};

template <typename MakeTask>
void Nexus::run_in_background(const char* name, MakeTask make_task) {
  ++num_background_;
  home().spawn(name, [](std::shared_ptr<Nexus> nexus, MakeTask make) -> runtime::Task<> {
    co_await make(*nexus);
    --nexus->num_background_;
    nexus->background_ended_.pulse();
  }(self(), std::move(make_task)));
}

}  // namespace cairn::nexus
