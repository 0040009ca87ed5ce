// Many hosts against the whole target, with and without faults: what is read was written, and when they are gone
// nothing of them is left.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

SimSiteOptions options_of(uint64_t seed) {
  return {.seed = seed, .num_reactors = 1 + static_cast<unsigned>(seed % 2), .aio = seed % 3 == 0};
}

void start_hosts(SimSite& site, SimLoad& load, unsigned count) {
  for (unsigned i = 0; i < count; ++i) load.start_host(site.add_host(), static_cast<uint8_t>(i + 1));
}

void finish(SimSite& site, SimLoad& load) {
  load.stop();
  site.run_until([&] { return load.ended(); });
  site.run(*site.hosts().front(), load.verify(99));
  EXPECT_EQ(load.failure(), "");
  site.stop_target();
}

// One whole run with faults; gives its trace.
std::string run_with_faults(SimSiteOptions options, uint64_t* num_commands = nullptr) {
  SimSite site(options);
  SimLoad load(site, {.max_pause = milliseconds(2)});
  site.start_target();
  start_hosts(site, load, 3);
  SimFaults faults(site, load, milliseconds(600));
  faults.run();
  site.world().run_for(milliseconds(20));
  EXPECT_GT(load.num_commands(), 0u);
  finish(site, load);
  if (num_commands != nullptr) *num_commands = load.num_commands();
  return fmt::format("{:016x} {}\n{}", site.world().trace().hash(), site.world().trace().num_events(),
                     site.world().trace().text());
}

TEST(TargetLoadSim, WithoutFaults) {
  for_each_sim_seed([](uint64_t seed) {
    SimSite site(options_of(seed));
    SimLoad load(site, {});
    site.start_target();
    start_hosts(site, load, 3);
    site.world().run_for(milliseconds(40));
    EXPECT_GT(load.history().num_writes(), 100u);
    EXPECT_GT(load.history().num_reads(), 100u);
    EXPECT_EQ(load.num_errors(), 0u);
    EXPECT_EQ(load.num_connects(), 3u);
    finish(site, load);
  });
}

TEST(TargetLoadSim, WithFaults) {
  for_each_sim_seed([](uint64_t seed) { run_with_faults(options_of(seed)); });
}

TEST(TargetLoadSim, SameSeedSameTrace) {
  for (uint64_t seed : {1, 3}) {
    SimSiteOptions options = options_of(seed);
    options.trace_text = true;
    const std::string first = run_with_faults(options);
    const std::string second = run_with_faults(options);
    EXPECT_GT(first.size(), 100000u);
    EXPECT_TRUE(first == second) << "seed " << seed;
    options.seed += 6;
    EXPECT_TRUE(first != run_with_faults(options)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace cairn::nvmf::target
