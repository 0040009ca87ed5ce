// mayastor.v1.StatsRpc (shared reference: grpc-v1.md section 12). Pools, nexuses and replicas are not part of this
// version: their lists are empty.
#include <stats.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

class StatsService final : public api::StatsRpc::CallbackService {
 public:
  explicit StatsService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* GetPoolIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption*,
                                           api::PoolIoStatsResponse*) override {
    return answer_now(context, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* GetNexusIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption* request,
                                            api::NexusIoStatsResponse*) override {
    if (request->has_name()) return answer_now(context, grpc::Status(grpc::StatusCode::NOT_FOUND, "Nexus not found"));
    return answer_now(context, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* GetReplicaIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption*,
                                              api::ReplicaIoStatsResponse*) override {
    return answer_now(context, grpc::Status::OK);
  }
  grpc::ServerUnaryReactor* ResetIoStats(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                         google::protobuf::Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "stats reset", [this]() -> runtime::Task<Result<>> {
      for (const auto& device : engine_.registry().list()) device->reset_statistics();
      co_return Result<>{};
    });
  }

 private:
  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_stats_service(Engine& engine) {
  return std::make_unique<StatsService>(engine);
}

}  // namespace cairn::engine
