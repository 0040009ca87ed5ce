#include "base/log.h"

#include "base/log_stamp.h"

#include <atomic>
#include <memory>

#include <nlohmann/json.hpp>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace cairn::log {

namespace {

std::atomic<Level> current_level{Level::kInfo};
std::string (*current_stamp)() = nullptr;

// Not spdlog's default one, which belongs to the program that may have us as a library. Never destroyed: threads may
// log until the very end.
std::shared_ptr<spdlog::logger>& logger() {
  static auto& ours = *new std::shared_ptr<spdlog::logger>(spdlog::default_logger());
  return ours;
}

spdlog::level::level_enum spdlog_level(Level level) {
  switch (level) {
    case Level::kTrace: return spdlog::level::trace;
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::off;
}

// %J: the message as a JSON string, so that quotes and control characters in it cannot break the line.
class JsonMessageFlag : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& out) override {
    const std::string text = nlohmann::json(std::string(message.payload.begin(), message.payload.end()))
                                 .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    out.append(text.data(), text.data() + text.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<JsonMessageFlag>(); }
};

std::string escape_percent(const std::string& text) {
  std::string escaped;
  for (char c : text) escaped += c == '%' ? std::string("%%") : std::string(1, c);
  return escaped;
}

}  // namespace

void configure(const Options& options) {
  std::shared_ptr<spdlog::logger> made;
  if (options.colour && !options.json) {
    made = std::make_shared<spdlog::logger>("cairn", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  } else {
    made = std::make_shared<spdlog::logger>("cairn", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  }
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<JsonMessageFlag>('J');
  const std::string host = escape_percent(options.host);
  if (options.json) {
    const std::string host_field =
        host.empty() ? "" : R"("host":)" + escape_percent(nlohmann::json(options.host).dump()) + ",";
    formatter->set_pattern(R"({"timestamp":"%Y-%m-%dT%H:%M:%S.%fZ","level":"%l",)" + host_field + R"("message":%J})");
  } else {
    formatter->set_pattern((options.date ? std::string("[%Y-%m-%dT%H:%M:%S.%fZ ") : std::string("[")) +
                           (host.empty() ? "" : host + " ") + "%^%l%$] %v");
  }
  made->set_formatter(std::move(formatter));
  made->set_level(spdlog::level::trace);  // filtered by level() before formatting
  made->flush_on(spdlog::level::info);
  logger() = std::move(made);
  set_level(options.level);
}

Level level() { return current_level.load(std::memory_order_relaxed); }
void set_level(Level level) { current_level.store(level, std::memory_order_relaxed); }

void set_stamp(std::string (*stamp)()) { current_stamp = stamp; }

void write(Level level, std::string_view message) {
  const std::string stamped = current_stamp != nullptr ? current_stamp().append(message) : std::string();
  if (current_stamp != nullptr) message = stamped;
  logger()->log(spdlog_level(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace cairn::log
