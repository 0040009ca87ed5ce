// The three bit masks: used metadata pages, used clusters, used blob ids (docs/pool-format.md, "Masks"). Bits are kept
// in memory as 64-bit words, bit i of the mask in bit i % 64 of word i / 64.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/error.h"
#include "pool/format/page.h"

namespace cairn::pool::format {

enum class MaskType : uint8_t { kUsedPages = 0, kUsedClusters = 1, kUsedBlobIds = 2 };

inline constexpr size_t kMaskHeaderSize = 5;

// Pages that a mask of so many bits occupies.
uint32_t mask_pages(uint64_t num_bits);
constexpr size_t mask_words(uint64_t num_bits) {
  return static_cast<size_t>(divide_up(num_bits, 64));
}

// Page `page` (0 based) of the region of a mask of `num_bits` bits; `words` holds at least mask_words(num_bits). Bits
// beyond `num_bits` are written as zero. Pages behind the last bit are zero.
void encode_mask_page(MaskType type, std::span<const uint64_t> words, uint32_t num_bits, uint32_t page, PageSpan out);

// The number of bits that the first page of a mask claims. DATA_LOSS unless the type is `type` and the length between
// `min_bits` and what `region_pages` can hold.
Result<uint32_t> decode_mask_length(PageView first_page, MaskType type, uint32_t min_bits, uint32_t region_pages);

// Adds the bits of page `page` of a mask to `words`, those below `num_bits`; the others are ignored (the mask of
// clusters may be longer than the pool after an interrupted growth). Start from zeroed words; pages may come in any
// order.
void decode_mask_page(PageView in, uint32_t page, uint32_t num_bits, std::span<uint64_t> words);

}  // namespace cairn::pool::format
