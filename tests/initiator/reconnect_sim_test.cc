// The initiator under load while connections, network and target fail: nobody above notices anything but time, and what
// was written is there.
#include <gtest/gtest.h>

#include "channel_load.h"

namespace cairn::nvmf {
namespace {

using runtime::sim::CrashKind;
using runtime::sim::Network;
using std::chrono::milliseconds;
using std::chrono::seconds;
using target::for_each_sim_seed;

target::SimSiteOptions options_of(uint64_t seed, bool aio) {
  return {.seed = seed, .num_reactors = 1 + static_cast<unsigned>(seed % 2), .aio = aio};
}

std::string random_uri(runtime::Random& random, const std::string& more) {
  std::string parameters = more;
  if (random.one_in(3)) parameters += "&hdgst=1";
  if (random.one_in(3)) parameters += "&ddgst=1";
  if (random.one_in(2)) parameters += fmt::format("&queue_entries={}", 2 + random.below(30));
  return InitiatorSite::uri(parameters);
}

TEST(Reconnect, TargetStoppedForFiveSeconds) {
  for_each_sim_seed([](uint64_t seed) {
    InitiatorSite site(options_of(seed, true), 2);
    ASSERT_TRUE(site.open(InitiatorSite::uri()));
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(2)});
    load.start();
    site.world().run_for(milliseconds(50));
    // Its machine lives on and refuses connections.
    site.site().target_node().crash(CrashKind::kKill);
    site.world().run_for(seconds(5));
    const uint64_t before = load.num_done();
    site.site().restart_target();
    site.run_until([&] { return load.num_done() > before + 100; });
    load.stop();
    load.finish();
    site.end();
  });
}

TEST(Reconnect, TargetStandsStillForFiveSeconds) {
  for_each_sim_seed([](uint64_t seed) {
    InitiatorSite site(options_of(seed, seed % 2 == 0), 2);
    // With and without time-outs in between.
    ASSERT_TRUE(site.open(InitiatorSite::uri(seed % 3 == 0 ? "io_timeout_ms=1000&admin_timeout_ms=1000" : "")));
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(2)});
    load.start();
    site.world().run_for(milliseconds(50));
    site.site().target_node().pause(seconds(5));
    site.world().run_for(seconds(5));
    const uint64_t before = load.num_done();
    site.run_until([&] { return load.num_done() > before + 100; });
    load.stop();
    load.finish();
    site.end();
  });
}

// Whatever comes, for some time.
void do_harm(InitiatorSite& site, runtime::Random& random, bool may_kill) {
  Network& network = site.world().network();
  runtime::sim::Node& target = site.site().target_node();
  runtime::sim::Node& host = site.node();
  const Duration lasting =
      random.one_in(4) ? seconds(1 + random.below(60)) : Duration(milliseconds(random.below(1000)));
  switch (random.below(may_kill ? 7 : 6)) {
    case 0:
      network.cut_both(target, host);
      site.world().run_for(lasting);
      return network.heal_both(target, host);
    case 1:
      network.cut(target, host);
      site.world().run_for(lasting);
      return network.heal(target, host);
    case 2:
      network.cut(host, target);
      site.world().run_for(lasting);
      return network.heal(host, target);
    case 3:
      return network.reset_connections(target, host);
    case 4:
      target.pause(lasting);
      return site.world().run_for(lasting);
    case 5:
      network.set_loss(target, host, 3);
      site.world().run_for(lasting);
      return network.set_loss(target, host, 0);
    case 6:
      target.crash(CrashKind::kKill);
      site.world().run_for(lasting);
      return site.site().restart_target();
  }
}

TEST(Reconnect, Faults) {
  for_each_sim_seed([](uint64_t seed) {
    const bool aio = seed % 2 == 0;
    InitiatorSite site(options_of(seed, aio), 1 + static_cast<unsigned>(seed % 3 == 0));
    runtime::Random random(seed);
    ASSERT_TRUE(site.open(random_uri(random, "retry_window_ms=3600000&io_timeout_ms=4000&admin_timeout_ms=3000")));
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(5)});
    load.start();
    for (int i = 0; i < 6; ++i) {
      site.world().run_for(milliseconds(random.below(2000)));
      do_harm(site, random, aio);
    }
    site.world().network().heal_all();
    const uint64_t before = load.num_done();
    site.run_until([&] { return load.num_done() > before + 100 || !load.failure().empty(); });
    load.stop();
    load.finish();
    site.end();
  });
}

TEST(Reconnect, AfterTheWindowIoFailsWithAPathErrorUntilThereIsAPath) {
  for_each_sim_seed([](uint64_t seed) {
    InitiatorSite site(options_of(seed, false));
    ASSERT_TRUE(site.open(InitiatorSite::uri("retry_window_ms=2000&io_timeout_ms=1000&admin_timeout_ms=1000")));
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(2), .expect_path_errors = true});
    load.start();
    site.world().run_for(milliseconds(50));
    EXPECT_EQ(load.num_path_errors(), 0u);
    site.world().network().cut_both(site.site().target_node(), site.node());
    site.run_until([&] { return load.num_path_errors() > 0; });
    load.stop();
    site.run_until([&] { return load.ended(); });
    // At once, now.
    std::vector<std::byte> data(512);
    const TimePoint before = site.world().now();
    EXPECT_TRUE(site.io({.type = block::IoType::kRead}, &data).is(nvme::PathStatus::kHostPathingError));
    EXPECT_LT(site.world().now() - before, milliseconds(10));
    site.world().network().heal_all();
    site.run_until([&] { return site.device().paths()[0].connected; });
    EXPECT_TRUE(site.io({.type = block::IoType::kRead}, &data).is_success());
    load.finish();
    site.end();
  });
}

// Of a node that says no. Who says nothing may be behind a link that is cut.
TEST(Reconnect, WhoRefusesForTheWindowIsUnreachableUntilItIsBack) {
  for_each_sim_seed([](uint64_t seed) {
    InitiatorSite site(options_of(seed, true));
    ASSERT_TRUE(site.open(InitiatorSite::uri("refusal_window_ms=1500")));
    site.world().network().cut_both(site.site().target_node(), site.node());
    site.world().run_for(seconds(40));
    EXPECT_FALSE(site.device().unreachable());
    EXPECT_FALSE(site.device().paths()[0].connected);
    site.world().network().heal_all();
    site.run_until([&] { return site.device().paths()[0].connected; });
    site.site().target_node().crash(CrashKind::kKill);
    site.world().run_for(milliseconds(1400));
    EXPECT_FALSE(site.device().unreachable());
    site.world().run_for(milliseconds(200));
    EXPECT_TRUE(site.device().unreachable());
    site.site().restart_target();
    site.run_until([&] { return site.device().paths()[0].connected; });
    EXPECT_FALSE(site.device().unreachable());
    site.end();
  });
}

}  // namespace
}  // namespace cairn::nvmf
