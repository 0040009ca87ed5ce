#include "base/duration_text.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(DurationText, AsPeopleWriteIt) {
  EXPECT_EQ(parse_duration("110s"), std::chrono::seconds(110));
  EXPECT_EQ(parse_duration("1m 30s"), std::chrono::seconds(90));
  EXPECT_EQ(parse_duration("5ms"), std::chrono::milliseconds(5));
  EXPECT_EQ(parse_duration("0"), Duration(0));
  for (const char* text : {"", "5", "ms", "5 parsecs", "-1s", "1..5s", "99999999999999999999s"}) {
    EXPECT_FALSE(parse_duration(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace cairn
