#include "etcd/etcd_endpoints.h"

#include <gtest/gtest.h>

namespace cairn::etcd {
namespace {

using Endpoints = std::vector<std::string>;

TEST(EtcdEndpoints, AllTheFormsUsersHave) {
  EXPECT_EQ(parse_endpoints("etcd"), Endpoints{"etcd:2379"});
  EXPECT_EQ(parse_endpoints("10.0.0.1:1234"), Endpoints{"10.0.0.1:1234"});
  EXPECT_EQ(parse_endpoints("http://mayastor-etcd:2379/"), Endpoints{"mayastor-etcd:2379"});
  EXPECT_EQ(parse_endpoints("http://mayastor-etcd"), Endpoints{"mayastor-etcd:2379"});
  EXPECT_EQ(parse_endpoints("[::1]:77,::1,[fd00::2]"), (Endpoints{"[::1]:77", "[::1]:2379", "[fd00::2]:2379"}));
  EXPECT_EQ(parse_endpoints("a,b:1,http://c"), (Endpoints{"a:2379", "b:1", "c:2379"}));
}

TEST(EtcdEndpoints, WhatIsNoneIsRefusedByName) {
  for (const char* text : {"", ",", "a,", ":2379", "a:", "a:0", "a:65536", "a:http", "http://", "a/b", "a:1/b"}) {
    const auto endpoints = parse_endpoints(text);
    ASSERT_FALSE(endpoints.has_value()) << text;
    EXPECT_EQ(endpoints.error().code(), Code::kInvalidArgument) << text;
  }
  EXPECT_EQ(parse_endpoints("a,b:x").error().message(), "etcd endpoint 'b:x': expected a port from 1 to 65535");
  EXPECT_NE(parse_endpoints("https://a").error().message().find("TLS"), std::string::npos);
}

}  // namespace
}  // namespace cairn::etcd
