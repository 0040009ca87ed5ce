// What is refused, by name, with the disk unchanged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pool/test_site.h"

namespace cairn::pool {
namespace {

using testing::HasSubstr;

class PoolRefusalTest : public testing::Test {
 protected:
  Result<PoolRegistry::Created> create(CreatePoolRequest request) {
    return site_.run(site_.pools().create(std::move(request)));
  }
  CreatePoolRequest request(std::string name = "tpool") {
    return {.name = std::move(name), .uuid = {}, .disks = {site_.disk_uri()}, .cluster_size = {}, .md_resv_ratio = {}};
  }
  // Neither create nor import takes the disk; nothing on it changes, and no device stays behind.
  void expect_refused(const std::string& why, const std::string& name = "tpool") {
    const uint64_t before = site_.disk_checksum();
    const auto created = create(request(name));
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code(), Code::kInvalidArgument);
    EXPECT_THAT(created.error().to_string(), HasSubstr(why));
    const auto imported = site_.run(site_.pools().import({.name = name, .uuid = {}, .disks = {site_.disk_uri()}}));
    ASSERT_FALSE(imported);
    EXPECT_EQ(imported.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(site_.disk_checksum(), before);
    EXPECT_TRUE(site_.engine().registry.empty());
  }
  void put(uint64_t offset, const std::vector<std::byte>& data) { site_.put_on_disk(offset, data); }
  std::vector<std::byte> page(uint64_t offset) { return site_.page_on_disk(offset); }
  void make_exported_pool() {
    auto pool = site_.create();
    ASSERT_TRUE(site_.create_replica(*pool, 1, 8 * kMiB, true));
    pool.reset();
    ASSERT_TRUE(site_.run(site_.pools().export_pool("tpool")));
  }
  template <typename Edit>
  void edit_super_block(Edit edit) {
    auto data = page(0);
    edit(data);
    format::seal(std::span(data).first<4096>());
    put(0, data);
  }

  TestSite site_;
};

TEST_F(PoolRefusalTest, DamagedSuperBlock) {
  make_exported_pool();
  auto data = page(0);
  data[40] ^= std::byte{1};
  put(0, data);
  expect_refused("pool that cannot be used");
}

TEST_F(PoolRefusalTest, UnknownVersion) {
  make_exported_pool();
  edit_super_block([](auto& data) { data[8] = std::byte{4}; });
  expect_refused("version");
}

TEST_F(PoolRefusalTest, ShrunkDevice) {
  make_exported_pool();
  site_.resize_disk(60 * kMiB);
  expect_refused("pool that cannot be used");
}

TEST_F(PoolRefusalTest, StoreOfAnotherKind) {
  make_exported_pool();
  edit_super_block([](auto& data) { data[56] = std::byte{'X'}; });
  expect_refused("pool that cannot be used");
}

TEST_F(PoolRefusalTest, PoolWhoseSuperBlockIsGone) {
  make_exported_pool();
  put(0, zeroes(4096));
  expect_refused("remains of a pool");
}

TEST_F(PoolRefusalTest, UnknownData) {
  put(0, pattern(512, 5));
  expect_refused("unknown data");
}

TEST_F(PoolRefusalTest, ForeignFileSystem) {
  // The superblock of an ext4 file system lies 1024 bytes from the start; libblkid wants magic and a few fields.
  std::vector<std::byte> data(1024);
  data[0x38] = std::byte{0x53};
  data[0x39] = std::byte{0xef};
  data[0x18] = std::byte{2};     // blocks of 4096 bytes
  data[0x4c] = std::byte{1};     // revision
  data[0x5c] = std::byte{0x04};  // has a journal
  data[0x60] = std::byte{0x40};  // extents
  put(1024, data);
  expect_refused("ext");
}

TEST_F(PoolRefusalTest, EncryptedDisk) {
  std::vector<std::byte> data(4096);
  const char luks[] = {'L', 'U', 'K', 'S', '\xba', '\xbe', 0, 1};
  std::memcpy(data.data(), luks, sizeof luks);
  put(0, data);
  expect_refused("LUKS");
}

TEST_F(PoolRefusalTest, PartitionTable) {
  std::vector<std::byte> data(512);
  data[450] = std::byte{0x83};
  data[454] = std::byte{0x20};
  data[459] = std::byte{0x10};
  data[510] = std::byte{0x55};
  data[511] = std::byte{0xaa};
  put(0, data);
  expect_refused("dos");
}

TEST_F(PoolRefusalTest, OverwriteIsExplicit) {
  put(0, pattern(512, 5));
  auto overwriting = request();
  overwriting.overwrite = true;
  const auto created = create(overwriting);
  ASSERT_TRUE(created) << created.error().to_string();
  EXPECT_FALSE(created->imported);
}

TEST_F(PoolRefusalTest, OverwriteNeverTakesAHealthyPool) {
  make_exported_pool();
  auto overwriting = request("other");
  overwriting.overwrite = true;
  const uint64_t before = site_.disk_checksum();
  const auto created = create(overwriting);
  ASSERT_FALSE(created);
  EXPECT_THAT(created.error().to_string(), HasSubstr("existing pool disk has different name: tpool"));
  EXPECT_EQ(site_.disk_checksum(), before);
}

TEST_F(PoolRefusalTest, AnotherNameOrUuid) {
  make_exported_pool();
  expect_refused("existing pool disk has different name: tpool", "other");
  const auto imported =
      site_.run(site_.pools().import({.name = "tpool", .uuid = TestSite::uuid_of(9), .disks = {site_.disk_uri()}}));
  ASSERT_FALSE(imported);
  EXPECT_THAT(imported.error().to_string(), HasSubstr("different uuid"));
}

TEST_F(PoolRefusalTest, SecondPoolOfAName) {
  auto pool = site_.create();
  ASSERT_NE(pool, nullptr);
  EXPECT_EQ(create(request()).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(site_.run(site_.pools().import({.name = "tpool", .uuid = {}, .disks = {site_.disk_uri()}})).error().code(),
            Code::kAlreadyExists);
  auto elsewhere = request();
  elsewhere.disks = {"malloc:///m?size_mb=64"};
  const auto other = create(elsewhere);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(other.error().to_string(), HasSubstr("another pool already exists with this name: tpool"));
}

TEST_F(PoolRefusalTest, DiskInUse) {
  auto pool = site_.create();
  ASSERT_NE(pool, nullptr);
  const auto other = create(request("other"));
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), Code::kInvalidArgument);
  EXPECT_THAT(other.error().to_string(), HasSubstr("busy"));
}

TEST_F(PoolRefusalTest, Arguments) {
  auto expect = [&](CreatePoolRequest bad, const std::string& why, Code code = Code::kInvalidArgument) {
    const auto created = create(std::move(bad));
    ASSERT_FALSE(created);
    EXPECT_EQ(created.error().code(), code) << why;
    EXPECT_THAT(created.error().to_string(), HasSubstr(why));
  };
  auto bad = request();
  bad.disks = {};
  expect(bad, "invalid number 0 of devices []");
  bad.disks = {"a", "b"};
  expect(bad, "invalid number 2 of devices [a, b]");
  bad = request();
  bad.cluster_size = 3 << 19;
  expect(bad, "not multiple of 1MiB", Code::kInternal);
  bad.cluster_size = 2u << 30;
  expect(bad, "larger than max limit 1073741824", Code::kInternal);
  bad = request();
  bad.md_resv_ratio = 0;
  expect(bad, "bad metadata resevation ratio: 0", Code::kInternal);
  bad = request(std::string(64, 'x'));
  expect(bad, "64 bytes");
  EXPECT_TRUE(site_.engine().registry.empty());
}

TEST_F(PoolRefusalTest, Replicas) {
  auto pool = site_.create();
  ASSERT_TRUE(site_.create_replica(*pool, 1, 8 * kMiB, true));
  auto make = [&](std::string name, uint64_t number, uint64_t size, bool thin) {
    return site_
        .run(pool->create_replica({.name = std::move(name),
                                   .uuid = TestSite::uuid_of(number),
                                   .size_bytes = size,
                                   .thin = thin,
                                   .entity_id = {}}))
        .error();
  };
  EXPECT_EQ(make("r1", 2, kMiB, true).code(), Code::kAlreadyExists);
  EXPECT_EQ(make("r2", 1, kMiB, true).code(), Code::kAlreadyExists);
  EXPECT_EQ(make("r2", 2, 0, true).code(), Code::kInvalidArgument);
  EXPECT_EQ(make("r2", 2, 97 * kMiB, true).code(), Code::kInvalidArgument);
  EXPECT_THAT(make("r2", 2, 97 * kMiB, true).to_string(), HasSubstr("capacity overflow"));
  EXPECT_EQ(make("r2", 2, 96 * kMiB, false).code(), Code::kResourceExhausted);
  EXPECT_EQ(make(std::string(64, 'n'), 2, kMiB, true).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::pool
