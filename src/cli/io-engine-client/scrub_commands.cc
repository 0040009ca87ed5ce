// nexus scrub start, pause, resume, stop, state.
#include <fmt/format.h>
#include <scrub.pb.h>

#include <CLI/App.hpp>
#include <algorithm>

#include "base/byte_size.h"
#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

struct StartArguments {
  std::string uuid, source, limit;
  std::string repair = "none";
};

void show(const v1::Scrub& scrub, Output& output) {
  output.result(scrub, [&] {
    output.table({">STATE", ">PROGRESS (%)", ">COMPARED", ">TOTAL", ">DIFFERENT", ">REPAIRED", ">BLK_SIZE"},
                 {{scrub.state(), std::to_string(scrub.progress()), std::to_string(scrub.blocks_compared()),
                   std::to_string(scrub.blocks_total()), std::to_string(scrub.blocks_different()),
                   std::to_string(scrub.blocks_repaired()), std::to_string(scrub.block_size())}},
                 "");
    if (!scrub.failure().empty()) output.line(scrub.failure());
    if (scrub.differences().empty()) return;
    std::vector<Row> rows;
    for (const v1::ScrubDifference& difference : scrub.differences()) {
      for (const std::string& uri : difference.deviating()) {
        const bool unreadable = std::find(difference.unreadable().begin(), difference.unreadable().end(), uri) !=
                                difference.unreadable().end();
        rows.push_back({std::to_string(difference.lba()), std::to_string(difference.num_blocks()),
                        unreadable ? "unreadable" : "different", difference.repaired() ? "true" : "false", uri});
      }
    }
    output.table({">BLOCK", ">BLOCKS", "HOW", "REPAIRED", "CHILD"}, rows, "");
  });
}

Result<> start(const StartArguments& arguments, EngineChannel& engine, Output& output) {
  v1::StartScrubRequest request;
  request.set_nexus_uuid(arguments.uuid);
  if (arguments.repair == "majority") request.set_repair(v1::SCRUB_MAJORITY);
  if (arguments.repair == "source") request.set_repair(v1::SCRUB_SOURCE);
  request.set_source_uri(arguments.source);
  if (!arguments.limit.empty()) {
    const Result<uint64_t> limit = parse_byte_size(arguments.limit);
    if (!limit) return fail(limit.error());
    request.set_max_bytes_per_second(*limit);
  }
  v1::Scrub response;
  output.detail(fmt::format("Comparing the children of the nexus {}", arguments.uuid));
  if (auto called = engine.call("cairn.v1.ScrubRpc/StartScrub", request, response); !called) return called;
  output.result(response, [&] { output.line(arguments.uuid); });
  return {};
}

Result<> change(const std::string& method, const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::ScrubRequest request;
  request.set_nexus_uuid(uuid);
  v1::Scrub response;
  output.detail(fmt::format("{} of the nexus {}", method, uuid));
  if (auto called = engine.call("cairn.v1.ScrubRpc/" + method, request, response); !called) return called;
  show(response, output);
  return {};
}

void add_change(CommandLine& line, CLI::App& group, const std::string& name, const std::string& description,
                const std::string& method) {
  auto uuid = std::make_shared<std::string>();
  CLI::App& command = line.command(
      group, name, description,
      [method, uuid](EngineChannel& engine, Output& output) { return change(method, *uuid, engine, output); },
      fmt::format("io-engine-client nexus scrub {} 11111111-2222-4333-8444-555555555555", name));
  command.add_option("uuid", *uuid, "UUID of the nexus")->required();
}

}  // namespace

void add_scrub_commands(CommandLine& line, CLI::App& nexus) {
  CLI::App& group = line.group(nexus, "scrub", "Compare the healthy children of a nexus");
  auto arguments = std::make_shared<StartArguments>();
  CLI::App& command = line.command(
      group, "start", "Start to compare; prints the nexus' UUID",
      [arguments](EngineChannel& engine, Output& output) { return start(*arguments, engine, output); },
      "io-engine-client nexus scrub start 11111111-2222-4333-8444-555555555555 --repair majority");
  command.add_option("uuid", arguments->uuid, "UUID of the nexus")->required();
  command
      .add_option("--repair", arguments->repair,
                  "What to do where children differ: none, majority (more than half agree) or source [default: none]")
      ->check(CLI::IsMember({"none", "majority", "source"}));
  command.add_option("--source", arguments->source, "URI of the child that is right, for --repair source");
  command.add_option("--limit", arguments->limit, "Bytes a second of each child, with or without a unit");
  add_change(line, group, "pause", "Pause; prints how far it is", "PauseScrub");
  add_change(line, group, "resume", "Go on; prints how far it is", "ResumeScrub");
  add_change(line, group, "stop", "Stop; prints how far it is", "StopScrub");
  add_change(line, group, "state", "Print how far it is and what differs; also after the end", "GetScrub");
}

}  // namespace cairn::cli
