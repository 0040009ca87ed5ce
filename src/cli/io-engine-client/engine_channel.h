// The connection to an io-engine. The only file of the client that knows the gRPC library.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "cli/io-engine-client/endpoint.h"

namespace google::protobuf {
class MessageLite;
}

namespace cairn::cli {

class EngineChannel {
 public:
  // Waits until the connection stands. UNAVAILABLE with the reason when it cannot be made, at the latest after 20 s.
  static Result<EngineChannel> connect(const Endpoint& endpoint);

  EngineChannel(EngineChannel&&) noexcept;
  EngineChannel& operator=(EngineChannel&&) noexcept;
  ~EngineChannel();

  // One request, one response. `method` is "mayastor.v1.BdevRpc/List"; request and response must be of its types. The
  // error has the code and message of the engine's status; the response is then not to be used. Waits as long as the
  // engine takes.
  Result<> call(const std::string& method, const google::protobuf::MessageLite& request,
                google::protobuf::MessageLite& response);

  // One request, any number of responses: `on_response` runs after each was read into `response`.
  Result<> call_streaming(const std::string& method, const google::protobuf::MessageLite& request,
                          google::protobuf::MessageLite& response, const std::function<void()>& on_response);

 private:
  struct Connection;
  explicit EngineChannel(std::unique_ptr<Connection> connection);

  std::unique_ptr<Connection> connection_;
};

}  // namespace cairn::cli
