// From a path's host to addresses.
#pragma once

#include <vector>

#include "nvmf/host/connection_options.h"
#include "runtime/address.h"
#include "runtime/task.h"

namespace cairn::nvmf::host {

// The addresses of a path: its own when it is numeric, else what the system's resolver knows, in its order, IPv4 and
// IPv6. NOT_FOUND: none, with an errno_value(): nobody has refused anything. The resolver runs on a thread of its own;
// a cancelled task waits for it.
runtime::Task<Result<std::vector<runtime::SocketAddress>>> look_up(PathAddress path);

}  // namespace cairn::nvmf::host
