#include "base/option_value.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(OptionValue, RefusalNamesOptionValueAndReason) {
  const Result<int> refused = bad_option("--colour", "loud", "expected red or green");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
  EXPECT_EQ(refused.error().message(), "--colour: 'loud' is not valid: expected red or green");
}

TEST(OptionValue, NumbersInTheRange) {
  EXPECT_EQ(parse_option_number<uint32_t>("-q", "2", 2, 1024), 2u);
  EXPECT_EQ(parse_option_number<uint32_t>("-q", "1024", 2, 1024), 1024u);
  EXPECT_EQ(parse_option_number<uint8_t>("-q", "255", 0, UINT8_MAX), 255u);
  EXPECT_EQ(parse_option_number<uint64_t>("-q", "18446744073709551615", 0, UINT64_MAX), UINT64_MAX);
}

TEST(OptionValue, EverythingElseIsRefused) {
  for (const char* text : {"", "1", "1025", "-3", "+3", " 3", "3 ", "3.0", "0x3", "many", "4294967298"}) {
    const auto refused = parse_option_number<uint32_t>("-q", text, 2, 1024);
    ASSERT_FALSE(refused) << text;
    EXPECT_EQ(refused.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(refused.error().message(),
              fmt::format("-q: '{}' is not valid: expected a whole number from 2 to 1024", text));
  }
  EXPECT_FALSE(parse_option_number<uint8_t>("-q", "256", 0, UINT8_MAX));
}

}  // namespace
}  // namespace cairn
