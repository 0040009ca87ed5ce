// controller list, stats.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <host.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

std::string state_text(v1::NvmeControllerState state) {
  switch (state) {
    case v1::NEW:
      return "new";
    case v1::INITIALIZING:
      return "init";
    case v1::RUNNING:
      return "running";
    case v1::FAULTED:
      return "faulted";
    case v1::UNCONFIGURING:
      return "unconfiguring";
    case v1::UNCONFIGURED:
      return "unconfigured";
    default:
      return fmt::format("unknown ({})", static_cast<int>(state));  // of a newer engine
  }
}

Result<> list(EngineChannel& engine, Output& output) {
  v1::ListNvmeControllersResponse response;
  output.detail("Listing the NVMe controllers that the io-engine is connected to");
  if (auto called = engine.call("mayastor.v1.HostRpc/ListNvmeControllers", google::protobuf::Empty(), response);
      !called)
    return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::NvmeController& controller : response.controllers()) {
      rows.push_back({controller.name(), output.size(controller.size()), state_text(controller.state()),
                      std::to_string(controller.blk_size())});
    }
    // The first header is spelt so in the original, and scripts look for it.
    output.table({"NAMEs", "SIZE", "STATE", "BLKSIZE"}, rows, "No NVMe controllers found");
  });
  return {};
}

Result<> stats(const std::string& name, EngineChannel& engine, Output& output) {
  v1::StatNvmeControllerRequest request;
  request.set_name(name);
  v1::StatNvmeControllerResponse response;
  output.detail(fmt::format("Reading the I/O counters of the controller {}", name));
  if (auto called = engine.call("mayastor.v1.HostRpc/StatNvmeController", request, response); !called) return called;
  output.result(response, [&] {
    const v1::NvmeControllerIoStats& counters = response.stats();
    output.table({"NAME", "READS", "WRITES", "READ/B", "WRITTEN/B", "NUM_UNMAPS", "BYTES_UNMAPPED"},
                 {{name, std::to_string(counters.num_read_ops()), std::to_string(counters.num_write_ops()),
                   output.size(counters.bytes_read()), output.size(counters.bytes_written()),
                   std::to_string(counters.num_unmap_ops()), output.size(counters.bytes_unmapped())}},
                 "");
  });
  return {};
}

}  // namespace

void add_controller_commands(CommandLine& line) {
  CLI::App& group = line.group("controller", "NVMe controllers that the io-engine is connected to as a host");
  line.command(group, "list", "List the controllers", list, "io-engine-client -u i controller list");

  auto name = std::make_shared<std::string>();
  line.command(
          group, "stats", "Show the I/O counters of a controller",
          [name](EngineChannel& engine, Output& output) { return stats(*name, engine, output); },
          "io-engine-client controller stats 10.0.0.7:8420/nqn.2019-05.io.openebs:disk0n1")
      .add_option("name", *name, "Name, as controller list shows it")
      ->required();
}

}  // namespace cairn::cli
