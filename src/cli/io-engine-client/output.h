// What a command prints, and when: verbosity, format and units as the global options ask.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_size.h"
#include "cli/table.h"

namespace google::protobuf {
class Message;
}

namespace cairn::cli {

enum class OutputFormat : uint8_t { kDefault, kJson };

struct OutputOptions {
  int verbosity = 1;  // 0 quiet, 1 normal, 2 and more: what goes on
  OutputFormat format = OutputFormat::kDefault;
  SizeUnits units = SizeUnits::kBytes;
};

// Writes to standard output. In JSON format nothing but JSON goes there: what goes on is told on standard error.
class Output {
 public:
  explicit Output(const OutputOptions& options) : options_(options) {}

  bool json() const { return options_.format == OutputFormat::kJson; }

  // The result of a command: the message as JSON, or in default format what `text` writes.
  void result(const google::protobuf::Message& message, const std::function<void()>& text);

  void line(std::string_view text) const;    // a result, printed even when quiet
  void note(std::string_view text) const;    // for people: not when quiet
  void detail(std::string_view text) const;  // what goes on: from verbosity 2
  void json_line(const google::protobuf::Message& message) const;

  // Rows under a header (no header when quiet). Without rows: note(`when_empty`).
  void table(const std::vector<std::string_view>& headers, const std::vector<Row>& rows,
             std::string_view when_empty) const;

  // False when something could not be written to standard output (a full disk).
  bool written() const;

  bool headers() const { return options_.verbosity > 0; }
  std::string size(uint64_t size_bytes) const { return format_byte_size(size_bytes, options_.units); }
  SizeUnits units() const { return options_.units; }

 private:
  OutputOptions options_;
};

}  // namespace cairn::cli
