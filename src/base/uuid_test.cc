#include "base/uuid.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Uuid, ParsesBothCasesAndPrintsLower) {
  auto uuid = Uuid::parse("B4565DF9-af19-4645-9f98-e6a8b8c13b58");
  ASSERT_TRUE(uuid.has_value());
  EXPECT_EQ(uuid->to_string(), "b4565df9-af19-4645-9f98-e6a8b8c13b58");
  EXPECT_EQ(uuid->bytes()[0], 0xb4);
}

TEST(Uuid, RefusesMalformedText) {
  for (const char* text :
       {"", "b4565df9", "b4565df9-af19-4645-9f98-e6a8b8c13b5", "b4565df9-af19-4645-9f98-e6a8b8c13b58a",
        "g4565df9-af19-4645-9f98-e6a8b8c13b58", "b4565df9+af19-4645-9f98-e6a8b8c13b58"}) {
    auto uuid = Uuid::parse(text);
    ASSERT_FALSE(uuid.has_value()) << text;
    EXPECT_EQ(uuid.error().code(), Code::kInvalidArgument);
  }
}

TEST(Uuid, RandomHasVersionAndVariant) {
  const Uuid uuid = Uuid::random_v4(~0ull, ~0ull);
  EXPECT_EQ(uuid.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
  EXPECT_FALSE(uuid.is_nil());
}

// The value of RFC 9562, appendix A.4.
TEST(Uuid, OfName) {
  const auto dns = Uuid::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
  EXPECT_EQ(Uuid::of_name(*dns, "www.example.com").to_string(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

}  // namespace
}  // namespace cairn
