#include "nvmf/target/sim_site.h"

#include <fmt/format.h>

#include <cstdlib>

#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"

namespace cairn::nvmf::target {

using runtime::Task;
using runtime::sim::RunResult;

namespace {

constexpr uint16_t kPort = 8420;
constexpr const char* kUuid = "0a1b2c3d-1111-4222-8333-444455556666";

std::vector<runtime::Reactor*> reactors_of(runtime::sim::Node& node) {
  std::vector<runtime::Reactor*> reactors;
  for (unsigned i = 0; i < node.num_reactors(); ++i) reactors.push_back(&node.reactor(i));
  return reactors;
}

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace

uint64_t num_sim_seeds() {
  return number_from("CAIRN_SIM_SEEDS", 20);
}
uint64_t first_sim_seed() {
  return number_from("CAIRN_SIM_FIRST_SEED", 1);
}

// ---- The process ----

SimTarget::SimTarget(const SimSiteOptions& options) {
  block::add_malloc_scheme(registry);
  block::add_aio_scheme(registry);
  runtime::Reactor::current().spawn("set up", set_up(options));
}

Task<> SimTarget::set_up(SimSiteOptions options) {
  const std::string uri = options.aio ? fmt::format("aio://{}?uuid={}", SimSite::kDisk, kUuid)
                                      : fmt::format("malloc:///m?num_blocks={}&uuid={}", options.num_blocks, kUuid);
  auto created = co_await registry.create(uri);
  CAIRN_CHECK(created.has_value());
  device = std::move(*created);
  SubsystemOptions subsystem_options;
  subsystem_options.nqn = SimSite::kNqn;
  subsystem_options.ana_reporting = options.ana;
  if (options.persistent_reservations) subsystem_options.ptpl_path = "/ptpl/sim.json";
  subsystem = *target->add_subsystem(std::move(subsystem_options));
  const auto added = co_await subsystem->add_namespace(device);
  CAIRN_CHECK(added.has_value());
  const auto listening = target->listen_tcp(*runtime::SocketAddress::ip("10.0.0.1", kPort), true);
  CAIRN_CHECK(listening.has_value());
  ready = true;
}

Task<> SimTarget::stop() {
  co_await target->stop();
  subsystem = nullptr;
  device.reset();
  co_await registry.remove_all();
}

// ---- The site ----

SimSite::SimSite(const SimSiteOptions& options)
    : options_(options),
      world_({.seed = options.seed, .trace_text = options.trace_text, .network = options.network}),
      target_node_(world_.add_node(
          {.name = "target", .num_reactors = options.num_reactors, .buffer_pool_bytes = options.buffer_pool_bytes})) {
  if (std::getenv("CAIRN_SIM_LOG") == nullptr) log::set_level(log::Level::kOff);  // thousands of seeds, lots of errors
  if (options.aio) target_node_.files().add_block_device(kDisk, {.size_bytes = options.num_blocks * kBlockSize});
}

void SimSite::start_target() {
  target_node_.start([this](runtime::sim::Node& node) {
    auto program = std::make_unique<SimTarget>(options_);
    Options target_options = options_.target;
    if (options_.tells_boot_id) target_options.boot_id = node.boot_id();
    program->target = std::make_unique<Target>(std::move(target_options), reactors_of(node));
    return program;
  });
  run_until([this] { return target().ready; });
}

void SimSite::restart_target() {
  target_node_.restart();
  run_until([this] { return target().ready; });
}

void SimSite::expect_nothing_left() {
  EXPECT_EQ(target().target->num_connections(), 0u);
  if (target().subsystem != nullptr) EXPECT_TRUE(target().subsystem->controllers().empty());
  for (unsigned i = 0; i < target_node_.num_reactors(); ++i) {
    EXPECT_EQ(target_node_.reactor(i).buffers().bytes_in_use(), 0u) << "reactor " << i;
    EXPECT_FALSE(target_node_.reactor(i).buffers().has_waiters()) << "reactor " << i;
  }
}

void SimSite::stop_target() {
  run_until([this] { return target().target->num_connections() == 0; });
  // The connection is counted until its task ends; its controller goes with it.
  world_.run_for(std::chrono::milliseconds(10));
  expect_nothing_left();
  run(target_node_, target().stop());
  EXPECT_TRUE(target().registry.empty());
  world_.run_for(std::chrono::seconds(1));
  target_node_.stop();
}

runtime::sim::Node& SimSite::add_host() {
  hosts_.push_back(&world_.add_node({.name = fmt::format("host{}", hosts_.size() + 1)}));
  return *hosts_.back();
}

TestHostOptions SimSite::host_options(uint8_t number) const {
  return {.address = *runtime::SocketAddress::ip("10.0.0.1", kPort), .subsystem_nqn = kNqn, .number = number};
}

TestHostQueueOptions SimSite::random_queue_options(runtime::Random& random) const {
  return {.header_digest = random.one_in(3),
          .data_digest = random.one_in(3),
          .alignment = static_cast<uint8_t>(random.one_in(2) ? 0 : random.below(32)),
          .in_capsule_size = random.one_in(3) ? 0u : 8192u,
          .h2c_size = static_cast<uint32_t>(random.one_in(2) ? 1u << 20 : 512 + random.below(8192))};
}

std::vector<std::byte> SimSite::content() {
  if (options_.aio) return *target_node_.files().content(kDisk);
  const auto memory = target().device->readable_memory(0, options_.num_blocks);
  return {memory.begin(), memory.end()};
}

void SimSite::require_done(RunResult result) {
  if (result != RunResult::kDone) {
    fmt::print(stderr, "seed {}: {}; these wait:\n{}\n", options_.seed, run_result_name(result),
               world_.waiting_tasks());
  }
  CAIRN_CHECK(result == RunResult::kDone);
}

void SimSite::run_until(const std::function<bool()>& done, Duration limit) {
  require_done(world_.run_until(done, limit));
}

void SimSite::run(runtime::sim::Node& node, Task<> task, Duration limit) {
  require_done(world_.run_task(node, "test", std::move(task), limit));
}

}  // namespace cairn::nvmf::target
