// Which address the target listens on: the selector of -T (shared reference: engine.md section 9).
#pragma once

#include <string>

#include "base/error.h"
#include "runtime/address.h"

namespace cairn::engine {

// `selector`: "<name>" or "name:<ifname>", "mac:<aa:bb:..>", "ip:<address>", "subnet:<address>/<bits>". Exactly one
// interface must match; its first address of the wanted family is taken (IPv4 unless the selector names an IPv6
// address, network, or an interface that has IPv6 only). INVALID_ARGUMENT for a malformed selector, NOT_FOUND when
// nothing or FAILED_PRECONDITION when several match.
Result<runtime::SocketAddress> resolve_target_interface(const std::string& selector);

}  // namespace cairn::engine
