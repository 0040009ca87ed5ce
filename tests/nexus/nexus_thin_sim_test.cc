// A nexus over thin replicas of a pool: rebuilds copy what is allocated, and nothing stale survives.
#include <gtest/gtest.h>

#include "nexus/nexus_registry.h"
#include "pool/test_site.h"

namespace cairn::nexus {
namespace {

using block::IoType;
using pool::kMiB;

constexpr uint64_t kReplicaBytes = 48 * kMiB;

class NexusThinSimTest : public testing::Test {
 protected:
  NexusThinSimTest() : site_({.disk_bytes = 300 * kMiB}) {
    pool_ = site_.create();
    for (uint64_t number = 1; number <= 2; ++number) {
      EXPECT_TRUE(site_.create_replica(*pool_, number, kReplicaBytes, true));
    }
    NexusOptions options;
    options.reactors = {&site_.reactor()};
    nexuses_ = std::make_unique<NexusRegistry>(site_.engine().registry, options);
    NexusRequest request;
    request.name = "nexus-1";
    request.uuid = *Uuid::parse("11111111-2222-4333-8444-555555555555");
    request.size_bytes = kReplicaBytes;
    request.children = {uri(1)};
    auto made = site_.run(nexuses_->create(request));
    CAIRN_CHECK(made.has_value());
    nexus_ = *made;
  }
  ~NexusThinSimTest() override {
    nexus_.reset();
    site_.run(nexuses_->destroy_all());
    EXPECT_TRUE(nexuses_->list().empty());
    nexuses_.reset();
    pool_.reset();
  }
  static std::string uri(uint64_t number) {
    return fmt::format("bdev:///r{}?uuid={}", number, pool::TestSite::uuid_of(number).to_string());
  }
  uint64_t clusters(uint64_t number) {
    return site_.replica(fmt::format("r{}", number))->usage().num_allocated_clusters;
  }
  void rebuild(uint64_t number) {
    const auto added = site_.run(nexus_->add_child(uri(number), true));
    ASSERT_TRUE(added) << added.error().to_string();
    site_.run_until([this] { return nexus_->status() == NexusStatus::kOnline && nexus_->num_rebuilds() == 0; });
  }
  std::vector<std::byte> content(const std::string& device) {
    std::vector<std::byte> data(16 * kMiB);
    EXPECT_TRUE(
        site_.io(device, {.type = IoType::kRead, .lba = 10240, .num_blocks = data.size() / 512}, &data).is_success());
    return data;
  }

  pool::TestSite site_;
  std::shared_ptr<pool::Pool> pool_;
  std::unique_ptr<NexusRegistry> nexuses_;
  std::shared_ptr<Nexus> nexus_;
};

TEST_F(NexusThinSimTest, ThinStaysThin) {
  ASSERT_TRUE(site_.write("nexus-1", 8 * kMiB, std::vector<std::byte>(kMiB, std::byte{7})).is_success());
  ASSERT_EQ(clusters(1), clusters(2) + 1);
  rebuild(2);
  EXPECT_EQ(clusters(2), clusters(1));
  EXPECT_EQ(content("r2"), content("r1"));
  // Whole clusters are copied, not the replica.
  const uint64_t transferred = nexus_->rebuild_history().back().statistics.blocks_transferred * 512;
  EXPECT_GE(transferred, kMiB);
  EXPECT_LE(transferred, clusters(1) * 4 * kMiB);
}

TEST_F(NexusThinSimTest, StaleContentDoesNotSurvive) {
  ASSERT_TRUE(site_.write("nexus-1", 8 * kMiB, std::vector<std::byte>(kMiB, std::byte{7})).is_success());
  ASSERT_TRUE(site_.write("r2", 5 * kMiB, std::vector<std::byte>(12 * kMiB, std::byte{0xaa})).is_success());
  ASSERT_NE(content("r2"), content("r1"));
  rebuild(2);
  EXPECT_EQ(content("r2"), content("r1"));
}

// Segments that are copied at once, of which the source has some and others not.
TEST_F(NexusThinSimTest, CopiesThatReachIntoWhatIsNotThere) {
  constexpr uint64_t kClusterEnd = 7 * kMiB, kWritten = 18 * (64 << 10);  // the first sixteen are copied by themselves
  rebuild(2);
  ASSERT_TRUE(site_.run(nexus_->fault_child(uri(2), FaultReason::kOffline)));
  ASSERT_TRUE(
      site_.write("nexus-1", kClusterEnd - kWritten, std::vector<std::byte>(kWritten, std::byte{7})).is_success());
  ASSERT_TRUE(
      site_.io("nexus-1", {.type = IoType::kUnmap, .lba = kClusterEnd / 512, .num_blocks = kMiB / 512}).is_success());
  ASSERT_TRUE(site_.run(nexus_->online_child(uri(2))));
  site_.run_until([this] { return nexus_->status() == NexusStatus::kOnline && nexus_->num_rebuilds() == 0; });
  EXPECT_EQ(nexus_->rebuild_history().back().statistics.blocks_transferred * 512, kWritten);
  EXPECT_EQ(content("r2"), content("r1"));
  EXPECT_EQ(clusters(2), clusters(1));
}

// All that is whole, though the data of a nexus begins within a cluster and children are told in portions.
TEST_F(NexusThinSimTest, WhatIsUnmappedIsGivenBack) {
  const uint64_t before = clusters(1);
  ASSERT_TRUE(site_.write("nexus-1", 0, std::vector<std::byte>(39 * kMiB, std::byte{7})).is_success());
  ASSERT_EQ(clusters(1), 11u);
  ASSERT_TRUE(site_.io("nexus-1", {.type = IoType::kUnmap, .num_blocks = 39 * kMiB / 512}).is_success());
  EXPECT_EQ(clusters(1), before);
}

}  // namespace
}  // namespace cairn::nexus
