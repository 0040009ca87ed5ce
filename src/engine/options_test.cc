#include "engine/options.h"

#include <gtest/gtest.h>

#include <map>

namespace cairn::engine {
namespace {

using Variables = std::map<std::string, std::string>;

Result<ParsedOptions> parse(std::vector<const char*> arguments, Variables variables = {}) {
  arguments.insert(arguments.begin(), "io-engine");
  // CLI11 reads its own environment options (NVMF_TGT_IFACE, ...) from the process; the rest comes from here.
  return parse_options(static_cast<int>(arguments.size()), arguments.data(),
                       [&](const char* name) -> std::optional<std::string> {
                         const auto found = variables.find(name);
                         return found == variables.end() ? std::nullopt : std::optional(found->second);
                       });
}

EngineOptions parsed(std::vector<const char*> arguments, Variables variables = {}) {
  auto result = parse(std::move(arguments), std::move(variables));
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().to_string());
  return result ? result->options : EngineOptions();
}

TEST(Options, DefaultsAreTheContract) {
  const EngineOptions options = parsed({});
  EXPECT_EQ(options.node_name, "mayastor-node");
  EXPECT_EQ(options.grpc_address.to_string(), "[::]:10124");
  EXPECT_EQ(options.target_address.host, "127.0.0.1");
  EXPECT_EQ(options.replica_port, 8420);
  EXPECT_EQ(options.nexus_port, 4421);
  EXPECT_EQ(options.json_rpc_socket, "/var/tmp/mayastor.sock");
  EXPECT_EQ(options.reactors.cores, std::vector<unsigned>{0});
  EXPECT_EQ(options.host_nqn, "nqn.2019-05.io.openebs:node-name:mayastor-node");
}

TEST(Options, AddressesInAllTheFormsUsersHave) {
  EXPECT_EQ(parsed({"--grpc-ip=10.0.0.1", "--grpc-port", "5000"}).grpc_address.to_string(), "10.0.0.1:5000");
  EXPECT_EQ(parsed({"10.0.0.2", "5001"}).grpc_address.to_string(), "10.0.0.2:5001");
  EXPECT_EQ(parsed({"-g", "10.0.0.3"}).grpc_address.to_string(), "10.0.0.3:10124");
  EXPECT_EQ(parsed({"-g10.0.0.3:77"}).grpc_address.to_string(), "10.0.0.3:77");
  EXPECT_EQ(parsed({"-g", "[::1]:77"}).grpc_address.to_string(), "[::1]:77");
  EXPECT_EQ(parsed({"-g", "::1"}).grpc_address.to_string(), "[::1]:10124");
}

TEST(Options, AttachedValuesAndStrippedEqualsSign) {
  EXPECT_EQ(parsed({"-Nnode-7"}).node_name, "node-7");
  EXPECT_EQ(parsed({"-N", "node-7"}).node_name, "node-7");
  EXPECT_EQ(parsed({"-N=node-7"}).node_name, "node-7");
  EXPECT_EQ(parsed({"-l=0"}).reactors.cores, std::vector<unsigned>{0});
}

TEST(Options, HealthStore) {
  EXPECT_TRUE(parsed({}).etcd.endpoints.empty() && parsed({}).child_health_dir.empty());
  EXPECT_EQ(parsed({}).etcd.timeout, std::chrono::seconds(10));
  EXPECT_EQ(parsed({}).save_attempts, 30u);
  EXPECT_EQ(parsed({"-p", "etcd"}).etcd.endpoints, std::vector<std::string>{"etcd:2379"});
  EXPECT_EQ(parsed({"-p=http://a:1,b"}).etcd.endpoints, (std::vector<std::string>{"a:1", "b:2379"}));
  EXPECT_EQ(parsed({"--child-health-dir", "/var/nexus"}).child_health_dir, "/var/nexus");
  EXPECT_EQ(parsed({"--ps-timeout", "100ms"}).etcd.timeout, std::chrono::seconds(1));
  EXPECT_EQ(parsed({"--ps-timeout", "300s"}).etcd.timeout, std::chrono::seconds(60));
  EXPECT_EQ(parsed({"--ps-retries", "5"}).save_attempts, 5u);
  EXPECT_EQ(parsed({"--ps-retries", "0"}).save_attempts, 1u);
  EXPECT_EQ(parsed({"--ps-wait"}).save_attempts, 0u);
}

TEST(Options, WhatNexusesDo) {
  EXPECT_TRUE(parsed({}).intent_log);
  EXPECT_FALSE(parsed({"--no-intent-log"}).intent_log);
  EXPECT_EQ(parsed({}).rebuild.limits.max_bytes_per_second, 0u);
  EXPECT_EQ(parsed({"--rebuild-limit", "200MiB"}).rebuild.limits.max_bytes_per_second, 200u << 20);
  EXPECT_EQ(parsed({}).rebuild.num_copiers, nexus::RebuildOptions().num_copiers);
  EXPECT_EQ(parsed({}).rebuild.limits.num_copiers_under_load, nexus::RebuildLimits().num_copiers_under_load);
  EXPECT_EQ(parsed({}).rebuild.limits.percent_of_time_under_load, nexus::RebuildLimits().percent_of_time_under_load);
  const EngineOptions limited =
      parsed({"--rebuild-tasks", "8", "--rebuild-tasks-under-load=2", "--rebuild-time-under-load", "60"});
  EXPECT_EQ(limited.rebuild.num_copiers, 8u);
  EXPECT_EQ(limited.rebuild.limits.num_copiers_under_load, 2u);
  EXPECT_EQ(limited.rebuild.limits.percent_of_time_under_load, 60u);
  EXPECT_EQ(parsed({}).child_timeout, std::chrono::seconds(10));
  EXPECT_EQ(parsed({"--child-timeout", "30s"}).child_timeout, std::chrono::seconds(30));
  EXPECT_FALSE(parsed({}).snapshot_rebuild);
  EXPECT_TRUE(parsed({"--enable-snapshot-rebuild"}).snapshot_rebuild);
  const Variables deployed = {{"ENABLE_SNAPSHOT_REBUILD", "true"}};
  EXPECT_TRUE(parsed({}, deployed).snapshot_rebuild);
  EXPECT_EQ(parsed({}).rebuild.verify, nexus::RebuildVerify::kNone);
  for (const char* text : {"fail", "panic"}) {
    const Variables variables = {{"NEXUS_REBUILD_VERIFY", text}};
    EXPECT_EQ(parsed({}, variables).rebuild.verify, nexus::RebuildVerify::kFail);
  }
}

TEST(Options, CoreListSupersedesMask) {
  EXPECT_EQ(parsed({"-m", "0x5"}).reactors.cores, (std::vector<unsigned>{0, 2}));
  EXPECT_EQ(parsed({"-m", "0x5", "-l", "1,3-4"}).reactors.cores, (std::vector<unsigned>{1, 3, 4}));
}

TEST(Options, Environment) {
  const Variables variables = {{"HOSTNAME", "box"},
                               {"MY_POD_IP", "10.1.1.1"},
                               {"NVMF_TCP_MAX_QUEUE_DEPTH", "32"},
                               {"NVMF_TCP_MAX_QPAIRS_PER_CTRL", "16"},
                               {"NEXUS_NVMF_ANA_ENABLE", "1"},
                               {"HOSTNQN", "nqn.2014-08.org.test:h"}};
  const EngineOptions options = parsed({}, variables);
  EXPECT_EQ(options.node_name, "box");
  EXPECT_EQ(options.target_address.host, "10.1.1.1");
  EXPECT_EQ(options.target.max_queue_depth, 32);
  EXPECT_EQ(options.target.max_queue_pairs, 16);
  EXPECT_TRUE(options.ana_enabled);
  EXPECT_EQ(options.host_nqn, "nqn.2014-08.org.test:h");
}

TEST(Options, RetryDelay) {
  EXPECT_EQ(parsed({"--tgt-crdt=30"}).target.command_retry_delay, (std::array<uint16_t, 3>{30, 0, 0}));
  EXPECT_EQ(parsed({"--tgt-crdt", "1,2,3"}).target.command_retry_delay, (std::array<uint16_t, 3>{1, 2, 3}));
}

TEST(Options, SpinBudget) {
  EXPECT_EQ(parsed({"--spin-budget", "poll"}).reactors.spin_budget, runtime::kSpinForever);
  EXPECT_EQ(parsed({"--spin-budget", "0"}).reactors.spin_budget, Duration(0));
  EXPECT_EQ(parsed({"--spin-budget", "20us"}).reactors.spin_budget, std::chrono::microseconds(20));
}

TEST(Options, IgnoredOnesAreNamed) {
  const EngineOptions options = parsed({"-s", "1GiB", "-u", "--env-context=--x"});
  EXPECT_EQ(options.ignored.size(), 3u);
}

TEST(Options, WrongOnesAreRefusedByName) {
  const struct {
    std::vector<const char*> arguments;
    const char* says;
  } table[] = {
      {{"--no-such"}, "--no-such"},
      {{"--grpc-port", "70000"}, "70000"},
      {{"--grpc-ip", "nowhere"}, "nowhere"},
      {{"--grpc-ip", "10.0.0.1", "10.0.0.2"}, "--grpc-ip"},
      {{"-m", "xyz"}, "xyz"},
      {{"-l", "3-1"}, "3-1"},
      {{"-F", "fancy"}, "Bad log format option: fancy"},
      {{"--tgt-crdt", "101"}, "too big"},
      {{"--tgt-crdt", "1,2"}, "three integers"},
      {{"--api-versions", "v7"}, "The version : v7 entered is not supported"},
      {{"--api-versions", "v0"}, "--api-versions"},
      {{"--spin-budget", "soon"}, "--spin-budget"},
      {{"--io-backend", "libaio"}, "--io-backend"},
      {{"--buffer-pool", "0"}, "--buffer-pool"},
      {{"--stall-limit", "-"}, "--stall-limit"},
      {{"-R", "https://core:50051"}, "-R"},
      {{"-p", "https://etcd"}, "-p"},
      {{"-p", "etcd:x"}, "etcd:x"},
      {{"-p", "etcd", "--child-health-dir", "/x"}, "--child-health-dir"},
      {{"--ps-timeout", "long"}, "--ps-timeout"},
      {{"--ps-retries", "256"}, "--ps-retries"},
      {{"--child-timeout", "500ms"}, "--child-timeout"},
      {{"--rebuild-tasks", "0"}, "--rebuild-tasks"},
      {{"--rebuild-tasks-under-load", "65"}, "--rebuild-tasks-under-load"},
      {{"--rebuild-time-under-load", "101"}, "--rebuild-time-under-load"},
      {{"-P", "pools.yaml"}, "-P"},
      {{"--enable-lvm"}, "--enable-lvm"},
      {{"--enable-rdma"}, "--enable-rdma"},
      {{"--events-url", "nats://x"}, "--events-url"},
  };
  for (const auto& row : table) {
    const auto result = parse(row.arguments);
    ASSERT_FALSE(result.has_value()) << row.says;
    EXPECT_EQ(result.error().code(), Code::kInvalidArgument);
    EXPECT_NE(result.error().to_string().find(row.says), std::string::npos) << result.error().to_string();
  }
  EXPECT_FALSE(parse({}, {{"MY_POD_IP", "pod"}}).has_value());
  EXPECT_FALSE(parse({}, {{"NVMF_TCP_MAX_QUEUE_DEPTH", "1"}}).has_value());
}

TEST(Options, HelpAndVersionPrint) {
  auto help = parse({"--help"});
  ASSERT_TRUE(help && help->print_and_exit);
  EXPECT_NE(help->print_and_exit->find("--spin-budget"), std::string::npos);
  auto version = parse({"--version"});
  ASSERT_TRUE(version && version->print_and_exit);
  EXPECT_TRUE(version->print_and_exit->starts_with("Cairn io-engine v"));
}

}  // namespace
}  // namespace cairn::engine
