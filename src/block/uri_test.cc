#include "block/uri.h"

#include <gtest/gtest.h>

namespace cairn::block {
namespace {

struct GoodUri {
  std::string text, scheme, host;
  std::optional<uint16_t> port;
  std::string path, decoded_name;
  size_t num_segments;
};

TEST(Uri, Parts) {
  const GoodUri table[] = {
      {"aio:///dev/sda", "aio", "", {}, "/dev/sda", "dev/sda", 2},
      {"aio:/dev/sda", "aio", "", {}, "/dev/sda", "dev/sda", 2},
      {"aio:name", "aio", "", {}, "name", "name", 1},
      {"AiO:///X", "aio", "", {}, "/X", "X", 1},
      {"malloc:///disk0?size_mb=64", "malloc", "", {}, "/disk0", "disk0", 1},
      {"malloc:///", "malloc", "", {}, "/", "", 0},
      {"malloc://", "malloc", "", {}, "", "", 0},
      {"malloc:", "malloc", "", {}, "", "", 0},
      {"bdev:///a/b", "bdev", "", {}, "/a/b", "a/b", 2},
      {"nvmf://10.0.0.1:8420/nqn.2019-05.io.openebs:xyz", "nvmf", "10.0.0.1", 8420, "/nqn.2019-05.io.openebs:xyz",
       "nqn.2019-05.io.openebs:xyz", 1},
      {"nvmf+tcp://Node-1.Example/nqn", "nvmf+tcp", "Node-1.Example", {}, "/nqn", "nqn", 1},
      {"nvmf+rdma+tcp://h:1/n", "nvmf+rdma+tcp", "h", 1, "/n", "n", 1},
      {"nvmf://[fd00::1]:8420/nqn", "nvmf", "[fd00::1]", 8420, "/nqn", "nqn", 1},
      {"nvmf://[::]/nqn", "nvmf", "[::]", {}, "/nqn", "nqn", 1},
      {"nvmf://[::ffff:10.0.0.1]/nqn", "nvmf", "[::ffff:10.0.0.1]", {}, "/nqn", "nqn", 1},
      {"nvmf://[1:2:3:4:5:6:7:8]/nqn", "nvmf", "[1:2:3:4:5:6:7:8]", {}, "/nqn", "nqn", 1},
      {"nvmf://user:pass@host:1/nqn", "nvmf", "host", 1, "/nqn", "nqn", 1},
      {"nvmf://host:/nqn", "nvmf", "host", {}, "/nqn", "nqn", 1},
      {"pcie:///0000:01:00.0", "pcie", "", {}, "/0000:01:00.0", "0000:01:00.0", 1},
      {"aio:///tmp/a%20b%2fc", "aio", "", {}, "/tmp/a%20b%2fc", "tmp/a b/c", 2},
      {"aio:///tmp/100%", "aio", "", {}, "/tmp/100%", "tmp/100%", 2},
      {"aio:///tmp/%zz%4", "aio", "", {}, "/tmp/%zz%4", "tmp/%zz%4", 2},
      {"aio:///a/./b/../c", "aio", "", {}, "/a/c", "a/c", 2},
      {"aio:///a/%2e%2E/c", "aio", "", {}, "/c", "c", 1},
      {"aio:///../../etc", "aio", "", {}, "/etc", "etc", 1},
      {"aio:///a/..", "aio", "", {}, "/", "", 0},
      {"aio:///a/.", "aio", "", {}, "/a/", "a/", 2},
      {"aio:///a//b", "aio", "", {}, "/a//b", "a//b", 3},
      {"aio:///a#fragment?x=1", "aio", "", {}, "/a", "a", 1},
      {"  \t aio:///a\n b \x01", "aio", "", {}, "/a b", "a b", 1},
      {"aio:///?blk_size=512", "aio", "", {}, "/", "", 0},
  };
  for (const auto& expected : table) {
    const auto uri = Uri::parse(expected.text);
    ASSERT_TRUE(uri) << expected.text;
    EXPECT_EQ(uri->text(), expected.text);
    EXPECT_EQ(uri->scheme(), expected.scheme) << expected.text;
    EXPECT_EQ(uri->host(), expected.host) << expected.text;
    EXPECT_EQ(uri->port(), expected.port) << expected.text;
    EXPECT_EQ(uri->path(), expected.path) << expected.text;
    EXPECT_EQ(uri->decoded_name(), expected.decoded_name) << expected.text;
    EXPECT_EQ(uri->segments().size(), expected.num_segments) << expected.text;
  }
}

TEST(Uri, Malformed) {
  for (const std::string text : {"",
                                 "x",
                                 "/dev/sda",
                                 "://x",
                                 "1a:///x",
                                 "+a:///x",
                                 "a_b:///x",
                                 "nvmf://host:65536/n",
                                 "nvmf://host:x/n",
                                 "nvmf://host:-1/n",
                                 "nvmf://:80/n",
                                 "nvmf://user@/n",
                                 "nvmf://[::1/n",
                                 "nvmf://[::1]x/n",
                                 "nvmf://[1:2]/n",
                                 "nvmf://[1::2::3]/n",
                                 "nvmf://[:1]/n",
                                 "nvmf://[12345::]/n",
                                 "nvmf://[1:2:3:4:5:6:7:8:9]/n",
                                 "nvmf://[::1.2.3]/n",
                                 "nvmf://[::256.1.1.1]/n",
                                 "nvmf://[1:]/n",
                                 "nvmf://a b/n",
                                 "nvmf://a|b/n",
                                 "nvmf://a<b/n"}) {
    const auto uri = Uri::parse(text);
    ASSERT_FALSE(uri) << text;
    EXPECT_EQ(uri.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(uri.error().message(), "Error parsing URI '" + text + "'");
  }
  EXPECT_TRUE(Uri::parse("aio:///" + std::string(Uri::kMaxLength - 7, 'x')));
  EXPECT_FALSE(Uri::parse("aio:///" + std::string(Uri::kMaxLength - 6, 'x')));
}

TEST(Uri, Query) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  const std::pair<std::string, Pairs> table[] = {
      {"a:///x", {}},
      {"a:///x?", {}},
      {"a:///x?k", {{"k", ""}}},
      {"a:///x?k=", {{"k", ""}}},
      {"a:///x?=v", {{"", "v"}}},
      {"a:///x?a=1&b=2&&a=3", {{"a", "1"}, {"b", "2"}, {"a", "3"}}},
      {"a:///x?a=b=c", {{"a", "b=c"}}},
      {"a:///x?a%3db=%31+2%2B", {{"a=b", "1 2+"}}},
      {"a:///x?u=aio:///y?z", {{"u", "aio:///y?z"}}},
      {"a:?k=v", {{"k", "v"}}},
      {"a://?k=v", {{"k", "v"}}},
  };
  for (const auto& [text, pairs] : table) {
    const auto uri = Uri::parse(text);
    ASSERT_TRUE(uri) << text;
    EXPECT_EQ(uri->query(), pairs) << text;
    EXPECT_EQ(uri->has_query(), text.contains('?')) << text;
  }
}

TEST(UriParameters, LastDuplicateWins) {
  const auto uri = Uri::parse("a:///x?n=1&n=2&n=3");
  UriParameters parameters(*uri);
  EXPECT_EQ(**parameters.take_u32("n"), 3u);
  EXPECT_FALSE((*parameters.take_u32("n")).has_value());
  EXPECT_TRUE(parameters.finish());
}

TEST(UriParameters, Integers) {
  auto parse = [](const std::string& value) {
    const auto uri = Uri::parse("a:///x?n=" + value);
    return UriParameters(*uri).take_u32("n");
  };
  EXPECT_EQ(**parse("0"), 0u);
  EXPECT_EQ(**parse("4294967295"), 4294967295u);
  EXPECT_EQ(**parse("%2B7"), 7u);
  for (const std::string value : {"", "-1", "1x", "x", "4294967296", "0x10", "1.5"}) {
    const auto result = parse(value);
    ASSERT_FALSE(result) << value;
    EXPECT_EQ(result.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(result.error().message(), "Invalid URI 'a:///x?n=" + value +
                                            "': could not parse value of parameter 'n': '" + value +
                                            "' is given, an integer expected");
  }
  const auto uri = Uri::parse("a:///x?n=18446744073709551615");
  EXPECT_EQ(**UriParameters(*uri).take_u64("n"), UINT64_MAX);
}

TEST(UriParameters, Booleans) {
  auto parse = [](const std::string& value) {
    const auto uri = Uri::parse("a:///x?b" + value);
    return UriParameters(*uri).take_bool("b");
  };
  for (const std::string value : {"", "=", "=true", "=yes", "=on", "=1", "=42"}) EXPECT_TRUE(**parse(value)) << value;
  for (const std::string value : {"=false", "=no", "=off", "=0"}) EXPECT_FALSE(**parse(value)) << value;
  const auto bad = parse("=maybe");
  ASSERT_FALSE(bad);
  EXPECT_EQ(
      bad.error().message(),
      "Invalid URI 'a:///x?b=maybe': could not parse value of parameter 'b': 'maybe' is given, a boolean expected");
  EXPECT_FALSE(parse("=True"));
}

TEST(UriParameters, Uuids) {
  const auto good = Uri::parse("a:///x?uuid=9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a01");
  EXPECT_EQ((**UriParameters(*good).take_uuid()).to_string(), "9e9f8f53-8a3b-4c3b-9c39-1b1f5d0b9a01");
  const auto bad = Uri::parse("a:///x?uuid=123");
  const auto result = UriParameters(*bad).take_uuid();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "Invalid URI 'a:///x?uuid=123': could not parse value of UUID parameter");
}

TEST(UriParameters, Leftovers) {
  const auto uri = Uri::parse("a:///x?k=v&size=1&k2=v2");
  UriParameters parameters(*uri);
  EXPECT_TRUE(parameters.take_presence("size"));
  const auto result = parameters.finish();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "Invalid URI 'a:///x?k=v&size=1&k2=v2': unrecognized parameter(s): k=v, k2=v2");
}

}  // namespace
}  // namespace cairn::block
