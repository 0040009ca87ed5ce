#include "base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace cairn {

namespace internal {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41, bit-reversed

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}
constexpr auto kTable = make_table();

}  // namespace

uint32_t crc32c_update_portable(uint32_t state, std::span<const std::byte> data) {
  for (std::byte value : data) state = (state >> 8) ^ kTable[(state ^ static_cast<uint8_t>(value)) & 0xff];
  return state;
}

}  // namespace internal

#if defined(__x86_64__)
namespace {

__attribute__((target("sse4.2"))) uint32_t update_sse42(uint32_t state, std::span<const std::byte> data) {
  const std::byte* p = data.data();
  size_t left = data.size();
  uint64_t crc = state;
  for (; left >= 8; p += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto crc32 = static_cast<uint32_t>(crc);
  for (; left > 0; ++p, --left) crc32 = _mm_crc32_u8(crc32, static_cast<uint8_t>(*p));
  return crc32;
}

const bool kHasSse42 = __builtin_cpu_supports("sse4.2") != 0;

}  // namespace
#endif

uint32_t crc32c_update(uint32_t state, std::span<const std::byte> data) {
#if defined(__x86_64__)
  if (kHasSse42) return update_sse42(state, data);
#endif
  return internal::crc32c_update_portable(state, data);
}

}  // namespace cairn
