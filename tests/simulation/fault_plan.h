// What goes wrong in a run, drawn from its seed before it begins, so that a shorter list can be tried with everything
// else the same.
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
  kDiskFull,          // the pool has no free clusters
  kCutLink,           // two nodes, both ways
  kCutOneWay,         //
  kIsolate,           // a node from all others
  kPartition,         // two groups
  kLoss,              // segments between two nodes
  kSlowLink,          //
  kResetConnections,  // between two nodes
  kMoveVolume,        // somebody wants the nexus elsewhere
  kFaultChild,        // somebody takes a child out
};
inline constexpr size_t kNumFaultKinds = 24;
std::string_view to_text(FaultKind kind);

struct Fault {
  Duration at{};  // since the beginning of the trouble
  FaultKind kind = FaultKind::kKillProcess;
  size_t node = 0;   // storage node; of pairs the first
  size_t other = 0;  // any node
  Duration lasting{};
  uint64_t parameter = 0;
  size_t place = 0;  // in the whole plan

  std::string to_string() const;
};

struct PlanOptions {
  uint64_t seed = 1;
  size_t num_storage = 3;
  size_t num_nodes = 6;  // storage nodes first
  Duration trouble = std::chrono::seconds(60);
  uint64_t excluded = 0;  // bit for each kind
};

// In the order of time.
std::vector<Fault> make_plan(const PlanOptions& options);

}  // namespace cairn::simulation
