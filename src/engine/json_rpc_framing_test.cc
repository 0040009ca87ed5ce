#include "engine/json_rpc_framing.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::engine {
namespace {

std::vector<std::string> feed(std::string_view text, size_t chunk) {
  JsonRpcFraming framing;
  std::vector<std::string> requests;
  for (size_t at = 0; at < text.size(); at += chunk) {
    framing.add(text.substr(at, chunk));
    while (auto request = framing.next_request()) requests.push_back(*request);
  }
  return requests;
}

TEST(JsonRpcFraming, ObjectsInAnyPieces) {
  const std::string_view text = "{\"a\":1}\n{\"b\":\"}{\\\"\"} {\"c\":[{},{}]}";
  for (size_t chunk = 1; chunk <= text.size(); ++chunk) {
    EXPECT_EQ(feed(text, chunk), (std::vector<std::string>{"{\"a\":1}", "{\"b\":\"}{\\\"\"}", "{\"c\":[{},{}]}"}))
        << chunk;
  }
}

TEST(JsonRpcFraming, RubbishIsGivenOutLineByLine) {
  EXPECT_EQ(feed("hello\n{\"a\":1}", 3), (std::vector<std::string>{"hello", "{\"a\":1}"}));
  EXPECT_TRUE(feed("hello", 1).empty());
}

TEST(JsonRpcFraming, EndlessRequestOverflows) {
  JsonRpcFraming framing;
  framing.add("{\"a\":\"");
  framing.add(std::string(JsonRpcFraming::kMaxRequestBytes, 'x'));
  EXPECT_FALSE(framing.next_request().has_value());
  EXPECT_TRUE(framing.overflowed());
}

}  // namespace
}  // namespace cairn::engine
