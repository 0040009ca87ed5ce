#include "etcd/etcd_client.h"

#include <etcd_kv.grpc.pb.h>
#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "base/log.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::etcd {

namespace pb = etcdserverpb;
using runtime::Reactor;
using runtime::Task;

namespace {

// gRPC's own attempts to connect to a member that is away.
constexpr int kFirstBackOffMs = 100;
constexpr int kLongestBackOffMs = 1000;
constexpr int kConnectTimeoutMs = 2000;

// Whether another member may well answer.
bool is_the_members(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNAVAILABLE || code == grpc::StatusCode::DEADLINE_EXCEEDED ||
         code == grpc::StatusCode::UNKNOWN || code == grpc::StatusCode::INTERNAL;
}

Error to_error(const grpc::Status& status, const std::string& endpoint) {
  return {static_cast<Code>(status.error_code()), fmt::format("etcd at {}: {}", endpoint, status.error_message())};
}

}  // namespace

struct Client::Member {
  std::string endpoint;
  std::shared_ptr<pb::KV::Stub> stub;  // operations under way keep theirs
};

Client::Client(ClientOptions options) : options_(std::move(options)) {
  CAIRN_CHECK(!options_.endpoints.empty());
  for (const std::string& endpoint : options_.endpoints) {
    members_.push_back(std::make_unique<Member>());
    members_.back()->endpoint = endpoint;
    connect(*members_.back());
  }
}

Client::~Client() = default;

void Client::connect(Member& member) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstBackOffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kLongestBackOffMs);
  // A new channel is to be a new connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  member.stub =
      pb::KV::NewStub(grpc::CreateCustomChannel(member.endpoint, grpc::InsecureChannelCredentials(), arguments));
}

// `start(stub, context, request, response, done)` begins the call at one member.
template <typename Request, typename Response, typename Start>
Task<Result<>> Client::call(const Request& request, Response& response, Start start) {
  Reactor& reactor = Reactor::current();
  const TimePoint end = reactor.now() + options_.timeout;
  const size_t first = preferred_;
  Error failure(Code::kUnavailable, "no etcd member");
  for (size_t tried = 0; tried < members_.size(); ++tried) {
    const size_t index = (first + tried) % members_.size();
    Member& member = *members_[index];
    const Duration share = std::max<Duration>((end - reactor.now()) / (members_.size() - tried), Duration(1));
    const std::shared_ptr<pb::KV::Stub> stub = member.stub;
    response.Clear();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::system_clock::duration>(share));
    grpc::Status status;
    runtime::Event done;
    runtime::Message answered([&done] { done.set(); });
    start(*stub, &context, &request, &response, [&](grpc::Status result) {
      status = std::move(result);
      reactor.post(answered);
    });
    if (auto waited = co_await done.wait(); !waited) {
      context.TryCancel();
      static_cast<void>(co_await done.wait_uninterrupted());
      co_return fail(std::move(waited.error()));
    }
    if (status.ok()) {
      if (index != preferred_) log::info("etcd: using the member at {}", member.endpoint);
      preferred_ = index;
      co_return Result<>{};
    }
    failure = to_error(status, member.endpoint);
    if (!is_the_members(status.error_code())) break;
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && member.stub == stub) connect(member);
  }
  co_return fail(std::move(failure));
}

Task<Result<KeyValue>> Client::get(std::string key) {
  pb::RangeRequest request;
  request.set_key(key);
  pb::RangeResponse response;
  auto called = co_await call(
      request, response, [](pb::KV::Stub& stub, auto... arguments) { stub.async()->Range(std::move(arguments)...); });
  if (!called) co_return fail(std::move(called.error()));
  if (response.kvs_size() == 0) co_return fail(Code::kNotFound, fmt::format("Entry with key {} not found.", key));
  co_return KeyValue{.value = response.kvs(0).value(), .revision = response.kvs(0).mod_revision()};
}

Task<Result<ConditionalPut>> Client::put_if(std::string key, std::string value, int64_t expected) {
  pb::TxnRequest request;
  pb::Compare& compare = *request.add_compare();
  compare.set_result(pb::Compare::EQUAL);
  compare.set_target(pb::Compare::MOD);
  compare.set_key(key);
  compare.set_mod_revision(expected);
  pb::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(std::move(value));
  request.add_failure()->mutable_request_range()->set_key(std::move(key));
  pb::TxnResponse response;
  auto called = co_await call(
      request, response, [](pb::KV::Stub& stub, auto... arguments) { stub.async()->Txn(std::move(arguments)...); });
  if (!called) co_return fail(std::move(called.error()));
  if (response.succeeded())
    co_return ConditionalPut{.done = true, .revision = response.header().revision(), .value = {}};
  ConditionalPut result;
  if (response.responses_size() > 0 && response.responses(0).response_range().kvs_size() > 0) {
    const pb::KeyValue& present = response.responses(0).response_range().kvs(0);
    result.revision = present.mod_revision();
    result.value = present.value();
  }
  co_return result;
}

}  // namespace cairn::etcd
