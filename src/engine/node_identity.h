// What tells this node from all others.
#pragma once

#include <string>

namespace cairn::engine {

// The same at each start on one node, different on different nodes: the machine id (machine-id(5)) and the node's name,
// as far as they are known. Empty when neither is.
std::string node_identity(const std::string& node_name, const std::string& machine_id_path = "/etc/machine-id");

}  // namespace cairn::engine
