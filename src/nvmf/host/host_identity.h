// Who this host is to NVMe-oF controllers: reservations and access rules go by it, so it stays the same across
// restarts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/uuid.h"

namespace cairn::nvmf::host {

struct HostIdentity {
  std::string nqn;
  Uuid id;  // the 128-bit host identifier
};

// The identifier is $MAYASTOR_NVMF_HOSTID (`configured_id`) when that is a UUID, else derived from the NQN. The NQN is
// `configured_nqn` ($HOSTNQN, or made of the node's name) when not empty, else made of the identifier; with neither,
// one that all such hosts share.
HostIdentity make_host_identity(std::string_view configured_nqn, const std::optional<std::string>& configured_id);

// A UUID (version 8) that is always the same for this NQN.
Uuid host_id_of(std::string_view nqn);

}  // namespace cairn::nvmf::host
