// The v1 services of the engine, as gRPC sees them. Each is one file of thin adapters.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>

namespace cairn::engine {

class Engine;

std::unique_ptr<grpc::Service> make_bdev_service(Engine& engine);
std::unique_ptr<grpc::Service> make_host_service(Engine& engine);
std::unique_ptr<grpc::Service> make_json_service(Engine& engine);
std::unique_ptr<grpc::Service> make_nexus_service(Engine& engine);
std::unique_ptr<grpc::Service> make_pool_service(Engine& engine);
std::unique_ptr<grpc::Service> make_replica_service(Engine& engine);
std::unique_ptr<grpc::Service> make_scrub_service(Engine& engine);
std::unique_ptr<grpc::Service> make_snapshot_rebuild_service(Engine& engine);
std::unique_ptr<grpc::Service> make_snapshot_service(Engine& engine);
std::unique_ptr<grpc::Service> make_stats_service(Engine& engine);
std::unique_ptr<grpc::Service> make_test_service(Engine& engine);

}  // namespace cairn::engine
