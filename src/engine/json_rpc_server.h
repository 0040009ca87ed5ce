// JSON-RPC 2.0 over a unix socket (shared reference: engine.md section 12). Requests are JSON objects written one after
// the other; batches are refused. Primary reactor.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/intrusive_list.h"
#include "runtime/stream.h"
#include "runtime/task_waits.h"

namespace cairn::engine {

class Engine;
class JsonRpcConnection;

class JsonRpcServer {
 public:
  static constexpr size_t kMaxConnections = 64;

  // ALREADY_EXISTS when another process serves the path.
  static Result<std::unique_ptr<JsonRpcServer>> listen(Engine& engine, const std::string& path);
  ~JsonRpcServer();  // stopped

  // Closes everything; returns when the last connection has ended.
  runtime::Task<> stop();

 private:
  friend class JsonRpcConnection;
  explicit JsonRpcServer(Engine& engine) : engine_(engine) {}
  void accept(std::unique_ptr<runtime::AcceptedStream> accepted);
  runtime::Task<> serve(std::unique_ptr<runtime::AcceptedStream> accepted);

  Engine& engine_;
  std::unique_ptr<runtime::Listener> listener_;
  IntrusiveList<JsonRpcConnection> connections_;
  size_t num_connections_ = 0;
  runtime::Event ended_;
};

}  // namespace cairn::engine
