// What the initiator does when the target changes: ANA states, sizes, removal; reservations and other commands passed
// through; URIs.
#include <gtest/gtest.h>

#include "channel_load.h"
#include "tampering_proxy.h"

namespace cairn::nvmf {
namespace {

using block::IoType;
using nvme::AnaState;
using runtime::sim::CrashKind;
using runtime::sim::Node;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kSecondPath = "10.0.0.3:8420";

// A second way to the target: a proxy that changes nothing.
Node& add_second_path(InitiatorSite& site) {
  Node& proxy = site.world().add_node({.name = "proxy"});
  proxy.start([](Node&) {
    return std::make_unique<TamperingProxy>(*runtime::SocketAddress::ip("10.0.0.3", 8420),
                                            *runtime::SocketAddress::ip("10.0.0.1", 8420));
  });
  return proxy;
}

TEST(Paths, OneIsLostAndTheOtherCarriesOn) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    InitiatorSite site({.seed = seed, .aio = seed % 2 == 0}, 2);
    Node& proxy = add_second_path(site);
    ASSERT_TRUE(
        site.open(InitiatorSite::uri("paths=10.0.0.3:8420&keep_alive_ms=1000&io_timeout_ms=2000&"
                                     "admin_timeout_ms=1000&retry_window_ms=60000")));
    site.run_until([&] { return site.device().paths()[1].connected; });
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(100)});
    load.start();
    for (int i = 0; i < 3; ++i) {
      site.world().run_for(milliseconds(50));
      // The link of one of the two, in turn.
      Node& far = i % 2 == 0 ? site.site().target_node() : proxy;
      site.world().network().cut_both(far, site.node());
      const uint64_t before = load.num_done();
      site.run_until([&] { return load.num_done() > before + 200 || !load.failure().empty(); });
      site.world().network().heal_both(far, site.node());
      site.run_until([&] {
        const auto paths = site.device().paths();
        return paths[0].connected && paths[1].connected;
      });
    }
    load.stop();
    load.finish();
    site.end();
  }
}

// Each way is looked at when it is there again; what the node has lost is told once, by whichever comes first.
TEST(Paths, ALostCacheIsToldOnce) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    InitiatorSite site({.seed = seed, .aio = true});
    add_second_path(site);
    ASSERT_TRUE(site.open(InitiatorSite::uri("paths=10.0.0.3:8420&keep_alive_ms=1000")));
    auto both_connected = [&] {
      const auto paths = site.device().paths();
      return paths[0].connected && paths[1].connected;
    };
    site.run_until(both_connected);
    size_t looked = 0, lost = 0, looking = 0;
    site.device().set_reconnect_hook([&](bool cache_lost) -> runtime::Task<Result<>> {
      EXPECT_EQ(++looking, 1u);
      static_cast<void>(co_await runtime::sleep_for(milliseconds(5)));
      --looking;
      ++looked;
      if (!cache_lost || ++lost > 1) co_return Result<>{};
      co_return fail(Code::kUnavailable, "not now");  // no note was taken of it
    });
    auto restart = [&](CrashKind kind) {
      looked = lost = 0;
      site.site().target_node().crash(kind);
      site.run_until([&] { return !site.device().paths()[0].connected && !site.device().paths()[1].connected; });
      site.site().restart_target();
      site.run_until([&] { return both_connected() && looked >= (lost == 0 ? 2 : 3); });
    };
    restart(CrashKind::kPowerLoss);
    EXPECT_EQ(lost, 2u);
    restart(CrashKind::kKill);
    EXPECT_EQ(lost, 0u);
    site.device().set_reconnect_hook(nullptr);
    site.end();
  }
}

TEST(Paths, ADeviceEndsWhileOneWayIsLookedAtAndAnotherOneWaits) {
  InitiatorSite site({.seed = 1, .aio = true});
  add_second_path(site);
  ASSERT_TRUE(site.open(InitiatorSite::uri("paths=10.0.0.3:8420&keep_alive_ms=1000")));
  auto connected = [&](size_t path) { return site.device().paths()[path].connected; };
  site.run_until([&] { return connected(0) && connected(1); });
  size_t looking = 0, ended = 0;
  site.device().set_reconnect_hook([&](bool) -> runtime::Task<Result<>> {
    ++looking;
    runtime::Event never;
    auto waited = co_await never.wait();
    ++ended;
    co_return fail(std::move(waited.error()));
  });
  site.site().target_node().crash(CrashKind::kKill);
  site.run_until([&] { return !connected(0) && !connected(1); });
  site.site().restart_target();
  site.run_until([&] { return connected(0) && connected(1); });
  EXPECT_EQ(looking, 1u);
  site.end();
  EXPECT_EQ(looking, 1u);
  EXPECT_EQ(ended, 1u);
}

// Of a target that is not ours nothing is known.
TEST(Paths, WhoTellsNoBootMayHaveLostItsCache) {
  InitiatorSite site({.seed = 1, .aio = true, .tells_boot_id = false});
  ASSERT_TRUE(site.open(InitiatorSite::uri()));
  size_t lost = 0;
  site.device().set_reconnect_hook([&](bool cache_lost) -> runtime::Task<Result<>> {
    EXPECT_TRUE(cache_lost);
    ++lost;
    co_return Result<>{};
  });
  for (size_t i = 1; i <= 3; ++i) {
    site.world().network().reset_connections(site.node(), site.site().target_node());
    site.run_until([&] { return lost == i && site.device().paths()[0].connected; });
  }
  site.device().set_reconnect_hook(nullptr);
  site.end();
}

// The first way does not know yet that the node was started anew; the second one is connected for the first time.
TEST(Paths, AWayThatIsNewFindsOutThatTheCacheIsLost) {
  InitiatorSite site({.seed = 1, .aio = true});
  ASSERT_TRUE(site.open(InitiatorSite::uri("paths=10.0.0.3:8420&keep_alive_ms=600000")));
  std::vector<bool> told;
  site.device().set_reconnect_hook([&](bool cache_lost) -> runtime::Task<Result<>> {
    told.push_back(cache_lost);
    co_return Result<>{};
  });
  site.site().target_node().crash(CrashKind::kPowerLoss);
  site.site().restart_target();
  EXPECT_TRUE(site.device().paths()[0].connected);
  add_second_path(site);
  site.run_until([&] { return site.device().paths()[1].connected; });
  site.world().run_for(seconds(1));
  EXPECT_EQ(told, std::vector<bool>{true});
  site.device().set_reconnect_hook(nullptr);
  site.end();
}

TEST(Paths, AnaStates) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    InitiatorSite site({.seed = seed, .ana = true});
    ASSERT_TRUE(site.open(InitiatorSite::uri("retry_window_ms=5000")));
    auto set = [&](target::AnaState state) {
      site.site().run(site.site().target_node(),
                      site.site().target().subsystem->find_namespace(1)->set_ana_state(state));
    };
    ChannelLoad load(site, {.num_operations = 0, .max_pause = milliseconds(2)});
    load.start();
    site.world().run_for(milliseconds(20));
    set(target::AnaState::kInaccessible);
    site.world().run_for(seconds(3));
    EXPECT_EQ(site.device().paths()[0].ana, AnaState::kInaccessible);
    const uint64_t before = load.num_done();
    site.world().run_for(milliseconds(500));
    EXPECT_EQ(load.num_done(), before);
    set(target::AnaState::kNonOptimized);
    site.run_until([&] { return load.num_done() > before + 100 || !load.failure().empty(); });
    EXPECT_EQ(site.device().paths()[0].ana, AnaState::kNonOptimized);
    load.stop();
    load.finish();

    set(target::AnaState::kInaccessible);
    std::vector<std::byte> data(512);
    const TimePoint begin = site.world().now();
    EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is(nvme::PathStatus::kHostPathingError));
    EXPECT_GE(site.world().now() - begin, seconds(4));
    set(target::AnaState::kOptimized);
    site.run_until([&] { return site.device().paths()[0].ana == AnaState::kOptimized; });
    site.world().run_for(milliseconds(10));
    EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is_success());
    site.end();
  }
}

// The window has passed without a usable path while a command was out; when that is lost, it must not wait for ever.
TEST(Paths, AnIoThatIsLostAfterTheWindowEnds) {
  InitiatorSite site({.seed = 9, .num_blocks = 4096, .ana = true});
  Node& proxy = add_second_path(site);
  ASSERT_TRUE(site.open(InitiatorSite::uri("retry_window_ms=2000&io_timeout_ms=5000&keep_alive_ms=1000", kSecondPath)));
  auto set = [&](target::AnaState state) {
    site.site().run(site.site().target_node(), site.site().target().subsystem->find_namespace(1)->set_ana_state(state));
  };
  bool begun = false;
  proxy.program<TamperingProxy>().tamper = [&](Pdu pdu) -> Tampering {
    if (nvme::load<nvme::PduCommonHeader>(pdu).type != nvme::PduType::kR2t) return {.send = {std::move(pdu)}};
    begun = true;
    return {};
  };
  for (const IoType type : {IoType::kWrite, IoType::kCompare}) {
    begun = false;
    std::vector<std::byte> data(65536);
    std::optional<nvme::Status> status;
    {
      const runtime::Reactor::Scope scope(site.node().reactor(0));
      site.node().reactor(0).spawn(
          "io",
          [](block::Channel& channel, IoType type, std::vector<std::byte>& data,
             std::optional<nvme::Status>& status) -> runtime::Task<> {
            const iovec piece{data.data(), data.size()};
            status = co_await block::perform(
                channel, {.type = type, .lba = 0, .num_blocks = data.size() / 512, .data = {&piece, 1}});
          }(site.channel(), type, data, status));
    }
    site.run_until([&] { return begun; });
    set(target::AnaState::kInaccessible);
    site.run_until([&] { return status.has_value(); });
    EXPECT_FALSE(status->is_success());
    set(target::AnaState::kOptimized);
    site.run_until([&] {
      const auto path = site.device().paths()[0];
      return path.connected && path.ana == AnaState::kOptimized;
    });
  }
  site.end();
}

// The log page cannot be read while the state changes, with its events: the path comes back all the same.
TEST(Paths, AnaStateIsAskedForUntilItIsKnown) {
  InitiatorSite site({.seed = 10, .ana = true});
  Node& proxy = add_second_path(site);
  ASSERT_TRUE(site.open(InitiatorSite::uri("", kSecondPath)));
  auto set = [&](target::AnaState state) {
    site.site().run(site.site().target_node(), site.site().target().subsystem->find_namespace(1)->set_ana_state(state));
  };
  unsigned num_failed = 0;
  auto& program = proxy.program<TamperingProxy>();
  program.tamper = [&](Pdu pdu) -> Tampering {
    const auto header = nvme::load<nvme::PduCommonHeader>(pdu);
    if (header.type != nvme::PduType::kC2hData || pdu.size() <= 4096 + 24) return {.send = {std::move(pdu)}};
    ++num_failed;
    nvme::Cqe failure{.cid = nvme::load<nvme::C2hData>(pdu).cccid};
    failure.set_status(nvme::Status::generic(nvme::GenericStatus::kInternalError));
    Pdu response(nvme::kMaxHeaderSize);
    response.resize(nvme::encode_capsule_resp(std::span<std::byte, nvme::kMaxHeaderSize>(response), failure, {}));
    return {.send = {response}};
  };
  set(target::AnaState::kInaccessible);
  std::vector<std::byte> data(512);
  std::optional<nvme::Status> status;
  {
    const runtime::Reactor::Scope scope(site.node().reactor(0));
    site.node().reactor(0).spawn("io",
                                 [](block::Channel& channel, std::vector<std::byte>& bytes,
                                    std::optional<nvme::Status>& out) -> runtime::Task<> {
                                   const iovec piece{bytes.data(), bytes.size()};
                                   out = co_await block::perform(
                                       channel, {.type = IoType::kRead, .num_blocks = 1, .data = {&piece, 1}});
                                 }(site.channel(), data, status));
  }
  site.world().run_for(seconds(2));
  set(target::AnaState::kOptimized);
  site.world().run_for(milliseconds(500));
  EXPECT_GT(num_failed, 0u);
  EXPECT_FALSE(status.has_value());
  program.tamper = {};
  site.run_until([&] { return status.has_value(); });
  EXPECT_TRUE(status->is_success()) << status->to_string();
  site.end();
}

struct Listener final : block::DeviceListener {
  void on_resized(block::Device&) override { ++resizes; }
  void on_removed(block::Device&) override {
    ++removals;
    unlink();
  }
  int resizes = 0, removals = 0;
};

TEST(Paths, SizeAndRemovalAreAnnounced) {
  InitiatorSite site({.seed = 7, .num_blocks = 4096});
  ASSERT_TRUE(site.open(InitiatorSite::uri()));
  EXPECT_EQ(site.device().num_blocks(), 4096u);
  Listener listener;
  site.device().add_listener(listener);
  auto& target = site.site().target();
  site.site().run(site.site().target_node(), [](block::Registry& registry) -> runtime::Task<> {
    const auto resized =
        co_await registry.create("malloc:///m?resize&num_blocks=8192&uuid=0a1b2c3d-1111-4222-8333-444455556666");
    EXPECT_TRUE(resized) << resized.error().to_string();
  }(target.registry));
  site.run_until([&] { return listener.resizes > 0; });
  EXPECT_EQ(site.device().num_blocks(), 8192u);
  std::vector<std::byte> data(512);
  EXPECT_TRUE(site.io({.type = IoType::kWrite, .lba = 8191}, &data).is_success());

  target.device.reset();
  site.site().run(site.site().target_node(), [](block::Registry& registry) -> runtime::Task<> {
    EXPECT_TRUE(co_await registry.remove("m"));
  }(target.registry));
  site.run_until([&] { return listener.removals > 0; });
  EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is(nvme::GenericStatus::kInvalidNamespaceOrFormat));
  site.end();
}

// One of two paths, the one in use, says that it has no namespace any more.
TEST(Paths, GoneOnOneOfTwo) {
  InitiatorSite site({.seed = 11, .num_blocks = 4096});
  Node& proxy = add_second_path(site);
  ASSERT_TRUE(site.open(InitiatorSite::uri("paths=10.0.0.1:8420", kSecondPath)));
  site.run_until([&] { return site.device().paths()[1].connected; });
  Listener listener;
  site.device().add_listener(listener);
  unsigned num_emptied = 0, num_reads = 0;
  auto& program = proxy.program<TamperingProxy>();
  program.tamper = [&](Pdu pdu) -> Tampering {
    const auto header = nvme::load<nvme::PduCommonHeader>(pdu);
    if (header.type == nvme::PduType::kC2hData && pdu.size() >= sizeof(nvme::C2hData) + 4096) {
      std::fill(pdu.begin() + sizeof(nvme::C2hData), pdu.end(), std::byte{0});
      ++num_emptied;
    }
    num_reads += header.type == nvme::PduType::kC2hData && pdu.size() == sizeof(nvme::C2hData) + 512;
    return {.send = {std::move(pdu)}};
  };
  site.site().run(site.site().target_node(), [](block::Registry& registry) -> runtime::Task<> {
    EXPECT_TRUE(
        co_await registry.create("malloc:///m?resize&num_blocks=8192&uuid=0a1b2c3d-1111-4222-8333-444455556666"));
  }(site.site().target().registry));
  site.run_until([&] { return listener.resizes > 0 && num_emptied >= 2; });
  site.world().run_for(seconds(1));
  std::vector<std::byte> data(512);
  EXPECT_TRUE(site.io({.type = IoType::kRead}, &data).is_success());
  EXPECT_EQ(num_reads, 0u);
  EXPECT_EQ(listener.removals, 0);
  listener.unlink();
  program.tamper = {};
  site.end();
}

TEST(PassThrough, Reservations) {
  InitiatorSite site({.seed = 3});
  ASSERT_TRUE(site.open(InitiatorSite::uri()));
  auto other = site.run(site.process().registry.create(InitiatorSite::uri(
      "hostid=11111111-2222-3333-4444-555555555555&hostnqn=nqn.2014-08.org.example:other", "10.0.0.1")));
  ASSERT_TRUE(other) << other.error().to_string();
  auto& second = static_cast<host::NvmeDevice&>(**other);
  auto success = [](const Result<nvme::Status>& result) { return result && result->is_success(); };
  EXPECT_TRUE(success(site.run(site.device().register_key({}, {.nrkey = 5}))));
  EXPECT_TRUE(success(site.run(second.register_key({}, {.nrkey = 6}))));
  EXPECT_TRUE(success(
      site.run(site.device().acquire_reservation({.type = nvme::ReservationType::kWriteExclusive}, {.crkey = 5}))));
  auto refused = site.run(second.acquire_reservation({.type = nvme::ReservationType::kWriteExclusive}, {.crkey = 6}));
  EXPECT_TRUE(refused && refused->is(nvme::GenericStatus::kReservationConflict));
  auto report = site.run(second.report_reservation());
  ASSERT_TRUE(report) << report.error().to_string();
  EXPECT_EQ(report->type, nvme::ReservationType::kWriteExclusive);
  ASSERT_EQ(report->registrants.size(), 2u);
  for (const auto& registrant : report->registrants) {
    EXPECT_EQ(registrant.holds_reservation, registrant.key == 5);
    EXPECT_EQ(Uuid(registrant.host_id) == second.options().host.id, registrant.key == 6);
  }
  EXPECT_TRUE(success(site.run(second.acquire_reservation(
      {.action = nvme::AcquireAction::kPreempt, .type = nvme::ReservationType::kWriteExclusive},
      {.crkey = 6, .prkey = 5}))));
  std::vector<std::byte> data(512);
  EXPECT_TRUE(site.io({.type = IoType::kWrite}, &data).is(nvme::GenericStatus::kReservationConflict));
  EXPECT_TRUE(success(site.run(second.release_reservation({.type = nvme::ReservationType::kWriteExclusive}, 6))));
  EXPECT_TRUE(site.io({.type = IoType::kWrite}, &data).is_success());

  nvme::Sqe vendor;
  vendor.opcode = nvme::kFirstVendorAdminOpcode;
  const auto answer = site.run(site.device().admin_command(vendor));
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer->status.is(nvme::GenericStatus::kInvalidOpcode));
  other->reset();
  site.end();
}

// A load that fills a small queue leaves room for them.
TEST(PassThrough, CommandsAreNotStarvedByLoad) {
  for (const unsigned entries : {2u, 3u, 8u}) {
    InitiatorSite site({.seed = entries});
    ASSERT_TRUE(site.open(InitiatorSite::uri(fmt::format("queue_entries={}", entries))));
    ChannelLoad load(site, {.depth = 16, .num_operations = 2000});
    load.start();
    for (int i = 0; i < 10; ++i) {
      site.world().run_for(milliseconds(1));
      EXPECT_TRUE(site.run(site.device().report_reservation()));
      EXPECT_FALSE(load.ended()) << i;
    }
    load.stop();
    load.finish();
    site.end();
  }
}

TEST(Opening, WhatIsWrongIsNamed) {
  InitiatorSite site({.seed = 4});
  const std::pair<std::string, std::string> table[] = {
      {"nvmf:///nqn", "missing host"},
      {"nvmf://10.0.0.1", "no path segments"},
      {"nvmf://10.0.0.1/a/b", "too many path segments"},
      {"nvmf://10.0.0.1/nqn?uuid=x", "could not parse value of UUID parameter"},
      {"nvmf://10.0.0.1/nqn?queue_entries=1", "'queue_entries' must be 2 to 1024"},
      {"nvmf://10.0.0.1/nqn?io_timeout_ms=5", "'io_timeout_ms' must be 100 to 3600000"},
      {"nvmf://10.0.0.1/nqn?paths=a:b", "'a:b' is no host:port"},
      {"nvmf://10.0.0.1/nqn.2014-08.org.example:none", "Connect of queue 0 was refused"},
      {"nvmf://10.0.0.1:9/nqn", "Connection refused"},
      {"nvmf://10.0.0.99/nqn", "cannot connect to 10.0.0.99:8420"},
  };
  for (const auto& [uri, expected] : table) {
    const auto created = site.run(site.process().registry.create(uri));
    ASSERT_FALSE(created) << uri;
    EXPECT_NE(created.error().to_string().find(expected), std::string::npos) << created.error().to_string();
    EXPECT_TRUE(site.process().registry.empty());
  }
  ASSERT_TRUE(site.open(InitiatorSite::uri("unknown=1&reftag=1", "10.0.0.1")));
  EXPECT_EQ(site.device().name(), fmt::format("10.0.0.1/{}n1", target::SimSite::kNqn));
  EXPECT_EQ(site.device().driver_name(), "nvme");
  EXPECT_EQ(site.device().uuid().to_string(), "0a1b2c3d-1111-4222-8333-444455556666");
  const auto shown = site.process().registry.device_uri(site.device());
  ASSERT_TRUE(shown);
  EXPECT_TRUE(shown->starts_with("nvmf://10.0.0.1/")) << *shown;
  site.end();
}

}  // namespace
}  // namespace cairn::nvmf
