// The methods of the JSON-RPC interface (shared reference: engine.md section 12): those of the original's lower layer
// that make sense here.
#pragma once

#include <expected>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/task.h"

namespace cairn::engine {

class Engine;

struct JsonRpcError {
  static constexpr int kParse = -32700;
  static constexpr int kInvalidRequest = -32600;
  static constexpr int kMethodNotFound = -32601;
  static constexpr int kInvalidParams = -32602;
  static constexpr int kInternal = -32603;
  static constexpr int kNotFound = -2;  // -ENOENT
  static constexpr int kExists = -17;   // -EEXIST
  int code = kInternal;
  std::string message;
};

// Primary reactor. `parameters`: an object, or null for none.
runtime::Task<std::expected<nlohmann::json, JsonRpcError>> call_json_rpc(Engine& engine, std::string method,
                                                                         nlohmann::json parameters);

}  // namespace cairn::engine
