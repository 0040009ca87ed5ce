// Time spans as people write them: "110s", "5ms", "1m 30s".
#pragma once

#include <string_view>

#include "base/duration.h"
#include "base/error.h"

namespace cairn {

// Whole numbers with units (ns, us, ms, s or sec, m or min, h), added up; spaces may stand between them. "0" needs no
// unit. INVALID_ARGUMENT otherwise.
Result<Duration> parse_duration(std::string_view text);

}  // namespace cairn
