// mayastor.v1.StatsRpc (shared reference: grpc-v1.md section 12).
#include <stats.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

constexpr uint64_t kTicksPerSecond = 1'000'000'000;

void fill(const std::string& name, const Uuid& uuid, const block::IoStatistics& from, api::IoStats& out) {
  out.set_name(name);
  out.set_uuid(uuid.to_string());
  out.set_num_read_ops(from.read.operations);
  out.set_bytes_read(from.read.bytes);
  out.set_num_write_ops(from.write.operations);
  out.set_bytes_written(from.write.bytes);
  out.set_num_unmap_ops(from.unmap.operations);
  out.set_bytes_unmapped(from.unmap.bytes);
  out.set_read_latency_ticks(from.read.latency_total_ns);
  out.set_write_latency_ticks(from.write.latency_total_ns);
  out.set_unmap_latency_ticks(from.unmap.latency_total_ns);
  out.set_max_read_latency_ticks(from.read.latency_max_ns);
  out.set_min_read_latency_ticks(from.read.latency_min_ns);
  out.set_max_write_latency_ticks(from.write.latency_max_ns);
  out.set_min_write_latency_ticks(from.write.latency_min_ns);
  out.set_max_unmap_latency_ticks(from.unmap.latency_max_ns);
  out.set_min_unmap_latency_ticks(from.unmap.latency_min_ns);
  out.set_tick_rate(kTicksPerSecond);
}

class StatsService final : public api::StatsRpc::CallbackService {
 public:
  explicit StatsService(Engine& engine) : engine_(engine) {}

  // A pool's are its disk's.
  grpc::ServerUnaryReactor* GetPoolIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption* request,
                                           api::PoolIoStatsResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "pool stats",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& pool : engine_.pools().list()) {
                                if (!request->has_name() || request->name() == pool->name())
                                  fill(pool->name(), pool->uuid(), pool->statistics(), *response->add_stats());
                              }
                              co_return Result<>{};
                            });
  }
  grpc::ServerUnaryReactor* GetNexusIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption* request,
                                            api::NexusIoStatsResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "nexus stats",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& nexus : engine_.nexuses().list()) {
                                if (!request->has_name() || request->name() == nexus->name())
                                  fill(nexus->name(), nexus->nexus_uuid(), nexus->statistics(), *response->add_stats());
                              }
                              if (request->has_name() && response->stats().empty())
                                co_return fail(Code::kNotFound, "Nexus not found");
                              co_return Result<>{};
                            });
  }
  grpc::ServerUnaryReactor* GetReplicaIoStats(grpc::CallbackServerContext* context, const api::ListStatsOption* request,
                                              api::ReplicaIoStatsResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "replica stats",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& volume : engine_.pools().volumes()) {
                                if (request->has_name() && request->name() != volume->name()) continue;
                                api::ReplicaIoStats& entry = *response->add_stats();
                                if (const auto entity_id = volume->entity_id()) entry.set_entity_id(*entity_id);
                                fill(volume->name(), volume->uuid(), volume->statistics(), *entry.mutable_stats());
                              }
                              co_return Result<>{};
                            });
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
