#include "engine/json_rpc_server.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "engine/engine.h"
#include "engine/json_rpc_framing.h"
#include "engine/json_rpc_methods.h"
#include "runtime/backend.h"

namespace cairn::engine {

namespace {

nlohmann::json error_reply(const nlohmann::json& id, const JsonRpcError& error) {
  return {{"jsonrpc", "2.0"}, {"id", id}, {"error", {{"code", error.code}, {"message", error.message}}}};
}

}  // namespace

// One client. Requests are answered one at a time, in order; while one is being served nothing more is read.
class JsonRpcConnection final : public ListLink<>, public runtime::StreamHandler {
 public:
  JsonRpcConnection(Engine& engine, std::unique_ptr<runtime::Stream> stream)
      : engine_(engine), stream_(std::move(stream)) {
    reply_op_.complete = [](runtime::SendOp& op, int) { static_cast<ReplyOp&>(op).self->reply_sent_.set(); };
    reply_op_.self = this;
  }

  runtime::Task<> run() {
    stream_->start(*this);
    while (!closed_.is_set()) {
      if (auto text = framing_.next_request()) {
        co_await answer(std::move(*text));
        continue;
      }
      if (framing_.overflowed()) {
        log::warn("JSON-RPC: a request longer than {} bytes; the connection is closed",
                  JsonRpcFraming::kMaxRequestBytes);
        close();
        break;
      }
      stream_->resume();
      arrived_.reset();
      if (!co_await arrived_.wait()) close();
    }
    co_await closed_.wait_uninterrupted();
  }

  void close() { stream_->close(); }

  void on_receive(std::span<const std::byte> data) override {
    framing_.add({reinterpret_cast<const char*>(data.data()), data.size()});
    stream_->pause();
    arrived_.set();
  }
  void on_closed(const Error&) override {
    closed_.set();
    arrived_.set();
  }

 private:
  struct ReplyOp : runtime::SendOp {
    JsonRpcConnection* self = nullptr;
  };

  runtime::Task<> answer(std::string text) {
    const auto request = nlohmann::json::parse(text, nullptr, false);
    nlohmann::json reply;
    if (request.is_discarded()) {
      reply = error_reply(nullptr, {JsonRpcError::kParse, "the request is not JSON"});
    } else if (!request.is_object() || !request.contains("method") || !request["method"].is_string()) {
      reply = error_reply(nullptr, {JsonRpcError::kInvalidRequest, "a request is an object with a method"});
    } else {
      const auto id = request.value("id", nlohmann::json());
      auto result = co_await call_json_rpc(engine_, request["method"].get<std::string>(),
                                           request.value("params", nlohmann::json()));
      if (!request.contains("id")) co_return;  // a notification
      if (result) {
        reply = {{"jsonrpc", "2.0"}, {"id", id}, {"result", std::move(*result)}};
      } else {
        reply = error_reply(id, result.error());
      }
    }
    if (closed_.is_set()) co_return;
    reply_text_ = reply.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
    reply_piece_ = {reply_text_.data(), reply_text_.size()};
    reply_op_.pieces = {&reply_piece_, 1};
    reply_sent_.reset();
    stream_->send(reply_op_);
    co_await reply_sent_.wait_uninterrupted();
  }

  Engine& engine_;
  std::unique_ptr<runtime::Stream> stream_;
  JsonRpcFraming framing_;
  runtime::Event arrived_;
  runtime::Event closed_;
  std::string reply_text_;
  iovec reply_piece_{};
  ReplyOp reply_op_;
  runtime::Event reply_sent_;
};

Result<std::unique_ptr<JsonRpcServer>> JsonRpcServer::listen(Engine& engine, const std::string& path) {
  std::unique_ptr<JsonRpcServer> server(new JsonRpcServer(engine));
  auto listener = engine.primary().backend().listen(
      runtime::SocketAddress::unix_path(path),
      [raw = server.get()](std::unique_ptr<runtime::AcceptedStream> accepted) { raw->accept(std::move(accepted)); });
  if (!listener) return fail(std::move(listener.error()));
  server->listener_ = std::move(*listener);
  return server;
}

JsonRpcServer::~JsonRpcServer() {
  CAIRN_CHECK(num_connections_ == 0);
}

void JsonRpcServer::accept(std::unique_ptr<runtime::AcceptedStream> accepted) {
  if (num_connections_ >= kMaxConnections) {
    log::warn("JSON-RPC: a connection was refused: {} are open", num_connections_);
    return;
  }
  ++num_connections_;
  engine_.primary().spawn("json rpc connection", serve(std::move(accepted)));
}

runtime::Task<> JsonRpcServer::serve(std::unique_ptr<runtime::AcceptedStream> accepted) {
  {
    JsonRpcConnection connection(engine_, engine_.primary().backend().adopt(std::move(accepted)));
    connections_.push_back(connection);
    if (listener_ == nullptr) connection.close();
    co_await connection.run();
    connection.unlink();
  }
  --num_connections_;
  ended_.pulse();
}

runtime::Task<> JsonRpcServer::stop() {
  listener_.reset();
  for (JsonRpcConnection* connection = connections_.first(); connection != nullptr;
       connection = connections_.next(*connection)) {
    connection->close();
  }
  while (num_connections_ > 0) co_await ended_.wait_uninterrupted();
}

}  // namespace cairn::engine
