#include "cli/json_text.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace cairn::cli {
namespace {

using Json = nlohmann::ordered_json;

TEST(JsonText, IndentsByTwo) {
  const Json value = Json::parse(R"({"b":[1,{"x":null}],"a":"q\"","e":[],"o":{},"n":18446744073709551615,"t":true})");
  EXPECT_EQ(render_json(value, false), value.dump(2));
  EXPECT_EQ(render_json(Json(nullptr), false), "null");
}

TEST(JsonText, ColoursTokensOnly) {
  EXPECT_EQ(render_json(Json{{"a", 1}, {"s", "x"}, {"z", nullptr}}, true),
            "{\n  \033[1;34m\"a\"\033[0m: \033[36m1\033[0m,\n  \033[1;34m\"s\"\033[0m: \033[32m\"x\"\033[0m,\n"
            "  \033[1;34m\"z\"\033[0m: \033[33mnull\033[0m\n}");
}

TEST(JsonText, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(render_json(Json("a\xff"), false), "\"a\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace cairn::cli
