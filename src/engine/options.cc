#include "engine/options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/byte_size.h"
#include "base/duration_text.h"
#include "base/option_value.h"
#include "engine/target_interface.h"
#include "engine/version.h"
#include "etcd/etcd_endpoints.h"
#include "runtime/core_set.h"

namespace cairn::engine {

namespace {

// What the command line said, before it is checked and put together.
struct Raw {
  std::string grpc_endpoint;
  std::string grpc_ip = "::";
  std::string grpc_port = "10124";
  std::string positional_ip, positional_port;
  std::vector<std::string> debug_logs;
  std::string log_format = "default";
  std::string core_mask = "0x1";
  std::string core_list;
  std::string node_name;
  std::string json_rpc_socket;
  std::string config_file;
  std::string ptpl_dir;
  std::string target_interface;
  std::string command_retry_delay = "0";
  std::string api_versions = "V0,V1";
  std::string spin_budget = "200us";
  std::string backend = "auto";
  std::string disabled_uring_features;
  std::string stall_limit = "500ms";
  std::string buffer_pool = "32";
  std::string etcd;
  std::string child_health_dir;
  std::string ps_timeout = "10s";
  std::string ps_retries = "30";
  bool no_intent_log = false;
  std::string child_timeout = "10s";
  std::string rebuild_limit;
  std::string rebuild_tasks = "16", rebuild_tasks_under_load = "4", rebuild_time_under_load = "25";
  bool enable_snapshot_rebuild = false;
  bool ps_wait = false;
  bool freeze_detection = false;
  std::string freeze_timeout = "3";
  // Accepted, without meaning here.
  std::string hugepage_memory, huge_dir, env_context, bdev_pool_size, nvme_ctl_pool_size;
  bool no_pci = false;
  // Known to the original, absent here.
  std::string registration, pool_config, events_url, diagnose_stack;
  bool enable_lvm = false, enable_rdma = false;
};

// "-p=URL": the original strips the sign.
void strip_equals(std::string& value) {
  if (!value.empty() && value.front() == '=') value.erase(0, 1);
}

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  for (size_t at; (at = text.find(separator, start)) != std::string::npos; start = at + 1)
    parts.push_back(text.substr(start, at - start));
  parts.push_back(text.substr(start));
  return parts;
}

Result<log::Options> parse_log_format(const std::string& format) {
  log::Options log;
  log.colour = isatty(STDERR_FILENO) != 0;
  for (const std::string& word : split(format, ',')) {
    if (word == "default" || word == "compact") {
      log.json = false;
    } else if (word == "json") {
      log.json = true;
    } else if (word == "color" || word == "nocolor") {
      log.colour = word == "color";
    } else if (word == "date" || word == "nodate") {
      log.date = word == "date";
    } else if (word == "host" || word == "nohost") {
      log.host = word == "host" ? "host" : "";  // replaced by the node name
    } else {
      return fail(Code::kInvalidArgument, fmt::format("Bad log format option: {}", word));
    }
  }
  return log;
}

// The level of a RUST_LOG value: the first directive without a target ("debug", "info,io_engine=trace").
Result<log::Level> parse_rust_log(const std::string& text) {
  for (const std::string& directive : split(text, ',')) {
    if (directive.empty() || directive.find('=') != std::string::npos) continue;
    std::string word = directive;
    std::ranges::transform(word, word.begin(), [](unsigned char c) { return std::tolower(c); });
    if (word == "trace") return log::Level::kTrace;
    if (word == "debug") return log::Level::kDebug;
    if (word == "info") return log::Level::kInfo;
    if (word == "warn") return log::Level::kWarn;
    if (word == "error") return log::Level::kError;
    if (word == "off") return log::Level::kOff;
    return bad_option("RUST_LOG", directive, "expected trace, debug, info, warn, error or off");
  }
  return log::Level::kInfo;
}

Result<std::array<uint16_t, 3>> parse_retry_delay(const std::string& text) {
  std::array<uint16_t, 3> delay{};
  const auto parts = split(text, ',');
  if (parts.size() != 1 && parts.size() != 3) {
    return bad_option("--tgt-crdt", text,
                      "Command Retry Delay value must be an integer or a comma-separated list of three integers");
  }
  for (size_t i = 0; i < parts.size(); ++i) {
    auto value = parse_option_number<uint16_t>("--tgt-crdt", parts[i], 0, UINT16_MAX);
    if (!value) return fail(std::move(value.error()));
    if (*value > 100)
      return bad_option("--tgt-crdt", parts[i],
                        "Command Retry Delay value is too big (at most 100, in units of 100 ms)");
    delay[i] = *value;
  }
  return delay;
}

Result<> check_api_versions(const std::string& text) {
  bool v1 = false;
  for (std::string version : split(text, ',')) {
    std::ranges::transform(version, version.begin(), [](unsigned char c) { return std::tolower(c); });
    if (version != "v0" && version != "v1") {
      return fail(Code::kInvalidArgument, fmt::format("The version : {} entered is not supported", version));
    }
    v1 = v1 || version == "v1";
  }
  if (!v1)
    return bad_option("--api-versions", text,
                      "this engine serves the API version v1 only; v0 alone leaves nothing to serve");
  return {};
}

Result<> check_absent_features(const Raw& raw) {
  auto absent = [](std::string_view option, std::string_view feature) {
    return fail(Code::kInvalidArgument,
                fmt::format("{}: {} not part of this version of the io-engine; leave the option out", option, feature));
  };
  if (!raw.registration.empty()) return absent("-R", "registration with a core agent is");
  if (!raw.pool_config.empty()) return absent("-P", "a list of pools to import at start is");
  if (!raw.events_url.empty()) return absent("--events-url", "event publishing is");
  if (!raw.diagnose_stack.empty()) return absent("--diagnose-stack", "stack diagnosis is");
  if (raw.enable_lvm) return absent("--enable-lvm", "LVM pools are");
  if (raw.enable_rdma) return absent("--enable-rdma", "the RDMA transport is");
  return {};
}

Result<runtime::SocketAddress> parse_grpc_address(const Raw& raw, bool ip_given, bool port_given) {
  std::string ip = raw.grpc_ip;
  std::string port = raw.grpc_port;
  if (!raw.positional_ip.empty()) {
    if (ip_given) return bad_option("--grpc-ip", ip, "the address is also given as positional argument");
    ip = raw.positional_ip;
  }
  if (!raw.positional_port.empty()) {
    if (port_given) return bad_option("--grpc-port", port, "the port is also given as positional argument");
    port = raw.positional_port;
  }
  if (!raw.grpc_endpoint.empty()) {  // deprecated, wins over both
    const std::string& endpoint = raw.grpc_endpoint;
    const size_t bracket = endpoint.rfind(']');
    const size_t colon = endpoint.rfind(':');
    const bool is_bare_ipv6 = bracket == std::string::npos && std::ranges::count(endpoint, ':') > 1;
    if (colon != std::string::npos && !is_bare_ipv6 && (bracket == std::string::npos || colon > bracket)) {
      ip = endpoint.substr(0, colon);
      port = endpoint.substr(colon + 1);
    } else {
      ip = endpoint;
    }
  }
  auto number = parse_option_number<uint16_t>("gRPC port", port, 0, UINT16_MAX);
  if (!number) return fail(std::move(number.error()));
  auto address = runtime::SocketAddress::ip(ip, *number);
  if (!address) return bad_option("gRPC address", ip, "expected an IPv4 or IPv6 address");
  return address;
}

void define_options(CLI::App& app, Raw& raw) {
  app.add_option("-g,--grpc-endpoint", raw.grpc_endpoint,
                 "gRPC listen address, ip[:port] (deprecated: --grpc-ip, --grpc-port)");
  app.add_option("--grpc-ip", raw.grpc_ip, "address of the gRPC server")->capture_default_str();
  app.add_option("--grpc-port", raw.grpc_port, "port of the gRPC server")->capture_default_str();
  app.add_option("GRPC_IP", raw.positional_ip, "the same as --grpc-ip");
  app.add_option("GRPC_PORT", raw.positional_port, "the same as --grpc-port");
  app.add_option("-N", raw.node_name, "node name [HOSTNAME, else mayastor-node]");
  app.add_option("-m", raw.core_mask, "reactors: core mask, hexadecimal")->capture_default_str();
  app.add_option("-l", raw.core_list, "reactors: core list (1,2,10-20), instead of -m");
  app.add_option(
         "-T,--tgt-iface", raw.target_interface,
         "address of the NVMe-oF target: an interface name, name:IF, mac:ADDRESS, ip:ADDRESS or subnet:NETWORK/BITS "
         "[MY_POD_IP, else 127.0.0.1]")
      ->envname("NVMF_TGT_IFACE");
  app.add_option("--tgt-crdt", raw.command_retry_delay,
                 "command retry delay: one or three numbers, units of 100 ms, at most 100")
      ->envname("NVMF_TGT_CRDT")
      ->capture_default_str();
  app.add_option("-y", raw.config_file, "configuration file (YAML)");
  app.add_option("--ptpl-dir", raw.ptpl_dir, "directory for reservations that persist through power loss");
  app.add_option("-p", raw.etcd,
                 "etcd in which nexuses keep which of their children are healthy: host[:port], several with commas");
  app.add_option("--child-health-dir", raw.child_health_dir,
                 "directory in which they keep it instead, for a machine without etcd");
  app.add_option("--ps-timeout", raw.ps_timeout, "of one access to etcd, 1s to 60s")->capture_default_str();
  app.add_option("--ps-retries", raw.ps_retries,
                 "accesses, one second apart, until a nexus that cannot save gives up and shuts itself down")
      ->capture_default_str();
  app.add_flag("--ps-wait", raw.ps_wait,
               "a nexus that cannot save does not give up: writes that need the store wait until it is back");
  app.add_flag(
      "--no-intent-log", raw.no_intent_log,
      "nexuses keep no write-intent log on their children: after an unclean stop nobody knows what was under way");
  app.add_option("--child-timeout", raw.child_timeout,
                 "a child that keeps an I/O longer leaves its nexus while another one is healthy, 1s to 600s")
      ->capture_default_str();
  app.add_option("--rebuild-limit", raw.rebuild_limit, "of each rebuild, bytes a second, with or without a unit");
  app.add_option("--rebuild-tasks", raw.rebuild_tasks, "segments that each rebuild copies at a time, 1 to 64")
      ->capture_default_str();
  app.add_option("--rebuild-tasks-under-load", raw.rebuild_tasks_under_load, "as many while hosts do I/O, 1 to 64")
      ->capture_default_str();
  app.add_option("--rebuild-time-under-load", raw.rebuild_time_under_load,
                 "the part of the time in which they do it while hosts do I/O, percent")
      ->capture_default_str();
  app.add_flag("--enable-snapshot-rebuild", raw.enable_snapshot_rebuild,
               "say in the node's features that snapshots can be rebuilt into replicas, which always works "
               "[ENABLE_SNAPSHOT_REBUILD=true]");
  app.add_option("-r", raw.json_rpc_socket, "unix socket of the JSON-RPC server [/var/tmp/mayastor.sock]");
  app.add_option("-F", raw.log_format,
                 "log format: comma list of default, compact, json, color, nocolor, date, nodate, host, nohost")
      ->capture_default_str();
  app.add_option("-L", raw.debug_logs, "debug logging (the names of the original's log flags are accepted)");
  app.add_option("--api-versions", raw.api_versions, "API versions asked for; v1 is served")
      ->envname("API_VERSIONS")
      ->capture_default_str();
  app.add_option("--spin-budget", raw.spin_budget,
                 "how long a reactor polls without work before it sleeps: a time such as 50us, 0 (never poll) or "
                 "'poll' (never sleep)")
      ->capture_default_str();
  app.add_option("--io-backend", raw.backend, "auto, io_uring or epoll")->capture_default_str();
  app.add_option("--io-uring-disable", raw.disabled_uring_features,
                 "comma list of io_uring features not to use (docs/architecture.md lists them)");
  app.add_option("--stall-limit", raw.stall_limit, "a task that holds a reactor longer than this is reported; 0: never")
      ->capture_default_str();
  app.add_option("--buffer-pool", raw.buffer_pool, "memory for I/O of each reactor, MiB")->capture_default_str();
  app.add_flag("--reactor-freeze-detection", raw.freeze_detection,
               "report a reactor that is held longer than the freeze timeout");
  app.add_option("--reactor-freeze-timeout", raw.freeze_timeout, "seconds")
      ->envname("REACTOR_FREEZE_TIMEOUT")
      ->capture_default_str();

  const std::string ignored = "Accepted for compatibility, without meaning here";
  app.add_option("-s", raw.hugepage_memory, "hugepage memory")->group(ignored);
  app.add_flag("-u", raw.no_pci, "disable PCI")->group(ignored);
  app.add_option("--huge-dir", raw.huge_dir, "hugepage directory")->group(ignored);
  app.add_option("--env-context", raw.env_context, "arguments of the original's memory layer")->group(ignored);
  app.add_option("--bdev-pool-size", raw.bdev_pool_size, "entries of a pre-allocated pool")->group(ignored);
  app.add_option("--nvme-ctl-pool-size", raw.nvme_ctl_pool_size, "entries of a pre-allocated pool")->group(ignored);

  // Hidden: refused with a reason.
  app.add_option("-R", raw.registration)->group("");
  app.add_option("-P", raw.pool_config)->group("");
  app.add_option("--events-url", raw.events_url)->group("");
  app.add_option("-d,--diagnose-stack", raw.diagnose_stack)->group("");
  app.add_flag("--enable-lvm", raw.enable_lvm)->group("");
  app.add_flag("--enable-rdma", raw.enable_rdma)->group("");
}

Result<> disable_uring_features(const std::string& names, runtime::UringOptions& uring) {
  const std::pair<std::string_view, bool*> features[] = {{"single_issuer", &uring.single_issuer},
                                                         {"cooperative_task_work", &uring.cooperative_task_work},
                                                         {"buffer_ring", &uring.buffer_ring},
                                                         {"multishot_accept", &uring.multishot_accept},
                                                         {"registered_buffers", &uring.registered_buffers},
                                                         {"ring_messages", &uring.ring_messages}};
  if (names.empty()) return {};
  for (const std::string& name : split(names, ',')) {
    const auto found = std::ranges::find(features, name, &std::pair<std::string_view, bool*>::first);
    if (found == std::end(features)) {
      return bad_option(
          "--io-uring-disable", name,
          "expected single_issuer, cooperative_task_work, buffer_ring, multishot_accept, registered_buffers or "
          "ring_messages");
    }
    *found->second = false;
  }
  return {};
}

Result<> apply_reactor_options(const Raw& raw, EngineOptions& options) {
  auto cores =
      raw.core_list.empty() ? runtime::parse_core_mask(raw.core_mask) : runtime::parse_core_list(raw.core_list);
  if (!cores) return fail(std::move(cores.error()));
  options.reactors.cores = std::move(*cores);
  if (raw.spin_budget == "poll") {
    options.reactors.spin_budget = runtime::kSpinForever;
  } else {
    auto budget = parse_duration(raw.spin_budget);
    if (!budget) return bad_option("--spin-budget", raw.spin_budget, "expected a time such as 50us, 0 or 'poll'");
    options.reactors.spin_budget = *budget;
  }
  if (raw.backend == "auto") {
    options.reactors.backend = runtime::BackendChoice::kAuto;
  } else if (raw.backend == "io_uring" || raw.backend == "uring") {
    options.reactors.backend = runtime::BackendChoice::kUring;
  } else if (raw.backend == "epoll") {
    options.reactors.backend = runtime::BackendChoice::kEpoll;
  } else {
    return bad_option("--io-backend", raw.backend, "expected auto, io_uring or epoll");
  }
  if (auto disabled = disable_uring_features(raw.disabled_uring_features, options.reactors.uring); !disabled)
    return disabled;
  auto stall = parse_duration(raw.stall_limit);
  if (!stall) return bad_option("--stall-limit", raw.stall_limit, "expected a time such as 500ms, or 0");
  options.reactors.stall_limit = *stall;
  if (raw.freeze_detection) {
    auto seconds = parse_option_number<uint32_t>("--reactor-freeze-timeout", raw.freeze_timeout, 1, 3600);
    if (!seconds) return fail(std::move(seconds.error()));
    options.reactors.stall_limit = std::chrono::seconds(*seconds);
  }
  auto pool = parse_option_number<uint32_t>("--buffer-pool", raw.buffer_pool, 4, 65536);
  if (!pool) return fail(std::move(pool.error()));
  options.reactors.buffer_pool_bytes = size_t{*pool} << 20;
  return {};
}

Result<> apply_nexus_options(const Raw& raw, EngineOptions& options) {
  if (!raw.etcd.empty()) {
    if (!raw.child_health_dir.empty()) {
      return bad_option("--child-health-dir", raw.child_health_dir,
                        "the health of children is kept in etcd already (-p)");
    }
    auto endpoints = etcd::parse_endpoints(raw.etcd);
    if (!endpoints) return fail(Error(Code::kInvalidArgument, "-p", std::move(endpoints.error())));
    options.etcd.endpoints = std::move(*endpoints);
  }
  options.child_health_dir = raw.child_health_dir;
  auto timeout = parse_duration(raw.ps_timeout);
  if (!timeout) return bad_option("--ps-timeout", raw.ps_timeout, "expected a time such as 10s");
  options.etcd.timeout = std::clamp<Duration>(*timeout, std::chrono::seconds(1), std::chrono::seconds(60));
  auto attempts = parse_option_number<uint8_t>("--ps-retries", raw.ps_retries, 0, UINT8_MAX);
  if (!attempts) return fail(std::move(attempts.error()));
  options.save_attempts = raw.ps_wait ? 0 : std::max<unsigned>(*attempts, 1);
  options.intent_log = !raw.no_intent_log;
  if (!raw.rebuild_limit.empty()) {
    auto limit = parse_byte_size(raw.rebuild_limit);
    if (!limit || *limit == 0)
      return bad_option("--rebuild-limit", raw.rebuild_limit, "expected a size such as 200MiB");
    options.rebuild.limits.max_bytes_per_second = *limit;
  }
  auto child_timeout = parse_duration(raw.child_timeout);
  if (!child_timeout || *child_timeout < std::chrono::seconds(1) || *child_timeout > std::chrono::seconds(600)) {
    return bad_option("--child-timeout", raw.child_timeout, "expected a time from 1s to 600s");
  }
  options.child_timeout = *child_timeout;
  auto tasks = parse_option_number<size_t>("--rebuild-tasks", raw.rebuild_tasks, 1, 64);
  if (!tasks) return fail(std::move(tasks.error()));
  options.rebuild.num_copiers = *tasks;
  tasks = parse_option_number<size_t>("--rebuild-tasks-under-load", raw.rebuild_tasks_under_load, 1, 64);
  if (!tasks) return fail(std::move(tasks.error()));
  options.rebuild.limits.num_copiers_under_load = *tasks;
  auto percent = parse_option_number<unsigned>("--rebuild-time-under-load", raw.rebuild_time_under_load, 1, 100);
  if (!percent) return fail(std::move(percent.error()));
  options.rebuild.limits.percent_of_time_under_load = *percent;
  options.snapshot_rebuild = raw.enable_snapshot_rebuild;
  return {};
}

// Limits of the target by the original's environment variables. Unlike there, a value that cannot be read is refused
// rather than ignored.
Result<> apply_target_environment(const Environment& environment, EngineOptions& options) {
  if (auto text = environment("NVMF_TCP_MAX_QUEUE_DEPTH")) {
    auto value = parse_option_number<uint16_t>("NVMF_TCP_MAX_QUEUE_DEPTH", *text, 2, 1024);
    if (!value) return fail(std::move(value.error()));
    options.target.max_queue_depth = *value;
  }
  if (auto text = environment("NVMF_TCP_MAX_QPAIRS_PER_CTRL")) {
    auto value = parse_option_number<uint16_t>("NVMF_TCP_MAX_QPAIRS_PER_CTRL", *text, 2, 1024);
    if (!value) return fail(std::move(value.error()));
    options.target.max_queue_pairs = *value;
  }
  options.ana_enabled = environment("NEXUS_NVMF_ANA_ENABLE") == "1";
  if (environment("ENABLE_SNAPSHOT_REBUILD") == "true") options.snapshot_rebuild = true;
  if (auto text = environment("NEXUS_PARTIAL_REBUILD")) options.partial_rebuild = *text == "1";
  if (auto text = environment("NEXUS_REBUILD_VERIFY")) {
    // "panic" of the original ends the process; here the rebuild.
    if (*text == "fail" || *text == "panic") {
      options.rebuild.verify = nexus::RebuildVerify::kFail;
    } else if (*text == "report") {
      options.rebuild.verify = nexus::RebuildVerify::kReport;
    } else if (*text != "none" && !text->empty()) {
      return bad_option("NEXUS_REBUILD_VERIFY", *text, "expected none, report or fail");
    }
  }
  return {};
}

}  // namespace

Result<ParsedOptions> parse_options(int argc, const char* const* argv, const Environment& environment) {
  Raw raw;
  CLI::App app{std::string(kProgramName) + ": the data plane of a node", "io-engine"};
  app.set_version_flag("-V,--version", fmt::format("{} {}", kProgramName, version_text()));
  define_options(app, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {
    ParsedOptions parsed;
    parsed.print_and_exit = dynamic_cast<const CLI::CallForVersion*>(&wanted) != nullptr
                                ? fmt::format("{} {}\n", kProgramName, version_text())
                                : app.help();
    return parsed;
  } catch (const CLI::ParseError& error) {
    return fail(Code::kInvalidArgument, fmt::format("{} (io-engine --help lists the options)", error.what()));
  }
  for (std::string* value : {&raw.grpc_endpoint, &raw.node_name, &raw.core_mask, &raw.core_list, &raw.target_interface,
                             &raw.config_file, &raw.json_rpc_socket, &raw.log_format, &raw.etcd}) {
    strip_equals(*value);
  }

  ParsedOptions parsed;
  EngineOptions& options = parsed.options;
  if (auto checked = check_absent_features(raw); !checked) return fail(std::move(checked.error()));
  if (auto checked = check_api_versions(raw.api_versions); !checked) return fail(std::move(checked.error()));
  auto grpc = parse_grpc_address(raw, app.count("--grpc-ip") > 0, app.count("--grpc-port") > 0);
  if (!grpc) return fail(std::move(grpc.error()));
  options.grpc_address = std::move(*grpc);

  if (!raw.node_name.empty()) {
    options.node_name = raw.node_name;
  } else if (auto hostname = environment("HOSTNAME"); hostname && !hostname->empty()) {
    options.node_name = *hostname;
  }
  options.host_id = environment("MAYASTOR_NVMF_HOSTID");
  options.host_nqn = environment("HOSTNQN").value_or("nqn.2019-05.io.openebs:node-name:" + options.node_name);

  auto log_options = parse_log_format(raw.log_format);
  if (!log_options) return fail(std::move(log_options.error()));
  options.log = *log_options;
  if (!options.log.host.empty()) options.log.host = options.node_name;
  if (!raw.debug_logs.empty()) options.log.level = log::Level::kDebug;
  if (auto rust_log = environment("RUST_LOG")) {
    auto level = parse_rust_log(*rust_log);
    if (!level) return fail(std::move(level.error()));
    options.log.level = *level;
  }

  if (auto applied = apply_reactor_options(raw, options); !applied) return fail(std::move(applied.error()));
  if (auto applied = apply_nexus_options(raw, options); !applied) {
    return fail(std::move(applied.error()));
  }
  auto delay = parse_retry_delay(raw.command_retry_delay);
  if (!delay) return fail(std::move(delay.error()));
  options.target.command_retry_delay = *delay;
  if (auto applied = apply_target_environment(environment, options); !applied) return fail(std::move(applied.error()));

  options.target_interface = raw.target_interface;
  if (options.target_interface.empty()) {
    if (auto pod_ip = environment("MY_POD_IP"); pod_ip && !pod_ip->empty()) {
      auto address = runtime::SocketAddress::ip(*pod_ip, 0);
      if (!address) {
        return fail(Code::kInvalidArgument,
                    fmt::format("MY_POD_IP environment variable is set to an invalid IP address: '{}'", *pod_ip));
      }
      options.target_address = std::move(*address);
    }
  }
  if (!raw.json_rpc_socket.empty()) options.json_rpc_socket = raw.json_rpc_socket;
  options.config_file = raw.config_file;
  options.ptpl_dir = raw.ptpl_dir;

  const std::pair<const char*, bool> ignored[] = {{"-s", !raw.hugepage_memory.empty()},
                                                  {"-u", raw.no_pci},
                                                  {"--huge-dir", !raw.huge_dir.empty()},
                                                  {"--env-context", !raw.env_context.empty()},
                                                  {"--bdev-pool-size", !raw.bdev_pool_size.empty()},
                                                  {"--nvme-ctl-pool-size", !raw.nvme_ctl_pool_size.empty()}};
  for (const auto& [option, given] : ignored) {
    if (given)
      options.ignored.push_back(
          fmt::format("{}: this engine uses no hugepages, PCI drivers or pre-allocated pools", option));
  }
  return parsed;
}

}  // namespace cairn::engine
