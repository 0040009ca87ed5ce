// What a run of casperf tells at its end, as text or JSON.
#pragma once

#include <string>

#include "cli/casperf/load.h"

namespace cairn::cli {

std::string render_text_report(const LoadOptions& options, const Load& load);
std::string render_json_report(const LoadOptions& options, const Load& load);

// Whether any job saw failed I/Os, and whether any read data that was not what it had written.
bool has_errors(const Load& load);
bool has_faults(const Load& load);

}  // namespace cairn::cli
