#include "simulation/coverage.h"

#include <fmt/format.h>

#include "nexus/nexus_state.h"
#include "simulation/fault_scenes.h"

namespace cairn::simulation {

std::set<std::string> Coverage::missing() const {
  using namespace nexus;
  std::set<std::string> all;
  for (size_t i = 0; i < kNumFaultKinds; ++i) {
    all.insert(fmt::format("fault {}", to_text(static_cast<FaultKind>(i))));
  }
  for (size_t i = 1; i < kNumCues; ++i) all.insert(fmt::format("cue {}", to_text(static_cast<Cue>(i))));
  for (const std::string_view scene : scene_names()) all.insert(fmt::format("faults of scene {}", scene));
  for (const auto status : {NexusStatus::kOnline, NexusStatus::kDegraded, NexusStatus::kFaulted,
                            NexusStatus::kShuttingDown, NexusStatus::kShutdown}) {
    all.insert(fmt::format("nexus {}", to_text(status)));
  }
  for (const auto reason : {FaultReason::kCantOpen, FaultReason::kNoSpace, FaultReason::kTimedOut,
                            FaultReason::kIoError, FaultReason::kRebuildFailed, FaultReason::kOffline}) {
    all.insert(fmt::format("child faulted, {}", to_text(reason)));
  }
  for (const char* what : {"child healthy", "child rebuilding", "child closed", "rebuild full completed",
                           "rebuild partial completed", "rebuild failed", "fault bit_rot", "fault lost_write",
                           "fault misdirected_write", "clusters given back", "nexuses left behind"}) {
    all.insert(what);
  }
  for (const auto& [what, times] : counts) all.erase(what);
  return all;
}

}  // namespace cairn::simulation
