// States of a nexus, its children and its rebuilds, with the texts clients know (reference nexus.md, section 3, 4, 14).
#pragma once

#include <cstdint>
#include <string_view>

namespace cairn::nexus {

enum class NexusState : uint8_t {
  kInit,
  kOpen,
  kReconfiguring,
  kShuttingDown,
  kShutdown,  // serves nothing any more, waits to be destroyed
  kClosed,
};
std::string_view to_text(NexusState state);

// What clients are told.
enum class NexusStatus : uint8_t { kOnline, kDegraded, kFaulted, kShuttingDown, kShutdown };
std::string_view to_text(NexusStatus status);

enum class ChildState : uint8_t {
  kInit,
  kConfigInvalid,
  kOpen,
  kClosed,   // its device went away
  kFaulted,  // for a FaultReason
};
std::string_view to_text(ChildState state);

enum class FaultReason : uint8_t {
  kUnknown,
  kCantOpen,
  kNoSpace,
  kTimedOut,
  kIoError,
  kRebuildFailed,
  kAdminCommandFailed,
  kOffline,
  kOfflinePermanent,
};
std::string_view to_text(FaultReason reason);
// Whether a child that faulted for it may be brought online again.
constexpr bool is_recoverable(FaultReason reason) {
  return reason != FaultReason::kUnknown && reason != FaultReason::kCantOpen &&
         reason != FaultReason::kOfflinePermanent;
}

enum class RebuildState : uint8_t { kInit, kRunning, kPaused, kStopped, kFailed, kCompleted };
std::string_view to_text(RebuildState state);

}  // namespace cairn::nexus
