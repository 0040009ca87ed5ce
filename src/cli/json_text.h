// JSON for people and scripts: two spaces of indentation, and colours where a terminal shows it.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace cairn::cli {

// No line end. Text that is not UTF-8 gets replacement characters. `colour`: ANSI sequences.
std::string render_json(const nlohmann::ordered_json& value, bool colour);

// Standard output is a terminal and the environment has no NO_COLOR.
bool stdout_takes_colour();

}  // namespace cairn::cli
