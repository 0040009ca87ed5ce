#include "cli/json_text.h"

#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

namespace cairn::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kKey = "\033[1;34m";
constexpr std::string_view kString = "\033[32m";
constexpr std::string_view kNumber = "\033[36m";
constexpr std::string_view kLiteral = "\033[33m";
constexpr std::string_view kReset = "\033[0m";

class Writer {
 public:
  explicit Writer(bool colour) : colour_(colour) {}

  void write(const Json& value, size_t depth) {
    if (value.is_object()) {
      write_members(value, '{', '}', depth, [this](const auto& member) {
        paint(scalar(Json(member.key())), kKey);
        text_ += ": ";
      });
    } else if (value.is_array()) {
      write_members(value, '[', ']', depth, [](const auto&) {});
    } else {
      paint(scalar(value), value.is_string() ? kString : value.is_number() ? kNumber : kLiteral);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  static std::string scalar(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

  void paint(const std::string& token, std::string_view style) {
    if (colour_) text_ += style;
    text_ += token;
    if (colour_) text_ += kReset;
  }

  void new_line(size_t depth) { text_ += "\n" + std::string(2 * depth, ' '); }

  template <typename WriteKey>
  void write_members(const Json& value, char open, char close, size_t depth, WriteKey write_key) {
    text_ += open;
    bool first = true;
    for (const auto& member : value.items()) {
      if (!first) text_ += ',';
      first = false;
      new_line(depth + 1);
      write_key(member);
      write(member.value(), depth + 1);
    }
    if (!first) new_line(depth);
    text_ += close;
  }

  bool colour_;
  std::string text_;
};

}  // namespace

std::string render_json(const Json& value, bool colour) {
  Writer writer(colour);
  writer.write(value, 0);
  return writer.take();
}

bool stdout_takes_colour() {
  const char* no_color = std::getenv("NO_COLOR");
  return (no_color == nullptr || *no_color == '\0') && isatty(STDOUT_FILENO) == 1;
}

}  // namespace cairn::cli
