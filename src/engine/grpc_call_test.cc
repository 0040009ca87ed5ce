// Calls that become tasks: many at once, from several threads of the server.
#include "engine/grpc_call.h"

#include <bdev.grpc.pb.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "runtime/reactor_group.h"

namespace cairn::engine {
namespace {

namespace api = mayastor::v1;

// Answers at once, on a reactor: often before the handler has returned.
class Service final : public api::BdevRpc::CallbackService {
 public:
  explicit Service(runtime::Reactor& reactor) : reactor_(reactor) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context, const api::CreateBdevRequest* request,
                                   api::CreateBdevResponse* response) override {
    return UnaryCall::start(context, reactor_, "create", [request, response]() -> runtime::Task<Result<>> {
      if (request->uri().empty()) co_return fail(Error(Code::kNotFound, "nothing", Error(Code::kInternal, "a cause")));
      response->mutable_bdev()->set_name(request->uri());
      co_return Result<>{};
    });
  }

 private:
  runtime::Reactor& reactor_;
};

class GrpcCallTest : public testing::Test {
 protected:
  void SetUp() override {
    runtime::ReactorGroupOptions options;
    options.buffer_pool_bytes = size_t{1} << 20;
    auto started = runtime::ReactorGroup::start(options);
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    reactors_ = std::move(*started);
    service_ = std::make_unique<Service>(reactors_->primary());
    server_ = grpc::ServerBuilder().RegisterService(service_.get()).BuildAndStart();
    stub_ = api::BdevRpc::NewStub(server_->InProcessChannel({}));
  }

  void TearDown() override {
    server_->Shutdown();
    server_->Wait();
    reactors_->stop();
  }

  grpc::Status create(const std::string& uri, api::CreateBdevResponse& response) {
    api::CreateBdevRequest request;
    request.set_uri(uri);
    grpc::ClientContext context;
    return stub_->Create(&context, request, &response);
  }

  std::unique_ptr<runtime::ReactorGroup> reactors_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<api::BdevRpc::Stub> stub_;
};

TEST_F(GrpcCallTest, AnswersManyCallsAtOnce) {
  constexpr int kThreads = 4, kCalls = 500;
  std::atomic<int> right{0};
  std::vector<std::jthread> callers;
  for (int caller = 0; caller < kThreads; ++caller) {
    callers.emplace_back([this, caller, &right] {
      for (int i = 0; i < kCalls; ++i) {
        const std::string uri = std::to_string(caller) + "/" + std::to_string(i);
        api::CreateBdevResponse response;
        if (create(uri, response).ok() && response.bdev().name() == uri) ++right;
      }
    });
  }
  callers.clear();
  EXPECT_EQ(right, kThreads * kCalls);
}

TEST_F(GrpcCallTest, TellsCodeAndCausesOfAnError) {
  api::CreateBdevResponse response;
  const grpc::Status status = create("", response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status.error_message(), "nothing: a cause");
}

}  // namespace
}  // namespace cairn::engine
