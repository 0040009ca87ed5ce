// test features, inject, wipe replica.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <test.pb.h>

#include <CLI/App.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/identifier_case.h"
#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"
#include "cli/json_text.h"
#include "cli/message_json.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

struct InjectArguments {
  std::vector<std::string> add;
  std::vector<std::string> remove;
};

struct WipeArguments {
  std::string uuid;
  std::string pool_uuid;
  std::string pool_name;
  std::string method = "WriteZeroes";
  std::string chunk_size = "0";
};

// The debug text of the original: TestFeatures { wipe_methods: [None, WriteZeroes], cksum_algs: [Crc32c] }
std::string debug_text(const v1::TestFeatures& features) {
  std::string methods;
  for (const int method : features.wipe_methods()) {
    const std::string& name = v1::WipeOptions::WipeMethod_Name(method);
    methods += (methods.empty() ? "" : ", ") + (name.empty() ? std::to_string(method) : pascal_case(name));
  }
  std::string algorithms;
  for (const int algorithm : features.cksum_algs()) {
    const std::string& name = v1::WipeOptions::CheckSumAlgorithm_Name(algorithm);
    algorithms += (algorithms.empty() ? "" : ", ") + (name.empty() ? std::to_string(algorithm) : pascal_case(name));
  }
  return fmt::format("TestFeatures {{ wipe_methods: [{}], cksum_algs: [{}] }}", methods, algorithms);
}

Result<> features(EngineChannel& engine, Output& output) {
  v1::TestFeatures response;
  output.detail("Asking for the features of the test service");
  if (auto called = engine.call("mayastor.v1.TestRpc/GetFeatures", Empty(), response); !called) return called;
  output.result(response, [&] { output.line(debug_text(response)); });
  return {};
}

Result<> list_injections(EngineChannel& engine, Output& output) {
  v1::ListFaultInjectionsReply response;
  output.detail("Listing the injected faults");
  if (auto called = engine.call("mayastor.v1.TestRpc/ListFaultInjections", v1::ListFaultInjectionsRequest(), response);
      !called) {
    return called;
  }
  output.result(response,
                [&] { output.line(render_json(message_to_json(response)["injections"], stdout_takes_colour())); });
  return {};
}

Result<> inject(const InjectArguments& arguments, EngineChannel& engine, Output& output) {
  if (arguments.add.empty() && arguments.remove.empty()) return list_injections(engine, output);
  for (const std::string& uri : arguments.add) {
    v1::AddFaultInjectionRequest request;
    request.set_uri(uri);
    Empty response;
    if (auto called = engine.call("mayastor.v1.TestRpc/AddFaultInjection", request, response); !called) return called;
    output.result(response, [&] { output.note(fmt::format("Injection: '{}'", uri)); });
  }
  for (const std::string& uri : arguments.remove) {
    v1::RemoveFaultInjectionRequest request;
    request.set_uri(uri);
    Empty response;
    if (auto called = engine.call("mayastor.v1.TestRpc/RemoveFaultInjection", request, response); !called)
      return called;
    output.result(response, [&] { output.note(fmt::format("Removing injected fault: {}", uri)); });
  }
  return {};
}

const std::map<std::string, v1::WipeOptions::WipeMethod>& wipe_methods() {
  static const std::map<std::string, v1::WipeOptions::WipeMethod> methods{
      {"None", v1::WipeOptions::NONE},
      {"WriteZeroes", v1::WipeOptions::WRITE_ZEROES},
      {"Unmap", v1::WipeOptions::UNMAP},
      {"WritePattern", v1::WipeOptions::WRITE_PATTERN},
      {"CheckSum", v1::WipeOptions::CHECKSUM}};
  return methods;
}

std::string bandwidth(const v1::WipeReplicaResponse& progress, SizeUnits units) {
  const double seconds = static_cast<double>(progress.since().seconds()) + progress.since().nanos() / 1e9;
  if (progress.wiped_bytes() == 0 || seconds <= 0) return "-";
  const double per_second = static_cast<double>(progress.wiped_bytes()) / seconds;
  if (per_second >= 0x1p64) return "-";  // measured over no time at all
  return format_byte_size(static_cast<uint64_t>(per_second), units) + (units == SizeUnits::kBytes ? " B/s" : "/s");
}

Row row_of(const v1::WipeReplicaResponse& progress, const Output& output) {
  return {progress.uuid(),
          output.size(progress.total_bytes()),
          output.size(progress.chunk_size()),
          output.size(progress.last_chunk_size()),
          std::to_string(progress.total_chunks()),
          output.size(progress.wiped_bytes()),
          std::to_string(progress.wiped_chunks()),
          output.size(progress.remaining_bytes()),
          bandwidth(progress, output.units()),
          progress.has_crc32() ? fmt::format("{:#010x}", progress.crc32()) : ""};
}

Result<v1::WipeReplicaRequest> wipe_request(const WipeArguments& arguments) {
  v1::WipeReplicaRequest request;
  request.set_uuid(arguments.uuid);
  if (!arguments.pool_uuid.empty()) request.set_pool_uuid(arguments.pool_uuid);
  if (!arguments.pool_name.empty()) request.set_pool_name(arguments.pool_name);
  const Result<uint64_t> chunk_size = parse_byte_size(arguments.chunk_size);
  if (!chunk_size) return std::unexpected(chunk_size.error());
  request.mutable_wipe_options()->set_chunk_size(*chunk_size);
  request.mutable_wipe_options()->mutable_options()->set_wipe_method(wipe_methods().at(arguments.method));
  return request;
}

// Rows come while the wipe goes on, so the columns are as wide as the headers and the first row need.
Result<> wipe(const WipeArguments& arguments, EngineChannel& engine, Output& output) {
  const Result<v1::WipeReplicaRequest> request = wipe_request(arguments);
  if (!request) return fail(request.error());
  Columns columns({"UUID", "TOTAL_BYTES", "CHUNK_SIZE", "LAST_CHUNK_SIZE", "TOTAL_CHUNKS", "WIPED_BYTES",
                   "WIPED_CHUNKS", "REMAINING_BYTES", "BANDWIDTH", "CHECKSUM"});
  bool first = true;
  output.detail(fmt::format("Wiping the replica {}", arguments.uuid));
  v1::WipeReplicaResponse progress;
  return engine.call_streaming("mayastor.v1.TestRpc/WipeReplica", *request, progress, [&] {
    output.result(progress, [&] {
      const Row row = row_of(progress, output);
      if (first) {
        columns.fit(row);
        if (output.headers()) {
          columns.fit_headers();
          output.line(columns.header_line("  "));
        }
        first = false;
      }
      output.line(columns.line(row, "  "));
    });
  });
}

void add_wipe_commands(CommandLine& line, CLI::App& test) {
  CLI::App& group = line.group(test, "wipe", "Overwrite or checksum a resource");
  auto arguments = std::make_shared<WipeArguments>();
  CLI::App& replica = line.command(
      group, "replica", "Wipe a replica, row by row as it goes on; interrupting stops it",
      [arguments](EngineChannel& engine, Output& output) { return wipe(*arguments, engine, output); },
      "io-engine-client test wipe replica 11111111-2222-3333-4444-555555555555 --method CheckSum --chunk-size 64MiB");
  replica.add_option("uuid", arguments->uuid, "UUID of the replica")->required();
  CLI::Option* pool_uuid =
      replica.add_option("--pool-uuid", arguments->pool_uuid, "Only if it lies on the pool of this UUID")
          ->option_text("UUID");
  replica.add_option("--pool-name", arguments->pool_name, "Only if it lies on the pool of this name")
      ->option_text("NAME")
      ->excludes(pool_uuid);
  std::vector<std::string> names;
  for (const auto& [name, method] : wipe_methods()) names.push_back(name);
  replica
      .add_option("-m,--method", arguments->method,
                  "None, WriteZeroes, Unmap, WritePattern or CheckSum (which only reads) [default: WriteZeroes]")
      ->option_text("METHOD")
      ->transform(CLI::IsMember(names, CLI::ignore_case));
  replica
      .add_option("-c,--chunk-size", arguments->chunk_size,
                  "Bytes between two rows, with units if you like (64MiB); 0: the whole replica [default: 0]")
      ->option_text("SIZE");
}

}  // namespace

void add_test_commands(CommandLine& line) {
  CLI::App& group = line.group("test", "Testing: features, injected faults, wiping");
  line.command(group, "features", "Show what the test service can do", features, "io-engine-client test features");

  auto arguments = std::make_shared<InjectArguments>();
  CLI::App& command = line.command(
      group, "inject", "Add or remove injected faults; without options list them",
      [arguments](EngineChannel& engine, Output& output) { return inject(*arguments, engine, output); },
      "io-engine-client test inject\n"
      "  io-engine-client test inject --add 'inject://disk0?op=read&stage=completion&begin_at=1000'\n"
      "  io-engine-client test inject --remove 'inject://disk0?op=read&stage=completion&begin_at=1000'");
  command.add_option("-a,--add", arguments->add, "Fault to inject; repeat for more")
      ->option_text("URI")
      ->allow_extra_args(false);
  command.add_option("-r,--remove", arguments->remove, "Fault to remove; repeat for more")
      ->option_text("URI")
      ->allow_extra_args(false);

  add_wipe_commands(line, group);
}

}  // namespace cairn::cli
