#include "cli/io-engine-client/answering_engine.h"

#include <bdev.grpc.pb.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <host.grpc.pb.h>
#include <json.grpc.pb.h>
#include <nexus.grpc.pb.h>
#include <pool.grpc.pb.h>
#include <replica.grpc.pb.h>
#include <snapshot.grpc.pb.h>
#include <stats.grpc.pb.h>
#include <test.grpc.pb.h>

#include <map>

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;
using google::protobuf::Message;
using grpc::ServerContext;
using grpc::Status;

// What the services share. Handlers run on threads of the server.
class Script {
 public:
  void answer(const std::string& method, const Message& response) {
    const std::lock_guard lock(mutex_);
    answers_[method].push_back(response.SerializeAsString());
  }

  void refuse(const std::string& method, Status status) {
    const std::lock_guard lock(mutex_);
    refusals_[method] = std::move(status);
  }

  void record(const std::string& method, const Message& request) {
    google::protobuf::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    std::string text;
    printer.PrintToString(request, &text);
    if (text.ends_with(' ')) text.pop_back();
    const std::lock_guard lock(mutex_);
    requests_.push_back(method + (text.empty() ? "" : " ") + text);
  }

  bool next_answer(const std::string& method, Message& response) {
    const std::lock_guard lock(mutex_);
    auto& answers = answers_[method];
    if (answers.empty()) return false;
    EXPECT_TRUE(response.ParseFromString(answers.front())) << method;
    answers.pop_front();
    return true;
  }

  // OK unless the method is to be refused.
  Status refusal(const std::string& method) {
    const std::lock_guard lock(mutex_);
    const auto found = refusals_.find(method);
    if (found == refusals_.end()) return Status::OK;
    Status status = found->second;
    refusals_.erase(found);
    return status;
  }

  Status unary(const std::string& method, const Message& request, Message& response) {
    record(method, request);
    if (Status status = refusal(method); !status.ok()) return status;
    if (!next_answer(method, response)) return Status(grpc::INTERNAL, "no answer prepared for " + method);
    return Status::OK;
  }

  std::vector<std::string> take_requests() {
    const std::lock_guard lock(mutex_);
    return std::exchange(requests_, {});
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::deque<std::string>> answers_;
  std::map<std::string, Status> refusals_;
  std::vector<std::string> requests_;
};

class Bdevs final : public v1::BdevRpc::Service {
 public:
  explicit Bdevs(Script& script) : script_(script) {}

 private:
  Status Create(ServerContext*, const v1::CreateBdevRequest* request, v1::CreateBdevResponse* response) override {
    return script_.unary("BdevRpc/Create", *request, *response);
  }
  Status Destroy(ServerContext*, const v1::DestroyBdevRequest* request, Empty* response) override {
    return script_.unary("BdevRpc/Destroy", *request, *response);
  }
  Status List(ServerContext*, const v1::ListBdevOptions* request, v1::ListBdevResponse* response) override {
    return script_.unary("BdevRpc/List", *request, *response);
  }
  Status Share(ServerContext*, const v1::BdevShareRequest* request, v1::BdevShareResponse* response) override {
    return script_.unary("BdevRpc/Share", *request, *response);
  }
  Status Unshare(ServerContext*, const v1::BdevUnshareRequest* request, Empty* response) override {
    return script_.unary("BdevRpc/Unshare", *request, *response);
  }

  Script& script_;
};

class Host final : public v1::HostRpc::Service {
 public:
  explicit Host(Script& script) : script_(script) {}

 private:
  Status ListBlockDevices(ServerContext*, const v1::ListBlockDevicesRequest* request,
                          v1::ListBlockDevicesResponse* response) override {
    return script_.unary("HostRpc/ListBlockDevices", *request, *response);
  }
  Status GetMayastorResourceUsage(ServerContext*, const Empty* request,
                                  v1::GetMayastorResourceUsageResponse* response) override {
    return script_.unary("HostRpc/GetMayastorResourceUsage", *request, *response);
  }
  Status ListNvmeControllers(ServerContext*, const Empty* request, v1::ListNvmeControllersResponse* response) override {
    return script_.unary("HostRpc/ListNvmeControllers", *request, *response);
  }
  Status StatNvmeController(ServerContext*, const v1::StatNvmeControllerRequest* request,
                            v1::StatNvmeControllerResponse* response) override {
    return script_.unary("HostRpc/StatNvmeController", *request, *response);
  }

  Script& script_;
};

class Json final : public v1::JsonRpc::Service {
 public:
  explicit Json(Script& script) : script_(script) {}

 private:
  Status JsonRpcCall(ServerContext*, const v1::JsonRpcRequest* request, v1::JsonRpcResponse* response) override {
    return script_.unary("JsonRpc/JsonRpcCall", *request, *response);
  }

  Script& script_;
};

class Nexuses final : public v1::NexusRpc::Service {
 public:
  explicit Nexuses(Script& script) : script_(script) {}

 private:
  Status CreateNexus(ServerContext*, const v1::CreateNexusRequest* request,
                     v1::CreateNexusResponse* response) override {
    return script_.unary("NexusRpc/CreateNexus", *request, *response);
  }
  Status DestroyNexus(ServerContext*, const v1::DestroyNexusRequest* request, Empty* response) override {
    return script_.unary("NexusRpc/DestroyNexus", *request, *response);
  }
  Status ResizeNexus(ServerContext*, const v1::ResizeNexusRequest* request,
                     v1::ResizeNexusResponse* response) override {
    return script_.unary("NexusRpc/ResizeNexus", *request, *response);
  }
  Status ListNexus(ServerContext*, const v1::ListNexusOptions* request, v1::ListNexusResponse* response) override {
    return script_.unary("NexusRpc/ListNexus", *request, *response);
  }
  Status AddChildNexus(ServerContext*, const v1::AddChildNexusRequest* request,
                       v1::AddChildNexusResponse* response) override {
    return script_.unary("NexusRpc/AddChildNexus", *request, *response);
  }
  Status RemoveChildNexus(ServerContext*, const v1::RemoveChildNexusRequest* request,
                          v1::RemoveChildNexusResponse* response) override {
    return script_.unary("NexusRpc/RemoveChildNexus", *request, *response);
  }
  Status FaultNexusChild(ServerContext*, const v1::FaultNexusChildRequest* request,
                         v1::FaultNexusChildResponse* response) override {
    return script_.unary("NexusRpc/FaultNexusChild", *request, *response);
  }
  Status ShutdownNexus(ServerContext*, const v1::ShutdownNexusRequest* request,
                       v1::ShutdownNexusResponse* response) override {
    return script_.unary("NexusRpc/ShutdownNexus", *request, *response);
  }
  Status PublishNexus(ServerContext*, const v1::PublishNexusRequest* request,
                      v1::PublishNexusResponse* response) override {
    return script_.unary("NexusRpc/PublishNexus", *request, *response);
  }
  Status UnpublishNexus(ServerContext*, const v1::UnpublishNexusRequest* request,
                        v1::UnpublishNexusResponse* response) override {
    return script_.unary("NexusRpc/UnpublishNexus", *request, *response);
  }
  Status GetNvmeAnaState(ServerContext*, const v1::GetNvmeAnaStateRequest* request,
                         v1::GetNvmeAnaStateResponse* response) override {
    return script_.unary("NexusRpc/GetNvmeAnaState", *request, *response);
  }
  Status SetNvmeAnaState(ServerContext*, const v1::SetNvmeAnaStateRequest* request,
                         v1::SetNvmeAnaStateResponse* response) override {
    return script_.unary("NexusRpc/SetNvmeAnaState", *request, *response);
  }
  Status ChildOperation(ServerContext*, const v1::ChildOperationRequest* request,
                        v1::ChildOperationResponse* response) override {
    return script_.unary("NexusRpc/ChildOperation", *request, *response);
  }
  Status StartRebuild(ServerContext*, const v1::StartRebuildRequest* request,
                      v1::StartRebuildResponse* response) override {
    return script_.unary("NexusRpc/StartRebuild", *request, *response);
  }
  Status StopRebuild(ServerContext*, const v1::StopRebuildRequest* request,
                     v1::StopRebuildResponse* response) override {
    return script_.unary("NexusRpc/StopRebuild", *request, *response);
  }
  Status PauseRebuild(ServerContext*, const v1::PauseRebuildRequest* request,
                      v1::PauseRebuildResponse* response) override {
    return script_.unary("NexusRpc/PauseRebuild", *request, *response);
  }
  Status ResumeRebuild(ServerContext*, const v1::ResumeRebuildRequest* request,
                       v1::ResumeRebuildResponse* response) override {
    return script_.unary("NexusRpc/ResumeRebuild", *request, *response);
  }
  Status GetRebuildState(ServerContext*, const v1::RebuildStateRequest* request,
                         v1::RebuildStateResponse* response) override {
    return script_.unary("NexusRpc/GetRebuildState", *request, *response);
  }
  Status GetRebuildStats(ServerContext*, const v1::RebuildStatsRequest* request,
                         v1::RebuildStatsResponse* response) override {
    return script_.unary("NexusRpc/GetRebuildStats", *request, *response);
  }
  Status GetRebuildHistory(ServerContext*, const v1::RebuildHistoryRequest* request,
                           v1::RebuildHistoryResponse* response) override {
    return script_.unary("NexusRpc/GetRebuildHistory", *request, *response);
  }

  Script& script_;
};

class Pools final : public v1::PoolRpc::Service {
 public:
  explicit Pools(Script& script) : script_(script) {}

 private:
  Status CreatePool(ServerContext*, const v1::CreatePoolRequest* request, v1::Pool* response) override {
    return script_.unary("PoolRpc/CreatePool", *request, *response);
  }
  Status DestroyPool(ServerContext*, const v1::DestroyPoolRequest* request, Empty* response) override {
    return script_.unary("PoolRpc/DestroyPool", *request, *response);
  }
  Status ExportPool(ServerContext*, const v1::ExportPoolRequest* request, Empty* response) override {
    return script_.unary("PoolRpc/ExportPool", *request, *response);
  }
  Status ImportPool(ServerContext*, const v1::ImportPoolRequest* request, v1::Pool* response) override {
    return script_.unary("PoolRpc/ImportPool", *request, *response);
  }
  Status ListPools(ServerContext*, const v1::ListPoolOptions* request, v1::ListPoolsResponse* response) override {
    return script_.unary("PoolRpc/ListPools", *request, *response);
  }
  Status GrowPool(ServerContext*, const v1::GrowPoolRequest* request, v1::GrowPoolResponse* response) override {
    return script_.unary("PoolRpc/GrowPool", *request, *response);
  }

  Script& script_;
};

class Replicas final : public v1::ReplicaRpc::Service {
 public:
  explicit Replicas(Script& script) : script_(script) {}

 private:
  Status CreateReplica(ServerContext*, const v1::CreateReplicaRequest* request, v1::Replica* response) override {
    return script_.unary("ReplicaRpc/CreateReplica", *request, *response);
  }
  Status DestroyReplica(ServerContext*, const v1::DestroyReplicaRequest* request, Empty* response) override {
    return script_.unary("ReplicaRpc/DestroyReplica", *request, *response);
  }
  Status ListReplicas(ServerContext*, const v1::ListReplicaOptions* request,
                      v1::ListReplicasResponse* response) override {
    return script_.unary("ReplicaRpc/ListReplicas", *request, *response);
  }
  Status ShareReplica(ServerContext*, const v1::ShareReplicaRequest* request, v1::Replica* response) override {
    return script_.unary("ReplicaRpc/ShareReplica", *request, *response);
  }
  Status UnshareReplica(ServerContext*, const v1::UnshareReplicaRequest* request, v1::Replica* response) override {
    return script_.unary("ReplicaRpc/UnshareReplica", *request, *response);
  }
  Status ResizeReplica(ServerContext*, const v1::ResizeReplicaRequest* request, v1::Replica* response) override {
    return script_.unary("ReplicaRpc/ResizeReplica", *request, *response);
  }

  Script& script_;
};

class Snapshots final : public v1::SnapshotRpc::Service {
 public:
  explicit Snapshots(Script& script) : script_(script) {}

 private:
  Status CreateReplicaSnapshot(ServerContext*, const v1::CreateReplicaSnapshotRequest* request,
                               v1::CreateReplicaSnapshotResponse* response) override {
    return script_.unary("SnapshotRpc/CreateReplicaSnapshot", *request, *response);
  }
  Status ListSnapshot(ServerContext*, const v1::ListSnapshotsRequest* request,
                      v1::ListSnapshotsResponse* response) override {
    return script_.unary("SnapshotRpc/ListSnapshot", *request, *response);
  }
  Status DestroySnapshot(ServerContext*, const v1::DestroySnapshotRequest* request, Empty* response) override {
    return script_.unary("SnapshotRpc/DestroySnapshot", *request, *response);
  }
  Status CreateSnapshotClone(ServerContext*, const v1::CreateSnapshotCloneRequest* request,
                             v1::Replica* response) override {
    return script_.unary("SnapshotRpc/CreateSnapshotClone", *request, *response);
  }
  Status ListSnapshotClone(ServerContext*, const v1::ListSnapshotCloneRequest* request,
                           v1::ListSnapshotCloneResponse* response) override {
    return script_.unary("SnapshotRpc/ListSnapshotClone", *request, *response);
  }

  Script& script_;
};

class Stats final : public v1::StatsRpc::Service {
 public:
  explicit Stats(Script& script) : script_(script) {}

 private:
  Status GetPoolIoStats(ServerContext*, const v1::ListStatsOption* request,
                        v1::PoolIoStatsResponse* response) override {
    return script_.unary("StatsRpc/GetPoolIoStats", *request, *response);
  }
  Status GetNexusIoStats(ServerContext*, const v1::ListStatsOption* request,
                         v1::NexusIoStatsResponse* response) override {
    return script_.unary("StatsRpc/GetNexusIoStats", *request, *response);
  }
  Status GetReplicaIoStats(ServerContext*, const v1::ListStatsOption* request,
                           v1::ReplicaIoStatsResponse* response) override {
    return script_.unary("StatsRpc/GetReplicaIoStats", *request, *response);
  }
  Status ResetIoStats(ServerContext*, const Empty* request, Empty* response) override {
    return script_.unary("StatsRpc/ResetIoStats", *request, *response);
  }

  Script& script_;
};

class Test final : public v1::TestRpc::Service {
 public:
  explicit Test(Script& script) : script_(script) {}

 private:
  Status GetFeatures(ServerContext*, const Empty* request, v1::TestFeatures* response) override {
    return script_.unary("TestRpc/GetFeatures", *request, *response);
  }
  Status WipeReplica(ServerContext*, const v1::WipeReplicaRequest* request,
                     grpc::ServerWriter<v1::WipeReplicaResponse>* writer) override {
    script_.record("TestRpc/WipeReplica", *request);
    v1::WipeReplicaResponse response;
    while (script_.next_answer("TestRpc/WipeReplica", response)) writer->Write(response);
    return script_.refusal("TestRpc/WipeReplica");
  }
  Status AddFaultInjection(ServerContext*, const v1::AddFaultInjectionRequest* request, Empty* response) override {
    return script_.unary("TestRpc/AddFaultInjection", *request, *response);
  }
  Status RemoveFaultInjection(ServerContext*, const v1::RemoveFaultInjectionRequest* request,
                              Empty* response) override {
    return script_.unary("TestRpc/RemoveFaultInjection", *request, *response);
  }
  Status ListFaultInjections(ServerContext*, const v1::ListFaultInjectionsRequest* request,
                             v1::ListFaultInjectionsReply* response) override {
    return script_.unary("TestRpc/ListFaultInjections", *request, *response);
  }

  Script& script_;
};

}  // namespace

struct AnsweringEngine::Server {
  Script script;
  Bdevs bdevs{script};
  Host host{script};
  Json json{script};
  Nexuses nexuses{script};
  Pools pools{script};
  Replicas replicas{script};
  Snapshots snapshots{script};
  Stats stats{script};
  Test test{script};
  int port = 0;
  std::unique_ptr<grpc::Server> server;
};

AnsweringEngine::AnsweringEngine() : server_(std::make_unique<Server>()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &server_->port);
  builder.RegisterService(&server_->bdevs);
  builder.RegisterService(&server_->host);
  builder.RegisterService(&server_->json);
  builder.RegisterService(&server_->nexuses);
  builder.RegisterService(&server_->pools);
  builder.RegisterService(&server_->replicas);
  builder.RegisterService(&server_->snapshots);
  builder.RegisterService(&server_->stats);
  builder.RegisterService(&server_->test);
  server_->server = builder.BuildAndStart();
  EXPECT_NE(server_->server, nullptr);
}

AnsweringEngine::~AnsweringEngine() = default;

std::string AnsweringEngine::address() const {
  return "127.0.0.1:" + std::to_string(server_->port);
}

void AnsweringEngine::answer(const std::string& method, const Message& response) {
  server_->script.answer(method, response);
}

void AnsweringEngine::refuse(const std::string& method, int grpc_status, const std::string& message) {
  server_->script.refuse(method, Status(static_cast<grpc::StatusCode>(grpc_status), message));
}

std::vector<std::string> AnsweringEngine::take_requests() {
  return server_->script.take_requests();
}

}  // namespace cairn::cli
