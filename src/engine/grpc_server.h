// The gRPC server of the engine: v1 services, reflection, health.
#pragma once

#include <memory>

#include "base/error.h"
#include "runtime/address.h"

namespace cairn::engine {

class Engine;

class GrpcServer {
 public:
  // Serves `engine` until stop(). INTERNAL when the address cannot be bound.
  static Result<std::unique_ptr<GrpcServer>> start(Engine& engine, const runtime::SocketAddress& address);
  ~GrpcServer();  // stopped

  const runtime::SocketAddress& address() const;  // with the real port
  // No new calls; waits for those under way.
  void stop();

 private:
  struct Parts;
  explicit GrpcServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace cairn::engine
