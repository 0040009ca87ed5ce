// One nexus takes over from another one that is still alive: reservations keep the old one from writing.
#include "takeover_site.h"

namespace cairn::nexus {
namespace {

using nvme::ReservationType;

constexpr uint64_t kKeyA = 0xa, kKeyB = 0xb;

struct Way {
  const char* name;
  ReservationType type;
  bool holder;
  uint64_t key_of_b = kKeyB;
};

// Both with the same type and policy, as a control plane makes them.
NvmeParameters of_a(const Way& way) {
  return {.reservation_key = kKeyA, .reservation_type = way.type, .preempt_holder = way.holder};
}
NvmeParameters of_b(const Way& way) {
  return {.reservation_key = way.key_of_b,
          .preempt_key = way.holder ? 0 : kKeyA,
          .reservation_type = way.type,
          .preempt_holder = way.holder};
}
// The common case.
const Way kByKey{"", ReservationType::kWriteExclusiveAllRegistrants, false};
const Way kByHolder{"", ReservationType::kExclusiveAccess, true};

class Takeover : public testing::TestWithParam<Way> {};

INSTANTIATE_TEST_SUITE_P(
    Ways, Takeover,
    testing::Values(Way{"KeyWriteExclusive", ReservationType::kWriteExclusive, false},
                    Way{"KeyExclusiveAccess", ReservationType::kExclusiveAccess, false},
                    Way{"KeyWriteExclusiveRegistrants", ReservationType::kWriteExclusiveRegistrantsOnly, false},
                    Way{"KeyExclusiveAccessRegistrants", ReservationType::kExclusiveAccessRegistrantsOnly, false},
                    Way{"KeyWriteExclusiveAll", ReservationType::kWriteExclusiveAllRegistrants, false},
                    Way{"KeyExclusiveAccessAll", ReservationType::kExclusiveAccessAllRegistrants, false},
                    Way{"KeyTheSame", ReservationType::kWriteExclusive, false, kKeyA},
                    Way{"HolderWriteExclusive", ReservationType::kWriteExclusive, true},
                    Way{"HolderExclusiveAccess", ReservationType::kExclusiveAccess, true},
                    Way{"HolderExclusiveAccessRegistrants", ReservationType::kExclusiveAccessRegistrantsOnly, true},
                    Way{"HolderOfTheSameKey", ReservationType::kExclusiveAccess, true, kKeyA}),
    [](const auto& way) { return way.param.name; });

TEST_P(Takeover, FromOneThatIsCutOff) {
  TakeoverSite site({});
  ASSERT_TRUE(site.create(site.a(), of_a(GetParam())));
  ASSERT_TRUE(site.write(site.a(), 1).is_success());
  site.cut(site.a());
  PendingWrite late(site, site.a(), 9);
  const auto made = site.create(site.b(), of_b(GetParam()));
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ(site.read(site.b()), 1);
  ASSERT_TRUE(site.write(site.b(), 2).is_success());
  EXPECT_FALSE(late.io.done);

  site.heal(site.a());
  site.run_until([&] { return late.io.done && site.is_shut_down(site.a()); });
  EXPECT_FALSE(late.io.status.is_success());
  EXPECT_FALSE(site.write(site.a(), 8).is_success());
  EXPECT_EQ(site.on_disk(site.s1()), 2);
  EXPECT_EQ(site.on_disk(site.s2()), 2);
  EXPECT_EQ(site.nexus(site.b()).status(), NexusStatus::kOnline);
  ASSERT_TRUE(site.write(site.b(), 3).is_success());
  site.destroy(site.a());
  site.destroy(site.b());
}

TEST_P(Takeover, FromOneThatIsConnected) {
  TakeoverSite site({});
  ASSERT_TRUE(site.create(site.a(), of_a(GetParam())));
  ASSERT_TRUE(site.write(site.a(), 1).is_success());
  ASSERT_TRUE(site.create(site.b(), of_b(GetParam())));
  ASSERT_TRUE(site.write(site.b(), 2).is_success());
  EXPECT_FALSE(site.write(site.a(), 9).is_success());
  site.run_until([&] { return site.is_shut_down(site.a()); });
  EXPECT_EQ(site.on_disk(site.s1()), 2);
  EXPECT_EQ(site.on_disk(site.s2()), 2);
  ASSERT_TRUE(site.write(site.b(), 3).is_success());
  EXPECT_EQ(site.nexus(site.b()).status(), NexusStatus::kOnline);
  site.destroy(site.a());
  site.destroy(site.b());
}

// An old nexus that comes back when its successor is gone finds the children reserved.
TEST_P(Takeover, LastsLongerThanTheNewNexus) {
  TakeoverSite site({});
  ASSERT_TRUE(site.create(site.a(), of_a(GetParam())));
  site.cut(site.a());
  PendingWrite late(site, site.a(), 9);
  ASSERT_TRUE(site.create(site.b(), of_b(GetParam())));
  ASSERT_TRUE(site.write(site.b(), 2).is_success());
  site.destroy(site.b());
  site.heal(site.a());
  site.run_until([&] { return site.is_shut_down(site.a()); });
  EXPECT_EQ(site.on_disk(site.s1()), 2);
  EXPECT_EQ(site.on_disk(site.s2()), 2);
  site.destroy(site.a());
}

TEST(TakeoverRefused, WithoutTheOthersKey) {
  TakeoverSite site({});
  const NvmeParameters a{.reservation_key = kKeyA, .reservation_type = ReservationType::kWriteExclusive};
  ASSERT_TRUE(site.create(site.a(), a));
  NvmeParameters b = a;
  b.reservation_key = kKeyB;
  for (const uint64_t preempt : {uint64_t{0}, uint64_t{0xc}}) {
    b.preempt_key = preempt;
    const auto refused = site.create(site.b(), b);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code(), Code::kInternal);
    EXPECT_NE(refused.error().to_string().find("Failed to acquire write exclusive reservation on child nvmf://"),
              std::string::npos)
        << refused.error().to_string();
    EXPECT_TRUE(site.process(site.b()).devices.empty());
  }
  EXPECT_TRUE(site.write(site.a(), 1).is_success());
  site.destroy(site.a());
}

TEST(TakeoverRefused, NoReservationWithoutAKey) {
  TakeoverSite site({});
  ASSERT_TRUE(site.create(site.a(), NvmeParameters{}));
  ASSERT_TRUE(site.create(site.b(), NvmeParameters{}));
  EXPECT_TRUE(site.write(site.a(), 1).is_success());
  EXPECT_TRUE(site.write(site.b(), 2).is_success());
  site.destroy(site.a());
  site.destroy(site.b());
}

// Who is allowed to: all registrants write.
TEST(TakeoverShared, AllRegistrants) {
  TakeoverSite site({});
  const NvmeParameters a{.reservation_key = kKeyA};
  const NvmeParameters b{.reservation_key = kKeyB};
  ASSERT_TRUE(site.create(site.a(), a));
  ASSERT_TRUE(site.create(site.b(), b));
  EXPECT_TRUE(site.write(site.a(), 1).is_success());
  EXPECT_TRUE(site.write(site.b(), 2).is_success());
  site.destroy(site.a());
  site.destroy(site.b());
}

// Children that come later are reserved as well.
TEST(TakeoverRefused, OfChildrenAddedAndBroughtBack) {
  TakeoverSite site({});
  const NvmeParameters a{.reservation_key = kKeyA, .reservation_type = ReservationType::kExclusiveAccess};
  const std::string first = site.process(site.s1()).remote_uri(), second = site.process(site.s2()).remote_uri();
  ASSERT_TRUE(site.create(site.a(), site.request(a, {first})));
  ASSERT_TRUE(site.run(site.a(), site.nexus(site.a()).add_child(second, true)));
  site.run_until([&] { return site.nexus(site.a()).status() == NexusStatus::kOnline; });
  NvmeParameters b = a;
  b.reservation_key = kKeyB;
  EXPECT_FALSE(site.create(site.b(), site.request(b, {second})).has_value());

  // Somebody else takes a child while it is away: it cannot come back.
  ASSERT_TRUE(site.run(site.a(), site.nexus(site.a()).fault_child(second, FaultReason::kOffline)));
  b.preempt_holder = true;
  NexusRequest other = site.request(b, {second});
  ASSERT_TRUE(site.create(site.b(), other));
  const auto refused = site.run(site.a(), site.nexus(site.a()).online_child(second));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().to_string().find("Failed to acquire"), std::string::npos) << refused.error().to_string();
  EXPECT_EQ(site.nexus(site.a()).status(), NexusStatus::kDegraded);
  EXPECT_TRUE(site.write(site.a(), 1).is_success());
  site.destroy(site.a());
  site.destroy(site.b());
}

// A storage node that forgets its reservations is reserved again by the nexus that has it.
TEST(TakeoverAfterRestart, ForgottenReservationsAreMadeAgain) {
  TakeoverSite site({});
  const NvmeParameters a{.reservation_key = kKeyA, .reservation_type = ReservationType::kWriteExclusive};
  ASSERT_TRUE(site.create(site.a(), a));
  ASSERT_TRUE(site.write(site.a(), 1).is_success());
  site.restart_storage(site.s1());
  ASSERT_TRUE(site.write(site.a(), 2).is_success());
  // What the node may have lost is copied again first.
  site.run_until([&] { return site.nexus(site.a()).status() == NexusStatus::kOnline; });
  site.world().run_for(std::chrono::seconds(1));
  NvmeParameters b = a;
  b.reservation_key = kKeyB;
  EXPECT_FALSE(site.create(site.b(), site.request(b, {site.process(site.s1()).remote_uri()})).has_value());
  site.destroy(site.a());
}

TEST(TakeoverAfterRestart, RememberedReservationsKeepTheOldNexusOut) {
  for (const Way& way : {kByKey, kByHolder}) {
    TakeoverSite site({.persistent = true});
    ASSERT_TRUE(site.create(site.a(), of_a(way)));
    site.cut(site.a());
    PendingWrite late(site, site.a(), 9);
    ASSERT_TRUE(site.create(site.b(), of_b(way)));
    ASSERT_TRUE(site.write(site.b(), 2).is_success());
    site.cut(site.b());
    site.restart_storage(site.s1());
    site.restart_storage(site.s2());
    site.heal(site.a());
    site.run_until([&] { return site.is_shut_down(site.a()); });
    EXPECT_EQ(site.on_disk(site.s1()), 2);
    EXPECT_EQ(site.on_disk(site.s2()), 2);
    site.heal(site.b());
    EXPECT_TRUE(site.write(site.b(), 3).is_success());
    site.destroy(site.a());
    site.destroy(site.b());
  }
}

// The storage nodes have forgotten everything, and the old nexus is there first: the new one knows whom it replaced.
TEST(TakeoverAfterRestart, ForgottenReservationsGoToTheNewNexus) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    TakeoverSite site({.seed = seed});
    ASSERT_TRUE(site.create(site.a(), of_a(kByKey)));
    site.cut(site.a());
    ASSERT_TRUE(site.create(site.b(), of_b(kByKey)));
    ASSERT_TRUE(site.write(site.b(), 2).is_success());
    site.cut(site.b());
    site.restart_storage(site.s1());
    site.restart_storage(site.s2());
    site.heal(site.a());
    site.world().run_for(std::chrono::seconds(8));
    site.heal(site.b());
    site.world().run_for(std::chrono::seconds(8));
    EXPECT_FALSE(site.write(site.a(), 9).is_success());
    site.run_until([&] { return site.is_shut_down(site.a()); });
    EXPECT_TRUE(site.write(site.b(), 3).is_success());
    EXPECT_EQ(site.on_disk(site.s1()), 3);
    EXPECT_EQ(site.on_disk(site.s2()), 3);
    site.destroy(site.a());
    site.destroy(site.b());
  }
}

// A replica that is local to the new nexus: it is exported to the old one, or it belongs to the new one, never both.
TEST(TakeoverLocal, OnTheNodeOfAReplica) {
  TakeoverSite site({});
  ASSERT_TRUE(site.create(site.a(), of_a(kByHolder)));
  ASSERT_TRUE(site.write(site.a(), 1).is_success());
  const std::string local = site.process(site.s1()).disk_uri(), remote = site.process(site.s2()).remote_uri();
  PendingWrite before(site, site.a(), 5);
  ASSERT_FALSE(site.create(site.s1(), site.request(of_b(kByHolder), {local, remote})).has_value());
  EXPECT_EQ(site.nexus(site.a()).state(), NexusState::kOpen);
  site.run_until([&] { return before.io.done; });
  EXPECT_TRUE(before.io.status.is_success());

  site.cut(site.a());
  PendingWrite late(site, site.a(), 9);
  ASSERT_TRUE(site.run(site.s1(), site.process(site.s1()).unshare_disk()).has_value());
  const auto made = site.create(site.s1(), site.request(of_b(kByHolder), {local, remote}));
  ASSERT_TRUE(made.has_value()) << made.error().to_string();
  EXPECT_EQ(site.read(site.s1()), 5);
  ASSERT_TRUE(site.write(site.s1(), 2).is_success());
  site.heal(site.a());
  site.run_until([&] { return site.is_shut_down(site.a()) && late.io.done; });
  EXPECT_FALSE(late.io.status.is_success());
  EXPECT_EQ(site.on_disk(site.s1()), 2);
  EXPECT_EQ(site.on_disk(site.s2()), 2);
  site.destroy(site.a());
  site.destroy(site.s1());
}

}  // namespace
}  // namespace cairn::nexus
