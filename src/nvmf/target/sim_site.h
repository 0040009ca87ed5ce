// A simulated site for tests of the whole target: a node that runs the target with one device and one subsystem, nodes
// for hosts, the network between them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "block/registry.h"
#include "nvmf/target/target.h"
#include "nvmf/target/test_host.h"
#include "runtime/sim/world.h"

namespace cairn::nvmf::target {

struct SimSiteOptions {
  uint64_t seed = 1;
  bool trace_text = false;
  unsigned num_reactors = 2;
  size_t buffer_pool_bytes = size_t{4} << 20;  // of each of the target's reactors
  bool aio = false;                            // a file device on a simulated disk; else memory
  uint64_t num_blocks = 512;                   // of 512 bytes
  bool persistent_reservations = false;
  bool ana = false;  // reported to hosts
  bool tells_boot_id = true;
  Options target = {};
  runtime::sim::NetworkOptions network = {};
};

// The process on the target's node. Sets everything up by itself.
class SimTarget final : public runtime::sim::NodeProgram {
 public:
  explicit SimTarget(const SimSiteOptions& options);

  bool ready = false;
  block::Registry registry;
  std::unique_ptr<Target> target;
  std::shared_ptr<block::Device> device;
  Subsystem* subsystem = nullptr;

  // Ends target and device in an orderly way.
  runtime::Task<> stop();

 private:
  runtime::Task<> set_up(SimSiteOptions options);
};

class SimSite {
 public:
  static constexpr const char* kNqn = "nqn.2019-05.io.openebs:sim";
  static constexpr const char* kDisk = "/dev/sda";
  static constexpr uint32_t kBlockSize = 512;

  explicit SimSite(const SimSiteOptions& options);
  // Starts the process on the target's node and waits until it serves.
  void start_target();
  void restart_target();
  // Waits until no host is connected, checks that nothing is left of them and ends target and process.
  void stop_target();
  // Fails the test when connections, controllers or buffers are left.
  void expect_nothing_left();

  runtime::sim::World& world() { return world_; }
  runtime::sim::Node& target_node() { return target_node_; }
  SimTarget& target() { return target_node_.program<SimTarget>(); }
  runtime::sim::Node& add_host();
  std::vector<runtime::sim::Node*>& hosts() { return hosts_; }
  const SimSiteOptions& options() const { return options_; }
  // For a host with this number.
  TestHostOptions host_options(uint8_t number) const;
  // Digests, alignment and transfer sizes by chance.
  TestHostQueueOptions random_queue_options(runtime::Random& random) const;

  // The device's content at this moment, from outside.
  std::vector<std::byte> content();
  // Virtual time is generous: what does not end hangs.
  void run_until(const std::function<bool()>& done, Duration limit = std::chrono::minutes(30));
  void run(runtime::sim::Node& node, runtime::Task<> task, Duration limit = std::chrono::minutes(30));

 private:
  void require_done(runtime::sim::RunResult result);

  SimSiteOptions options_;
  runtime::sim::World world_;
  runtime::sim::Node& target_node_;
  std::vector<runtime::sim::Node*> hosts_;
};

// How many seeds a simulated test tries: CAIRN_SIM_SEEDS, 20 when it is not set, from CAIRN_SIM_FIRST_SEED (1) on.
uint64_t num_sim_seeds();
uint64_t first_sim_seed();
template <typename Function>
void for_each_sim_seed(Function function) {
  for (uint64_t seed = first_sim_seed(); seed < first_sim_seed() + num_sim_seeds(); ++seed) {
    const testing::ScopedTrace trace(__FILE__, __LINE__, "seed " + std::to_string(seed));
    function(seed);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace cairn::nvmf::target
