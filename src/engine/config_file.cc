#include "engine/config_file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>

#include "runtime/core_set.h"

namespace cairn::engine {

namespace {

// What to do with the value of a key.
using Setter = std::function<Result<>(const YAML::Node& value)>;
using Section = std::map<std::string, Setter>;

std::unexpected<Error> bad_value(const YAML::Node& value, std::string_view accepted) {
  const std::string text = value.IsScalar() ? value.Scalar() : "a list or map";
  return fail(Code::kInvalidArgument,
              fmt::format("line {}: '{}' is not valid: {}", value.Mark().line + 1, text, accepted));
}

template <typename Number>
Setter number(Number& target, Number min, Number max) {
  return [&target, min, max](const YAML::Node& value) -> Result<> {
    int64_t parsed = 0;
    if (!YAML::convert<int64_t>::decode(value, parsed) || parsed < static_cast<int64_t>(min) ||
        parsed > static_cast<int64_t>(max)) {
      return bad_value(value, fmt::format("expected a whole number from {} to {}", min, max));
    }
    target = static_cast<Number>(parsed);
    return {};
  };
}

Setter unused() {
  return [](const YAML::Node&) -> Result<> { return {}; };
}

Section with_unused(Section section, std::initializer_list<const char*> keys) {
  for (const char* key : keys) section.emplace(key, unused());
  return section;
}

Result<> apply_section(const std::string& name, const YAML::Node& node, const Section& section) {
  if (node.IsNull()) return {};
  if (!node.IsMap()) return bad_value(node, fmt::format("section '{}' is a map", name));
  for (const auto& entry : node) {
    const std::string key = entry.first.as<std::string>();
    const auto found = section.find(key);
    if (found == section.end()) {
      return fail(Code::kInvalidArgument,
                  fmt::format("line {}: unknown key '{}' in section '{}'", entry.first.Mark().line + 1, key, name));
    }
    if (entry.second.IsNull()) continue;
    if (auto applied = found->second(entry.second); !applied) {
      return fail(Error(applied.error().code(), fmt::format("{}.{}", name, key), applied.error()));
    }
  }
  return {};
}

Section nexus_section(EngineOptions& options) {
  return with_unused({{"nvmf_nexus_port", number<uint16_t>(options.nexus_port, 0, UINT16_MAX)},
                      {"nvmf_replica_port", number<uint16_t>(options.replica_port, 0, UINT16_MAX)}},
                     {"nvmf_enable", "nvmf_discovery_enable"});
}

Section tcp_section(EngineOptions& options) {
  nvmf::target::Options& target = options.target;
  return with_unused({{"max_queue_depth", number<uint16_t>(target.max_queue_depth, 2, 1024)},
                      {"max_qpairs_per_ctrl", number<uint16_t>(target.max_queue_pairs, 2, 1024)},
                      {"max_aq_depth", number<uint16_t>(target.max_admin_queue_depth, 2, 1024)},
                      {"in_capsule_data_size",
                       [&target](const YAML::Node& value) -> Result<> {
                         uint32_t size = 0;
                         if (auto set = number<uint32_t>(size, 0, 128u << 10)(value); !set) return set;
                         if (size % 16 != 0) return bad_value(value, "expected a multiple of 16");
                         target.in_capsule_data_size = size;
                         return {};
                       }},
                      {"max_io_size",
                       [&target](const YAML::Node& value) -> Result<> {
                         uint32_t size = 0;
                         if (auto set = number<uint32_t>(size, 4096, 1u << 20)(value); !set) return set;
                         if ((size & (size - 1)) != 0) return bad_value(value, "expected a power of two");
                         target.max_io_size = size;
                         return {};
                       }}},
                     {"io_unit_size", "num_shared_buf", "buf_cache_size", "dif_insert_or_strip", "abort_timeout_sec",
                      "acceptor_poll_rate", "zcopy", "ack_timeout", "data_wr_pool_size"});
}

Section nvmf_section(EngineOptions& options) {
  return {{"name", unused()},
          {"max_namespaces", number<uint16_t>(options.target.max_subsystems, 1, UINT16_MAX)},
          {"crdt",
           [&options](const YAML::Node& value) -> Result<> {
             std::array<uint16_t, 3> delay{};
             if (!value.IsSequence() || value.size() != delay.size())
               return bad_value(value, "expected a list of three numbers");
             for (size_t i = 0; i < delay.size(); ++i) {
               if (auto set = number<uint16_t>(delay[i], 0, 100)(value[i]); !set) return set;
             }
             options.target.command_retry_delay = delay;
             return {};
           }},
          {"interface",
           [&options](const YAML::Node& value) -> Result<> {
             if (!value.IsScalar()) return bad_value(value, "expected a target interface as for -T");
             options.target_interface = value.Scalar();
             return {};
           }},
          {"rdma", unused()},
          {"opts_rdma", unused()},
          {"opts_tcp", [&options](const YAML::Node& value) -> Result<> {
             return apply_section("nvmf_tgt_conf.opts_tcp", value, tcp_section(options));
           }}};
}

Section eal_section(EngineOptions& options) {
  auto cores = [&options](Result<std::vector<unsigned>> (*parse)(std::string_view)) -> Setter {
    return [&options, parse](const YAML::Node& value) -> Result<> {
      if (!value.IsScalar()) return bad_value(value, "expected text");
      auto parsed = parse(value.Scalar());
      if (!parsed) return fail(std::move(parsed.error()));
      options.reactors.cores = std::move(*parsed);
      return {};
    };
  };
  return {{"reactor_mask", cores(runtime::parse_core_mask)},
          {"core_list", cores(runtime::parse_core_list)},
          {"developer_delay", unused()}};
}

Result<> apply_document(const YAML::Node& document, EngineOptions& options) {
  if (document.IsNull()) return {};
  const Section top = {
      {"source", unused()},
      {"nexus_opts", [&](const YAML::Node& node) { return apply_section("nexus_opts", node, nexus_section(options)); }},
      {"nvmf_tgt_conf",
       [&](const YAML::Node& node) { return apply_section("nvmf_tgt_conf", node, nvmf_section(options)); }},
      {"eal_opts", [&](const YAML::Node& node) { return apply_section("eal_opts", node, eal_section(options)); }},
      {"nvme_bdev_opts",
       [&](const YAML::Node& node) {
         return apply_section("nvme_bdev_opts", node,
                              with_unused({}, {"action_on_timeout",       "timeout_us",
                                               "timeout_admin_us",        "keep_alive_timeout_ms",
                                               "transport_retry_count",   "arbitration_burst",
                                               "low_priority_weight",     "medium_priority_weight",
                                               "high_priority_weight",    "nvme_adminq_poll_period_us",
                                               "nvme_ioq_poll_period_us", "io_queue_requests",
                                               "delay_cmd_submit",        "bdev_retry_count",
                                               "transport_ack_timeout",   "ctrlr_loss_timeout_sec",
                                               "reconnect_delay_sec",     "fast_io_fail_timeout_sec",
                                               "disable_auto_failback",   "generate_uuids"}));
       }},
      {"bdev_opts",
       [&](const YAML::Node& node) {
         return apply_section("bdev_opts", node,
                              with_unused({}, {"bdev_io_pool_size", "bdev_io_cache_size", "iobuf_small_cache_size",
                                               "iobuf_large_cache_size"}));
       }},
      {"socket_opts",
       [&](const YAML::Node& node) {
         return apply_section(
             "socket_opts", node,
             with_unused({}, {"recv_buf_size", "send_buf_size", "enable_recv_pipe", "enable_zero_copy_send",
                              "enable_quickack", "enable_placement_id", "enable_zerocopy_send_server",
                              "enable_zerocopy_send_client", "zerocopy_threshold"}));
       }},
      {"iobuf_opts",
       [&](const YAML::Node& node) {
         return apply_section(
             "iobuf_opts", node,
             with_unused({}, {"small_pool_count", "large_pool_count", "small_bufsize", "large_bufsize"}));
       }},
  };
  return apply_section("the file", document, top);
}

}  // namespace

Result<> apply_config_file(const std::string& path, EngineOptions& options) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error) return {};
  auto in_file = [&](const Error& cause) {
    return fail(Error(Code::kInvalidArgument, fmt::format("configuration file {}", path), cause));
  };
  YAML::Node document;
  try {
    document = YAML::LoadFile(path);
  } catch (const YAML::Exception& problem) {
    return in_file(Error(Code::kInvalidArgument, problem.what()));
  }
  EngineOptions changed = options;
  if (auto applied = apply_document(document, changed); !applied) return in_file(applied.error());
  options = std::move(changed);
  return {};
}

std::string export_config(const EngineOptions& options) {
  YAML::Emitter out;
  out << YAML::BeginMap;
  out << YAML::Key << "nexus_opts" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "nvmf_nexus_port" << YAML::Value << options.nexus_port;
  out << YAML::Key << "nvmf_replica_port" << YAML::Value << options.replica_port;
  out << YAML::EndMap;
  out << YAML::Key << "nvmf_tgt_conf" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "max_namespaces" << YAML::Value << options.target.max_subsystems;
  out << YAML::Key << "crdt" << YAML::Value << YAML::Flow << YAML::BeginSeq;
  for (const uint16_t delay : options.target.command_retry_delay) out << delay;
  out << YAML::EndSeq;
  if (!options.target_interface.empty()) out << YAML::Key << "interface" << YAML::Value << options.target_interface;
  out << YAML::Key << "opts_tcp" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "max_queue_depth" << YAML::Value << options.target.max_queue_depth;
  out << YAML::Key << "max_qpairs_per_ctrl" << YAML::Value << options.target.max_queue_pairs;
  out << YAML::Key << "in_capsule_data_size" << YAML::Value << options.target.in_capsule_data_size;
  out << YAML::Key << "max_io_size" << YAML::Value << options.target.max_io_size;
  out << YAML::Key << "max_aq_depth" << YAML::Value << options.target.max_admin_queue_depth;
  out << YAML::EndMap << YAML::EndMap;
  std::string core_list;
  for (const unsigned core : options.reactors.cores) core_list += (core_list.empty() ? "" : ",") + std::to_string(core);
  out << YAML::Key << "eal_opts" << YAML::Value << YAML::BeginMap;
  out << YAML::Key << "core_list" << YAML::Value << YAML::DoubleQuoted << core_list;
  out << YAML::EndMap << YAML::EndMap;
  return std::string(out.c_str()) + "\n";
}

}  // namespace cairn::engine
