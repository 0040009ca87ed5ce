// Where an io-engine is reached.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace cairn::cli {

struct Endpoint {
  static constexpr uint16_t kDefaultPort = 10124;

  std::string host;  // name or address; IPv6 in brackets
  uint16_t port = kDefaultPort;

  // A URI or a bare host: [http://]host[:port][/]. INVALID_ARGUMENT for another scheme, a path, or a port out
  // of 1..65535.
  static Result<Endpoint> parse(std::string_view text);

  std::string authority() const;  // "host:port"
  std::string uri() const;        // "http://host:port/"
};

}  // namespace cairn::cli
