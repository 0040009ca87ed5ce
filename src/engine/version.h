// What this build calls itself.
#pragma once

#include <string>
#include <string_view>

#include "base/version.h"

namespace cairn::engine {

inline std::string version_text() {
  return "v" + std::string(version());
}  // "v0.1.0"
inline constexpr std::string_view kProgramName = "Cairn io-engine";

}  // namespace cairn::engine
