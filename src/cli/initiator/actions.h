// What the initiator test tool can do with a device.
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "block/device.h"
#include "nvme/snapshot_message.h"
#include "runtime/task.h"

namespace cairn::cli {

// All on the device's home reactor. Each gives a line that says what was done.

// Identity and geometry, and the paths of a remote device.
std::string describe_device(block::Device& device);
// `length` bytes at `offset` (0: one block) into a file. Both in whole blocks.
runtime::Task<Result<std::string>> read_to_file(block::Device& device, uint64_t offset, uint64_t length,
                                                std::string file);
// The whole file at `offset`, the last block filled with zeroes.
runtime::Task<Result<std::string>> write_from_file(block::Device& device, uint64_t offset, std::string file);

// Admin commands: only for devices that are reached over NVMe-oF.
runtime::Task<Result<std::string>> send_admin_command(block::Device& device, uint8_t opcode);
// Identify Controller: its 4096 bytes into a file.
runtime::Task<Result<std::string>> identify_controller(block::Device& device, std::string file);
runtime::Task<Result<std::string>> create_snapshot(block::Device& device, nvme::SnapshotMessage message);

}  // namespace cairn::cli
