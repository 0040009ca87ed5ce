#include "base/uuid.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cstring>

#include "base/check.h"

namespace cairn {

namespace {
constexpr size_t kTextLength = 36;
constexpr bool is_dash(size_t position) {
  return position == 8 || position == 13 || position == 18 || position == 23;
}

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
}  // namespace

Result<Uuid> Uuid::parse(std::string_view text) {
  auto malformed = [&] { return fail(Code::kInvalidArgument, fmt::format("'{}' is not a UUID", text)); };
  if (text.size() != kTextLength) return malformed();
  std::array<uint8_t, 16> bytes{};
  size_t digit = 0;
  for (size_t i = 0; i < kTextLength; ++i) {
    if (is_dash(i)) {
      if (text[i] != '-') return malformed();
      continue;
    }
    const int value = hex_value(text[i]);
    if (value < 0) return malformed();
    bytes[digit / 2] = static_cast<uint8_t>(bytes[digit / 2] << 4 | value);
    ++digit;
  }
  return Uuid(bytes);
}

Uuid Uuid::random_v4(uint64_t high, uint64_t low) {
  std::array<uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), &high, 8);
  std::memcpy(bytes.data() + 8, &low, 8);
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);  // version 4, RFC 9562 section 5.4
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);  // variant 10
  return Uuid(bytes);
}

Uuid Uuid::of_name(const Uuid& name_space, std::string_view name) {
  std::string text(reinterpret_cast<const char*>(name_space.bytes_.data()), name_space.bytes_.size());
  text += name;
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest{};
  CAIRN_CHECK(EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha1(), nullptr) == 1);
  std::array<uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), digest.data(), bytes.size());
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x50);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  return Uuid(bytes);
}

std::string Uuid::to_string() const {
  std::string text;
  text.reserve(kTextLength);
  for (size_t i = 0; i < bytes_.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", bytes_[i]);
  }
  return text;
}

}  // namespace cairn

size_t std::hash<cairn::Uuid>::operator()(const cairn::Uuid& uuid) const noexcept {
  size_t value = 0;
  std::memcpy(&value, uuid.bytes().data(), sizeof value);
  return value;
}
