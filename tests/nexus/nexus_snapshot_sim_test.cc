// Snapshots of a nexus over one local and two remote replicas: one moment for all of them, and a child that is slow or
// dead in the middle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "snapshot_site.h"

namespace cairn::nexus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

// Of the replicas that the outcome calls done: that all hold the same image, of one moment between the marks.
void check_images(SnapshotSite& site, const SnapshotOutcome& outcome, uint64_t number,
                  const SnapshotSite::Marks& before, const SnapshotSite::Marks& after) {
  std::optional<std::vector<std::byte>> first;
  for (size_t child = 0; child < SnapshotSite::kNumChildren; ++child) {
    if (outcome.done[child].error != 0) continue;
    auto image = site.content(child, SnapshotSite::snapshot_uuid(number, child));
    ASSERT_FALSE(image.empty()) << child;
    EXPECT_EQ(SnapshotSite::check(image, before, after), "") << "child " << child;
    if (first) EXPECT_TRUE(*first == image) << "child " << child << " has another moment";
    first = std::move(image);
  }
  EXPECT_TRUE(first.has_value());
}

TEST(NexusSnapshotSimTest, AllReplicasHoldTheSameMoment) {
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    SnapshotSite site(seed);
    site.start_writers();
    for (uint64_t number = 1; number <= 3; ++number) {
      site.world().run_for(milliseconds(1 + site.random().below(40)));
      const auto before = site.marks();
      const auto outcome = site.run(site.nexus().create_snapshot(site.request(number)));
      ASSERT_TRUE(outcome) << outcome.error().to_string();
      const auto after = site.marks();
      site.world().run_for(milliseconds(site.random().below(40)));
      ASSERT_EQ(outcome->done.size(), 3u);
      for (size_t child = 0; child < 3; ++child) {
        EXPECT_EQ(outcome->done[child], (SnapshotOutcome::Replica{site.replica_uuid(child), 0}));
      }
      EXPECT_LT(outcome->held, seconds(1));
      check_images(site, *outcome, number, before, after);
    }
    site.stop_writers();
    EXPECT_EQ(site.num_errors(), 0u);
    EXPECT_GT(site.num_written(), 100u);
    // What the snapshots are called.
    const auto snapshot = site.process(2).pools.find_volume(*Uuid::parse(SnapshotSite::snapshot_uuid(2, 2)));
    ASSERT_NE(snapshot, nullptr);
    EXPECT_EQ(snapshot->name(), "snapshot-2");
    EXPECT_EQ(snapshot->source_uuid(), site.replica_uuid(2));
    EXPECT_EQ(snapshot->snapshot_attributes().entity_id, "volume");
    EXPECT_EQ(snapshot->snapshot_attributes().txn_id, "2");
    EXPECT_EQ(snapshot->snapshot_attributes().create_time, "2024-05-17 09:30:00.123456789 UTC");
    EXPECT_TRUE(snapshot->snapshot_attributes().valid);
    site.end();
  }
}

TEST(NexusSnapshotSimTest, TheRequestHasToFit) {
  SnapshotSite site(1);
  auto expect = [&](SnapshotRequest request, std::string_view text) {
    const auto outcome = site.run(site.nexus().create_snapshot(std::move(request)));
    ASSERT_FALSE(outcome) << text;
    EXPECT_EQ(outcome.error().code(), Code::kInternal);
    EXPECT_THAT(outcome.error().message(), HasSubstr("Failed to create snapshot on nexus nexus-1: "));
    EXPECT_THAT(outcome.error().message(), HasSubstr(text));
    EXPECT_EQ(site.process().pools.volumes().size(), 1u);
  };
  SnapshotRequest request = site.request(1);
  request.replicas.pop_back();
  expect(request, "Nexus has 3 replicas, the request names 2");
  request = site.request(1);
  request.replicas[1].replica_uuid = request.replicas[0].replica_uuid;
  expect(request, "Duplicated replica " + site.replica_uuid(0));
  request = site.request(1);
  request.replicas[1].replica_uuid = SnapshotSite::snapshot_uuid(1, 1);
  expect(request, "is not a child");
  request = site.request(1);
  request.replicas[2].snapshot_uuid.reset();
  expect(request, "Snapshot UUID for replica " + site.replica_uuid(2) + " is missing");

  // One that is not healthy has to be skipped.
  ASSERT_TRUE(site.run(site.nexus().fault_child(site.uri(1), FaultReason::kOffline)));
  expect(site.request(1), "Replica " + site.replica_uuid(1) + " is not healthy");
  request = site.request(1);
  request.replicas[1] = {.replica_uuid = site.replica_uuid(1), .snapshot_uuid = {}, .skip = true};
  const auto outcome = site.run(site.nexus().create_snapshot(request));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->skipped, std::vector<std::string>{site.replica_uuid(1)});
  EXPECT_EQ(outcome->done,
            (std::vector<SnapshotOutcome::Replica>{{site.replica_uuid(0), 0}, {site.replica_uuid(2), 0}}));

  ASSERT_TRUE(site.run(site.nexus().shutdown()));
  const auto refused = site.run(site.nexus().create_snapshot(site.request(2)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kFailedPrecondition);
  site.end();
}

TEST(NexusSnapshotSimTest, EachReplicaHasItsResult) {
  SnapshotSite site(2);
  ASSERT_TRUE(site.run(site.nexus().create_snapshot(site.request(1))));
  auto errors = [&](SnapshotRequest request) {
    const auto outcome = site.run(site.nexus().create_snapshot(std::move(request)));
    EXPECT_TRUE(outcome);
    std::vector<uint32_t> numbers;
    for (const auto& replica : outcome->done) numbers.push_back(replica.error);
    return numbers;
  };
  using testing::ElementsAre;
  SnapshotRequest request = site.request(2);
  request.replicas[0].snapshot_uuid = SnapshotSite::snapshot_uuid(1, 0);
  request.replicas[1].snapshot_uuid = SnapshotSite::snapshot_uuid(1, 1);
  EXPECT_THAT(errors(request), ElementsAre(EEXIST, EEXIST, 0));
  request = site.request(3);
  request.name = "snapshot-1";
  EXPECT_THAT(errors(request), ElementsAre(EEXIST, EEXIST, EEXIST));
  request = site.request(4);
  request.replicas[2].snapshot_uuid = "";
  EXPECT_THAT(errors(request), ElementsAre(0, 0, EINVAL));
  request = site.request(5);
  request.txn_id = std::string(5000, 'x');
  EXPECT_THAT(errors(request), ElementsAre(testing::Ne(0), ENAMETOOLONG, ENAMETOOLONG));
  EXPECT_EQ(site.nexus().status(), NexusStatus::kOnline);
  site.end();
}

// A child whose disk hangs: what it has under way is waited for until the child is retired.
TEST(NexusSnapshotSimTest, AChildThatHangsIsLeftOut) {
  NexusOptions options;
  options.child_timeout = seconds(2);
  SnapshotSite site(3, options);
  site.start_writers();
  site.world().run_for(milliseconds(20));
  site.disk(1).set_faults({.hang = true});
  site.world().run_for(milliseconds(20));
  const auto before = site.marks();
  const auto outcome = site.run(site.nexus().create_snapshot(site.request(1)));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  const auto after = site.marks();
  EXPECT_EQ(outcome->done[1].error, static_cast<uint32_t>(ENODEV));
  EXPECT_LT(outcome->held, seconds(4));
  check_images(site, *outcome, 1, before, after);
  const uint64_t written = site.num_written();
  site.world().run_for(milliseconds(50));
  EXPECT_GT(site.num_written(), written);
  site.disk(1).set_faults({});
  site.stop_writers();
  EXPECT_EQ(site.num_errors(), 0u);
  site.end();
}

// I/O that does not end in time: no snapshot, and the I/O goes on.
TEST(NexusSnapshotSimTest, HoldingBackIsGivenUp) {
  NexusOptions options;
  options.child_timeout = seconds(8);
  options.snapshot_limit = seconds(1);
  SnapshotSite site(4, options);
  site.start_writers();
  site.world().run_for(milliseconds(20));
  site.disk(2).set_faults({.hang = true});
  site.world().run_for(milliseconds(20));
  const TimePoint begin = site.node(0).reactor(0).now();
  const auto outcome = site.run(site.nexus().create_snapshot(site.request(1)));
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().message(), HasSubstr("did not end in time"));
  EXPECT_LT(site.node(0).reactor(0).now() - begin, seconds(3));
  EXPECT_EQ(site.process(0).pools.volumes().size(), 1u);
  site.disk(2).set_faults({});
  const uint64_t written = site.num_written();
  site.world().run_for(milliseconds(50));
  EXPECT_GT(site.num_written(), written);
  // And the next one is as good as any.
  const auto before = site.marks();
  const auto next = site.run(site.nexus().create_snapshot(site.request(2)));
  ASSERT_TRUE(next) << next.error().to_string();
  check_images(site, *next, 2, before, site.marks());
  site.stop_writers();
  EXPECT_EQ(site.num_errors(), 0u);
  site.end();
}

// A child that takes the command and does not answer.
TEST(NexusSnapshotSimTest, AChildThatIsTooSlowHasFailed) {
  NexusOptions options;
  options.snapshot_limit = seconds(2);
  SnapshotSite site(5, options);
  site.start_writers();
  site.world().run_for(milliseconds(20));
  site.stop_writers();
  const auto marks = site.marks();
  site.disk(1).set_faults({.slow_factor = 100000});
  const auto outcome = site.run(site.nexus().create_snapshot(site.request(1)));
  ASSERT_TRUE(outcome) << outcome.error().to_string();
  EXPECT_EQ(outcome->done[0].error, 0u);
  EXPECT_EQ(outcome->done[1].error, static_cast<uint32_t>(ETIMEDOUT));
  EXPECT_EQ(outcome->done[2].error, 0u);
  EXPECT_LT(outcome->held, seconds(3));
  check_images(site, *outcome, 1, marks, marks);
  site.disk(1).set_faults({});
  site.start_writers();
  site.world().run_for(seconds(1));
  site.stop_writers();
  EXPECT_EQ(site.num_errors(), 0u);
  site.end();
}

// A node that dies, or is cut off, at any moment of a snapshot: the others have theirs, the volume goes on.
TEST(NexusSnapshotSimTest, AChildThatDiesInTheMiddle) {
  size_t failed = 0, done = 0;
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    NexusOptions options;
    options.child_timeout = seconds(2);
    options.snapshot_limit = seconds(6);
    SnapshotSite site(seed, options);
    site.start_writers();
    site.world().run_for(milliseconds(10));
    const auto before = site.marks();
    std::optional<Result<SnapshotOutcome>> outcome;
    {
      const runtime::Reactor::Scope scope(site.node(0).reactor(0));
      site.node(0).reactor(0).spawn("snapshot",
                                    [](SnapshotSite& its_site, std::optional<Result<SnapshotOutcome>>& out) -> Task<> {
                                      out.emplace(co_await its_site.nexus().create_snapshot(its_site.request(1)));
                                    }(site, outcome));
    }
    site.world().run_for(std::chrono::microseconds(site.random().below(30000)));
    if (seed % 2 == 0) {
      site.node(2).crash(sim::CrashKind::kPowerLoss);
    } else {
      site.world().network().cut_both(site.node(0), site.node(2));
    }
    site.run_until([&] { return outcome.has_value(); });
    const auto after = site.marks();
    ASSERT_TRUE(*outcome) << (*outcome).error().to_string();
    EXPECT_EQ((*outcome)->done[0].error, 0u);
    EXPECT_EQ((*outcome)->done[1].error, 0u);
    ((*outcome)->done[2].error == 0 ? done : failed) += 1;
    (*outcome)->done[2].error = EIO;  // not to be looked at
    check_images(site, **outcome, 1, before, after);
    const uint64_t written = site.num_written();
    site.run_until([&] { return site.nexus().status() == NexusStatus::kDegraded; });
    site.world().run_for(milliseconds(200));
    EXPECT_GT(site.num_written(), written);
    site.stop_writers();
    EXPECT_EQ(site.num_errors(), 0u);
    site.end();
  }
  EXPECT_GT(failed, 0u);
  EXPECT_GT(done, 0u);
  fmt::print("{} snapshots of the child that died, {} without\n", done, failed);
}

}  // namespace
}  // namespace cairn::nexus
