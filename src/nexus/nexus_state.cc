#include "nexus/nexus_state.h"

#include <array>
#include <cstddef>

namespace cairn::nexus {

namespace {

template <size_t N, typename State>
std::string_view text_of(const std::array<std::string_view, N>& texts, State state) {
  return texts.at(static_cast<size_t>(state));
}

constexpr std::array<std::string_view, 6> kNexusStates = {"init",          "open",     "reconfiguring",
                                                          "shutting_down", "shutdown", "closed"};
constexpr std::array<std::string_view, 5> kStatuses = {"online", "degraded", "faulted", "shutting_down", "shutdown"};
constexpr std::array<std::string_view, 5> kChildStates = {"init", "config invalid", "open", "closed", "faulted"};
constexpr std::array<std::string_view, 9> kReasons = {
    "unknown",        "cannot open",          "no space", "timed out",        "I/O error",
    "rebuild failed", "admin command failed", "offline",  "offline permanent"};
constexpr std::array<std::string_view, 6> kRebuildStates = {"init",    "running", "paused",
                                                            "stopped", "failed",  "completed"};

}  // namespace

std::string_view to_text(NexusState state) {
  return text_of(kNexusStates, state);
}
std::string_view to_text(NexusStatus status) {
  return text_of(kStatuses, status);
}
std::string_view to_text(ChildState state) {
  return text_of(kChildStates, state);
}
std::string_view to_text(FaultReason reason) {
  return text_of(kReasons, reason);
}
std::string_view to_text(RebuildState state) {
  return text_of(kRebuildStates, state);
}

}  // namespace cairn::nexus
