// Who owns which metadata page and which cluster.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pool/check/metadata_area.h"
#include "pool/check/pool_check.h"

namespace cairn::pool::check {

// Takes the claims of all live blobs of the report together: fills `usage` and the report's counts, appends what two
// blobs claim (or one twice) to its findings. Claims that an unfinished snapshot or removal explains are notes.
Usage check_owners(const MetadataArea& area, PoolReport& report);

// The bit `i` of a mask in words.
inline bool bit_of(std::span<const uint64_t> words, uint64_t i) {
  return (words[i / 64] >> i % 64 & 1) != 0;
}
inline void set_bit(std::span<uint64_t> words, uint64_t i) {
  words[i / 64] |= uint64_t{1} << i % 64;
}

}  // namespace cairn::pool::check
