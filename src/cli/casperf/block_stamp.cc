#include "cli/casperf/block_stamp.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace cairn::cli {

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kWords = 8;
constexpr size_t kLineBytes = kWords * sizeof(uint64_t);
using Line = std::array<uint64_t, kWords>;

// Odd multipliers that spread small numbers over all bits (golden ratio and the like).
constexpr uint64_t kSpread = 0x9e3779b97f4a7c15;
constexpr std::array<uint64_t, 4> kTurns = {0xbf58476d1ce4e5b9, 0x94d049bb133111eb, 0xd6e8feb86659fd93,
                                            0xa0761d6478bd642f};

uint64_t digest(const BlockStamp& stamp) {
  uint64_t z = stamp.run ^ (stamp.lba * kSpread) ^ std::rotl(stamp.generation * kTurns[0], 31);
  z ^= z >> 29;
  return z * kTurns[1];
}

Line make_line(const BlockStamp& stamp, uint64_t digest, uint64_t number) {
  const uint64_t own = digest + number * kSpread;
  return {stamp.run,           stamp.lba,           stamp.generation,    number,
          own * kTurns[0] + 1, own * kTurns[1] + 2, own * kTurns[2] + 3, own * kTurns[3] + 4};
}

Line load_line(std::span<const std::byte> block, size_t number) {
  Line line;
  std::memcpy(line.data(), block.data() + number * kLineBytes, kLineBytes);
  return line;
}

// What the line says of itself, if it is a whole line of this run, at its place within the block.
std::optional<BlockStamp> stamp_of_line(const Line& line, uint64_t run, size_t number) {
  const BlockStamp stamp{line[0], line[1], line[2]};
  if (stamp.run != run || line != make_line(stamp, digest(stamp), number)) return std::nullopt;
  return stamp;
}

}  // namespace

const char* block_fault_name(BlockFault fault) {
  constexpr std::array<const char*, kNumBlockFaults> kNames = {"stale", "misplaced", "torn", "corrupt"};
  return kNames[static_cast<size_t>(fault)];
}

void stamp_block(std::span<std::byte> block, const BlockStamp& stamp) {
  CAIRN_CHECK(block.size() % kLineBytes == 0);
  const uint64_t own = digest(stamp);
  for (size_t number = 0; number < block.size() / kLineBytes; ++number) {
    const Line line = make_line(stamp, own, number);
    std::memcpy(block.data() + number * kLineBytes, line.data(), kLineBytes);
  }
}

bool block_matches(std::span<const std::byte> block, const BlockStamp& stamp) {
  const uint64_t own = digest(stamp);
  uint64_t difference = 0;
  for (size_t number = 0; number < block.size() / kLineBytes; ++number) {
    const Line line = make_line(stamp, own, number);
    const Line seen = load_line(block, number);
    for (size_t word = 0; word < kWords; ++word) difference |= line[word] ^ seen[word];
  }
  return difference == 0;
}

BlockDiagnosis diagnose_block(std::span<const std::byte> block, const BlockStamp& expected) {
  const size_t num_lines = block.size() / kLineBytes;
  std::optional<BlockStamp> first;
  for (size_t number = 0; number < num_lines; ++number) {
    const auto stamp = stamp_of_line(load_line(block, number), expected.run, number);
    if (!stamp) {
      const uint64_t word = load_line(block, number)[0];
      return {BlockFault::kCorrupt,
              fmt::format("byte {} on: {:#018x} is nothing this run has written there", number * kLineBytes, word)};
    }
    if (!first) {
      first = stamp;
    } else if (stamp->lba != first->lba || stamp->generation != first->generation) {
      return {BlockFault::kTorn,
              fmt::format("block {} generation {} up to byte {}, then block {} generation {}", first->lba,
                          first->generation, number * kLineBytes, stamp->lba, stamp->generation)};
    }
  }
  CAIRN_CHECK(first.has_value());
  if (first->lba != expected.lba) {
    return {BlockFault::kMisplaced, fmt::format("the data of block {} generation {}", first->lba, first->generation)};
  }
  return {BlockFault::kStale, fmt::format("generation {} instead of {}", first->generation, expected.generation)};
}

}  // namespace cairn::cli
