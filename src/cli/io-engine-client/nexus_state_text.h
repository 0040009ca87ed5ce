// The state of a nexus in tables.
#pragma once

#include <nexus.pb.h>

#include <string>

namespace cairn::cli {

inline std::string nexus_state_text(mayastor::v1::NexusState state) {
  switch (state) {
    case mayastor::v1::NEXUS_ONLINE:
      return "online";
    case mayastor::v1::NEXUS_DEGRADED:
      return "degraded";
    case mayastor::v1::NEXUS_FAULTED:
      return "faulted";
    case mayastor::v1::NEXUS_SHUTTING_DOWN:
      return "shutting_down";
    case mayastor::v1::NEXUS_SHUTDOWN:
      return "shutdown";
    default:
      return "unknown";
  }
}

}  // namespace cairn::cli
