#include "cli/io-engine-client/output.h"

#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/json_text.h"
#include "cli/message_json.h"

namespace cairn::cli {
namespace {

// Flushed line by line: rows of a stream have to be seen when they come, in a pipe too. A failure stays with the file
// until written() asks for it.
void print(std::FILE* file, std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), file);
  std::fflush(file);
}

}  // namespace

void Output::result(const google::protobuf::Message& message, const std::function<void()>& text) {
  if (json()) {
    json_line(message);
  } else {
    text();
  }
}

bool Output::written() const {
  return std::ferror(stdout) == 0;
}

void Output::line(std::string_view text) const {
  print(stdout, fmt::format("{}\n", text));
}

void Output::note(std::string_view text) const {
  if (options_.verbosity >= 1) line(text);
}

void Output::detail(std::string_view text) const {
  if (options_.verbosity >= 2) print(json() ? stderr : stdout, fmt::format("{}\n", text));
}

void Output::json_line(const google::protobuf::Message& message) const {
  line(render_json(message_to_json(message), stdout_takes_colour()));
}

void Output::table(const std::vector<std::string_view>& headers, const std::vector<Row>& rows,
                   std::string_view when_empty) const {
  if (rows.empty()) return note(when_empty);
  print(stdout, render_table(headers, rows, this->headers()));
}

}  // namespace cairn::cli
