// The unit of the pool's format: 4096-byte pages, most of them closed by a CRC-32C (docs/pool-format.md, "Pages").
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn::pool::format {

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kCrcOffset = 4092;  // the CRC covers the bytes before it

using PageView = std::span<const std::byte, kPageSize>;
using PageSpan = std::span<std::byte, kPageSize>;

// A page in memory, aligned for direct I/O.
struct alignas(kPageSize) Page {
  std::array<std::byte, kPageSize> bytes{};
  PageView view() const { return bytes; }
  PageSpan span() { return bytes; }
};
static_assert(sizeof(Page) == kPageSize);

// The i-th page of a region of whole pages.
inline PageView page_at(std::span<const std::byte> region, size_t i) {
  return region.subspan(i * kPageSize).first<kPageSize>();
}
inline PageSpan page_at(std::span<std::byte> region, size_t i) {
  return region.subspan(i * kPageSize).first<kPageSize>();
}

bool is_blank(PageView page);  // nothing but zeroes
uint32_t stored_crc(PageView page);
uint32_t computed_crc(PageView page);
inline bool crc_matches(PageView page) {
  return stored_crc(page) == computed_crc(page);
}
void seal(PageSpan page);  // stores the CRC of what the page holds

// Blobs are named by the metadata page of their root; extent pages and chain pages have no name of their own.
using BlobId = uint64_t;
inline constexpr BlobId kNoBlob = ~BlobId{0};
constexpr BlobId blob_id_of(uint32_t root_page) {
  return BlobId{1} << 32 | root_page;
}
constexpr bool is_blob_id(BlobId id) {
  return id >> 32 == 1;
}
constexpr uint32_t root_page_of(BlobId id) {
  return static_cast<uint32_t>(id);
}

// Pages [start, start + length) of the device.
struct PageRange {
  uint32_t start = 0;
  uint32_t length = 0;
  uint64_t end() const { return uint64_t{start} + length; }
  friend bool operator==(const PageRange&, const PageRange&) = default;
};

constexpr uint64_t divide_up(uint64_t value, uint64_t divisor) {
  return value / divisor + (value % divisor != 0);
}

}  // namespace cairn::pool::format
