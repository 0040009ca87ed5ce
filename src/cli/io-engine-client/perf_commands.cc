// perf resource.
#include <google/protobuf/empty.pb.h>
#include <host.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

Result<> resource(EngineChannel& engine, Output& output) {
  v1::GetMayastorResourceUsageResponse response;
  output.detail("Reading the resource usage of the io-engine");
  if (auto called = engine.call("mayastor.v1.HostRpc/GetMayastorResourceUsage", google::protobuf::Empty(), response);
      !called) {
    return called;
  }
  output.result(response, [&] {
    const v1::ResourceUsage& usage = response.usage();
    output.table({">SOFT_FAULTS", ">HARD_FAULTS", ">VOLUNTARY_CSW", ">INVOLUNTARY_CSW"},
                 {{std::to_string(usage.soft_faults()), std::to_string(usage.hard_faults()),
                   std::to_string(usage.vol_csw()), std::to_string(usage.invol_csw())}},
                 "");
  });
  return {};
}

}  // namespace

void add_perf_commands(CommandLine& line) {
  CLI::App& group = line.group("perf", "Performance of the io-engine's process");
  line.command(group, "resource", "Show page faults and context switches since the io-engine started", resource,
               "io-engine-client perf resource");
}

}  // namespace cairn::cli
