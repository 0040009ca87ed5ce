// How to reach a namespace: what an nvmf:// URI says, and the defaults for what it does not.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "base/uuid.h"
#include "block/uri.h"
#include "nvmf/host/host_identity.h"

namespace cairn::nvmf::host {

// Where a controller listens.
struct PathAddress {
  std::string host;  // numeric IPv4, numeric IPv6 without brackets, or a name
  uint16_t port = 0;

  std::string to_string() const;
};

struct ConnectionOptions {
  static constexpr uint16_t kDefaultPort = 8420;
  static constexpr size_t kMaxPaths = 8;

  std::string device_name;  // "10.0.0.1:8420/nqn.2019-05.io.openebs:xyzn1"
  std::string subsystem_nqn;
  std::vector<PathAddress> paths;  // the URI's own first
  HostIdentity host;
  std::optional<Uuid> uuid;  // that the URI expects; not enforced
  bool header_digest = false;
  bool data_digest = false;
  uint8_t prinfo = 0;  // PRCHK of reads and writes
  uint16_t queue_entries = 128;
  Duration io_timeout = std::chrono::seconds(30);
  Duration admin_timeout = std::chrono::seconds(15);
  Duration connect_timeout = std::chrono::seconds(5);  // of one attempt
  Duration keep_alive = std::chrono::seconds(10);      // KATO; 0: none
  // How long I/O waits for a connection before it fails.
  Duration retry_window = std::chrono::seconds(20);
  // Of nothing but refused connections, until the device calls itself unreachable: who has other copies of the data
  // need not wait any longer. More than a restart of an engine takes.
  Duration refusal_window = std::chrono::seconds(2);
};

// `defaults`: what the process was told; name, NQN and addresses are the URI's. Errors: INVALID_ARGUMENT, naming what
// is wrong. Unknown parameters are ignored, as the original does.
Result<ConnectionOptions> parse_connection_options(const block::Uri& uri, const ConnectionOptions& defaults);

}  // namespace cairn::nvmf::host
