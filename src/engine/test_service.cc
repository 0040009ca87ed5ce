// mayastor.v1.TestRpc (shared reference: grpc-v1.md section 13).
#include <fmt/format.h>
#include <test.grpc.pb.h>

#include <atomic>

#include "engine/device_wipe.h"
#include "engine/engine.h"
#include "engine/grpc_call.h"
#include "engine/pool_messages.h"
#include "engine/services.h"
#include "runtime/task_waits.h"

namespace cairn::engine {

namespace {

namespace api = mayastor::v1;

// Which way a request asks for. INVALID_ARGUMENT for those that the original has not either.
Result<WipeMethod> wipe_method(const api::WipeOptions& options) {
  switch (options.wipe_method()) {
    case api::WipeOptions::NONE:
      return WipeMethod::kNone;
    case api::WipeOptions::WRITE_ZEROES:
      return WipeMethod::kWriteZeroes;
    case api::WipeOptions::CHECKSUM:
      if (options.cksum_alg() == api::WipeOptions::Crc32c) return WipeMethod::kChecksum;
      return fail(Code::kInvalidArgument, fmt::format("checksum algorithm {} is not known: Crc32c (0) is",
                                                      static_cast<int>(options.cksum_alg())));
    case api::WipeOptions::UNMAP:
      return fail(Code::kInvalidArgument, "Wipe Method Unmap not implemented");
    case api::WipeOptions::WRITE_PATTERN:
      return fail(Code::kInvalidArgument, "Wipe Method WritePattern not implemented");
    default:
      return fail(Code::kInvalidArgument,
                  fmt::format("wipe method {} is not known", static_cast<int>(options.wipe_method())));
  }
}

// One wipe under way: the work is a task of the primary reactor, each answer waits until gRPC took the one before.
// Frees itself when gRPC is done with it; the task's last act is Finish().
class WipeCall final : public grpc::ServerWriteReactor<api::WipeReplicaResponse> {
 public:
  WipeCall(Engine& engine, const api::WipeReplicaRequest& request)
      : engine_(engine),
        request_(request),
        begin_([this] { engine_.primary().spawn("replica wipe", run()); }),
        written_message_([this] { written_.set(); }) {
    engine_.primary().post(begin_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) cancelled_ = true;
    engine_.primary().post(written_message_);
  }
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  runtime::Task<> run() {
    const Result<> done = co_await wipe();
    Finish(done ? grpc::Status::OK : to_status(done.error()));
  }

  runtime::Task<Result<>> wipe() {
    const api::StreamWipeOptions& options = request_.wipe_options();
    auto named = named_pool(engine_, request_);
    if (!named) co_return fail(std::move(named.error()));
    auto replica = find_volume(engine_, request_.uuid());
    if (!replica) co_return fail(std::move(replica.error()));
    if (auto checked = check_on_pool(**replica, named->get()); !checked) co_return checked;
    const auto method = wipe_method(options.options());
    if (!method) co_return fail(method.error());
    auto plan = plan_wipe((*replica)->num_blocks(), (*replica)->block_size(), options.chunk_size());
    if (!plan) co_return fail(std::move(plan.error()));
    co_return co_await wipe_device(
        std::move(*replica), *method, *plan, [this](const WipeProgress& progress) { return tell(progress); },
        [this] { return cancelled_.load(); });
  }

  runtime::Task<Result<>> tell(const WipeProgress& progress) {
    response_.set_uuid(request_.uuid());
    response_.set_total_bytes(progress.total_bytes);
    response_.set_chunk_size(progress.chunk_size);
    response_.set_last_chunk_size(progress.last_chunk_size);
    response_.set_total_chunks(progress.total_chunks);
    response_.set_wiped_bytes(progress.wiped_bytes);
    response_.set_wiped_chunks(progress.wiped_chunks);
    response_.set_remaining_bytes(progress.total_bytes - progress.wiped_bytes);
    const auto seconds = std::chrono::floor<std::chrono::seconds>(progress.since);
    response_.mutable_since()->set_seconds(seconds.count());
    response_.mutable_since()->set_nanos(static_cast<int32_t>((progress.since - seconds).count()));
    if (progress.crc32c) response_.set_crc32(*progress.crc32c);
    written_.reset();
    StartWrite(&response_);
    static_cast<void>(co_await written_.wait_uninterrupted());
    if (cancelled_) co_return fail(Code::kAborted, "The wipe has been aborted");
    co_return Result<>{};
  }

  Engine& engine_;
  const api::WipeReplicaRequest request_;
  api::WipeReplicaResponse response_;
  std::atomic<bool> cancelled_{false};
  runtime::Event written_;
  runtime::Message begin_;
  runtime::Message written_message_;
};

class TestService final : public api::TestRpc::CallbackService {
 public:
  explicit TestService(Engine& engine) : engine_(engine) {}

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
    return new WipeCall(engine_, *request);
  }

  grpc::ServerUnaryReactor* AddFaultInjection(grpc::CallbackServerContext* context,
                                              const api::AddFaultInjectionRequest* request,
                                              google::protobuf::Empty*) override {
    return UnaryCall::start(
        context, engine_.primary(), "fault injection",
        [this, request]() -> runtime::Task<Result<>> { co_return engine_.registry().inject_fault(request->uri()); });
  }
  grpc::ServerUnaryReactor* RemoveFaultInjection(grpc::CallbackServerContext* context,
                                                 const api::RemoveFaultInjectionRequest* request,
                                                 google::protobuf::Empty*) override {
    return UnaryCall::start(
        context, engine_.primary(), "fault injection",
        [this, request]() -> runtime::Task<Result<>> { co_return engine_.registry().remove_fault(request->uri()); });
  }
  grpc::ServerUnaryReactor* ListFaultInjections(grpc::CallbackServerContext* context,
                                                const api::ListFaultInjectionsRequest*,
                                                api::ListFaultInjectionsReply* response) override {
    return UnaryCall::start(context, engine_.primary(), "fault injection",
                            [this, response]() -> runtime::Task<Result<>> {
                              for (const auto& fault : engine_.registry().faults()) {
                                api::FaultInjection& entry = *response->add_injections();
                                entry.set_uri(fault->uri());
                                entry.set_device_name(fault->device_name());
                                entry.set_is_active(fault->is_active(engine_.primary().now()));
                              }
                              co_return Result<>{};
                            });
  }

 private:
  Engine& engine_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_test_service(Engine& engine) {
  return std::make_unique<TestService>(engine);
}

}  // namespace cairn::engine
