// Where etcd is, as users write it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace cairn::etcd {

inline constexpr std::string_view kDefaultPort = "2379";

// A comma list of host, host:port, [address]:port, each with "http://" before it or not. Gives host:port for each.
// INVALID_ARGUMENT: nothing, an empty host or port, https.
Result<std::vector<std::string>> parse_endpoints(std::string_view text);

}  // namespace cairn::etcd
