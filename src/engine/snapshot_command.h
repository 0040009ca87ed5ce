// The vendor admin command C1h: a snapshot of the replica that a namespace is (shared reference: nvmf-target.md section
// 8). A nexus on another node asks for it.
#pragma once

#include "nvmf/target/subsystem.h"

namespace cairn::engine {

// For the subsystems of replicas.
nvmf::target::VendorCommand snapshot_command();

}  // namespace cairn::engine
