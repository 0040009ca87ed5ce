// The creation time of snapshots and clones, as their attributes hold it: "2024-05-17 09:30:00.123456789 UTC".
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::engine {

std::string format_snapshot_time(std::chrono::nanoseconds since_epoch);
std::string snapshot_time_now();
// Time since the epoch, of text with up to nine digits of a fraction or none. Nothing for other text.
std::optional<std::chrono::nanoseconds> parse_snapshot_time(std::string_view text);

}  // namespace cairn::engine
