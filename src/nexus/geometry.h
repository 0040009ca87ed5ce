// Where the data of a nexus lies on its children (reference nexus.md, section 1). Pure.
//
// A child holds raw data from a fixed offset on. What lies before it (once a partition table, room for metadata) and
// the tail (once its second copy) are never touched, so a disk of the original is one of ours and the other way round.
#pragma once

#include <cstdint>
#include <optional>

namespace cairn::nexus {

inline constexpr uint64_t kSegmentBytes = 64 << 10;  // the unit of what is logged for rebuilds, and of their copies

// First block of data.
uint64_t data_start(uint32_t block_size);
// Last block of data of a child (inclusive), for a nexus of `requested_bytes`; nothing when the child is too small to
// hold any.
std::optional<uint64_t> data_end(uint64_t child_blocks, uint32_t block_size, uint64_t requested_bytes);

}  // namespace cairn::nexus
