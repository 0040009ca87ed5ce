// call: any method of the engine's services, with the request as JSON.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/util/json_util.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::Message;
using google::protobuf::MethodDescriptor;

constexpr std::string_view kDefaultPackage = "mayastor.v1.";

struct Call {
  std::string name;
  std::string json = "{}";
  const MethodDescriptor* method = nullptr;
  std::unique_ptr<Message> request;
};

std::unique_ptr<Message> new_message(const google::protobuf::Descriptor& type) {
  return std::unique_ptr<Message>(google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

const MethodDescriptor* find_method(std::string name) {
  std::ranges::replace(name, '/', '.');
  const DescriptorPool& known = *DescriptorPool::generated_pool();
  const MethodDescriptor* method = known.FindMethodByName(std::string(kDefaultPackage) + name);
  return method != nullptr ? method : known.FindMethodByName(name);
}

// Throws as a validator of the command line does.
void prepare(Call& call) {
  call.method = find_method(call.name);
  if (call.method == nullptr) {
    throw CLI::ValidationError("method", fmt::format("{}: there is none; NexusRpc/ListNexus is one", call.name));
  }
  call.request = new_message(*call.method->input_type());
  const auto parsed = google::protobuf::util::JsonStringToMessage(call.json, call.request.get());
  if (!parsed.ok()) {
    throw CLI::ValidationError("request", fmt::format("not a {} as JSON: {}", call.request->GetTypeName(),
                                                      std::string_view(parsed.message())));
  }
}

Result<> perform(const Call& call, EngineChannel& engine, Output& output) {
  const auto response = new_message(*call.method->output_type());
  const std::string path = fmt::format("{}/{}", call.method->service()->full_name(), call.method->name());
  output.detail(fmt::format("Calling {}", path));
  const auto show = [&] { output.json_line(*response); };
  if (call.method->server_streaming()) return engine.call_streaming(path, *call.request, *response, show);
  auto called = engine.call(path, *call.request, *response);
  if (called) show();
  return called;
}

}  // namespace

void add_call_command(CommandLine& line) {
  auto call = std::make_shared<Call>();
  CLI::App& command = line.command(
      line.root(), "call", "Call a gRPC method of the io-engine by its name; prints its response as JSON",
      [call](EngineChannel& engine, Output& output) { return perform(*call, engine, output); },
      "io-engine-client call NexusRpc/ListRebuildHistory '{\"count\": 1}'\n"
      "  io-engine-client call cairn.v1.ScrubRpc/GetScrub '{\"nexusUuid\": \"44444444-2222-4333-8444-555555555555\"}'");
  command.add_option("method", call->name, "Service/Method; with its package when that is not mayastor.v1")->required();
  command.add_option("request", call->json, "The request, in protobuf's JSON mapping [default: {}]");
  command.parse_complete_callback([call] { prepare(*call); });
}

}  // namespace cairn::cli
