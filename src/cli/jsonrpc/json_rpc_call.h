// One JSON-RPC 2.0 call over a unix socket.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "base/error.h"

namespace cairn::cli {

// Sends `method` with `params` (null: without) and waits for the answer, however long that takes. Returns the result.
// UNAVAILABLE: the socket cannot be reached or closes early. INTERNAL: the answer is no JSON-RPC 2.0 answer to this
// call, or longer than 64 MiB. UNKNOWN, "JSON-RPC error <code>: <message>": the method failed.
Result<nlohmann::ordered_json> call_json_rpc(const std::string& socket_path, const std::string& method,
                                             const nlohmann::ordered_json& params);

}  // namespace cairn::cli
