#include "runtime/core_set.h"

#include <gmock/gmock.h>

namespace cairn::runtime {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(CoreSet, ReadsMasks) {
  EXPECT_THAT(*parse_core_mask("0x3"), ElementsAre(0, 1));
  EXPECT_THAT(*parse_core_mask("f"), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(*parse_core_mask("0XA0"), ElementsAre(5, 7));
  EXPECT_THAT(*parse_core_mask("1" + std::string(16, '0')), ElementsAre(64));
}

TEST(CoreSet, RefusesBadMasks) {
  for (const char* mask : {"", "0x", "0", "0x0", "0xg", "-1", "1,2", " 1"}) {
    const auto cores = parse_core_mask(mask);
    ASSERT_FALSE(cores.has_value()) << mask;
    EXPECT_EQ(cores.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(cores.error().message(), HasSubstr(std::string("'") + mask + "'"));
  }
  EXPECT_FALSE(parse_core_mask(std::string(257, '1')).has_value());
}

TEST(CoreSet, ReadsLists) {
  EXPECT_THAT(*parse_core_list("4"), ElementsAre(4));
  EXPECT_THAT(*parse_core_list("1,2,10-13"), ElementsAre(1, 2, 10, 11, 12, 13));
  EXPECT_THAT(*parse_core_list("3,0-1"), ElementsAre(3, 0, 1));
  EXPECT_THAT(*parse_core_list("5-5"), ElementsAre(5));
}

TEST(CoreSet, RefusesBadLists) {
  for (const char* list :
       {"", ",", "1,", ",1", "a", "1-", "-1", "3-2", "1,1", "0-3,2", "1024", "1 ,2", "1-2-3", "99999999999999"}) {
    const auto cores = parse_core_list(list);
    ASSERT_FALSE(cores.has_value()) << list;
    EXPECT_EQ(cores.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(cores.error().message(), HasSubstr(std::string("'") + list + "'"));
  }
}

TEST(CoreSet, PrintsRanges) {
  EXPECT_EQ(to_string({0, 1, 2, 5}), "0-2,5");
  EXPECT_EQ(to_string({7}), "7");
  EXPECT_EQ(to_string({}), "");
}

TEST(CoreSet, AllowedCoresAreNotEmpty) {
  EXPECT_FALSE(allowed_cores().empty());
}

}  // namespace
}  // namespace cairn::runtime
