// The configuration file of -y (shared reference: engine.md section 4): YAML whose sections and keys are the
// original's. Unknown keys are refused. Keys of mechanisms that this engine does not have (hugepage pools, polling
// periods) are accepted, kept and exported unchanged.
#pragma once

#include <string>

#include "base/error.h"
#include "engine/options.h"

namespace cairn::engine {

// Applies the file at `path` to `options`; a missing or empty file changes nothing. INVALID_ARGUMENT names file, line,
// key and what is accepted.
Result<> apply_config_file(const std::string& path, EngineOptions& options);

// The values in force, as a file that apply_config_file takes.
std::string export_config(const EngineOptions& options);

}  // namespace cairn::engine
