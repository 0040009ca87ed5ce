// How a unary gRPC call becomes a task on the primary reactor.
#pragma once

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/duration.h"
#include "base/error.h"
#include "runtime/message.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

namespace cairn::engine {

// The status of the error's code with the text of its whole chain.
inline grpc::Status to_status(const Error& error) {
  return grpc::Status(static_cast<grpc::StatusCode>(error.code()), error.to_string());
}

// Answers a call that needs no reactor of ours.
inline grpc::ServerUnaryReactor* answer_now(grpc::CallbackServerContext* context, grpc::Status status) {
  auto* reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

// How long the caller waits, by its deadline; `otherwise` when it has none.
inline Duration patience_of(const grpc::CallbackServerContext& context, Duration otherwise) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return otherwise;
  const auto left = std::chrono::duration_cast<Duration>(deadline - std::chrono::system_clock::now());
  return std::clamp<Duration>(left, std::chrono::milliseconds(1), std::chrono::hours(24));
}

// One call under way; frees itself when it is answered. A client that goes away does not interrupt the work.
class UnaryCall {
 public:
  using Body = std::function<runtime::Task<Result<>>()>;

  // `name`: a string literal, for the stall detector. `body` runs on `reactor`; request and response of the call
  // outlive it.
  static grpc::ServerUnaryReactor* start(grpc::CallbackServerContext* context, runtime::Reactor& reactor,
                                         const char* name, Body body) {
    grpc::ServerUnaryReactor* answer = context->DefaultReactor();
    auto* call = new UnaryCall(answer, reactor, name, std::move(body));
    reactor.post(call->message_);  // from here on the call may be answered and gone
    return answer;
  }

 private:
  UnaryCall(grpc::ServerUnaryReactor* answer, runtime::Reactor& reactor, const char* name, Body body)
      : answer_(answer), body_(std::move(body)), message_([this, &reactor, name] { reactor.spawn(name, run()); }) {}

  runtime::Task<> run() {
    const Result<> result = co_await body_();
    answer_->Finish(result ? grpc::Status::OK : to_status(result.error()));
    delete this;
  }

  grpc::ServerUnaryReactor* answer_;
  Body body_;
  runtime::Message message_;
};

}  // namespace cairn::engine
