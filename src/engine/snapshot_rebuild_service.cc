// mayastor.v1.SnapshotRebuildRpc (shared reference: grpc-v1.md section 11).
#include <fmt/format.h>
#include <snapshot-rebuild.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/nexus_messages.h"
#include "engine/services.h"
#include "nexus/snapshot_rebuild.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;
using google::protobuf::Empty;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using runtime::Task;

api::SnapshotRebuild::RebuildStatus status_of(nexus::RebuildState state) {
  switch (state) {
    case nexus::RebuildState::kInit:
      return api::SnapshotRebuild::Created;
    case nexus::RebuildState::kRunning:
      return api::SnapshotRebuild::Running;
    case nexus::RebuildState::kPaused:
      return api::SnapshotRebuild::Paused;
    case nexus::RebuildState::kCompleted:
      return api::SnapshotRebuild::Successful;
    case nexus::RebuildState::kStopped:
    case nexus::RebuildState::kFailed:
      return api::SnapshotRebuild::Failed;
  }
  return api::SnapshotRebuild::Unknown;
}

void fill(const nexus::SnapshotRebuildInfo& info, api::SnapshotRebuild& out) {
  const nexus::RebuildStatistics& statistics = info.statistics;
  out.set_uuid(info.uuid.to_string());
  out.set_replica_uuid(info.replica_uuid);
  out.set_snapshot_uuid(info.snapshot_uuid);
  out.set_replica_uri(info.replica_uri);
  out.set_snapshot_uri(info.snapshot_uri);
  out.set_status(status_of(info.state));
  out.set_total(statistics.blocks_total * statistics.block_size);
  out.set_rebuilt(statistics.blocks_transferred * statistics.block_size);
  out.set_remaining(statistics.blocks_remaining * statistics.block_size);
  *out.mutable_start_timestamp() = time_of_day(statistics.start_time);
  if (statistics.end_time) *out.mutable_end_timestamp() = time_of_day(*statistics.end_time);
}

Error not_found(const std::string& uuid) {
  return {Code::kNotFound, fmt::format("snapshot rebuild {} not found", uuid)};
}

class SnapshotRebuildService final : public api::SnapshotRebuildRpc::CallbackService {
 public:
  explicit SnapshotRebuildService(Engine& engine) : engine_(engine) {}

  ServerUnaryReactor* CreateSnapshotRebuild(CallbackServerContext* context,
                                            const api::CreateSnapshotRebuildRequest* request,
                                            api::SnapshotRebuild* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "snapshot rebuild create", [this, request, response]() -> Task<Result<>> {
          if (request->has_bitmap()) co_return fail(Code::kInvalidArgument, "BitMap not supported");
          const auto uuid = Uuid::parse(request->uuid());
          if (!uuid) co_return fail(uuid.error());
          if (const auto existing = engine_.snapshot_rebuilds().find(*uuid)) {
            fill(*existing, *response);
            co_return Result<>{};
          }
          auto destination = engine_.pools().find_volume(*uuid);
          if (destination != nullptr && destination->is_snapshot()) {
            co_return fail(Code::kInvalidArgument, fmt::format("{} is a snapshot (\"{}\"), not a replica",
                                                               request->uuid(), destination->name()));
          }
          if (destination == nullptr && engine_.registry().find(*uuid) != nullptr) {
            co_return fail(Code::kInvalidArgument, fmt::format("{} is not a replica", request->uuid()));
          }
          if (destination == nullptr) {
            co_return fail(Code::kNotFound, fmt::format("Replica {} not found", request->uuid()));
          }
          const auto created = co_await engine_.snapshot_rebuilds().create({.uuid = *uuid,
                                                                            .destination = std::move(destination),
                                                                            .snapshot_uri = request->snapshot_uri(),
                                                                            .replica_uuid = request->replica_uuid(),
                                                                            .snapshot_uuid = request->snapshot_uuid(),
                                                                            .replica_uri = request->replica_uri()});
          if (!created) co_return fail(created.error());
          fill(*created, *response);
          co_return Result<>{};
        });
  }

  // Of the fields of the request, clients of the original know that only this one counts.
  ServerUnaryReactor* ListSnapshotRebuild(CallbackServerContext* context,
                                          const api::ListSnapshotRebuildRequest* request,
                                          api::ListSnapshotRebuildResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "snapshot rebuild list",
                            [this, request, response]() -> Task<Result<>> {
                              if (!request->has_replica_uuid()) {
                                for (const auto& job : engine_.snapshot_rebuilds().list())
                                  fill(job, *response->add_rebuilds());
                                co_return Result<>{};
                              }
                              const auto uuid = Uuid::parse(request->replica_uuid());
                              if (!uuid) co_return fail(not_found(request->replica_uuid()));
                              const auto job = engine_.snapshot_rebuilds().find(*uuid);
                              if (!job) co_return fail(not_found(request->replica_uuid()));
                              fill(*job, *response->add_rebuilds());
                              co_return Result<>{};
                            });
  }

  ServerUnaryReactor* DestroySnapshotRebuild(CallbackServerContext* context,
                                             const api::DestroySnapshotRebuildRequest* request, Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "snapshot rebuild destroy",
                            [this, request]() -> Task<Result<>> {
                              const auto uuid = Uuid::parse(request->uuid());
                              if (!uuid) co_return fail(not_found(request->uuid()));
                              co_return co_await engine_.snapshot_rebuilds().destroy(*uuid);
                            });
  }

 private:
  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_snapshot_rebuild_service(Engine& engine) {
  return std::make_unique<SnapshotRebuildService>(engine);
}

}  // namespace cairn::engine
