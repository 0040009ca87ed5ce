#include "pool/format/lvol_attributes.h"

#include <gtest/gtest.h>

namespace cairn::pool::format {
namespace {

using namespace std::string_literals;

const Uuid kUuid = Uuid::parse("11223344-5566-4788-99aa-bbccddeeff00").value();

std::vector<std::string> names(const XattrList& xattrs) {
  std::vector<std::string> out;
  for (const Xattr& xattr : xattrs.all()) out.push_back(xattr.name);
  return out;
}

TEST(XattrList, ReplacesInPlaceAndKeepsOrder) {
  XattrList list;
  ASSERT_TRUE(list.set("b", "1"));
  ASSERT_TRUE(list.set("a", "2"));
  ASSERT_TRUE(list.set("b", "three"));
  EXPECT_EQ(names(list), (std::vector<std::string>{"b", "a"}));
  EXPECT_EQ(*list.find("b"), "three");
  EXPECT_TRUE(list.remove("b"));
  EXPECT_FALSE(list.remove("b"));
  EXPECT_EQ(list.find("b"), nullptr);
}

TEST(XattrList, LimitsNameAndValueTogether) {
  XattrList list;
  EXPECT_TRUE(list.set("n", std::string(4062, 'x')));
  EXPECT_EQ(list.set("n", std::string(4063, 'x')).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(list.set("", "x").error().code(), Code::kInvalidArgument);
  EXPECT_EQ(list.find("n")->size(), 4062u);
}

TEST(PoolIdentity, FormAndRoundTrip) {
  XattrList xattrs;
  ASSERT_TRUE(set_pool_identity(xattrs, {.name = "pool0", .uuid = kUuid}));
  EXPECT_EQ(names(xattrs), (std::vector<std::string>{"uuid", "name"}));
  EXPECT_EQ(*xattrs.find("uuid"), "11223344-5566-4788-99aa-bbccddeeff00\0"s);
  EXPECT_EQ(*xattrs.find("name"), "pool0\0"s);
  const auto identity = decode_pool_identity(xattrs);
  ASSERT_TRUE(identity);
  EXPECT_EQ(*identity, (PoolIdentity{.name = "pool0", .uuid = kUuid}));
}

TEST(PoolIdentity, Refusals) {
  XattrList xattrs;
  EXPECT_FALSE(set_pool_identity(xattrs, {.name = "", .uuid = kUuid}));
  EXPECT_FALSE(set_pool_identity(xattrs, {.name = std::string(64, 'p'), .uuid = kUuid}));
  EXPECT_FALSE(set_pool_identity(xattrs, {.name = "a\0b"s, .uuid = kUuid}));
  EXPECT_TRUE(set_pool_identity(xattrs, {.name = std::string(63, 'p'), .uuid = kUuid}));
  EXPECT_TRUE(decode_pool_identity(xattrs));
  XattrList broken = xattrs;
  ASSERT_TRUE(broken.set("uuid", "11223344-5566-4788-99aa-bbccddeeff00"));
  EXPECT_FALSE(decode_pool_identity(broken));
  ASSERT_TRUE(broken.set("uuid", "11223344-5566-4788-99aa-bbccddeeffzz\0"s));
  EXPECT_FALSE(decode_pool_identity(broken));
  broken = xattrs;
  broken.remove("name");
  EXPECT_FALSE(decode_pool_identity(broken));
  ASSERT_TRUE(broken.set("name", std::string(65, 'n')));
  EXPECT_FALSE(decode_pool_identity(broken));
}

TEST(LvolAttributes, OfAReplica) {
  XattrList xattrs;
  ASSERT_TRUE(set_lvol_identity(xattrs, "replica1", kUuid));
  const std::vector<std::string> hosts = {"nqn.2014-08.org:a", "nqn.2014-08.org:b"};
  ASSERT_TRUE(set_entity_id(xattrs, "volume-1"));
  ASSERT_TRUE(set_shared(xattrs, true));
  ASSERT_TRUE(set_allowed_hosts(xattrs, hosts));
  EXPECT_EQ(xattrs.find("name")->size(), 64u);
  EXPECT_EQ(xattrs.find("uuid")->size(), 37u);
  EXPECT_EQ(*xattrs.find("shared"), "true\0"s);
  EXPECT_EQ(*xattrs.find("allowed-hosts"), "nqn.2014-08.org:a,nqn.2014-08.org:b\0"s);
  EXPECT_EQ(*xattrs.find("entity_id"), "volume-1\0"s);
  const auto lvol = decode_lvol_attributes(xattrs);
  ASSERT_TRUE(lvol);
  EXPECT_EQ(lvol->name, "replica1");
  EXPECT_EQ(lvol->uuid, kUuid);
  EXPECT_EQ(lvol->shared, true);
  EXPECT_EQ(lvol->allowed_hosts, hosts);
  EXPECT_EQ(lvol->entity_id, "volume-1");
  EXPECT_FALSE(lvol->snapshot);
  EXPECT_FALSE(lvol->clone);
}

TEST(LvolAttributes, EmptyValuesAreAbsent) {
  XattrList xattrs;
  ASSERT_TRUE(set_lvol_identity(xattrs, "r", Uuid()));
  ASSERT_TRUE(set_allowed_hosts(xattrs, {}));
  ASSERT_TRUE(set_entity_id(xattrs, ""));
  EXPECT_EQ(*xattrs.find("allowed-hosts"), "\0"s);
  const auto lvol = decode_lvol_attributes(xattrs).value();
  EXPECT_TRUE(lvol.allowed_hosts.empty());
  EXPECT_FALSE(lvol.entity_id);
  EXPECT_FALSE(lvol.shared);
}

TEST(LvolAttributes, OfASnapshotAndAClone) {
  const SnapshotAttributes snapshot = {.tx_id = "tx",
                                       .entity_id = "volume-1",
                                       .parent_id = "aaaa",
                                       .create_time = "2024-10-09 11:22:33.123456789 UTC",
                                       .discarded = false};
  XattrList xattrs;
  ASSERT_TRUE(set_lvol_identity(xattrs, "snap", kUuid));
  ASSERT_TRUE(set_snapshot_attributes(xattrs, snapshot));
  EXPECT_EQ(names(xattrs),
            (std::vector<std::string>{"name", "uuid", "io-engine.tx_id", "io-engine.entity_id", "io-engine.parent_id",
                                      "io-engine.snapshot_create_time", "io-engine.discarded_snapshot"}));
  EXPECT_EQ(*xattrs.find("io-engine.discarded_snapshot"), "false");
  EXPECT_EQ(decode_lvol_attributes(xattrs)->snapshot, snapshot);
  ASSERT_TRUE(set_discarded(xattrs, true));
  EXPECT_TRUE(decode_lvol_attributes(xattrs)->snapshot->discarded);
  xattrs.remove("io-engine.tx_id");
  EXPECT_FALSE(decode_lvol_attributes(xattrs)->snapshot->complete);

  XattrList clone;
  ASSERT_TRUE(set_lvol_identity(clone, "clone", kUuid));
  ASSERT_TRUE(set_clone_attributes(clone, {.source_uuid = "s", .create_time = "t"}));
  EXPECT_EQ(names(clone),
            (std::vector<std::string>{"name", "uuid", "io-engine.source_uuid", "io-engine.clone_create_time"}));
  EXPECT_EQ(decode_lvol_attributes(clone)->clone, (CloneAttributes{.source_uuid = "s", .create_time = "t"}));
}

TEST(LvolAttributes, BadUuidsAreNilAndBadNamesRefused) {
  XattrList xattrs;
  EXPECT_FALSE(decode_lvol_attributes(xattrs));
  ASSERT_TRUE(xattrs.set("name", std::string(65, 'x')));
  EXPECT_FALSE(decode_lvol_attributes(xattrs));
  ASSERT_TRUE(xattrs.set("name", "fine"));
  EXPECT_TRUE(decode_lvol_attributes(xattrs)->uuid.is_nil());
  ASSERT_TRUE(xattrs.set("uuid", "no uuid"));
  EXPECT_TRUE(decode_lvol_attributes(xattrs)->uuid.is_nil());
  const std::vector<std::string> bad = {"a,b"};
  EXPECT_FALSE(set_allowed_hosts(xattrs, bad));
}

TEST(Timestamp, FormatsAndParses) {
  using namespace std::chrono;
  const Timestamp whole = sys_days(year(2024) / 10 / 9) + 11h + 22min + 33s;
  EXPECT_EQ(format_timestamp(whole), "2024-10-09 11:22:33 UTC");
  EXPECT_EQ(format_timestamp(whole + 120ms), "2024-10-09 11:22:33.120 UTC");
  EXPECT_EQ(format_timestamp(whole + 1us), "2024-10-09 11:22:33.000001 UTC");
  EXPECT_EQ(format_timestamp(whole + 7ns), "2024-10-09 11:22:33.000000007 UTC");
  for (const auto extra : {0ns, 120000000ns, 1000ns, 7ns, 999999999ns}) {
    EXPECT_EQ(parse_timestamp(format_timestamp(whole + extra)).value(), whole + extra);
  }
  for (const char* bad : {"", "2024-10-09 11:22:33", "2024-13-09 11:22:33 UTC", "2024-10-09T11:22:33 UTC",
                          "2024-10-09 11:22:33. UTC", "2024-10-09 11:22:33.1234567890 UTC", "2024-10-09 24:00:00 UTC",
                          "9999-01-01 00:00:00 UTC", "2024-10-09 11:22:3x UTC"}) {
    EXPECT_FALSE(parse_timestamp(bad)) << bad;
  }
}

}  // namespace
}  // namespace cairn::pool::format
