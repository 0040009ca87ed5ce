#include "engine/grpc_server.h"

#include <fmt/format.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/service_type.h>

#include <vector>

#include "engine/engine.h"
#include "engine/services.h"

namespace cairn::engine {

struct GrpcServer::Parts {
  runtime::SocketAddress address;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::Server> server;
};

namespace {
// Calls in progress on one connection; more wait in the client.
constexpr int kMaxConcurrentCalls = 64;
constexpr int kMaxThreads = 8;
constexpr int kMaxMessageBytes = 4 << 20;
}  // namespace

GrpcServer::GrpcServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
GrpcServer::~GrpcServer() = default;

Result<std::unique_ptr<GrpcServer>> GrpcServer::start(Engine& engine, const runtime::SocketAddress& address) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  auto parts = std::make_unique<Parts>();
  parts->address = address;
  parts->services.push_back(make_bdev_service(engine));
  parts->services.push_back(make_host_service(engine));
  parts->services.push_back(make_json_service(engine));
  parts->services.push_back(make_nexus_service(engine));
  parts->services.push_back(make_pool_service(engine));
  parts->services.push_back(make_replica_service(engine));
  parts->services.push_back(make_scrub_service(engine));
  parts->services.push_back(make_snapshot_rebuild_service(engine));
  parts->services.push_back(make_snapshot_service(engine));
  parts->services.push_back(make_stats_service(engine));
  parts->services.push_back(make_test_service(engine));

  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(address.to_string(), grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second engine on the port is an error
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxConcurrentCalls);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("io-engine").SetMaxThreads(kMaxThreads));
  for (const auto& service : parts->services) builder.RegisterService(service.get());
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr || port == 0) {
    return fail(
        Code::kInternal,
        fmt::format("cannot start the gRPC server: {} is in use or not an address of this host", address.to_string()));
  }
  parts->address.port = static_cast<uint16_t>(port);
  parts->server->GetHealthCheckService()->SetServingStatus(true);
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(parts)));
}

const runtime::SocketAddress& GrpcServer::address() const {
  return parts_->address;
}

void GrpcServer::stop() {
  if (parts_->server == nullptr) return;
  parts_->server->GetHealthCheckService()->SetServingStatus(false);
  parts_->server->Shutdown();
  parts_->server->Wait();
  parts_->server.reset();
}

}  // namespace cairn::engine
