// The target's process is killed or its machine loses power under load: what was acknowledged and durable is there
// afterwards, reservations that persist too.
#include <gtest/gtest.h>

#include "nvmf/target/sim_load.h"

namespace cairn::nvmf::target {
namespace {

using runtime::Task;
using runtime::sim::CrashKind;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(TargetDurabilitySim, CrashesUnderLoad) {
  for_each_sim_seed([](uint64_t seed) {
    SimSite site({.seed = seed, .num_reactors = 1 + static_cast<unsigned>(seed % 2), .aio = true, .num_blocks = 256});
    SimLoad load(site, {.max_depth = 3, .max_blocks = 16, .max_pause = milliseconds(1), .command_timeout = seconds(1)});
    site.start_target();
    for (uint8_t number = 1; number <= 2; ++number) load.start_host(site.add_host(), number);
    runtime::sim::Node& checker = site.add_host();
    checker.start();
    for (int round = 0; round < 3; ++round) {
      site.world().run_for(milliseconds(5 + site.world().random().below(30)));
      const bool power_loss = site.world().random().one_in(2);
      site.target_node().crash(power_loss ? CrashKind::kPowerLoss : CrashKind::kKill);
      load.target_crashed(power_loss);
      site.world().run_for(milliseconds(site.world().random().below(100)));
      site.restart_target();
      const uint64_t num_connects = load.num_connects();
      site.run_until([&] { return load.num_connects() == num_connects + 2; });
      // The hosts write again while the blocks are checked.
      site.run(checker, load.verify(99));
      ASSERT_EQ(load.failure(), "");
    }
    load.stop();
    site.run_until([&] { return load.ended(); });
    site.run(checker, load.verify(99));
    EXPECT_EQ(load.failure(), "");
    site.stop_target();
  });
}

Task<> hold_reservation(SimSite& site, bool& held) {
  auto connected = co_await TestHost::connect(site.host_options(1));
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  const auto registered = co_await host.register_key(nvme::ChangePtpl::kSet);
  CAIRN_CHECK(registered && registered->status().is_success());
  const auto acquired = co_await host.acquire(nvme::ReservationType::kWriteExclusive);
  held = acquired && acquired->status().is_success();
  static_cast<void>(co_await host.io().closed_event().wait());  // until the crash
  co_await host.close();
}

// The holder writes, another does not.
Task<> expect_reservation(SimSite& site, uint8_t number, bool may_write) {
  auto connected = co_await TestHost::connect(site.host_options(number));
  CAIRN_CHECK(connected.has_value());
  TestHost& host = **connected;
  const std::vector<std::byte> data(SimSite::kBlockSize);
  const auto written = co_await host.io().run(TestHost::range_sqe(nvme::NvmOpcode::kWrite, 0, 1), data);
  EXPECT_TRUE(written.has_value());
  if (written) {
    EXPECT_EQ(written->status().is_success(), may_write) << written->status().to_string();
    EXPECT_EQ(written->status().is(nvme::GenericStatus::kReservationConflict), !may_write);
  }
  const auto report = co_await host.report();
  EXPECT_TRUE(report && report->status().is_success());
  if (report) {
    const auto status = nvme::load<nvme::ReservationStatusHeader>(report->data);
    EXPECT_EQ(uint16_t{status.num_registrants}, 1);
    EXPECT_EQ(status.rtype, nvme::ReservationType::kWriteExclusive);
  }
  co_await host.close();
}

TEST(TargetDurabilitySim, ReservationsPersist) {
  for_each_sim_seed([](uint64_t seed) {
    SimSite site({.seed = seed, .aio = true, .num_blocks = 64, .persistent_reservations = true});
    site.start_target();
    bool held = false;
    runtime::sim::Node& node = site.add_host();
    node.start();
    {
      const runtime::Reactor::Scope scope(node.reactor(0));
      node.reactor(0).spawn("holder", hold_reservation(site, held));
    }
    site.run_until([&] { return held; });
    site.target_node().crash(seed % 2 == 0 ? CrashKind::kPowerLoss : CrashKind::kKill);
    site.restart_target();
    site.run(node, expect_reservation(site, 1, true));
    site.run(node, expect_reservation(site, 2, false));
    site.stop_target();
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
