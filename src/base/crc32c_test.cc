#include "base/crc32c.h"

#include <cstring>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace cairn {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Crc32c, KnownVectors) {  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c(bytes("123456789")), 0xe3069283u);
  std::vector<std::byte> data(32, std::byte{0});
  EXPECT_EQ(crc32c(data), 0x8a9136aau);
  std::memset(data.data(), 0xff, data.size());
  EXPECT_EQ(crc32c(data), 0x62a8ab43u);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i);
  EXPECT_EQ(crc32c(data), 0x46dd794eu);
}

TEST(Crc32c, PiecesGiveTheSameAsTheWhole) {
  std::vector<std::byte> data(1000);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7);
  for (size_t cut = 0; cut <= data.size(); cut += 13) {
    uint32_t state = crc32c_update(kCrc32cInit, std::span(data).first(cut));
    state = crc32c_update(state, std::span(data).subspan(cut));
    EXPECT_EQ(crc32c_finish(state), crc32c(data));
  }
}

TEST(Crc32c, PortableFormAgrees) {
  std::vector<std::byte> data(2500);  // three lanes thrice, and more
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 + i / 256);
  for (size_t n = 0; n < data.size(); ++n) {
    auto part = std::span(data).first(n);
    EXPECT_EQ(crc32c_finish(internal::crc32c_update_portable(kCrc32cInit, part)), crc32c(part));
  }
}

}  // namespace
}  // namespace cairn
