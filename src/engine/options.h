// What the io-engine was told: command line and environment (shared reference: engine.md sections 1 and 2). The
// configuration file (config_file.h) is applied on top.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "base/log.h"
#include "etcd/etcd_client.h"
#include "nexus/rebuild_options.h"
#include "nvmf/target/options.h"
#include "runtime/address.h"
#include "runtime/reactor_group.h"

namespace cairn::engine {

struct EngineOptions {
  std::string node_name = "mayastor-node";
  std::string host_nqn;                // reported in HostRpc; used by the initiator
  std::optional<std::string> host_id;  // MAYASTOR_NVMF_HOSTID
  runtime::SocketAddress grpc_address{runtime::AddressFamily::kIpv6, "::", 10124};
  std::string json_rpc_socket = "/var/tmp/mayastor.sock";
  std::string config_file;       // -y; empty: none
  std::string ptpl_dir;          // empty: reservations do not persist
  std::string target_interface;  // -T as given; empty: MY_POD_IP, else loopback
  runtime::SocketAddress target_address{runtime::AddressFamily::kIpv4, "127.0.0.1", 0};  // port unused
  uint16_t replica_port = 8420;
  uint16_t nexus_port = 4421;
  runtime::ReactorGroupOptions reactors;
  nvmf::target::Options target;
  // Where nexuses keep which of their children are healthy: in one of these, or nowhere.
  etcd::ClientOptions etcd;                           // -p, --ps-timeout
  std::string child_health_dir;                       // --child-health-dir
  unsigned save_attempts = 30;                        // --ps-retries; 0: until it is saved (--ps-wait)
  bool ana_enabled = false;                           // NEXUS_NVMF_ANA_ENABLE=1
  bool partial_rebuild = true;                        // NEXUS_PARTIAL_REBUILD
  bool intent_log = true;                             // --no-intent-log
  Duration child_timeout = std::chrono::seconds(10);  // --child-timeout
  nexus::RebuildOptions rebuild;                      // --rebuild-..., NEXUS_REBUILD_VERIFY
  bool snapshot_rebuild = false;                      // --enable-snapshot-rebuild: reported, not needed
  log::Options log;
  std::vector<std::string> ignored;  // options that were given and mean nothing here, with the reason, for the log
};

using Environment = std::function<std::optional<std::string>(const char* name)>;

struct ParsedOptions {
  EngineOptions options;
  std::optional<std::string> print_and_exit;  // --help, --version
};

// Pure but for the environment, which is a parameter. Errors: INVALID_ARGUMENT, naming option or variable, value and
// what is accepted.
Result<ParsedOptions> parse_options(int argc, const char* const* argv, const Environment& environment);

}  // namespace cairn::engine
