#include "nexus/geometry.h"

#include <algorithm>

namespace cairn::nexus {

namespace {

constexpr uint64_t kFirstPartitionBytes = 1 << 20;
constexpr uint64_t kMetadataBytes = 4 << 20;
constexpr uint64_t kTailBytes = 16384;
constexpr uint64_t kTailBlocks = 2;

constexpr uint64_t blocks(uint64_t bytes, uint32_t block_size) {
  return bytes / block_size + (bytes % block_size != 0 ? 1 : 0);
}

}  // namespace

uint64_t data_start(uint32_t block_size) {
  return blocks(kFirstPartitionBytes, block_size) + blocks(kMetadataBytes, block_size);
}

std::optional<uint64_t> data_end(uint64_t child_blocks, uint32_t block_size, uint64_t requested_bytes) {
  const uint64_t tail = blocks(kTailBytes, block_size) + kTailBlocks;
  const uint64_t start = data_start(block_size);
  const uint64_t requested = blocks(requested_bytes, block_size);
  if (requested == 0 || child_blocks <= tail) return std::nullopt;
  const uint64_t last_usable = child_blocks - tail;
  // The nexus has one block less than what lies between the two, and needs at least one.
  if (start >= last_usable) return std::nullopt;
  return requested - 1 > last_usable - start ? last_usable : start + requested - 1;
}

}  // namespace cairn::nexus
