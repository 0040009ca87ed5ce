#include "cli/jsonrpc/json_rpc_call.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

namespace cairn::cli {
namespace {

using Json = nlohmann::ordered_json;

// Accepts one connection, reads one request, answers in the given pieces. The connection stays open until the object
// goes, unless it is told to close.
class OneAnswer {
 public:
  OneAnswer(std::vector<std::string> pieces, bool close) {
    char folder[] = "/tmp/json_rpc_call_test.XXXXXX";
    EXPECT_NE(::mkdtemp(folder), nullptr);
    folder_ = folder;
    path_ = folder_ + "/socket";
    listener_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    server_ = std::thread([this, pieces = std::move(pieces), close] { serve(pieces, close); });
  }

  ~OneAnswer() {
    server_.join();
    if (connection_ >= 0) ::close(connection_);
    ::close(listener_);
    ::unlink(path_.c_str());
    ::rmdir(folder_.c_str());
  }

  const std::string& path() const { return path_; }

  Json request() {
    server_.join();
    server_ = std::thread([] {});
    return Json::parse(request_);
  }

 private:
  void serve(const std::vector<std::string>& pieces, bool close) {
    connection_ = ::accept(listener_, nullptr, nullptr);
    while (!Json::accept(request_)) {
      char buffer[4096];
      const ssize_t received = ::recv(connection_, buffer, sizeof(buffer), 0);
      if (received <= 0) break;
      request_.append(buffer, static_cast<size_t>(received));
    }
    for (const std::string& piece : pieces) ::send(connection_, piece.data(), piece.size(), MSG_NOSIGNAL);
    if (close) ::shutdown(connection_, SHUT_RDWR);
  }

  std::string folder_;
  std::string path_;
  int listener_ = -1;
  int connection_ = -1;
  std::string request_;
  std::thread server_;
};

TEST(JsonRpcCall, ReturnsTheResultAndNeedsNoClose) {
  OneAnswer server({R"({"jsonrpc":"2.0",)", R"("id":0,"result":[{"a":"}\"]"},)", R"(2]})"}, false);
  const Result<Json> result = call_json_rpc(server.path(), "m", Json{{"x", 1}});
  ASSERT_TRUE(result.has_value()) << result.error().to_string();
  EXPECT_EQ(result->dump(), R"([{"a":"}\"]"},2])");
  EXPECT_EQ(server.request().dump(), R"({"jsonrpc":"2.0","id":0,"method":"m","params":{"x":1}})");
}

TEST(JsonRpcCall, LeavesOutAbsentParams) {
  OneAnswer server({R"({"jsonrpc":"2.0","id":0,"result":true})"}, false);
  ASSERT_TRUE(call_json_rpc(server.path(), "m", nullptr).has_value());
  EXPECT_EQ(server.request().dump(), R"({"jsonrpc":"2.0","id":0,"method":"m"})");
}

TEST(JsonRpcCall, TellsTheErrorOfTheMethod) {
  OneAnswer server({R"({"jsonrpc":"2.0","id":0,"error":{"code":-32601,"message":"Method not found"}})"}, false);
  const Result<Json> result = call_json_rpc(server.path(), "m", nullptr);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), Code::kUnknown);
  EXPECT_EQ(result.error().message(), "JSON-RPC error -32601: Method not found");
}

TEST(JsonRpcCall, RefusesWhatIsNoAnswer) {
  const std::pair<const char*, const char*> kCases[] = {
      {R"([1])", "the answer is not a JSON object"},
      {R"({"jsonrpc":"2.0","id":0,"result":x})", "the answer is not a JSON object"},
      {R"({"id":0,"result":1})", "the answer is not of JSON-RPC 2.0"},
      {R"({"jsonrpc":"2.0","id":1,"result":1})", "the answer belongs to another call"},
      {R"({"jsonrpc":"2.0","id":0})", "the answer has neither result nor error"},
      {R"(})", "the answer is not a JSON object"},
  };
  for (const auto& [text, message] : kCases) {
    OneAnswer server({text}, false);
    const Result<Json> result = call_json_rpc(server.path(), "m", nullptr);
    ASSERT_FALSE(result.has_value()) << text;
    EXPECT_EQ(result.error().code(), Code::kInternal) << text;
    EXPECT_EQ(result.error().message(), message) << text;
  }
}

TEST(JsonRpcCall, TellsWhyTheSocketIsNotReached) {
  Result<Json> result = call_json_rpc("/nonexistent/socket", "m", nullptr);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().message(), "cannot reach /nonexistent/socket: No such file or directory");
  EXPECT_EQ(result.error().code(), Code::kUnavailable);
  EXPECT_FALSE(call_json_rpc(std::string(200, 'x'), "m", nullptr).has_value());

  OneAnswer server({R"({"jsonrpc":)"}, true);
  result = call_json_rpc(server.path(), "m", nullptr);
  ASSERT_FALSE(result.has_value());
  EXPECT_TRUE(result.error().message().ends_with("connection closed before the answer was complete"));
}

}  // namespace
}  // namespace cairn::cli
