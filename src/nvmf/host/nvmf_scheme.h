// The URI schemes of the initiator: nvmf://, nvmf+tcp:// and, as the original takes it, nvmf+rdma+tcp:// (by TCP).
#pragma once

#include "nvmf/host/connection_options.h"

namespace cairn::block {
class Registry;
}

namespace cairn::nvmf::host {

// `defaults`: the process's host identity and whatever else its URIs need not say.
void add_nvmf_schemes(block::Registry& registry, const ConnectionOptions& defaults);

}  // namespace cairn::nvmf::host
