#include "engine/json_rpc_methods.h"

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "base/log.h"
#include "engine/config_file.h"
#include "engine/engine.h"
#include "engine/version.h"
#include "nvmf/target/controller.h"
#include "runtime/backend.h"

namespace cairn::engine {

namespace {

using Json = nlohmann::json;
using Outcome = std::expected<Json, JsonRpcError>;

std::unexpected<JsonRpcError> refuse(int code, std::string message) {
  return std::unexpected(JsonRpcError{code, std::move(message)});
}

// Refuses parameters that the method does not take or that are not of the type it takes.
std::optional<JsonRpcError> check_parameters(const Json& parameters,
                                             const std::map<std::string, Json::value_t>& known) {
  if (parameters.is_null()) return std::nullopt;
  if (!parameters.is_object()) return JsonRpcError{JsonRpcError::kInvalidParams, "parameters must be an object"};
  for (const auto& [name, value] : parameters.items()) {
    const auto found = known.find(name);
    if (found == known.end())
      return JsonRpcError{JsonRpcError::kInvalidParams, fmt::format("unknown parameter '{}'", name)};
    const bool both_numbers = value.is_number() && found->second == Json::value_t::number_unsigned;
    if (value.type() != found->second && !both_numbers) {
      return JsonRpcError{JsonRpcError::kInvalidParams, fmt::format("parameter '{}' is of the wrong type", name)};
    }
  }
  return std::nullopt;
}

Json describe(Engine& engine, const block::Device& device) {
  return {{"name", device.name()},
          {"aliases", device.aliases()},
          {"product_name", device.product_name()},
          {"block_size", device.block_size()},
          {"num_blocks", device.num_blocks()},
          {"uuid", device.uuid().to_string()},
          {"claimed", device.claimed_by().has_value()},
          {"claimed_by", device.claimed_by() ? Json(*device.claimed_by()) : Json()},
          {"supported_io_types",
           {{"read", true},
            {"write", true},
            {"unmap", device.supports(block::IoType::kUnmap)},
            {"flush", device.supports(block::IoType::kFlush)},
            {"reset", device.supports(block::IoType::kReset)},
            {"compare", device.supports(block::IoType::kCompare)},
            {"compare_and_write", device.supports(block::IoType::kCompareAndWrite)},
            {"copy", device.supports(block::IoType::kCopy)},
            {"write_zeroes", device.supports(block::IoType::kWriteZeroes)}}},
          {"share_uri", engine.shares().share_uri(device)}};
}

Json statistics(const block::Device& device) {
  const auto total = device.statistics();
  auto add = [](Json& out, const std::string& prefix, const block::Device::Statistics::PerType& counters) {
    out["num_" + prefix + "_ops"] = counters.operations;
    out["bytes_" + prefix] = counters.bytes;
    out[prefix + "_errors"] = counters.errors;
    out[prefix + "_latency_ticks"] = counters.latency_total_ns;
    out["max_" + prefix + "_latency_ticks"] = counters.latency_max_ns;
    out["min_" + prefix + "_latency_ticks"] = counters.latency_min_ns;
  };
  Json out = {{"name", device.name()}};
  add(out, "read", total.read);
  add(out, "write", total.write);
  add(out, "unmap", total.unmap);
  return out;
}

// The devices that the optional parameter "name" selects.
std::expected<std::vector<std::shared_ptr<block::Device>>, JsonRpcError> selected_devices(Engine& engine,
                                                                                          const Json& parameters) {
  if (!parameters.is_object() || !parameters.contains("name")) return engine.registry().list();
  const auto name = parameters["name"].get<std::string>();
  auto device = engine.registry().find(name);
  if (device == nullptr) return refuse(JsonRpcError::kNotFound, fmt::format("bdev '{}' not found", name));
  return std::vector{std::move(device)};
}

runtime::Task<Outcome> get_bdevs(Engine& engine, Json parameters) {
  auto devices = selected_devices(engine, parameters);
  if (!devices) co_return std::unexpected(std::move(devices.error()));
  Json list = Json::array();
  for (const auto& device : *devices) list.push_back(describe(engine, *device));
  co_return list;
}

runtime::Task<Outcome> get_iostat(Engine& engine, Json parameters) {
  auto devices = selected_devices(engine, parameters);
  if (!devices) co_return std::unexpected(std::move(devices.error()));
  Json list = Json::array();
  for (const auto& device : *devices) list.push_back(statistics(*device));
  co_return Json{
      {"tick_rate", 1'000'000'000}, {"ticks", engine.primary().now().time_since_epoch().count()}, {"bdevs", list}};
}

runtime::Task<Outcome> get_subsystems(Engine& engine, Json) {
  Json list = Json::array();
  for (const auto& [nqn, subsystem] : engine.target().subsystems()) {
    Json namespaces = Json::array();
    for (const auto& ns : subsystem->namespaces()) {
      namespaces.push_back(
          {{"nsid", ns->nsid()}, {"bdev_name", ns->device().name()}, {"uuid", ns->device().uuid().to_string()}});
    }
    Json hosts = Json::array();
    for (const std::string& host : subsystem->options().allowed_hosts) hosts.push_back({{"nqn", host}});
    Json controllers = Json::array();
    for (const auto& [cntlid, controller] : subsystem->controllers()) {
      controllers.push_back({{"cntlid", cntlid}, {"hostnqn", controller->host_nqn()}});
    }
    list.push_back({{"nqn", nqn},
                    {"subtype", "NVMe"},
                    {"allow_any_host", subsystem->options().allow_any_host},
                    {"hosts", hosts},
                    {"model_number", subsystem->options().model_number},
                    {"namespaces", namespaces},
                    {"controllers", controllers}});
  }
  co_return list;
}

runtime::Task<Outcome> get_reactors(Engine& engine, Json) {
  Json list = Json::array();
  for (size_t i = 0; i < engine.reactors().size(); ++i) {
    const runtime::Reactor& reactor = engine.reactors().reactor(i);
    list.push_back({{"lcore", engine.options().reactors.cores[i]},
                    {"rounds", reactor.rounds()},
                    {"sleeping", reactor.sleeping()}});
  }
  co_return Json{{"tick_rate", 1'000'000'000}, {"backend", engine.backend_description()}, {"reactors", list}};
}

runtime::Task<Outcome> get_version(Engine&, Json) {
  co_return Json{{"version", fmt::format("{} {}", kProgramName, version_text())}};
}

constexpr std::pair<const char*, log::Level> kLogLevels[] = {
    {"TRACE", log::Level::kTrace},  {"DEBUG", log::Level::kDebug}, {"INFO", log::Level::kInfo},
    {"WARNING", log::Level::kWarn}, {"ERROR", log::Level::kError}, {"DISABLED", log::Level::kOff}};

runtime::Task<Outcome> log_get_level(Engine&, Json) {
  for (const auto& [name, level] : kLogLevels) {
    if (level == log::level()) co_return Json(name);
  }
  co_return refuse(JsonRpcError::kInternal, "the log level has no name");
}

runtime::Task<Outcome> log_set_level(Engine&, Json parameters) {
  if (!parameters.is_object() || !parameters.contains("level"))
    co_return refuse(JsonRpcError::kInvalidParams, "parameter 'level' is missing");
  const auto wanted = parameters["level"].get<std::string>();
  for (const auto& [name, level] : kLogLevels) {
    if (wanted != name) continue;
    log::set_level(level);
    co_return Json(true);
  }
  co_return refuse(JsonRpcError::kInvalidParams,
                   fmt::format("level '{}' is not one of TRACE, DEBUG, INFO, WARNING, ERROR, DISABLED", wanted));
}

// Rewrites the file of -y with the values in force.
runtime::Task<Outcome> config_export(Engine& engine, Json) {
  const std::string path = engine.options().config_file;
  if (path.empty())
    co_return refuse(JsonRpcError::kInternal, "the engine was started without a configuration file (-y)");
  const std::string text = export_config(engine.options());
  const std::string temporary = path + ".new";
  auto& backend = engine.primary().backend();
  auto file = co_await backend.open_file(temporary, {.create = true, .truncate = true});
  if (!file) co_return refuse(JsonRpcError::kInternal, file.error().to_string());
  if (auto written = co_await (*file)->write(0, std::as_bytes(std::span(text))); !written)
    co_return refuse(JsonRpcError::kInternal, written.error().to_string());
  if (auto flushed = co_await (*file)->flush(); !flushed)
    co_return refuse(JsonRpcError::kInternal, flushed.error().to_string());
  file->reset();
  if (auto renamed = co_await backend.rename_file(temporary, path); !renamed)
    co_return refuse(JsonRpcError::kInternal, renamed.error().to_string());
  co_return Json(true);
}

struct Method {
  std::map<std::string, Json::value_t> parameters;
  runtime::Task<Outcome> (*call)(Engine& engine, Json parameters);
};

const std::map<std::string, Method>& methods() {
  using Type = Json::value_t;
  static const std::map<std::string, Method> table = {
      {"bdev_get_bdevs", {{{"name", Type::string}, {"timeout", Type::number_unsigned}}, get_bdevs}},
      {"bdev_get_iostat", {{{"name", Type::string}, {"per_channel", Type::boolean}}, get_iostat}},
      {"framework_get_reactors", {{}, get_reactors}},
      {"log_get_level", {{}, log_get_level}},
      {"log_set_level", {{{"level", Type::string}}, log_set_level}},
      {"mayastor_config_export", {{}, config_export}},
      {"nvmf_get_subsystems", {{{"tgt_name", Type::string}, {"nqn", Type::string}}, get_subsystems}},
      {"spdk_get_version", {{}, get_version}},
  };
  return table;
}

}  // namespace

runtime::Task<Outcome> call_json_rpc(Engine& engine, std::string method, nlohmann::json parameters) {
  if (method == "rpc_get_methods") {
    Json names = Json::array({"rpc_get_methods"});
    for (const auto& [name, description] : methods()) names.push_back(name);
    co_return names;
  }
  const auto found = methods().find(method);
  if (found == methods().end())
    co_return refuse(JsonRpcError::kMethodNotFound, fmt::format("Method not found: '{}'", method));
  if (auto wrong = check_parameters(parameters, found->second.parameters)) co_return std::unexpected(std::move(*wrong));
  co_return co_await found->second.call(engine, std::move(parameters));
}

}  // namespace cairn::engine
