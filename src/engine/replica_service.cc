// mayastor.v1.ReplicaRpc (shared reference: grpc-v1.md section 4).
#include <fmt/format.h>
#include <replica.grpc.pb.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/pool_messages.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;
using google::protobuf::Empty;

Result<> check_share_protocol(api::ShareProtocol protocol) {
  if (protocol == api::NONE || protocol == api::NVMF) return {};
  return fail(Code::kInvalidArgument, fmt::format("share protocol {} is not supported: only NONE (0) and NVMF (1) are",
                                                  static_cast<int>(protocol)));
}

std::vector<std::string> hosts_of(const google::protobuf::RepeatedPtrField<std::string>& hosts) {
  return {hosts.begin(), hosts.end()};
}

class ReplicaService final : public api::ReplicaRpc::CallbackService {
 public:
  explicit ReplicaService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* CreateReplica(grpc::CallbackServerContext* context,
                                          const api::CreateReplicaRequest* request, api::Replica* response) override {
    return UnaryCall::start(context, engine_.primary(), "replica create",
                            [this, request, response] { return create(*request, *response); });
  }

  grpc::ServerUnaryReactor* DestroyReplica(grpc::CallbackServerContext* context,
                                           const api::DestroyReplicaRequest* request, Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "replica destroy",
                            [this, context, request]() -> runtime::Task<Result<>> {
                              auto destroyed = co_await destroy(*request);
                              // What the control plane knows a replica by that has been destroyed before.
                              if (!destroyed && destroyed.error().code() == Code::kNotFound)
                                context->AddTrailingMetadata("gtm-602", "0");
                              co_return destroyed;
                            });
  }

  grpc::ServerUnaryReactor* ListReplicas(grpc::CallbackServerContext* context, const api::ListReplicaOptions* request,
                                         api::ListReplicasResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "replica list",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              for (const auto& volume : engine_.pools().volumes()) {
                                if (is_wanted(*volume, *request))
                                  fill_replica(engine_, *volume, *response->add_replicas());
                              }
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* ShareReplica(grpc::CallbackServerContext* context, const api::ShareReplicaRequest* request,
                                         api::Replica* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "replica share", [this, request, response]() -> runtime::Task<Result<>> {
          if (auto checked = check_share_protocol(request->share()); !checked) co_return checked;
          auto replica = find_volume(engine_, request->uuid());
          if (!replica) co_return fail(std::move(replica.error()));
          if (request->share() == api::NVMF) {
            auto shared = co_await (*replica)->pool().share(*replica, hosts_of(request->allowed_hosts()));
            if (!shared) co_return shared;
          } else if (engine_.shares().is_shared((*replica)->name())) {
            co_return fail(Code::kInvalidArgument, "Invalid share protocol NONE");
          }
          fill_replica(engine_, **replica, *response);
          co_return Result<>{};
        });
  }

  grpc::ServerUnaryReactor* UnshareReplica(grpc::CallbackServerContext* context,
                                           const api::UnshareReplicaRequest* request, api::Replica* response) override {
    return change(context, "replica unshare", request->uuid(), response,
                  [](std::shared_ptr<pool::Replica> replica) { return replica->pool().unshare(replica); });
  }

  grpc::ServerUnaryReactor* ResizeReplica(grpc::CallbackServerContext* context,
                                          const api::ResizeReplicaRequest* request, api::Replica* response) override {
    return change(context, "replica resize", request->uuid(), response,
                  [request](std::shared_ptr<pool::Replica> replica) {
                    return replica->pool().resize_replica(replica, request->requested_size());
                  });
  }

  grpc::ServerUnaryReactor* SetReplicaEntityId(grpc::CallbackServerContext* context,
                                               const api::SetReplicaEntityIdRequest* request,
                                               api::Replica* response) override {
    return change(context, "replica set entity id", request->uuid(), response,
                  [request](std::shared_ptr<pool::Replica> replica) {
                    return replica->pool().set_entity_id(replica, request->entity_id());
                  });
  }

 private:
  // A change of a replica that is known by its UUID; answers with the replica as it is then.
  template <typename Change>
  grpc::ServerUnaryReactor* change(grpc::CallbackServerContext* context, const char* name, const std::string& uuid,
                                   api::Replica* response, Change apply) {
    return UnaryCall::start(context, engine_.primary(), name,
                            [this, &uuid, response, apply]() -> runtime::Task<Result<>> {
                              auto replica = find_volume(engine_, uuid);
                              if (!replica) co_return fail(std::move(replica.error()));
                              if (auto changed = co_await apply(*replica); !changed) co_return changed;
                              fill_replica(engine_, **replica, *response);
                              co_return Result<>{};
                            });
  }

  runtime::Task<Result<>> create(const api::CreateReplicaRequest& request, api::Replica& response) {
    if (auto checked = check_share_protocol(request.share()); !checked) co_return checked;
    auto uuid = Uuid::parse(request.uuid());
    if (!uuid) co_return fail(std::move(uuid.error()));
    auto pool = pool_by_uuid(engine_, request.pooluuid());
    if (!pool) pool = pool_by_name(engine_, request.pooluuid());
    if (!pool) co_return fail(std::move(pool.error()));
    pool::CreateReplicaRequest create{.name = request.name(),
                                      .uuid = *uuid,
                                      .size_bytes = request.size(),
                                      .thin = request.thin(),
                                      .entity_id = std::nullopt};
    if (request.has_entity_id()) create.entity_id = request.entity_id();
    auto created = co_await (*pool)->create_replica(std::move(create));
    if (!created) co_return fail(std::move(created.error()));
    std::shared_ptr<pool::Replica> replica = std::move(*created);
    if (request.share() == api::NVMF) {
      if (auto shared = co_await (*pool)->share(replica, hosts_of(request.allowed_hosts())); !shared) {
        if (auto destroyed = co_await (*pool)->destroy_replica(std::move(replica)); !destroyed)
          log::error("replica '{}', which could not be shared, stays: {}", request.name(),
                     destroyed.error().to_string());
        co_return shared;
      }
    }
    fill_replica(engine_, *replica, response);
    co_return Result<>{};
  }

  runtime::Task<Result<>> destroy(const api::DestroyReplicaRequest& request) {
    auto named = named_pool(engine_, request);
    if (!named) co_return fail(std::move(named.error()));
    auto replica = find_volume(engine_, request.uuid());
    if (!replica) co_return fail(std::move(replica.error()));
    if ((*replica)->is_snapshot())
      co_return fail(Code::kNotFound, fmt::format("Replica '{}' not found: it is a snapshot", request.uuid()));
    if (auto checked = check_on_pool(**replica, named->get()); !checked) co_return checked;
    pool::Pool& pool = (*replica)->pool();
    co_return co_await pool.destroy_replica(std::move(*replica));
  }

  static bool is_wanted(const pool::Replica& volume, const api::ListReplicaOptions& request) {
    if (request.has_name() && request.name().value() != volume.name()) return false;
    if (request.has_poolname() && request.poolname().value() != volume.pool().name()) return false;
    if (request.has_uuid() && request.uuid().value() != volume.uuid().to_string()) return false;
    if (request.has_pooluuid() && request.pooluuid().value() != volume.pool().uuid().to_string()) return false;
    if (!request.pooltypes().empty() &&
        std::ranges::find(request.pooltypes(), int{api::Lvs}) == request.pooltypes().end())
      return false;
    if (!request.has_query()) return true;
    const bool snapshot = volume.is_snapshot();
    const bool clone = volume.is_clone();
    return (request.query().replica() && !snapshot && !clone) || (request.query().snapshot() && snapshot) ||
           (request.query().clone() && clone);
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_replica_service(Engine& engine) {
  return std::make_unique<ReplicaService>(engine);
}

}  // namespace cairn::engine
