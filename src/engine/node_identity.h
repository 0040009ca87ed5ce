// What tells this node from all others.
#pragma once

#include <string>

#include "base/uuid.h"

namespace cairn::engine {

// The same at each start on one node, different on different nodes: the machine id (machine-id(5)) and the node's name,
// as far as they are known. Empty when neither is.
std::string node_identity(const std::string& node_name, const std::string& machine_id_path = "/etc/machine-id");

// Another one at each start of the node's kernel (random(4)). Nil, and a line in the log, when it cannot be read.
Uuid boot_id(const std::string& path = "/proc/sys/kernel/random/boot_id");

}  // namespace cairn::engine
