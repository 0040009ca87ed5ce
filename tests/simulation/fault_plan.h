// What goes wrong in a run, drawn from its seed before it begins, so that a shorter list can be tried with everything
// else the same.
//
// Most faults happen at their time, to a node that was drawn. Some are aimed: at the node on which the nexus lives by
// then, and at the moment at which something happens there (a cue). Scenes are such faults put together.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/duration.h"

namespace cairn::simulation {

enum class FaultKind : uint8_t {
  kKillProcess,       // of a storage node; started again later
  kPowerLoss,         // of a storage node
  kPowerLossAll,      // of all storage nodes at once
  kKillClient,        //
  kPowerLossClient,   //
  kKillControl,       // the control plane's process
  kStoreDown,         // the store's process
  kStoreSlow,         // every operation takes seconds
  kPause,             // a process does not run for some time
  kClockJump,         // a node's clock runs on at once, as after a suspended machine wakes up
  kWriteErrors,       // every write to a disk fails
  kSomeErrors,        // now and then a read, a write or a flush fails
  kBadBlocks,         // a range cannot be read until it is written
  kDiskHangs,         //
  kDiskSlow,          //
  kDiskStalls,        // now and then an operation takes seconds, while others overtake it
  kDiskFull,          // the pool has no free clusters
  kSnapshot,          // of a replica, so that writes to it need other clusters
  kCutLink,           // two nodes, both ways
  kCutOneWay,         //
  kIsolate,           // a node from all others
  kPartition,         // two groups
  kLoss,              // segments between two nodes
  kSlowLink,          //
  kResetConnections,  // between two nodes
  kMoveVolume,        // somebody wants the nexus elsewhere
  kFaultChild,        // somebody takes a child out
  kOnlineChild,       // somebody brings it back, whatever its state
};
inline constexpr size_t kNumFaultKinds = 28;
std::string_view to_text(FaultKind kind);

// What a fault waits for once its time has come.
enum class Cue : uint8_t {
  kNone,
  kNexusBegins,    // the control plane asks for a nexus
  kRecordSaved,    // the store has taken a record, and not answered yet
  kRebuildBegins,  //
  kRebuildEnds,    // and the child is healthy
  kPoolChanges,    // a neighbour of the volume is about to change the metadata of a pool
};
inline constexpr size_t kNumCues = 6;
std::string_view to_text(Cue cue);

enum class Aim : uint8_t {
  kNode,   // the node that was drawn
  kNexus,  // where the nexus lives
  kOther,  // a node with a replica where it does not live; the same one for the same drawn node
  kCued,   // where the replica lives that the last cue was about
};
std::string_view to_text(Aim aim);

struct Fault {
  Duration at{};  // since the beginning of the trouble
  FaultKind kind = FaultKind::kKillProcess;
  size_t node = 0;   // storage node; of pairs the first
  size_t other = 0;  // any node
  Duration lasting{};
  uint64_t parameter = 0;
  size_t place = 0;  // in the whole plan
  Cue cue = Cue::kNone;
  Duration lag{};  // after the cue
  Aim aim = Aim::kNode;
  Aim other_aim = Aim::kNode;
  std::string_view scene = {};  // that it belongs to

  std::string to_string() const;
};

struct PlanOptions {
  uint64_t seed = 1;
  size_t num_storage = 3;
  size_t num_nodes = 6;  // storage nodes first
  Duration trouble = std::chrono::seconds(60);
  uint64_t excluded = 0;        // bit for each kind
  std::string_view scene = {};  // nothing but this one, again and again
};

// In the order of time.
std::vector<Fault> make_plan(const PlanOptions& options);

}  // namespace cairn::simulation
