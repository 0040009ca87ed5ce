// Version of the build.
#pragma once

#include <string_view>

namespace cairn {

std::string_view version();  // "0.1.0"

}  // namespace cairn
