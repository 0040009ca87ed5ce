// Finds the JSON objects in a byte stream: they follow each other without any other frame. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace cairn::engine {

class JsonRpcFraming {
 public:
  static constexpr size_t kMaxRequestBytes = size_t{1} << 20;

  void add(std::string_view bytes) { buffer_ += bytes; }

  // The next complete object, or whatever stands in front of one (up to the next '{' or line end, to be refused as not
  // JSON); nothing when more bytes are needed.
  std::optional<std::string> next_request();

  // More than kMaxRequestBytes without a complete request.
  bool overflowed() const { return buffer_.size() > kMaxRequestBytes; }

 private:
  std::optional<std::string> take(size_t size);

  std::string buffer_;
  size_t scanned_ = 0;  // bytes of buffer_ that were looked at
  int depth_ = 0;       // open braces and brackets
  bool in_string_ = false;
  bool escaped_ = false;
};

}  // namespace cairn::engine
