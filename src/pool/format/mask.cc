#include "pool/format/mask.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "nvme/wire.h"

namespace cairn::pool::format {
namespace {

struct [[gnu::packed]] MaskHeader {
  uint8_t type;
  uint32_t length;
};
static_assert(nvme::kIsWire<MaskHeader> && sizeof(MaskHeader) == kMaskHeaderSize);
static_assert(offsetof(MaskHeader, length) == 1);

std::string_view mask_name(MaskType type) {
  switch (type) {
    case MaskType::kUsedPages:
      return "mask of used metadata pages";
    case MaskType::kUsedClusters:
      return "mask of used clusters";
    case MaskType::kUsedBlobIds:
      return "mask of used blob ids";
  }
  return "mask";
}

// The bytes of the bit string that page `page` holds: where in the page, and which of the string.
struct Slice {
  size_t in_page;
  uint64_t first_byte;
  size_t size;
};

Slice slice_of(uint32_t page, uint64_t num_bytes) {
  const size_t in_page = page == 0 ? kMaskHeaderSize : 0;
  const uint64_t first = uint64_t{page} * kPageSize + in_page - kMaskHeaderSize;
  const uint64_t left = first < num_bytes ? num_bytes - first : 0;
  return {.in_page = in_page,
          .first_byte = first,
          .size = static_cast<size_t>(std::min<uint64_t>(kPageSize - in_page, left))};
}

// The bits of the string's last byte that are below num_bits.
std::byte last_byte_bits(uint32_t num_bits) {
  return std::byte{num_bits % 8 == 0 ? uint8_t{0xff} : static_cast<uint8_t>((1u << num_bits % 8) - 1)};
}

}  // namespace

uint32_t mask_pages(uint64_t num_bits) {
  return static_cast<uint32_t>(divide_up(kMaskHeaderSize + divide_up(num_bits, 8), kPageSize));
}

void encode_mask_page(MaskType type, std::span<const uint64_t> words, uint32_t num_bits, uint32_t page, PageSpan out) {
  CAIRN_CHECK(words.size() >= mask_words(num_bits));
  const uint64_t num_bytes = divide_up(num_bits, 8);
  const Slice slice = slice_of(page, num_bytes);
  std::ranges::fill(out, std::byte{0});
  if (page == 0) nvme::store(out, MaskHeader{.type = static_cast<uint8_t>(type), .length = num_bits});
  if (slice.size == 0) return;
  std::memcpy(out.data() + slice.in_page, std::as_bytes(words).data() + slice.first_byte, slice.size);
  if (slice.first_byte + slice.size == num_bytes) out[slice.in_page + slice.size - 1] &= last_byte_bits(num_bits);
}

Result<uint32_t> decode_mask_length(PageView first_page, MaskType type, uint32_t min_bits, uint32_t region_pages) {
  const auto header = nvme::load<MaskHeader>(first_page);
  if (header.type != static_cast<uint8_t>(type)) {
    return fail(Code::kDataLoss,
                fmt::format("{}: type is {}, not {}", mask_name(type), header.type, static_cast<unsigned>(type)));
  }
  const uint64_t room = region_pages == 0 ? 0 : (uint64_t{region_pages} * kPageSize - kMaskHeaderSize) * 8;
  const uint32_t length = header.length;
  if (length < min_bits || length > room) {
    return fail(Code::kDataLoss,
                fmt::format("{}: length is {} bits, accepted are {} to {}", mask_name(type), length, min_bits, room));
  }
  return length;
}

void decode_mask_page(PageView in, uint32_t page, uint32_t num_bits, std::span<uint64_t> words) {
  CAIRN_CHECK(words.size() >= mask_words(num_bits));
  const uint64_t num_bytes = divide_up(num_bits, 8);
  const Slice slice = slice_of(page, num_bytes);
  if (slice.size == 0) return;
  std::byte* const out = std::as_writable_bytes(words).data() + slice.first_byte;
  std::memcpy(out, in.data() + slice.in_page, slice.size);
  if (slice.first_byte + slice.size == num_bytes) out[slice.size - 1] &= last_byte_bits(num_bits);
}

}  // namespace cairn::pool::format
