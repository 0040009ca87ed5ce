// What is taken away under load: the device, the subsystem, the whole target. Every command is answered or its
// connection ends, nothing hangs, nothing is left.
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using runtime::Task;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class Removal {
 public:
  explicit Removal(uint64_t seed, Duration max_pause = {})
      : site({.seed = seed,
              .num_reactors = 1 + static_cast<unsigned>(seed % 2),
              .aio = seed % 3 != 0,
              .num_blocks = 256}),
        load(site, {.max_pause = max_pause, .expect_io_errors = true}) {
    site.start_target();
    for (uint8_t number = 1; number <= 3; ++number) load.start_host(site.add_host(), number);
    site.world().run_for(microseconds(500 + site.world().random().below(30000)));
  }

  // The hosts end by themselves, far sooner than by their time-outs: nothing was left without an answer.
  void expect_end() {
    const TimePoint begin = site.world().now();
    load.stop();
    site.run_until([&] { return load.ended(); });
    EXPECT_LT(site.world().now() - begin, seconds(30));
    EXPECT_EQ(load.failure(), "");
  }

  SimSite site;
  SimLoad load;
};

TEST(TargetRemovalSim, Device) {
  for_each_sim_seed([](uint64_t seed) {
    Removal test(seed);
    SimTarget& target = test.site.target();
    bool removed = false;
    test.site.run(test.site.target_node(), [](SimTarget& target, bool& removed) -> Task<> {
      const std::string name = target.device->name();
      target.device.reset();
      const auto result = co_await target.registry.remove(name);
      removed = result.has_value();
    }(target, removed));
    EXPECT_TRUE(removed);
    const uint64_t errors = test.load.num_errors();
    test.site.run_until([&] { return test.load.num_errors() > errors; });  // the hosts are still served
    EXPECT_TRUE(target.subsystem->namespaces().empty());
    test.expect_end();
    test.site.stop_target();
  });
}

TEST(TargetRemovalSim, Subsystem) {
  for_each_sim_seed([](uint64_t seed) {
    Removal test(seed);
    SimTarget& target = test.site.target();
    test.site.run(
        test.site.target_node(),
        [](SimTarget& target) -> Task<> {
          target.subsystem = nullptr;
          const auto result = co_await target.target->remove_subsystem(SimSite::kNqn);
          EXPECT_TRUE(result.has_value());
        }(target),
        seconds(60));
    EXPECT_TRUE(target.target->subsystems().empty());
    test.site.world().run_for(milliseconds(100));  // the hosts try to come back
    test.expect_end();
    test.site.stop_target();
  });
}

TEST(TargetRemovalSim, WholeTarget) {
  for_each_sim_seed([](uint64_t seed) {
    Removal test(seed);
    SimTarget& target = test.site.target();
    test.site.run(test.site.target_node(), target.stop(), seconds(60));
    EXPECT_EQ(target.target->num_connections(), 0u);
    test.site.world().run_for(milliseconds(100));
    test.expect_end();
    test.site.expect_nothing_left();
    test.site.target_node().stop();
  });
}

// Reactors, connections and removals at once, over and over.
TEST(TargetRemovalSim, SubsystemComesAndGoes) {
  for_each_sim_seed([](uint64_t seed) {
    Removal test(seed, milliseconds(20));
    SimTarget& target = test.site.target();
    for (int round = 0; round < 5; ++round) {
      test.site.run(
          test.site.target_node(),
          [](SimTarget& target) -> Task<> {
            target.subsystem = nullptr;
            const auto removed = co_await target.target->remove_subsystem(SimSite::kNqn);
            EXPECT_TRUE(removed.has_value());
            SubsystemOptions options;
            options.nqn = SimSite::kNqn;
            target.subsystem = *target.target->add_subsystem(std::move(options));
            const auto added = co_await target.subsystem->add_namespace(target.device);
            EXPECT_TRUE(added.has_value());
          }(target),
          seconds(60));
      test.site.world().run_for(milliseconds(test.site.world().random().below(800)));
    }
    test.expect_end();
    test.site.run(*test.site.hosts().front(), test.load.verify(99));
    EXPECT_EQ(test.load.failure(), "");
    test.site.stop_target();
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
