// mayastor.v1.SnapshotRpc (shared reference: grpc-v1.md section 10).
#include <fmt/format.h>
#include <snapshot.grpc.pb.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/nexus_messages.h"
#include "engine/pool_messages.h"
#include "engine/services.h"
#include "engine/snapshot_time.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;
using google::protobuf::Empty;

void fill_snapshot(const pool::Replica& snapshot, api::SnapshotInfo& out) {
  const pool::SnapshotAttributes attributes = snapshot.snapshot_attributes();
  const pool::SpaceUsage usage = snapshot.usage();
  out.set_snapshot_uuid(snapshot.uuid().to_string());
  out.set_snapshot_name(snapshot.name());
  out.set_snapshot_size(usage.allocated_bytes);
  out.set_num_clones(snapshot.num_clones());
  const auto since_epoch = parse_snapshot_time(attributes.create_time).value_or(std::chrono::nanoseconds::zero());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  out.mutable_timestamp()->set_seconds(seconds.count());
  out.mutable_timestamp()->set_nanos(static_cast<int32_t>((since_epoch - seconds).count()));
  out.set_source_uuid(snapshot.source_uuid());
  out.set_source_size(snapshot.size_bytes());
  out.set_pool_uuid(snapshot.pool().uuid().to_string());
  out.set_pool_name(snapshot.pool().name());
  out.set_entity_id(attributes.entity_id);
  out.set_txn_id(attributes.txn_id);
  out.set_valid_snapshot(attributes.valid);
  out.set_ready_as_source(false);
  out.set_referenced_bytes(usage.allocated_bytes_snapshot_from_clone.value_or(usage.allocated_bytes_snapshots));
  out.set_discarded_snapshot(attributes.discarded);
}

Result<std::shared_ptr<pool::Replica>> find_snapshot(Engine& engine, const std::string& uuid) {
  auto volume = find_volume(engine, uuid);
  if (volume && (*volume)->is_snapshot()) return volume;
  return fail(Code::kNotFound, fmt::format("Snapshot '{}' not found", uuid));
}

class SnapshotService final : public api::SnapshotRpc::CallbackService {
 public:
  explicit SnapshotService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* CreateReplicaSnapshot(grpc::CallbackServerContext* context,
                                                  const api::CreateReplicaSnapshotRequest* request,
                                                  api::CreateReplicaSnapshotResponse* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "snapshot create", [this, request, response]() -> runtime::Task<Result<>> {
          auto source = find_volume(engine_, request->replica_uuid());
          if (!source) co_return fail(std::move(source.error()));
          if (request->snapshot_name().empty() || request->entity_id().empty() || request->txn_id().empty()) {
            co_return fail(Code::kInvalidArgument,
                           fmt::format("Snapshot {} some parameters not provided", request->snapshot_uuid()));
          }
          auto snapshot = co_await (*source)->pool().create_snapshot(*source, {.name = request->snapshot_name(),
                                                                               .uuid = request->snapshot_uuid(),
                                                                               .entity_id = request->entity_id(),
                                                                               .txn_id = request->txn_id(),
                                                                               .create_time = snapshot_time_now()});
          if (!snapshot) co_return fail(std::move(snapshot.error()));
          response->set_replica_uuid(request->replica_uuid());
          fill_snapshot(**snapshot, *response->mutable_snapshot());
          co_return Result<>{};
        });
  }

  grpc::ServerUnaryReactor* CreateNexusSnapshot(grpc::CallbackServerContext* context,
                                                const api::NexusCreateSnapshotRequest* request,
                                                api::NexusCreateSnapshotResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "nexus snapshot",
                            [this, request, response, patience = patience_of(*context, NexusTurns::kPatience)] {
                              return engine_.nexus_turns().run(
                                  request->nexus_uuid(), patience,
                                  [this, request, response] { return snapshot_nexus(*request, *response); });
                            });
  }

  grpc::ServerUnaryReactor* ListSnapshot(grpc::CallbackServerContext* context, const api::ListSnapshotsRequest* request,
                                         api::ListSnapshotsResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "snapshot list",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& snapshot : wanted(*request))
                                fill_snapshot(*snapshot, *response->add_snapshots());
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* DestroySnapshot(grpc::CallbackServerContext* context,
                                            const api::DestroySnapshotRequest* request, Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "snapshot destroy",
                            [this, request]() -> runtime::Task<Result<>> {
                              auto named = named_pool(engine_, *request);
                              if (!named) co_return fail(std::move(named.error()));
                              auto snapshot = find_snapshot(engine_, request->snapshot_uuid());
                              if (!snapshot) co_return fail(std::move(snapshot.error()));
                              if (auto checked = check_on_pool(**snapshot, named->get()); !checked) co_return checked;
                              pool::Pool& pool = (*snapshot)->pool();
                              co_return co_await pool.destroy_snapshot(std::move(*snapshot));
                            });
  }

  grpc::ServerUnaryReactor* CreateSnapshotClone(grpc::CallbackServerContext* context,
                                                const api::CreateSnapshotCloneRequest* request,
                                                api::Replica* response) override {
    return UnaryCall::start(context, engine_.primary(), "clone create",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              auto snapshot = find_snapshot(engine_, request->snapshot_uuid());
                              if (!snapshot) co_return fail(std::move(snapshot.error()));
                              auto clone = co_await (*snapshot)->pool().create_clone(
                                  *snapshot, {request->clone_name(), request->clone_uuid(), snapshot_time_now()});
                              if (!clone) co_return fail(std::move(clone.error()));
                              fill_replica(engine_, **clone, *response);
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* ListSnapshotClone(grpc::CallbackServerContext* context,
                                              const api::ListSnapshotCloneRequest* request,
                                              api::ListSnapshotCloneResponse* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "clone list", [this, request, response]() -> runtime::Task<Result<>> {
          for (const auto& volume : engine_.pools().volumes()) {
            if (!volume->is_clone()) continue;
            if (!request->has_snapshot_uuid() || volume->source_snapshot_uuid() == request->snapshot_uuid())
              fill_replica(engine_, *volume, *response->add_replicas());
          }
          co_return Result<>{};
        });
  }

 private:
  runtime::Task<Result<>> snapshot_nexus(const api::NexusCreateSnapshotRequest& request,
                                         api::NexusCreateSnapshotResponse& response) {
    auto nexus = find_nexus(engine_, request.nexus_uuid());
    if (!nexus) co_return fail(std::move(nexus.error()));
    const auto now = std::chrono::system_clock::now();
    nexus::SnapshotRequest wanted{
        .name = request.snapshot_name(),
        .entity_id = request.entity_id(),
        .txn_id = request.txn_id(),
        .create_time = format_snapshot_time(now.time_since_epoch()),
        .create_time_seconds = static_cast<uint64_t>(std::chrono::system_clock::to_time_t(now)),
        .replicas = {}};
    for (const auto& replica : request.replicas()) {
      wanted.replicas.push_back({.replica_uuid = replica.replica_uuid(), .snapshot_uuid = {}, .skip = replica.skip()});
      if (replica.has_snapshot_uuid()) wanted.replicas.back().snapshot_uuid = replica.snapshot_uuid();
    }
    auto outcome = co_await (*nexus)->create_snapshot(std::move(wanted));
    if (!outcome) co_return fail(std::move(outcome.error()));
    fill_nexus(engine_, **nexus, *response.mutable_nexus());
    *response.mutable_snapshot_timestamp() = to_timestamp(now);
    for (const auto& replica : outcome->done) {
      auto& status = *response.add_replicas_done();
      status.set_replica_uuid(replica.replica_uuid);
      status.set_status_code(replica.error);
    }
    for (const std::string& uuid : outcome->skipped) response.add_replicas_skipped(uuid);
    co_return Result<>{};
  }

  // One by its UUID; those of a source, newest first; or all.
  std::vector<std::shared_ptr<pool::Replica>> wanted(const api::ListSnapshotsRequest& request) const {
    std::vector<std::shared_ptr<pool::Replica>> found;
    for (auto& volume : engine_.pools().volumes()) {
      if (!volume->is_snapshot()) continue;
      if (request.has_snapshot_uuid()) {
        if (volume->uuid().to_string() != request.snapshot_uuid()) continue;
      } else if (request.has_source_uuid() && volume->source_uuid() != request.source_uuid()) {
        continue;
      }
      const pool::SnapshotAttributes attributes = volume->snapshot_attributes();
      // The name is historic: true asks for the valid ones.
      if (request.query().has_invalid() && attributes.valid != request.query().invalid()) continue;
      if (request.query().has_discarded() && attributes.discarded != request.query().discarded()) continue;
      found.push_back(std::move(volume));
    }
    if (request.has_source_uuid() && !request.has_snapshot_uuid()) {
      std::ranges::sort(found, std::greater(),
                        [](const auto& snapshot) { return snapshot->snapshot_attributes().create_time; });
    }
    return found;
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_snapshot_service(Engine& engine) {
  return std::make_unique<SnapshotService>(engine);
}

}  // namespace cairn::engine
