// io-engine-client: the command line of one io-engine.
#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/endpoint.h"
#include "cli/io-engine-client/engine_channel.h"
#include "cli/io-engine-client/output.h"

namespace cairn::cli {
namespace {

constexpr int kFailed = 1;  // refused by the engine, as a rule
constexpr int kUsage = 2;
constexpr int kNotReached = 101;  // what scripts know from the original, which panics here

// API_VERSION chooses the API; an unset or empty one means v1.
bool api_version_is_supported() {
  const char* variable = std::getenv("API_VERSION");
  const std::string_view api_version = variable == nullptr ? "" : variable;
  if (api_version.empty() || api_version == "v1") return true;
  if (api_version == "v0") {
    fmt::print(stderr, "error: API_VERSION=v0: this client speaks v1 only; unset API_VERSION or set it to v1\n");
  } else {
    fmt::print(stderr, "error: API_VERSION={}: no such version of the API; v1 is supported\n", api_version);
  }
  return false;
}

int run(const CommandLine& line) {
  const Result<Endpoint> endpoint = Endpoint::parse(line.options().bind);
  if (!endpoint) {
    fmt::print(stderr, "error: {}\n", endpoint.error().message());
    return kUsage;
  }
  Output output(line.options().output);
  output.detail(fmt::format("Connecting to {}", endpoint->uri()));
  Result<EngineChannel> engine = EngineChannel::connect(*endpoint);
  if (!engine) {
    fmt::print(stderr, "error: cannot reach io-engine at {}: {}\n", endpoint->uri(), engine.error().message());
    return kNotReached;
  }
  const Result<> done = line.action()(*engine, output);
  if (!done) {
    fmt::print(stderr, "error: {}: {}\n", code_name(done.error().code()), done.error().to_string());
    return kFailed;
  }
  if (!output.written()) {
    fmt::print(stderr, "error: the command was carried out, but its result could not be written to standard output\n");
    return kFailed;
  }
  return 0;
}

}  // namespace
}  // namespace cairn::cli

int main(int argc, char** argv) {
  using namespace cairn::cli;
  if (!api_version_is_supported()) return kUsage;
  CommandLine line;
  add_pool_commands(line);
  add_replica_commands(line);
  add_nexus_commands(line);
  add_rebuild_commands(line);
  add_snapshot_commands(line);
  add_snapshot_rebuild_commands(line);
  add_bdev_commands(line);
  add_device_commands(line);
  add_controller_commands(line);
  add_perf_commands(line);
  add_jsonrpc_command(line);
  add_call_command(line);
  add_stats_commands(line);
  add_test_commands(line);
  switch (line.parse(argc, argv)) {
    case CommandLine::Outcome::kDone:
      return 0;
    case CommandLine::Outcome::kUsage:
      return kUsage;
    case CommandLine::Outcome::kRun:
      return run(line);
  }
}
