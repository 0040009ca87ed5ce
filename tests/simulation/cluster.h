// A simulated cluster with one volume: storage nodes, the store, the control plane, a client; the faults that happen to
// them, and the checks of what is left.
//
//   set up -> trouble (faults by plan) -> healed (no more faults; everything must come back) -> quiet -> checked
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "runtime/sim/run_task.h"
#include "simulation/client.h"
#include "simulation/control_plane.h"
#include "simulation/coverage.h"
#include "simulation/fault_plan.h"
#include "simulation/neighbours.h"

namespace cairn::simulation {

struct ClusterOptions {
  uint64_t seed = 1;
  bool trace_text = false;
  Duration trouble = std::chrono::seconds(60);
  std::vector<Fault> plan;
};

class Cluster {
 public:
  static constexpr size_t kNumStorage = 3;
  static constexpr size_t kNumNodes = kNumStorage + 3;
  static constexpr uint64_t kDiskBytes = 80 << 20;
  // How long, in virtual time, things may take once nothing is wrong any more.
  static constexpr Duration kHealingLimit = std::chrono::minutes(20);
  static constexpr Duration kOperationLimit = std::chrono::minutes(5);
  // What went wrong before and is noticed late (a lost connection, an I/O that hung) is noticed within this time: it is
  // longer than child_timeout, keep-alives and their likes.
  static constexpr Duration kStableTime = std::chrono::seconds(20);
  // By then the control plane has noticed as well; it waits for a node that does not answer for 20 s.
  static constexpr Duration kNoticed = std::chrono::seconds(60);

  explicit Cluster(const ClusterOptions& options);
  ~Cluster();

  // All of it. Gives what is wrong; empty: nothing.
  std::string run();

  sim::World& world() { return world_; }
  Coverage& coverage() { return coverage_; }
  const ClientState& client() const { return client_state_; }

 private:
  // cluster.cc
  std::string set_up();
  std::string make_trouble();
  std::string heal();
  std::string settle();
  std::string verify_volume();
  void start_storage(size_t index);
  void start_client();
  void start_control();
  void start_store();
  void crash_storage(size_t index, sim::CrashKind kind);
  void forget_volatile();
  void note_record(const std::string& key, const HealthRecord& record);
  void note_loss_by_leaving(const HealthRecord& before, const HealthRecord& record);
  std::shared_ptr<nexus::Nexus> current_nexus();
  bool is_away(const ReplicaEntry& replica);
  void note_late_remedy(std::string what);
  bool left_without_need(const ReplicaEntry& replica);
  void crash_client(sim::CrashKind kind);
  bool wait_until(const std::function<bool()>& done, Duration limit);
  std::string describe();
  void note_clusters(size_t index);
  void sample();  // coverage, again and again
  size_t node_at(const std::string& uri) const;
  sim::Disk& disk(size_t index) { return storage_[index]->files().disk_of(kDisk); }
  EngineProgram& engine(size_t index) { return storage_[index]->program<EngineProgram>(); }
  // Nothing: it does not end within kOperationLimit.
  template <typename T>
  std::optional<T> run_on(sim::Node& node, Task<T> task);
  uint64_t num_blocks() const { return client_state_.history.num_blocks(); }  // of the nexus

  // cluster_faults.cc
  // At its time: does it, or waits for its cue.
  void begin(const Fault& fault);
  void give_cue(Cue cue, size_t node);
  void apply(const Fault& fault);
  bool finds_its_object(const Fault& fault);
  sim::Node& paused_by(const Fault& fault) {
    return fault.parameter % 4 == 0 ? node(fault.other) : *storage_[fault.node];
  }
  size_t node_of(Aim aim, size_t drawn) const;
  void change_child(const Fault& fault, ChildChange change);
  void begin_by_hand(size_t index, const char* name, Task<> task);
  // Tries `undo` until it says that nothing is left, but not while anything begun by hand there is under way.
  void take_back(size_t index, std::vector<bool>& begun, const char* name, Task<bool> (*undo)(EngineProgram& engine));
  void take_snapshot(size_t index);
  void drop_snapshots(size_t index);
  void lift_later(const Fault& fault, std::function<void()> lift);
  void change_disk(size_t index, std::function<void(sim::DiskFaults&)> change);
  void fill_pool(size_t index);
  void empty_pool(size_t index);
  sim::Node& node(size_t index) { return world_.node(index); }

  // cluster_scrub.cc
  std::string damage_and_scrub();
  std::string misplace_writes(size_t node, const std::vector<std::byte>& data, std::set<uint64_t>& damaged);

  // cluster_checks.cc
  std::string check_pool_on_disk(size_t index, bool clean);
  std::string check_replicas();
  // Who lost a replica when it was given to somebody else has no way to it any more.
  std::string check_fences();
  std::string shut_down();

  ClusterOptions options_;
  uint64_t replica_bytes_;
  Coverage coverage_;
  ClientState client_state_;
  ClientOptions client_options_;
  EngineOptions engine_options_;
  VolumeRecord volume_;
  ControlCounters control_counters_;
  StoreContent store_content_;
  Duration store_delay_{};
  ControlSite site_;
  uint64_t boots_ = 0;
  bool trouble_over_ = false;
  std::optional<TimePoint> healed_at_;
  TimePoint pauses_end_{};
  std::string failure_;                   // found on the way
  std::optional<TimePoint> whole_since_;  // by the views of the control plane
  // By storage node.
  std::vector<bool> filled_;
  std::vector<bool> snapshotted_;
  std::vector<unsigned> num_by_hand_;         // begun and not ended; they end with their process
  std::vector<uint64_t> allocated_clusters_;  // of the replica there, last seen
  std::vector<Fault> waiting_;                // for their cues
  size_t cued_node_ = 0;                      // by the last cue
  uint64_t num_snapshots_ = 0;
  std::map<std::string, std::vector<std::string>> given_to_;  // hosts that may reach a replica, by its name
  Neighbours neighbours_;
  std::map<std::string, std::string> last_states_;
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> rebuilds_seen_;  // by boot and instance
  sim::World world_;
  std::vector<sim::Node*> storage_;
  sim::Node* store_ = nullptr;
  sim::Node* control_ = nullptr;
  sim::Node* client_ = nullptr;
};

template <typename T>
std::optional<T> Cluster::run_on(sim::Node& node, Task<T> task) {
  return sim::try_task(world_, node, std::move(task), kOperationLimit);
}

}  // namespace cairn::simulation
