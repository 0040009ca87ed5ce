#include "engine/node_identity.h"

#include <fstream>

#include "base/log.h"
#include "engine/options.h"

namespace cairn::engine {

std::string node_identity(const std::string& node_name, const std::string& machine_id_path) {
  std::string machine_id;
  std::ifstream file(machine_id_path);
  std::getline(file, machine_id);  // a container image may have none, or an empty one
  if (machine_id.empty() && node_name == EngineOptions().node_name) return {};
  return machine_id + '/' + node_name;
}

Uuid boot_id(const std::string& path) {
  std::string text;
  std::ifstream file(path);
  std::getline(file, text);
  const auto id = Uuid::parse(text);
  if (!id) log::warn("{}: no id of this boot: {}", path, id.error().to_string());
  return id ? *id : Uuid();
}

}  // namespace cairn::engine
