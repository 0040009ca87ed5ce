// The process log. Macros would hide nothing here, so these are functions: log::info("pool {} imported", name).
// Thread safe. Levels and format are chosen once at start-up (log::configure).
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace cairn::log {

enum class Level : unsigned char { kTrace, kDebug, kInfo, kWarn, kError, kOff };

struct Options {
  Level level = Level::kInfo;
  bool json = false;
  bool colour = false;
  bool date = true;
  std::string host;  // printed in front of each line when not empty
};

// Replaces format and level. Call before other threads log.
void configure(const Options& options);
Level level();
void set_level(Level level);
void write(Level level, std::string_view message);

template <typename... Args>
void log(Level at, fmt::format_string<Args...> format, Args&&... args) {
  if (at >= level()) write(at, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void trace(fmt::format_string<Args...> format, Args&&... args) { log(Level::kTrace, format, std::forward<Args>(args)...); }
template <typename... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) { log(Level::kDebug, format, std::forward<Args>(args)...); }
template <typename... Args>
void info(fmt::format_string<Args...> format, Args&&... args) { log(Level::kInfo, format, std::forward<Args>(args)...); }
template <typename... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) { log(Level::kWarn, format, std::forward<Args>(args)...); }
template <typename... Args>
void error(fmt::format_string<Args...> format, Args&&... args) { log(Level::kError, format, std::forward<Args>(args)...); }

}  // namespace cairn::log
