// UUIDs (RFC 9562).
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cairn {

class Uuid {
 public:
  constexpr Uuid() = default;  // nil
  constexpr explicit Uuid(const std::array<uint8_t, 16>& bytes) : bytes_(bytes) {}

  // Accepts 8-4-4-4-12 hexadecimal digits, either case; INVALID_ARGUMENT otherwise.
  static Result<Uuid> parse(std::string_view text);
  // Version 4 from 128 random bits. The caller brings the randomness (runtime::Reactor::random, or the system's).
  static Uuid random_v4(uint64_t high, uint64_t low);

  // Version 5: the same for the same name (RFC 9562, section 5.5; SHA-1).
  static Uuid of_name(const Uuid& name_space, std::string_view name);

  bool is_nil() const { return *this == Uuid(); }
  const std::array<uint8_t, 16>& bytes() const { return bytes_; }  // network order
  std::string to_string() const;                                   // lower case

  friend constexpr auto operator<=>(const Uuid&, const Uuid&) = default;

 private:
  std::array<uint8_t, 16> bytes_{};
};

}  // namespace cairn

template <>
struct std::hash<cairn::Uuid> {
  size_t operator()(const cairn::Uuid& uuid) const noexcept;
};
