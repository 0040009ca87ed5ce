// mayastor.v1.NexusRpc (shared reference: grpc-v1.md section 5). Calls that change a nexus have their turn, one after
// the other (nexus_turns.h); those that only look do not wait.
#include <fmt/format.h>
#include <nexus.grpc.pb.h>

#include <algorithm>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/nexus_messages.h"
#include "engine/services.h"
#include "nexus/nexus_error.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;
using google::protobuf::Empty;
using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;
using runtime::Task;
using NexusPtr = std::shared_ptr<nexus::Nexus>;

class NexusService final : public api::NexusRpc::CallbackService {
 public:
  explicit NexusService(Engine& engine) : engine_(engine) {}

  ServerUnaryReactor* CreateNexus(CallbackServerContext* context, const api::CreateNexusRequest* request,
                                  api::CreateNexusResponse* response) override {
    return in_turn(context, "nexus create", request->uuid(), [this, request, response]() -> Task<Result<>> {
      if (engine_.nexuses().find(request->name()) != nullptr)
        co_return fail(nexus::nexus_error::name_exists(request->name()));
      auto wanted = nexus_request(*request);
      if (!wanted) co_return fail(std::move(wanted.error()));
      auto created = co_await engine_.nexuses().create(std::move(*wanted));
      if (!created) co_return fail(std::move(created.error()));
      fill_nexus(engine_, **created, *response->mutable_nexus());
      co_return Result<>{};
    });
  }

  ServerUnaryReactor* DestroyNexus(CallbackServerContext* context, const api::DestroyNexusRequest* request,
                                   Empty*) override {
    return in_turn(context, "nexus destroy", request->uuid(), [this, request]() -> Task<Result<>> {
      auto found = find_nexus(engine_, request->uuid());
      Result<> destroyed;
      if (found) {
        destroyed = co_await engine_.destroy_nexus(std::move(*found));
        if (!destroyed) co_return destroyed;
      } else {
        destroyed = fail(std::move(found.error()));
      }
      if (const auto uuid = Uuid::parse(request->uuid()))
        engine_.shares().forget_reservations(Shares::reservation_file(*uuid));
      co_return destroyed;
    });
  }

  ServerUnaryReactor* ResizeNexus(CallbackServerContext* context, const api::ResizeNexusRequest* request,
                                  api::ResizeNexusResponse* response) override {
    return change(context, "nexus resize", request->uuid(), response,
                  [request](NexusPtr nexus) { return nexus->resize(request->requested_size()); });
  }

  ServerUnaryReactor* ListNexus(CallbackServerContext* context, const api::ListNexusOptions* request,
                                api::ListNexusResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "nexus list", [this, request, response]() -> Task<Result<>> {
      if (!request->has_name() && request->has_uuid()) {
        auto found = find_nexus(engine_, request->uuid().value());
        if (!found) co_return fail(std::move(found.error()));
        fill_nexus(engine_, **found, *response->add_nexus_list());
        co_return Result<>{};
      }
      for (const auto& nexus : engine_.nexuses().list()) {
        if (!request->has_name() || request->name().value() == nexus->name())
          fill_nexus(engine_, *nexus, *response->add_nexus_list());
      }
      co_return Result<>{};
    });
  }

  // ---- Children ----

  ServerUnaryReactor* AddChildNexus(CallbackServerContext* context, const api::AddChildNexusRequest* request,
                                    api::AddChildNexusResponse* response) override {
    return change(context, "nexus add child", request->uuid(), response,
                  [request](NexusPtr nexus) { return nexus->add_child(request->uri(), !request->norebuild()); });
  }

  ServerUnaryReactor* RemoveChildNexus(CallbackServerContext* context, const api::RemoveChildNexusRequest* request,
                                       api::RemoveChildNexusResponse* response) override {
    return change(context, "nexus remove child", request->uuid(), response,
                  [request](NexusPtr nexus) { return nexus->remove_child(request->uri()); });
  }

  ServerUnaryReactor* FaultNexusChild(CallbackServerContext* context, const api::FaultNexusChildRequest* request,
                                      api::FaultNexusChildResponse* response) override {
    return change(context, "nexus fault child", request->uuid(), response, [request](NexusPtr nexus) {
      return nexus->fault_child(request->uri(), nexus::FaultReason::kOfflinePermanent);
    });
  }

  ServerUnaryReactor* ChildOperation(CallbackServerContext* context, const api::ChildOperationRequest* request,
                                     api::ChildOperationResponse* response) override {
    return change(context, "nexus child operation", request->nexus_uuid(), response,
                  [request](NexusPtr nexus) { return operate(*nexus, *request); });
  }

  // ---- Export ----

  ServerUnaryReactor* PublishNexus(CallbackServerContext* context, const api::PublishNexusRequest* request,
                                   api::PublishNexusResponse* response) override {
    return change(context, "nexus publish", request->uuid(), response,
                  [this, request](NexusPtr nexus) { return publish(std::move(nexus), *request); });
  }

  ServerUnaryReactor* UnpublishNexus(CallbackServerContext* context, const api::UnpublishNexusRequest* request,
                                     api::UnpublishNexusResponse* response) override {
    return change(context, "nexus unpublish", request->uuid(), response, [this](NexusPtr nexus) -> Task<Result<>> {
      co_await engine_.shares().unshare_nexus(std::move(nexus));
      co_return Result<>{};
    });
  }

  ServerUnaryReactor* ShutdownNexus(CallbackServerContext* context, const api::ShutdownNexusRequest* request,
                                    api::ShutdownNexusResponse* response) override {
    return change(context, "nexus shutdown", request->uuid(), response,
                  [](NexusPtr nexus) { return nexus->shutdown(); });
  }

  ServerUnaryReactor* GetNvmeAnaState(CallbackServerContext* context, const api::GetNvmeAnaStateRequest* request,
                                      api::GetNvmeAnaStateResponse* response) override {
    return look(context, "nexus get ANA state", request->uuid(), [this, response](NexusPtr nexus) -> Task<Result<>> {
      auto exported = namespace_of(*nexus);
      if (!exported) co_return fail(std::move(exported.error()));
      response->set_ana_state(static_cast<api::NvmeAnaState>((*exported)->ana_state()));
      co_return Result<>{};
    });
  }

  // Waits for the I/O under way, so it takes no turn: the nexus may be destroyed meanwhile, which ends that I/O.
  ServerUnaryReactor* SetNvmeAnaState(CallbackServerContext* context, const api::SetNvmeAnaStateRequest* request,
                                      api::SetNvmeAnaStateResponse* response) override {
    return look(context, "nexus set ANA state", request->uuid(),
                [this, request, response](NexusPtr nexus) -> Task<Result<>> {
                  if (auto set = co_await set_ana_state(*nexus, request->ana_state()); !set) co_return set;
                  fill_nexus(engine_, *nexus, *response->mutable_nexus());
                  co_return Result<>{};
                });
  }

  // ---- Rebuilds ----

  ServerUnaryReactor* StartRebuild(CallbackServerContext* context, const api::StartRebuildRequest* request,
                                   api::StartRebuildResponse* response) override {
    return change(context, "rebuild start", request->nexus_uuid(), response,
                  [request](NexusPtr nexus) { return nexus->start_rebuild(request->uri()); });
  }

  ServerUnaryReactor* StopRebuild(CallbackServerContext* context, const api::StopRebuildRequest* request,
                                  api::StopRebuildResponse* response) override {
    return change(context, "rebuild stop", request->nexus_uuid(), response,
                  [request](NexusPtr nexus) -> Task<Result<>> { co_return nexus->stop_rebuild(request->uri()); });
  }

  ServerUnaryReactor* PauseRebuild(CallbackServerContext* context, const api::PauseRebuildRequest* request,
                                   api::PauseRebuildResponse* response) override {
    return change(context, "rebuild pause", request->nexus_uuid(), response,
                  [request](NexusPtr nexus) -> Task<Result<>> { co_return nexus->pause_rebuild(request->uri()); });
  }

  ServerUnaryReactor* ResumeRebuild(CallbackServerContext* context, const api::ResumeRebuildRequest* request,
                                    api::ResumeRebuildResponse* response) override {
    return change(context, "rebuild resume", request->nexus_uuid(), response,
                  [request](NexusPtr nexus) -> Task<Result<>> { co_return nexus->resume_rebuild(request->uri()); });
  }

  ServerUnaryReactor* GetRebuildState(CallbackServerContext* context, const api::RebuildStateRequest* request,
                                      api::RebuildStateResponse* response) override {
    return look(context, "rebuild state", request->nexus_uuid(), [request, response](NexusPtr nexus) -> Task<Result<>> {
      auto state = nexus->rebuild_state(request->uri());
      if (!state) co_return fail(std::move(state.error()));
      response->set_state(std::string(nexus::to_text(*state)));
      co_return Result<>{};
    });
  }

  ServerUnaryReactor* GetRebuildStats(CallbackServerContext* context, const api::RebuildStatsRequest* request,
                                      api::RebuildStatsResponse* response) override {
    return look(context, "rebuild stats", request->nexus_uuid(), [request, response](NexusPtr nexus) -> Task<Result<>> {
      auto statistics = nexus->rebuild_statistics(request->uri());
      if (!statistics) co_return fail(std::move(statistics.error()));
      fill_statistics(*statistics, *response);
      co_return Result<>{};
    });
  }

  ServerUnaryReactor* GetRebuildHistory(CallbackServerContext* context, const api::RebuildHistoryRequest* request,
                                        api::RebuildHistoryResponse* response) override {
    return look(context, "rebuild history", request->uuid(), [response](NexusPtr nexus) -> Task<Result<>> {
      response->set_uuid(nexus->nexus_uuid().to_string());
      response->set_name(nexus->name());
      for (const nexus::RebuildRecord& record : nexus->rebuild_history()) fill_record(record, *response->add_records());
      co_return Result<>{};
    });
  }

  ServerUnaryReactor* ListRebuildHistory(CallbackServerContext* context, const api::ListRebuildHistoryRequest* request,
                                         api::ListRebuildHistoryResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "rebuild histories",
                            [this, request, response]() -> Task<Result<>> {
                              list_histories(*request, *response);
                              co_return Result<>{};
                            });
  }

 private:
  // A call that has its turn with the nexus of that UUID, whether there is one or not.
  template <typename Body>
  ServerUnaryReactor* in_turn(CallbackServerContext* context, const char* name, const std::string& uuid, Body body) {
    return UnaryCall::start(context, engine_.primary(), name,
                            [this, &uuid, patience = patience_of(*context, NexusTurns::kPatience), body] {
                              return engine_.nexus_turns().run(uuid, patience, body);
                            });
  }

  // A change of the nexus of that UUID; answers with the nexus as it is then.
  template <typename Response, typename Change>
  ServerUnaryReactor* change(CallbackServerContext* context, const char* name, const std::string& uuid,
                             Response* response, Change apply) {
    return in_turn(context, name, uuid, [this, &uuid, response, apply]() -> Task<Result<>> {
      auto nexus = find_nexus(engine_, uuid);
      if (!nexus) co_return fail(std::move(nexus.error()));
      if (auto changed = co_await apply(*nexus); !changed) co_return changed;
      fill_nexus(engine_, **nexus, *response->mutable_nexus());
      co_return Result<>{};
    });
  }

  template <typename Body>
  ServerUnaryReactor* look(CallbackServerContext* context, const char* name, const std::string& uuid, Body body) {
    return UnaryCall::start(context, engine_.primary(), name, [this, &uuid, body]() -> Task<Result<>> {
      auto nexus = find_nexus(engine_, uuid);
      if (!nexus) co_return fail(std::move(nexus.error()));
      co_return co_await body(std::move(*nexus));
    });
  }

  static Task<Result<>> operate(nexus::Nexus& nexus, const api::ChildOperationRequest& request) {
    switch (request.action()) {
      case api::Offline:
        co_return co_await nexus.fault_child(request.uri(), nexus::FaultReason::kOffline);
      case api::Online:
        co_return co_await nexus.online_child(request.uri());
      case api::FaultIOError:
        co_return co_await nexus.fault_child(request.uri(), nexus::FaultReason::kIoError);
      case api::OfflinePermanent:
        co_return co_await nexus.fault_child(request.uri(), nexus::FaultReason::kOfflinePermanent);
      default:
        co_return fail(nexus::nexus_error::invalid_arguments(
            nexus.name(), fmt::format("child action {}: expected 0 (offline), 1 (online), 2 (I/O error) or 3 "
                                      "(offline for good)",
                                      static_cast<int>(request.action()))));
    }
  }

  Task<Result<>> publish(NexusPtr nexus, const api::PublishNexusRequest& request) {
    constexpr size_t kKeyBytes = 16;
    if (!request.key().empty() && request.key().size() != kKeyBytes) co_return fail(nexus::nexus_error::invalid_key());
    if (request.share() != api::NVMF)
      co_return fail(nexus::nexus_error::invalid_share_protocol(nexus->name(), static_cast<int>(request.share())));
    co_return co_await engine_.shares().share_nexus(std::move(nexus),
                                                    {request.allowed_hosts().begin(), request.allowed_hosts().end()});
  }

  Result<std::shared_ptr<nvmf::target::Namespace>> namespace_of(const nexus::Nexus& nexus) {
    const nvmf::target::Subsystem* subsystem = engine_.shares().find(nexus.name());
    if (subsystem == nullptr || subsystem->namespaces().empty())
      return fail(nexus::nexus_error::not_shared_nvmf(nexus.name()));
    return subsystem->namespaces().front();
  }

  Task<Result<>> set_ana_state(nexus::Nexus& nexus, api::NvmeAnaState state) {
    auto exported = namespace_of(nexus);
    if (!exported) co_return fail(std::move(exported.error()));
    if (state != api::NVME_ANA_OPTIMIZED_STATE && state != api::NVME_ANA_NON_OPTIMIZED_STATE &&
        state != api::NVME_ANA_INACCESSIBLE_STATE) {
      co_return fail(nexus::nexus_error::invalid_ana_state(nexus.name(), static_cast<int>(state)));
    }
    // The change waits for the I/O under way, which waits for good.
    if (auto allowed = nexus.check_operation(); !allowed) co_return allowed;
    const nvmf::target::Subsystem::Use use(*engine_.shares().find(nexus.name()));
    co_await (*exported)->set_ana_state(static_cast<nvmf::target::AnaState>(state));
    co_return Result<>{};
  }

  // Of each nexus the newest first.
  void list_histories(const api::ListRebuildHistoryRequest& request, api::ListRebuildHistoryResponse& response) {
    // As nanoseconds the years that a client may send would not fit into 64 bits.
    auto moment = [](const google::protobuf::Timestamp& time) { return std::pair(time.seconds(), time.nanos()); };
    const size_t limit = request.has_count() ? request.count() : SIZE_MAX;
    google::protobuf::Timestamp newest;
    for (const auto& nexus : engine_.nexuses().list()) {
      const auto& history = nexus->rebuild_history();
      api::RebuildHistoryResponse listed;
      for (auto record = history.rbegin(); record != history.rend(); ++record) {
        if (static_cast<size_t>(listed.records_size()) == limit) break;
        api::RebuildHistoryRecord shown;
        fill_record(*record, shown);
        if (request.has_since_end_time() && moment(shown.end_time()) <= moment(request.since_end_time())) continue;
        if (moment(shown.end_time()) > moment(newest)) newest = shown.end_time();
        *listed.add_records() = std::move(shown);
      }
      if (listed.records().empty()) continue;
      listed.set_uuid(nexus->nexus_uuid().to_string());
      listed.set_name(nexus->name());
      (*response.mutable_histories())[listed.uuid()] = std::move(listed);
    }
    *response.mutable_end_time() =
        response.histories().empty() ? to_timestamp(std::chrono::system_clock::now()) : newest;
  }

  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_nexus_service(Engine& engine) {
  return std::make_unique<NexusService>(engine);
}

}  // namespace cairn::engine
