// Reading and writing wire structures in byte buffers of any alignment.
//
// Every structure of this folder has exactly the layout of its specification on a little-endian host: naturally aligned
// where the specification is, packed where it is not, never with hidden padding (kIsWire, asserted beside each
// structure together with its size and offsets). Structures are copied in and out of buffers, never overlaid on them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/check.h"

namespace cairn::nvme {

static_assert(std::endian::native == std::endian::little, "the wire structures are used as they are in memory");

// True for types whose bytes in memory are all value: no padding, nothing to construct.
template <typename T>
inline constexpr bool kIsWire = std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>;

// The value at the start of `bytes`, which must hold at least sizeof(T).
template <typename T>
  requires kIsWire<T>
T load(std::span<const std::byte> bytes) {
  CAIRN_CHECK(bytes.size() >= sizeof(T));
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

// Copies `value` to the start of `bytes`, which must have room for sizeof(T).
template <typename T>
  requires kIsWire<T>
void store(std::span<std::byte> bytes, const T& value) {
  CAIRN_CHECK(bytes.size() >= sizeof(T));
  std::memcpy(bytes.data(), &value, sizeof(T));
}

template <typename T>
  requires kIsWire<T>
std::span<const std::byte, sizeof(T)> bytes_of(const T& value) {
  return std::as_bytes(std::span<const T, 1>(&value, 1));
}

// Copies what a host asked for of a structure: bytes [offset, offset + out.size()), zero beyond the structure's end.
template <typename T>
  requires kIsWire<T>
void store_window(std::span<std::byte> out, const T& value, uint64_t offset = 0) {
  const size_t available = offset < sizeof(T) ? sizeof(T) - static_cast<size_t>(offset) : 0;
  const size_t copied = std::min(available, out.size());
  if (copied > 0) std::memcpy(out.data(), reinterpret_cast<const std::byte*>(&value) + offset, copied);
  std::ranges::fill(out.subspan(copied), std::byte{0});
}

// 128-bit counters and capacities.
struct Uint128 {
  uint64_t low = 0;
  uint64_t high = 0;
  friend constexpr bool operator==(const Uint128&, const Uint128&) = default;
};
static_assert(kIsWire<Uint128> && sizeof(Uint128) == 16);

// ASCII field, left justified, padded with spaces (Base 2.0, section 1.4.2: "ASCII string"). Too long text is cut.
template <size_t N>
constexpr void set_ascii(char (&field)[N], std::string_view text) {
  for (size_t i = 0; i < N; ++i) field[i] = i < text.size() ? text[i] : ' ';
}
// The text of such a field without its padding.
template <size_t N>
constexpr std::string_view get_ascii(const char (&field)[N]) {
  size_t size = N;
  while (size > 0 && (field[size - 1] == ' ' || field[size - 1] == '\0')) --size;
  return {field, size};
}

// NUL-terminated field (NQNs, addresses), the rest zero. Text that would leave no room for the NUL is cut.
template <size_t N>
constexpr void set_c_string(char (&field)[N], std::string_view text) {
  for (size_t i = 0; i < N; ++i) field[i] = i + 1 < N && i < text.size() ? text[i] : '\0';
}
// The text before the first NUL, the whole field when there is none.
template <size_t N>
constexpr std::string_view get_c_string(const char (&field)[N]) {
  size_t size = 0;
  while (size < N && field[size] != '\0') ++size;
  return {field, size};
}

// Bits [low, low + width) of a register or command dword.
template <typename T>
constexpr T bits(T value, unsigned low, unsigned width) {
  return static_cast<T>((value >> low) & ((T{1} << width) - 1));
}
// The same bits replaced by `field` (its higher bits ignored).
template <typename T>
constexpr T with_bits(T value, unsigned low, unsigned width, uint64_t field) {
  const T mask = static_cast<T>(((T{1} << width) - 1) << low);
  return static_cast<T>((value & ~mask) | ((static_cast<T>(field) << low) & mask));
}
constexpr bool bit(uint64_t value, unsigned number) {
  return ((value >> number) & 1) != 0;
}

}  // namespace cairn::nvme
