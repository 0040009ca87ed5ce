// The vendor admin command C1h: a snapshot of the replica that a namespace is (shared reference: nvmf-target.md section
// 8). A nexus on another node asks for it.
#pragma once

#include <memory>

#include "nvme/snapshot_message.h"
#include "nvmf/target/subsystem.h"

namespace cairn::engine {

// Takes the snapshot that the message describes; without a time in it, the present one. UNIMPLEMENTED: the device is no
// replica; else as Pool::create_snapshot. What a nexus of this process uses.
runtime::Task<Result<>> take_replica_snapshot(std::shared_ptr<block::Device> device, nvme::SnapshotMessage message);

// For the subsystems of replicas.
nvmf::target::VendorCommand snapshot_command();

}  // namespace cairn::engine
