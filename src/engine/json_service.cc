// mayastor.v1.JsonRpc (shared reference: grpc-v1.md section 9): the JSON-RPC methods over gRPC.
#include <json.grpc.pb.h>

#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/json_rpc_methods.h"
#include "engine/services.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

Code code_of(int json_rpc_error) {
  switch (json_rpc_error) {
    case JsonRpcError::kInvalidParams:
      return Code::kInvalidArgument;
    case JsonRpcError::kNotFound:
      return Code::kNotFound;
    case JsonRpcError::kExists:
      return Code::kAlreadyExists;
    default:
      return Code::kInternal;
  }
}

class JsonService final : public api::JsonRpc::CallbackService {
 public:
  explicit JsonService(Engine& engine) : engine_(engine) {}

  grpc::ServerUnaryReactor* JsonRpcCall(grpc::CallbackServerContext* context, const api::JsonRpcRequest* request,
                                        api::JsonRpcResponse* response) override {
    return UnaryCall::start(context, engine_.primary(), "json rpc",
                            [this, request, response]() -> runtime::Task<Result<>> {
                              auto parameters = nlohmann::json::object();
                              if (!request->params().empty()) {
                                parameters = nlohmann::json::parse(request->params(), nullptr, false);
                                if (parameters.is_discarded())
                                  co_return fail(Code::kInternal, "the parameters are not JSON");
                              }
                              auto result = co_await call_json_rpc(engine_, request->method(), std::move(parameters));
                              if (!result) co_return fail(code_of(result.error().code), result.error().message);
                              response->set_result(result->dump(2));
                              co_return Result<>{};
                            });
  }

 private:
  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_json_service(Engine& engine) {
  return std::make_unique<JsonService>(engine);
}

}  // namespace cairn::engine
