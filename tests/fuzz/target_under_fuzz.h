// What the fuzzers of the target share: a simulated node with one reactor, a target with a memory device of 128 blocks
// and persistent reservations. Made anew for every input, so that an input alone decides what happens.
#pragma once

#include <memory>
#include <vector>

#include "base/check.h"
#include "base/log.h"
#include "block/malloc_device.h"
#include "block/registry.h"
#include "nvmf/target/target.h"
#include "runtime/sim/world.h"

namespace cairn::nvmf::target {

class TargetUnderFuzz {
 public:
  static constexpr const char* kNqn = "nqn.2019-05.io.openebs:fuzz";
  static constexpr const char* kHostNqn = "nqn.2014-08.org.example:fuzz";

  TargetUnderFuzz() : node_(world_.add_node({.buffer_pool_bytes = size_t{512} << 10})) {
    node_.start();
    const runtime::Reactor::Scope scope(reactor());
    block::add_malloc_scheme(registry_);
    target_ = std::make_unique<Target>(
        Options{.max_queue_depth = 32, .max_io_size = 128 << 10, .association_timeout = std::chrono::seconds(1)},
        std::vector{&reactor()});
    run([](TargetUnderFuzz& self) -> runtime::Task<> {
      auto device = co_await self.registry_.create("malloc:///m?num_blocks=128");
      CAIRN_CHECK(device.has_value());
      SubsystemOptions options;
      options.nqn = kNqn;
      options.ana_reporting = true;
      options.ptpl_path = "/ptpl/fuzz.json";
      const auto subsystem = self.target_->add_subsystem(std::move(options));
      CAIRN_CHECK(subsystem.has_value());
      const auto added = co_await (*subsystem)->add_namespace(std::move(*device));
      CAIRN_CHECK(added.has_value());
    }(*this));
  }
  // Every connection must be gone. Ends everything in order; what is left of a connection is found here.
  ~TargetUnderFuzz() {
    world_.run_for(std::chrono::milliseconds(10));
    CAIRN_CHECK(target_->num_connections() == 0 && reactor().buffers().bytes_in_use() == 0);
    run(target_->stop());
    run(registry_.remove_all());
    CAIRN_CHECK(registry_.empty());
    CAIRN_CHECK(world_.run_until([this] { return reactor().num_tasks() == 0; }, std::chrono::minutes(1)) ==
                runtime::sim::RunResult::kDone);
    const runtime::Reactor::Scope scope(reactor());
    target_.reset();
    node_.stop();
  }

  runtime::sim::World& world() { return world_; }
  runtime::Reactor& reactor() { return node_.reactor(0); }
  Target& target() { return *target_; }
  void run(runtime::Task<> task) {
    CAIRN_CHECK(world_.run_task(node_, "fuzz", std::move(task), std::chrono::minutes(10)) ==
                runtime::sim::RunResult::kDone);
  }

 private:
  runtime::sim::World world_{{.seed = 1}};
  runtime::sim::Node& node_;
  block::Registry registry_;
  std::unique_ptr<Target> target_;
};

// Takes an input apart, from the front. Zeroes when it is used up.
class FuzzInput {
 public:
  explicit FuzzInput(std::span<const std::byte> rest) : rest_(rest) {}
  bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    const auto taken = bytes(1);
    return taken.empty() ? uint8_t{0} : std::to_integer<uint8_t>(taken[0]);
  }
  uint16_t word() {
    const uint8_t low = byte();
    return static_cast<uint16_t>(low | byte() << 8);
  }
  std::span<const std::byte> bytes(size_t size) {
    const auto taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace cairn::nvmf::target
