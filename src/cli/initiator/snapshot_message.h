// The payload of the original's vendor admin command that makes a snapshot of a remote replica.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::cli {

inline constexpr uint8_t kCreateSnapshotOpcode = 0xc1;

struct SnapshotMessage {
  std::optional<std::string> entity_id, parent_id, txn_id, name, uuid, create_time;
  bool discarded = false;
};

// Version 1, in little-endian bincode: u32 0 (the version); the six texts in the order above, each a byte 0 or 1 and,
// when 1, a u64 length and the bytes; a byte for `discarded`.
std::vector<std::byte> encode_snapshot_message(const SnapshotMessage& message);

}  // namespace cairn::cli
