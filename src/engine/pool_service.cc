// mayastor.v1.PoolRpc (shared reference: grpc-v1.md section 3).
#include <fmt/format.h>
#include <pool.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/pool_messages.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;
using google::protobuf::Empty;

// What create and import have in common.
struct DiskRequest {
  std::optional<Uuid> uuid;
  std::vector<std::string> disks;
};
template <typename Request>
Result<DiskRequest> disk_request(const Request& request) {
  if (auto checked = check_pool_type(request.pooltype()); !checked) return fail(std::move(checked.error()));
  auto uuid = parse_optional_uuid(request.has_uuid(), request.uuid().value());
  if (!uuid) return fail(std::move(uuid.error()));
  return DiskRequest{*uuid, {request.disks().begin(), request.disks().end()}};
}

class PoolService final : public api::PoolRpc::CallbackService {
 public:
  explicit PoolService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* CreatePool(grpc::CallbackServerContext* context, const api::CreatePoolRequest* request,
                                       api::Pool* response) override {
    return UnaryCall::start(context, engine_.primary(), "pool create",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              auto disk = disk_request(*request);
                              if (!disk) co_return fail(std::move(disk.error()));
                              pool::CreatePoolRequest create{.name = request->name(),
                                                             .uuid = disk->uuid,
                                                             .disks = std::move(disk->disks),
                                                             .cluster_size = std::nullopt,
                                                             .md_resv_ratio = std::nullopt};
                              create.overwrite = request->overwrite();
                              if (request->has_cluster_size()) create.cluster_size = request->cluster_size();
                              if (request->md_args().has_md_resv_ratio())
                                create.md_resv_ratio = request->md_args().md_resv_ratio();
                              auto created = co_await engine_.pools().create(std::move(create));
                              if (!created) co_return fail(std::move(created.error()));
                              fill_pool(created->pool->info(), *response);
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* ImportPool(grpc::CallbackServerContext* context, const api::ImportPoolRequest* request,
                                       api::Pool* response) override {
    return UnaryCall::start(
        context, engine_.primary(), "pool import", [this, request, response]() -> runtime::Task<Result<>> {
          auto disk = disk_request(*request);
          if (!disk) co_return fail(std::move(disk.error()));
          auto imported = co_await engine_.pools().import({request->name(), disk->uuid, std::move(disk->disks)});
          if (!imported) co_return fail(std::move(imported.error()));
          fill_pool((*imported)->info(), *response);
          co_return Result<>{};
        });
  }

  grpc::ServerUnaryReactor* DestroyPool(grpc::CallbackServerContext* context, const api::DestroyPoolRequest* request,
                                        Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "pool destroy", [this, request]() -> runtime::Task<Result<>> {
      if (auto checked = check_loaded(*request); !checked) co_return checked;
      co_return co_await engine_.pools().destroy(request->name());
    });
  }

  grpc::ServerUnaryReactor* ExportPool(grpc::CallbackServerContext* context, const api::ExportPoolRequest* request,
                                       Empty*) override {
    return UnaryCall::start(context, engine_.primary(), "pool export", [this, request]() -> runtime::Task<Result<>> {
      if (auto checked = check_loaded(*request); !checked) co_return checked;
      co_return co_await engine_.pools().export_pool(request->name());
    });
  }

  grpc::ServerUnaryReactor* GrowPool(grpc::CallbackServerContext* context, const api::GrowPoolRequest* request,
                                     api::GrowPoolResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "pool grow",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              if (auto checked = check_loaded(*request); !checked) co_return checked;
                              auto grown = co_await engine_.pools().grow(request->name());
                              if (!grown) co_return fail(std::move(grown.error()));
                              fill_pool(grown->before, *response->mutable_previous_pool());
                              fill_pool(grown->after, *response->mutable_current_pool());
                              co_return Result<>{};
                            });
  }

  grpc::ServerUnaryReactor* ListPools(grpc::CallbackServerContext* context, const api::ListPoolOptions* request,
                                      api::ListPoolsResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "pool list",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              if (request->has_pooltype()) {
                                if (auto checked = check_pool_type(request->pooltype().value()); !checked)
                                  co_return checked;
                              }
                              for (const auto& pool : engine_.pools().list()) {
                                if (is_wanted(*pool, *request)) fill_pool(pool->info(), *response->add_pools());
                              }
                              co_return Result<>{};
                            });
  }

 private:
  // The UUID counts only where no name is given.
  static bool is_wanted(const pool::Pool& pool, const api::ListPoolOptions& request) {
    if (request.has_name()) return request.name().value() == pool.name();
    return !request.has_uuid() || request.uuid().value() == pool.uuid().to_string();
  }

  // By name, and by UUID if that is given too. NOT_FOUND.
  template <typename Request>
  Result<> check_loaded(const Request& request) const {
    const auto found = engine_.pools().find(request.name());
    if (found == nullptr) return fail(Code::kNotFound, fmt::format("Pool '{}' not found", request.name()));
    if (request.has_uuid() && request.uuid().value() != found->uuid().to_string()) {
      return fail(Code::kNotFound, fmt::format("Pool '{}' of UUID {} not found: it has UUID {}", request.name(),
                                               request.uuid().value(), found->uuid().to_string()));
    }
    return {};
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_pool_service(Engine& engine) {
  return std::make_unique<PoolService>(engine);
}

}  // namespace cairn::engine
