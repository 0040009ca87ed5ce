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

// One instruction takes 8 bytes and has a latency of three, so three parts of the data are worked on side by side; what
// they give is put together by tables that say what a state becomes by kLane bytes of zeroes.
constexpr size_t kLane = 256;

constexpr std::array<std::array<uint32_t, 256>, 4> make_lane_tables() {
  std::array<uint32_t, 32> of_bit{};
  for (size_t bit = 0; bit < of_bit.size(); ++bit) {
    uint32_t state = uint32_t{1} << bit;
    for (size_t i = 0; i < kLane; ++i) state = (state >> 8) ^ internal::kTable[state & 0xff];
    of_bit[bit] = state;
  }
  std::array<std::array<uint32_t, 256>, 4> tables{};
  for (size_t place = 0; place < 4; ++place) {
    for (size_t value = 0; value < 256; ++value) {
      for (size_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) tables[place][value] ^= of_bit[place * 8 + bit];
      }
    }
  }
  return tables;
}
constexpr auto kLaneTables = make_lane_tables();

uint32_t skip_lane(uint32_t state) {
  return kLaneTables[0][state & 0xff] ^ kLaneTables[1][state >> 8 & 0xff] ^ kLaneTables[2][state >> 16 & 0xff] ^
         kLaneTables[3][state >> 24];
}

__attribute__((target("sse4.2"))) inline uint64_t update_word(uint64_t crc, const std::byte* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof(word));
  return _mm_crc32_u64(crc, word);
}

__attribute__((target("sse4.2"))) uint32_t update_sse42(uint32_t state, std::span<const std::byte> data) {
  const std::byte* p = data.data();
  size_t left = data.size();
  uint64_t crc = state;
  for (; left >= 3 * kLane; p += 3 * kLane, left -= 3 * kLane) {
    uint64_t second = 0, third = 0;
    for (size_t i = 0; i < kLane; i += 8) {
      crc = update_word(crc, p + i);
      second = update_word(second, p + kLane + i);
      third = update_word(third, p + 2 * kLane + i);
    }
    crc = skip_lane(skip_lane(static_cast<uint32_t>(crc)) ^ static_cast<uint32_t>(second)) ^ third;
  }
  for (; left >= 8; p += 8, left -= 8) crc = update_word(crc, p);
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
