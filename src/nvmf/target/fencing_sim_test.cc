// Fencing: host A writes as fast as it can, its commands are in every phase; host B preempts A's reservation. From the
// end of B's command on, nothing of A changes a block.
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using nvme::NvmOpcode;
using nvme::ReservationType;
using runtime::Task;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr uint8_t kA = 1, kB = 2;

struct Fencing {
  SimSite& site;
  nvme::AcquireAction action;
  ReservationType type;
  bool a_holds = false;
  bool stop = false;
  int running = 0;
  uint64_t num_acknowledged = 0;
  uint64_t num_refused = 0;
  std::vector<std::byte> content{};  // when B's command had ended
  bool fenced = false;
  std::string fault{};
};

Task<> write_always(Fencing& test, TestHost& host, size_t queue) {
  runtime::Random& random = runtime::Reactor::current().random();
  while (!test.stop && !host.any_closed()) {
    const uint64_t count = 1 + random.below(random.one_in(2) ? 64 : 4);
    const uint64_t lba = random.below(test.site.options().num_blocks - count);
    std::vector<std::byte> data(count * SimSite::kBlockSize);
    const uint64_t pattern = random.next();
    for (size_t i = 0; i < data.size(); i += 8) std::memcpy(&data[i], &pattern, 8);
    const uint64_t kind = random.below(10);
    nvme::Sqe sqe =
        TestHost::range_sqe(kind == 0 ? NvmOpcode::kWriteZeroes : NvmOpcode::kWrite, lba, static_cast<uint32_t>(count));
    if (kind == 0) data.clear();
    if (kind == 1) {  // Copy: several steps of the device
      sqe = TestHost::io_sqe(NvmOpcode::kCopy);
      nvme::Copy{.destination = 0, .num_ranges = 2}.encode(sqe);
      const nvme::CopyRange ranges[2] = {{.slba = lba, .nlb = static_cast<uint16_t>(count - 1)}, {.slba = 0, .nlb = 0}};
      const auto bytes = std::as_bytes(std::span(ranges));
      data.assign(bytes.begin(), bytes.end());
    }
    const auto answer = co_await host.io(queue).run(sqe, data);
    if (answer && answer->status().is_success()) ++test.num_acknowledged;
    if (answer && answer->status().is(nvme::GenericStatus::kReservationConflict)) ++test.num_refused;
    if (test.fenced) co_await runtime::sleep_for(milliseconds(1));
  }
  --test.running;
}

Task<> run_a(Fencing& test) {
  TestHostOptions options = test.site.host_options(kA);
  options.num_io_queues = 3;
  options.queue = test.site.random_queue_options(runtime::Reactor::current().random());
  options.queue.in_capsule_size = runtime::Reactor::current().random().one_in(2) ? 8192 : 0;
  auto connected = co_await TestHost::connect(options);
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  const auto registered = co_await host.register_key();
  const auto acquired = co_await host.acquire(test.type);
  CAIRN_CHECK(registered && registered->status().is_success() && acquired && acquired->status().is_success());
  std::vector<runtime::TaskHandle> tasks;
  for (size_t queue = 0; queue < host.num_io_queues(); ++queue) {
    for (int i = 0; i < 8; ++i) {
      ++test.running;
      tasks.push_back(runtime::Reactor::current().spawn("A writes", write_always(test, host, queue)));
    }
  }
  test.a_holds = true;
  for (const auto& task : tasks) co_await task.join();
  co_await host.close();
  test.fault = host.fault();
}

Task<> run_b(Fencing& test) {
  auto connected = co_await TestHost::connect(test.site.host_options(kB));
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  const auto registered = co_await host.register_key();
  CAIRN_CHECK(registered && registered->status().is_success());
  const auto preempted = co_await host.acquire(ReservationType::kWriteExclusive, test.action, kA);
  EXPECT_TRUE(preempted && preempted->status().is_success());
  test.content = test.site.content();
  test.fenced = true;
  co_await host.close();
}

void run_fencing(uint64_t seed, nvme::AcquireAction action) {
  SimSite site({.seed = seed,
                .num_reactors = 1 + static_cast<unsigned>(seed % 2),
                .buffer_pool_bytes = seed % 5 == 0 ? size_t{256} << 10 : size_t{4} << 20,  // some wait for buffers
                .aio = seed % 3 != 0,
                .num_blocks = 256,
                .target = {.max_io_size = 64 << 10}});
  site.start_target();
  Fencing test{.site = site,
               .action = action,
               .type = seed % 4 == 0 ? ReservationType::kExclusiveAccess : ReservationType::kWriteExclusive};
  runtime::sim::Node& a = site.add_host();
  runtime::sim::Node& b = site.add_host();
  a.start();
  b.start();
  {
    const runtime::Reactor::Scope scope(a.reactor(0));
    a.reactor(0).spawn("host A", run_a(test));
  }
  site.run_until([&] { return test.a_holds; });
  site.world().run_for(microseconds(site.world().random().below(20000)));
  if (seed % 2 == 0) {  // A's data comes late
    site.world().network().set_slowness(a, site.target_node(), 20);
  }
  site.run(b, run_b(test));
  site.world().run_for(milliseconds(50));
  EXPECT_TRUE(test.content == site.content()) << "a block changed after the host was fenced";
  EXPECT_GT(test.num_acknowledged + test.num_refused, 0u);
  site.world().run_for(milliseconds(300));
  EXPECT_GT(test.num_refused, 0u);
  EXPECT_TRUE(test.content == site.content()) << "a block changed after the host was fenced";
  test.stop = true;
  site.run_until([&] { return test.running == 0; });
  site.world().run_for(milliseconds(100));
  EXPECT_EQ(test.fault, "");
  EXPECT_TRUE(test.content == site.content()) << "a block changed after the host was fenced";
  site.stop_target();
}

TEST(TargetFencingSim, Preempt) {
  for_each_sim_seed([](uint64_t seed) { run_fencing(seed, nvme::AcquireAction::kPreempt); });
}

TEST(TargetFencingSim, PreemptAndAbort) {
  for_each_sim_seed([](uint64_t seed) { run_fencing(seed, nvme::AcquireAction::kPreemptAndAbort); });
}

// Tries again until the target lets it in.
Task<> write_block(SimSite& site, uint8_t number, uint64_t lba, std::byte fill, bool& connected, bool& written) {
  std::unique_ptr<TestHost> host;
  while (host == nullptr) {
    if (auto made = co_await TestHost::connect(site.host_options(number))) host = std::move(*made);
  }
  connected = true;
  const std::vector<std::byte> data(SimSite::kBlockSize, fill);
  const auto answer = co_await host->io().run(TestHost::range_sqe(NvmOpcode::kWrite, lba, 1), data);
  written = answer && answer->status().is_success();
  co_await host->close();
}

// A host that died comes back while its last write hangs in the disk: what it writes then must not be written over.
TEST(TargetFencingSim, AHostIsLetInWhenItsPredecessorHasEnded) {
  SimSite site({.aio = true, .num_blocks = 256});
  site.start_target();
  runtime::sim::Node& a = site.add_host();
  runtime::sim::Node& b = site.add_host();
  bool connected[3] = {}, written[3] = {};
  auto write = [&](runtime::sim::Node& node, uint8_t number, uint64_t lba, size_t which) {
    if (!node.running()) node.start();
    const runtime::Reactor::Scope scope(node.reactor(0));
    node.reactor(0).spawn("write",
                          write_block(site, number, lba, std::byte(which + 1), connected[which], written[which]));
  };
  runtime::sim::Disk& disk = site.target_node().files().disk_of(SimSite::kDisk);
  disk.set_faults({.slow_factor = 200'000});  // this write, not those after it
  write(a, kA, 0, 0);
  site.run_until([&] { return connected[0]; });
  site.world().run_for(milliseconds(5));
  disk.set_faults({});
  a.crash(runtime::sim::CrashKind::kKill);
  write(a, kA, 0, 1);
  write(b, kB, 8, 2);
  site.run_until([&] { return written[2]; });
  EXPECT_FALSE(connected[1]);
  site.run_until([&] { return written[1]; });
  site.world().run_for(seconds(60));
  EXPECT_EQ(site.content()[0], std::byte{2});
  EXPECT_FALSE(written[0]);
  site.stop_target();
}

}  // namespace
}  // namespace cairn::nvmf::target
