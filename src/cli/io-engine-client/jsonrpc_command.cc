// jsonrpc.
#include <fmt/format.h>
#include <json.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

Result<> call_method(const v1::JsonRpcRequest& request, EngineChannel& engine, Output& output) {
  v1::JsonRpcResponse response;
  output.detail(fmt::format("Calling the JSON-RPC method {}", request.method()));
  if (auto called = engine.call("mayastor.v1.JsonRpc/JsonRpcCall", request, response); !called) return called;
  output.result(response, [&] { output.line(response.result()); });
  return {};
}

}  // namespace

void add_jsonrpc_command(CommandLine& line) {
  auto request = std::make_shared<v1::JsonRpcRequest>();
  CLI::App& command = line.command(
      line.root(), "jsonrpc", "Call a JSON-RPC method of the io-engine; prints its result",
      [request](EngineChannel& engine, Output& output) { return call_method(*request, engine, output); },
      "io-engine-client jsonrpc rpc_get_methods\n"
      "  io-engine-client jsonrpc bdev_get_bdevs '{\"name\": \"disk0\"}'");
  command.add_option("method", *request->mutable_method(), "Name of the method")->required();
  command.add_option("params", *request->mutable_params(), "Its parameters as JSON text");
}

}  // namespace cairn::cli
