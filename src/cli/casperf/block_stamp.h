// What a verifying load writes: every 64-byte line of a block says which block and which write it belongs to, so that a
// block that comes back wrong tells what happened to it.
//
// A line is eight little-endian words: run, lba, generation, line number, and four words that follow from those, so
// that bytes which were not written by this run cannot pass for a stamp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace cairn::cli {

struct BlockStamp {
  uint64_t run = 0;  // of this run of the program: data of an earlier one is foreign
  uint64_t lba = 0;
  uint64_t generation = 0;  // counts the writes of a block
};

enum class BlockFault : uint8_t {
  kStale,      // an older write of the same block
  kMisplaced,  // a write of another block
  kTorn,       // parts of several writes
  kCorrupt,    // bytes that no write of this run has produced
};
inline constexpr size_t kNumBlockFaults = 4;
const char* block_fault_name(BlockFault fault);  // "stale"

// `block`: a multiple of 64 bytes.
void stamp_block(std::span<std::byte> block, const BlockStamp& stamp);
bool block_matches(std::span<const std::byte> block, const BlockStamp& stamp);

// Why a block does not match; only for one that does not.
struct BlockDiagnosis {
  BlockFault fault;
  std::string text;  // "generation 3 instead of 5"
};
BlockDiagnosis diagnose_block(std::span<const std::byte> block, const BlockStamp& expected);

}  // namespace cairn::cli
