// A three-way nexus over one local and two remote disks, under load, with faults: no wrong byte, no error to the host
// while a healthy child remains, and children that are equal in the end.
#include <gtest/gtest.h>

#include <cstdlib>

#include "fault_site.h"

namespace cairn::nexus {
namespace {

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// One fault at a time that one child feels; it heals, and the nexus becomes whole again.
void one_fault(FaultSite& site) {
  runtime::Random& random = site.random();
  const size_t child = random.below(FaultSite::kNumChildren);
  sim::Node& node = child == 0 ? site.engine() : site.storage(child);
  sim::Disk& disk = node.files().disk_of(kDisk);
  const Duration length = std::chrono::milliseconds(1 + random.below(40000));
  const uint64_t kind = random.below(child == 0 ? 4 : 9);
  site.world().note(fmt::format("fault {} of child {}", kind, child));
  switch (kind) {
    case 0:
      disk.set_faults({.write_error = -EIO});
      site.world().run_for(length);
      break;
    case 1:
      disk.set_faults({.read_error_one_in = 10, .write_error_one_in = 50});
      site.world().run_for(length);
      break;
    case 2:
      site.world().note("told offline");
      EXPECT_TRUE(site.run(site.nexus().fault_child(site.uri(child), FaultReason::kOffline)));
      break;
    case 3:
      node.files().fail_reads(kDisk, (5 << 20) + random.below(900) * 1024, 1024 + 512 * random.below(16));
      site.world().run_for(length);
      break;
    case 4:
      site.world().network().cut_both(site.engine(), node);
      site.world().run_for(length);
      site.world().network().heal_both(site.engine(), node);
      break;
    case 5:
      site.world().network().cut(node, site.engine());
      site.world().run_for(length);
      site.world().network().heal_all();
      break;
    case 6:
      disk.set_faults({.hang = true});
      site.world().run_for(length);
      break;
    case 7:
      node.crash(random.one_in(2) ? sim::CrashKind::kKill : sim::CrashKind::kPowerLoss);
      site.world().run_for(length);
      site.start_storage(node);
      break;
    case 8:
      site.world().network().reset_connections(site.engine(), node);
      break;
    default:
      break;
  }
  disk.set_faults({});
  site.wait_whole();
}

std::string run_faults(uint64_t seed, size_t num_faults, bool with_crashes) {
  FaultSite site(seed, std::getenv("CAIRN_SIM_TRACE") != nullptr);
  site.start_load(4);
  for (size_t i = 0; i < num_faults && site.failure().empty() && !testing::Test::HasFailure(); ++i) {
    site.world().run_for(std::chrono::milliseconds(site.random().below(2000)));
    if (with_crashes && site.random().one_in(3)) {
      site.restart_engine();
      site.start_load(4);
      site.wait_whole();
    } else {
      one_fault(site);
    }
  }
  EXPECT_EQ(site.failure(), "");
  EXPECT_EQ(site.num_errors(), 0u);
  site.stop_load();
  site.wait_whole();
  site.verify();
  EXPECT_GT(site.num_writes(), 100u);
  site.end();
  fmt::print("seed {}: {} writes, {} reads, {} children brought back\n", seed, site.num_writes(), site.num_reads(),
             site.num_mended());
  return fmt::format("{:016x} {}", site.world().trace().hash(), site.world().num_events());
}

TEST(NexusFaultSimTest, OneChildAtATime) {
  const uint64_t first = number_from("CAIRN_SIM_FIRST_SEED", 1);
  for (uint64_t seed = first; seed < first + number_from("CAIRN_SIM_SEEDS", 3); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    run_faults(seed, 8, false);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(NexusFaultSimTest, EngineCrashes) {
  const uint64_t first = number_from("CAIRN_SIM_FIRST_SEED", 1);
  for (uint64_t seed = first; seed < first + number_from("CAIRN_SIM_SEEDS", 3); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    run_faults(seed + 1000, 6, true);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(NexusFaultSimTest, EqualSeedsEqualTraces) {
  const std::string once = run_faults(4711, 5, true);
  EXPECT_EQ(run_faults(4711, 5, true), once);
  EXPECT_NE(run_faults(4712, 5, true), once);
}

}  // namespace
}  // namespace cairn::nexus
