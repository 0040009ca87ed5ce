#include "base/byte_size.h"

#include <gtest/gtest.h>

#include <utility>

namespace cairn {
namespace {

TEST(ByteSize, ParsesNumbersWithUnits) {
  const std::pair<const char*, uint64_t> kCases[] = {
      {"0", 0},
      {"4096", 4096},
      {"512B", 512},
      {"1K", 1000},
      {"1kb", 1000},
      {"1Ki", 1024},
      {"1KiB", 1024},
      {"64MB", 64'000'000},
      {"64 MiB", 64ull << 20},
      {"64mib", 64ull << 20},
      {"1.5GiB", 3ull << 29},
      {"0.25K", 250},
      {"0.0006K", 1},  // rounded
      {"2TiB", 2ull << 40},
      {"3P", 3'000'000'000'000'000},
      {"15EiB", 15ull << 60},
      {"18446744073709551615", UINT64_MAX},
      {"1.0000000000000000000000001KiB", 1024},
  };
  for (const auto& [text, bytes] : kCases) {
    const Result<uint64_t> size = parse_byte_size(text);
    ASSERT_TRUE(size.has_value()) << text;
    EXPECT_EQ(*size, bytes) << text;
  }
}

TEST(ByteSize, RefusesEverythingElse) {
  for (const char* text : {"", " ", "GiB", "-1", "+1", "1.", ".5", "1.5.5", "1 ", " 1", "1  K", "1KK", "1iB", "1Kx",
                           "1Z", "0x10", "16EiB", "18446744073709551616", "99999999999999999999999"}) {
    const Result<uint64_t> size = parse_byte_size(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_EQ(size.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(size.error().message(), std::string("Bad size '") + text + "'");
  }
}

TEST(ByteSize, FormatsInTheLargestUnit) {
  EXPECT_EQ(format_byte_size(67108864, SizeUnits::kBytes), "67108864");
  EXPECT_EQ(format_byte_size(67108864, SizeUnits::kBinary), "64.00 MiB");
  EXPECT_EQ(format_byte_size(67108864, SizeUnits::kDecimal), "67.11 MB");
  EXPECT_EQ(format_byte_size(0, SizeUnits::kBinary), "0 B");
  EXPECT_EQ(format_byte_size(1023, SizeUnits::kBinary), "1023 B");
  EXPECT_EQ(format_byte_size(1024, SizeUnits::kBinary), "1.00 KiB");
  EXPECT_EQ(format_byte_size(999, SizeUnits::kDecimal), "999 B");
  EXPECT_EQ(format_byte_size(1000, SizeUnits::kDecimal), "1.00 KB");
  EXPECT_EQ(format_byte_size(1ull << 40, SizeUnits::kBinary), "1.00 TiB");
  EXPECT_EQ(format_byte_size(UINT64_MAX, SizeUnits::kBinary), "16.00 EiB");
  EXPECT_EQ(format_byte_size(UINT64_MAX, SizeUnits::kDecimal), "18.45 EB");
}

}  // namespace
}  // namespace cairn
