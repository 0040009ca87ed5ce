#include "cli/io-engine-client/endpoint.h"

#include <gtest/gtest.h>

namespace cairn::cli {
namespace {

TEST(Endpoint, FillsInWhatIsMissing) {
  const std::pair<const char*, const char*> kCases[] = {
      {"http://127.0.0.1:10124", "http://127.0.0.1:10124/"},
      {"http://127.0.0.1:10124/", "http://127.0.0.1:10124/"},
      {"10.0.0.7", "http://10.0.0.7:10124/"},
      {"node-1.example", "http://node-1.example:10124/"},
      {"node:1", "http://node:1/"},
      {"http://node", "http://node:10124/"},
      {"[::1]", "http://[::1]:10124/"},
      {"http://[fe80::1%2]:65535/", "http://[fe80::1%2]:65535/"},
  };
  for (const auto& [text, uri] : kCases) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_TRUE(endpoint.has_value()) << text << ": " << endpoint.error().message();
    EXPECT_EQ(endpoint->uri(), uri);
  }
}

TEST(Endpoint, RefusesWhatCannotBeReached) {
  for (const char* text : {"", "/", "http://", "https://node", "ftp://node", "node:", "node:0", "node:65536",
                           "node:12x", "node:-1", "::1", "[::1", "[]", "[::1]x", "node/path", "no de", "user@node"}) {
    const auto endpoint = Endpoint::parse(text);
    ASSERT_FALSE(endpoint.has_value()) << text << " became " << endpoint->uri();
    EXPECT_EQ(endpoint.error().code(), Code::kInvalidArgument);
  }
}

}  // namespace
}  // namespace cairn::cli
