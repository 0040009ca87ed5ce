// A stand-in for the control plane: keeps one volume alive over the storage nodes as the real one will. It reaches
// everybody by calls over the network, may be cut off or die at any moment, and knows only what it has written down.
//
// Each round, a second apart: pools are imported, replicas made; the nexus is looked at; children that left are brought
// back; a volume whose nexus is gone gets another one:
//
//   1. The old nexus must be dead or out of reach: destroyed, its process gone, or, when its node does not answer,
//   fenced
//      by power, or left behind: the host is told to use no path to it any more, and it is destroyed when its node is
//      back.
//   2. Its record in the store is sealed and read.
//   3. It begins with replicas that the record calls healthy, one of them or all that are there. They are exported to
//      the new node only, which returns when nothing that others have sent is under way any more.
//   4. The intention is written down, the nexus is made with these children; the others are rebuilt.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "simulation/engine_program.h"

namespace cairn::simulation {

struct ReplicaEntry {
  std::string name;
  Uuid uuid;
  size_t node = 0;
  // For the checks, not for the control plane: power loss of its node may have taken acknowledged writes from it that
  // were not flushed; since then no record has called it unhealthy, and healthy again.
  bool volatile_loss = false;
  bool out_of_sync_since_loss = false;
  TimePoint in_sync_at{};  // last seen
};

// What the control plane has written down; survives its crashes.
struct VolumeRecord {
  VolumeSpec spec;
  std::vector<ReplicaEntry> replicas;
  std::optional<size_t> target;  // node on which a nexus may live
  uint64_t instance = 0;         // of the newest nexus
  bool instance_sealed = true;
  std::vector<std::string> healthy;  // UUIDs, by the last sealed record; empty: none was written, all are blank
  std::optional<size_t> wanted_target;
  std::set<size_t> left_behind;  // nodes that did not answer, and on which an older nexus may live on
  std::string health_key() const { return fmt::format("{}/{}", spec.uuid.to_string(), instance); }
};

struct ControlCounters {
  uint64_t nexuses_made = 0;
  uint64_t nexuses_made_of_several = 0;
  uint64_t moves = 0;
  uint64_t power_fences = 0;
  uint64_t left_behind = 0;
  uint64_t children_added = 0;
  uint64_t children_onlined = 0;
  uint64_t children_removed = 0;
  uint64_t process_restarts = 0;
  uint64_t pool_imports = 0;
};

struct ControlSite {
  std::vector<sim::Node*> storage;
  sim::Node* store = nullptr;
  sim::Node* client = nullptr;
  VolumeRecord* volume = nullptr;
  ControlCounters* counters = nullptr;
  // Whether the host may have a path to that node; a running client is told apart.
  std::function<void(size_t node, bool may)> allow_path;
  // What it is told then.
  std::function<Task<Result<bool>>()> change_paths;
  // Switches a machine off for good measure; it comes back after some time.
  std::function<void(size_t node)> fence_by_power;
  // Starts the process of a node anew: its pool has to be imported again, or its replica does not become healthy.
  std::function<void(size_t node, bool for_its_pool)> restart_process;
  // From now on only these hosts reach the replica; nothing: it is being given to somebody else.
  std::function<void(const ReplicaEntry&, std::optional<std::vector<std::string>> hosts)> on_given;
  // A nexus begins with these replicas.
  std::function<void(const std::vector<ReplicaEntry*>&)> on_nexus_begins;
  // The newest look at the nexus.
  std::function<void(const NexusView&)> on_view;
};

class ControlPlane final : public sim::NodeProgram {
 public:
  ControlPlane(sim::Node& node, const ControlSite& site);

 private:
  static constexpr Duration kRound = std::chrono::seconds(1);
  static constexpr Duration kCallTimeout = std::chrono::seconds(3);
  static constexpr Duration kLongCallTimeout = std::chrono::seconds(15);
  static constexpr Duration kPathTimeout = std::chrono::seconds(30);   // longer than a keep-alive
  static constexpr Duration kNodePatience = std::chrono::seconds(20);  // then its node is fenced by power
  static constexpr Duration kImportPatience = std::chrono::seconds(10);
  static constexpr Duration kReplicaPatience = std::chrono::seconds(90);  // then its process is started anew

  Task<> run();
  Task<> prepare_replicas();
  Task<> look_after_nexus();
  Task<> give_up_on(size_t target);
  Task<bool> change_path(size_t target, bool may);
  Task<> look_after_left_behind();
  Task<> look_after_children(const NexusView& view);
  void import_again(size_t index);
  Task<> make_nexus();
  Task<bool> give_to(const ReplicaEntry& replica, size_t target);
  void note_view(const NexusView& view);
  std::string child_uri(const ReplicaEntry& replica, size_t target) const;
  EngineProgram& engine(size_t node) const { return site_.storage[node]->program<EngineProgram>(); }
  Task<Result<bool>> ask(size_t node, Duration timeout, std::function<Task<Result<bool>>(EngineProgram&)> what);

  sim::Node& node_;
  const ControlSite& site_;
  VolumeRecord& volume_;
  HealthStoreClient store_;
  std::vector<bool> ready_;                     // replica is there, by its index
  std::vector<TimePoint> imported_at_;          // by starting the process of its node anew, by its index
  std::optional<TimePoint> unreachable_since_;  // the nexus' node
  TimePoint started_{};
};

}  // namespace cairn::simulation
