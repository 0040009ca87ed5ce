#include "cli/jsonrpc/json_rpc_call.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

namespace cairn::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxAnswerBytes = 64 << 20;
constexpr int kRequestId = 0;

class Socket {
 public:
  Socket() : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) ::close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::unexpected<Error> unavailable(const std::string& path, std::string_view reason) {
  return fail(Code::kUnavailable, fmt::format("cannot reach {}: {}", path, reason));
}

Result<> connect(const Socket& socket, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return unavailable(path, fmt::format("a socket's path has at most {} bytes", sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  if (socket.fd() < 0 || ::connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return unavailable(path, std::strerror(errno));
  }
  return {};
}

Result<> send_all(const Socket& socket, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return unavailable(path, std::strerror(errno));
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return {};
}

// Finds the end of the first JSON value of a stream that arrives in pieces. A server may keep the connection open after
// its answer, so the end has to be seen in the text. Looks at every byte once.
class ValueEnd {
 public:
  // True when the value that started with the first brace or bracket is complete.
  bool consume(std::string_view bytes) {
    for (const char c : bytes) {
      if (in_string_) {
        if (escaped_) {
          escaped_ = false;
        } else if (c == '\\') {
          escaped_ = true;
        } else if (c == '"') {
          in_string_ = false;
        }
      } else if (c == '"') {
        in_string_ = true;
      } else if (c == '{' || c == '[') {
        ++depth_;
      } else if ((c == '}' || c == ']') && (depth_ == 0 || --depth_ == 0)) {
        return true;
      }
    }
    return false;
  }

 private:
  bool in_string_ = false;
  bool escaped_ = false;
  size_t depth_ = 0;
};

Result<std::string> receive_value(const Socket& socket, const std::string& path) {
  std::string answer;
  ValueEnd end;
  std::array<char, 65536> buffer;
  for (;;) {
    const ssize_t received = ::recv(socket.fd(), buffer.data(), buffer.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return unavailable(path, std::strerror(errno));
    if (received == 0) return unavailable(path, "connection closed before the answer was complete");
    const std::string_view bytes(buffer.data(), static_cast<size_t>(received));
    answer += bytes;
    if (answer.size() > kMaxAnswerBytes)
      return fail(Code::kInternal, fmt::format("answer longer than {} bytes", kMaxAnswerBytes));
    if (end.consume(bytes)) return answer;
  }
}

Result<Json> result_of(const std::string& text) {
  const Json answer = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) return fail(Code::kInternal, "the answer is not a JSON object");
  if (answer.value("jsonrpc", Json()) != "2.0") return fail(Code::kInternal, "the answer is not of JSON-RPC 2.0");
  if (const auto error = answer.find("error"); error != answer.end()) {
    const Json code = error->is_object() ? error->value("code", Json()) : Json();
    const Json message = error->is_object() ? error->value("message", Json()) : *error;
    return fail(Code::kUnknown, fmt::format("JSON-RPC error {}: {}", code.dump(),
                                            message.is_string() ? message.get<std::string>() : message.dump()));
  }
  if (answer.value("id", Json()) != kRequestId) return fail(Code::kInternal, "the answer belongs to another call");
  const auto result = answer.find("result");
  if (result == answer.end()) return fail(Code::kInternal, "the answer has neither result nor error");
  return *result;
}

}  // namespace

Result<Json> call_json_rpc(const std::string& socket_path, const std::string& method, const Json& params) {
  Json request{{"jsonrpc", "2.0"}, {"id", kRequestId}, {"method", method}};
  if (!params.is_null()) request["params"] = params;
  const Socket socket;
  if (Result<> connected = connect(socket, socket_path); !connected) return fail(connected.error());
  const std::string text = request.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (Result<> sent = send_all(socket, socket_path, text); !sent) return fail(sent.error());
  Result<std::string> answer = receive_value(socket, socket_path);
  if (!answer) return fail(answer.error());
  return result_of(*answer);
}

}  // namespace cairn::cli
