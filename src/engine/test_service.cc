// mayastor.v1.TestRpc (shared reference: grpc-v1.md section 13) as far as it concerns devices: there are no replicas to
// wipe yet, and fault injection is off, as in the original's release builds.
#include <fmt/format.h>
#include <test.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

class TestService final : public api::TestRpc::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetFeatures(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                        api::TestFeatures* response) override {
    response->add_wipe_methods(api::WipeOptions::NONE);
    response->add_wipe_methods(api::WipeOptions::WRITE_ZEROES);
    response->add_wipe_methods(api::WipeOptions::CHECKSUM);
    response->add_cksum_algs(api::WipeOptions::Crc32c);
    return answer_now(context, grpc::Status::OK);
  }

  grpc::ServerWriteReactor<api::WipeReplicaResponse>* WipeReplica(grpc::CallbackServerContext*,
                                                                  const api::WipeReplicaRequest* request) override {
    // The stream ends with the status; nothing is written.
    class Refusal final : public grpc::ServerWriteReactor<api::WipeReplicaResponse> {
     public:
      explicit Refusal(grpc::Status status) { Finish(std::move(status)); }
      void OnDone() override { delete this; }
    };
    if (request->pool_case() != api::WipeReplicaRequest::POOL_NOT_SET) {
      const std::string& pool =
          request->pool_case() == api::WipeReplicaRequest::kPoolName ? request->pool_name() : request->pool_uuid();
      return new Refusal(grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, fmt::format("Pool '{}' not found", pool)));
    }
    return new Refusal(
        grpc::Status(grpc::StatusCode::NOT_FOUND, fmt::format("Replica '{}' not found", request->uuid())));
  }

  grpc::ServerUnaryReactor* AddFaultInjection(grpc::CallbackServerContext* context,
                                              const api::AddFaultInjectionRequest*, google::protobuf::Empty*) override {
    return answer_now(context, injection_disabled());
  }
  grpc::ServerUnaryReactor* RemoveFaultInjection(grpc::CallbackServerContext* context,
                                                 const api::RemoveFaultInjectionRequest*,
                                                 google::protobuf::Empty*) override {
    return answer_now(context, injection_disabled());
  }
  grpc::ServerUnaryReactor* ListFaultInjections(grpc::CallbackServerContext* context,
                                                const api::ListFaultInjectionsRequest*,
                                                api::ListFaultInjectionsReply*) override {
    return answer_now(context, injection_disabled());
  }

 private:
  static grpc::Status injection_disabled() {
    return grpc::Status(grpc::StatusCode::UNIMPLEMENTED, "Fault injection feature is disabled");
  }
};

}  // namespace

std::unique_ptr<grpc::Service> make_test_service(Engine&) {
  return std::make_unique<TestService>();
}

}  // namespace cairn::engine
