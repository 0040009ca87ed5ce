// The payload of the original's vendor admin command that makes a snapshot of a remote replica.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace cairn::nvme {

inline constexpr uint8_t kCreateSnapshotOpcode = 0xc1;

// Longer payloads are no snapshot messages: names and identifiers are short.
inline constexpr size_t kMaxSnapshotMessageSize = 4096;

struct SnapshotMessage {
  std::optional<std::string> entity_id, parent_id, txn_id, name, uuid, create_time;
  bool discarded = false;
  friend bool operator==(const SnapshotMessage&, const SnapshotMessage&) = default;
};

// Version 1, in little-endian bincode: u32 0 (the version); the six texts in the order above, each a byte 0 or 1 and,
// when 1, a u64 length and the bytes; a byte for `discarded`.
std::vector<std::byte> encode_snapshot_message(const SnapshotMessage& message);
// Nothing for bytes that are not version 1 or end too early. Bytes behind the message are ignored, as the original
// does.
std::optional<SnapshotMessage> decode_snapshot_message(std::span<const std::byte> data);

// What completion dword 0 of a failed command says, and clients of a nexus are told of a replica: an errno value, never
// 0.
uint32_t snapshot_errno(const Error& error);

}  // namespace cairn::nvme
