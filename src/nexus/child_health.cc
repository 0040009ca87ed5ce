#include "nexus/child_health.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace cairn::nexus {

using nlohmann::json;
using nlohmann::ordered_json;

std::string to_json(const HealthRecord& record) {
  ordered_json children = ordered_json::array();
  for (const HealthRecord::Child& child : record.children) {
    children.push_back({{"uuid", child.uuid}, {"healthy", child.healthy}});
  }
  return ordered_json{{"clean_shutdown", record.clean_shutdown}, {"children", std::move(children)}}.dump();
}

Result<HealthRecord> parse_health_record(std::string_view text) {
  auto damaged = [](std::string_view what) {
    return fail(Code::kDataLoss, fmt::format("health record of a nexus: {}", what));
  };
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return damaged("not a JSON object");
  const auto clean = parsed.find("clean_shutdown");
  if (clean == parsed.end() || !clean->is_boolean()) return damaged("\"clean_shutdown\" is not a boolean");
  const auto children = parsed.find("children");
  if (children == parsed.end() || !children->is_array()) return damaged("\"children\" is not a list");
  HealthRecord record{.clean_shutdown = clean->get<bool>(), .children = {}};
  for (const json& child : *children) {
    if (!child.is_object()) return damaged("a child is not an object");
    const auto uuid = child.find("uuid");
    const auto healthy = child.find("healthy");
    if (uuid == child.end() || !uuid->is_string()) return damaged("\"uuid\" of a child is not a text");
    if (healthy == child.end() || !healthy->is_boolean()) return damaged("\"healthy\" of a child is not a boolean");
    record.children.push_back({uuid->get<std::string>(), healthy->get<bool>()});
  }
  return record;
}

}  // namespace cairn::nexus
