#include "engine/json_rpc_framing.h"

namespace cairn::engine {

namespace {
constexpr std::string_view kSpace = " \t\r\n";
}

std::optional<std::string> JsonRpcFraming::next_request() {
  if (depth_ == 0) {
    const size_t start = buffer_.find_first_not_of(kSpace);
    buffer_.erase(0, start == std::string::npos ? buffer_.size() : start);
    scanned_ = 0;
    if (buffer_.empty()) return std::nullopt;
    if (buffer_.front() != '{' && buffer_.front() != '[') {
      // Not the start of a request: what stands on this line is given out to be refused.
      const size_t end = buffer_.find('\n');
      if (end == std::string::npos && buffer_.size() <= kMaxRequestBytes) return std::nullopt;
      return take(end == std::string::npos ? buffer_.size() : end);
    }
  }
  for (; scanned_ < buffer_.size(); ++scanned_) {
    const char c = buffer_[scanned_];
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      continue;
    }
    if (c == '"') {
      in_string_ = true;
    } else if (c == '{' || c == '[') {
      ++depth_;
    } else if ((c == '}' || c == ']') && --depth_ == 0) {
      return take(scanned_ + 1);
    }
  }
  return std::nullopt;
}

std::optional<std::string> JsonRpcFraming::take(size_t size) {
  std::string request = buffer_.substr(0, size);
  buffer_.erase(0, size);
  scanned_ = 0;
  depth_ = 0;
  in_string_ = escaped_ = false;
  return request;
}

}  // namespace cairn::engine
