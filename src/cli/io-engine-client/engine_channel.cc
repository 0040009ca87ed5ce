#include "cli/io-engine-client/engine_channel.h"

#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <chrono>

namespace cairn::cli {
namespace {

using google::protobuf::MessageLite;

// As long as gRPC itself gives one attempt to connect.
constexpr std::chrono::seconds kConnectTimeout(20);
// A list of some hundred thousand entries; the library's default of 4 MiB ends at a few thousand.
constexpr int kMaxResponseBytes = 256 << 20;

Result<> to_result(const grpc::Status& status) {
  if (status.ok()) return {};
  const auto number = static_cast<int>(status.error_code());
  const bool known = number >= static_cast<int>(Code::kCancelled) && number <= static_cast<int>(Code::kDataLoss);
  return fail(known ? static_cast<Code>(number) : Code::kUnknown, status.error_message());
}

// Runs one operation of a call after the other: a queue of its own, on which nothing else ever completes.
class Steps {
 public:
  ~Steps() {
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  grpc::CompletionQueue* queue() { return &queue_; }

  // Waits for the operation just started with tag(). False: it failed, the status will tell.
  bool finish() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }
  void* tag() { return this; }

 private:
  grpc::CompletionQueue queue_;
};

}  // namespace

struct EngineChannel::Connection {
  std::shared_ptr<grpc::Channel> channel;
  grpc::TemplatedGenericStub<MessageLite, MessageLite> stub{channel};
};

EngineChannel::EngineChannel(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
EngineChannel::EngineChannel(EngineChannel&&) noexcept = default;
EngineChannel& EngineChannel::operator=(EngineChannel&&) noexcept = default;
EngineChannel::~EngineChannel() = default;

Result<EngineChannel> EngineChannel::connect(const Endpoint& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY,
                   0);  // an engine is reached directly, whatever the shell's proxy settings
  arguments.SetMaxReceiveMessageSize(kMaxResponseBytes);
  auto channel = grpc::CreateCustomChannel(endpoint.authority(), grpc::InsecureChannelCredentials(), arguments);

  const auto deadline = std::chrono::system_clock::now() + kConnectTimeout;
  for (auto state = channel->GetState(true); state != GRPC_CHANNEL_READY; state = channel->GetState(true)) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE) {
      // The state does not tell why; a call that does not wait for the connection does.
      EngineChannel probe(std::make_unique<Connection>(Connection{channel}));
      google::protobuf::Empty request;
      google::protobuf::Empty response;
      const Result<> called = probe.call("mayastor.v1.HostRpc/GetMayastorInfo", request, response);
      if (!called && called.error().code() == Code::kUnavailable) return fail(called.error());
    } else if (!channel->WaitForStateChange(state, deadline)) {
      return fail(Code::kUnavailable, fmt::format("no connection within {} s", kConnectTimeout.count()));
    }
  }
  return EngineChannel(std::make_unique<Connection>(Connection{std::move(channel)}));
}

Result<> EngineChannel::call(const std::string& method, const MessageLite& request, MessageLite& response) {
  grpc::ClientContext context;
  grpc::Status status;
  Steps steps;
  auto reader = connection_->stub.PrepareUnaryCall(&context, "/" + method, request, steps.queue());
  reader->StartCall();
  reader->Finish(&response, &status, steps.tag());
  steps.finish();
  return to_result(status);
}

Result<> EngineChannel::call_streaming(const std::string& method, const MessageLite& request, MessageLite& response,
                                       const std::function<void()>& on_response) {
  grpc::ClientContext context;
  Steps steps;
  auto stream = connection_->stub.PrepareCall(&context, "/" + method, steps.queue());
  stream->StartCall(steps.tag());
  bool open = steps.finish();
  if (open) {
    stream->WriteLast(request, grpc::WriteOptions(), steps.tag());
    open = steps.finish();
  }
  while (open) {
    stream->Read(&response, steps.tag());
    open = steps.finish();
    if (open) on_response();
  }
  grpc::Status status;
  stream->Finish(&status, steps.tag());
  steps.finish();
  return to_result(status);
}

}  // namespace cairn::cli
