// rebuild start, stop, pause, resume, state, stats, progress, history.
#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>
#include <nexus.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

struct Child {
  std::string uuid, uri;
};

template <typename Request>
Request request_for(const Child& child) {
  Request request;
  request.set_nexus_uuid(child.uuid);
  request.set_uri(child.uri);
  return request;
}

std::string state_text(v1::RebuildJobState state) {
  switch (state) {
    case v1::Init:
      return "init";
    case v1::Rebuilding:
      return "rebuilding";
    case v1::Stopped:
      return "stopped";
    case v1::Paused:
      return "paused";
    case v1::Failed:
      return "failed";
    case v1::Completed:
      return "completed";
    default:
      return "unknown";
  }
}

std::string time_text(bool present, const google::protobuf::Timestamp& time) {
  return present ? google::protobuf::util::TimeUtil::ToString(time) : "-";
}

// A change of the rebuild's state.
template <typename Request, typename Response>
Result<> change(const std::string& method, const Child& child, EngineChannel& engine, Output& output) {
  Response response;
  output.detail(fmt::format("{} of {} of the nexus {}", method, child.uri, child.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/" + method, request_for<Request>(child), response); !called)
    return called;
  output.result(response, [&] { output.line(child.uri); });
  return {};
}

Result<> state(const Child& child, EngineChannel& engine, Output& output) {
  v1::RebuildStateResponse response;
  output.detail(fmt::format("Reading the state of the rebuild of {}", child.uri));
  if (auto called =
          engine.call("mayastor.v1.NexusRpc/GetRebuildState", request_for<v1::RebuildStateRequest>(child), response);
      !called)
    return called;
  output.result(response, [&] { output.table({"state"}, {{response.state()}}, ""); });
  return {};
}

Result<> read_statistics(const Child& child, EngineChannel& engine, Output& output,
                         v1::RebuildStatsResponse& response) {
  output.detail(fmt::format("Reading how far the rebuild of {} is", child.uri));
  return engine.call("mayastor.v1.NexusRpc/GetRebuildStats", request_for<v1::RebuildStatsRequest>(child), response);
}

Result<> stats(const Child& child, EngineChannel& engine, Output& output) {
  v1::RebuildStatsResponse response;
  if (auto called = read_statistics(child, engine, output, response); !called) return called;
  output.result(response, [&] {
    output.table({">TOTAL", ">RECOVERED", ">TRANSFERRED", ">REMAINING", ">PROGRESS (%)", ">BLK_PER_TASK", ">BLK_SIZE",
                  ">PARTIAL", ">TASKS_TOTAL", ">TASKS_ACTIVE"},
                 {{std::to_string(response.blocks_total()), std::to_string(response.blocks_recovered()),
                   std::to_string(response.blocks_transferred()), std::to_string(response.blocks_remaining()),
                   std::to_string(response.progress()), std::to_string(response.blocks_per_task()),
                   std::to_string(response.block_size()), response.is_partial() ? "true" : "false",
                   std::to_string(response.tasks_total()), std::to_string(response.tasks_active())}},
                 "");
  });
  return {};
}

Result<> progress(const Child& child, EngineChannel& engine, Output& output) {
  v1::RebuildStatsResponse response;
  if (auto called = read_statistics(child, engine, output, response); !called) return called;
  output.result(response, [&] { output.table({"progress (%)"}, {{std::to_string(response.progress())}}, ""); });
  return {};
}

Result<> history(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::RebuildHistoryRequest request;
  request.set_uuid(uuid);
  v1::RebuildHistoryResponse response;
  output.detail(fmt::format("Reading the rebuilds of the nexus {}", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/GetRebuildHistory", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::RebuildHistoryRecord& record : response.records()) {
      rows.push_back({record.child_uri(), record.src_uri(), std::to_string(record.blocks_total()),
                      std::to_string(record.blocks_transferred()), state_text(record.state()),
                      std::to_string(record.blocks_per_task()), std::to_string(record.block_size()),
                      record.is_partial() ? "true" : "false", time_text(record.has_start_time(), record.start_time()),
                      time_text(record.has_end_time(), record.end_time())});
    }
    output.table({"CHILD", "SOURCE", ">TOTAL", ">TRANSFERRED", ">STATE", ">BLK_PER_TASK", ">BLK_SIZE", ">PARTIAL",
                  "START", "END"},
                 rows, "No rebuilds found");
  });
  return {};
}

void add_child_command(CommandLine& line, CLI::App& group, const std::string& name, const std::string& description,
                       std::function<Result<>(const Child&, EngineChannel&, Output&)> run) {
  auto child = std::make_shared<Child>();
  CLI::App& command = line.command(
      group, name, description,
      [child, run](EngineChannel& engine, Output& output) { return run(*child, engine, output); },
      fmt::format("io-engine-client rebuild {} 11111111-2222-4333-8444-555555555555 'bdev:///r1?uuid=...'", name));
  command.add_option("uuid", child->uuid, "UUID of the nexus")->required();
  command.add_option("uri", child->uri, "URI of the child that is rebuilt")->required();
}

template <typename Request, typename Response>
void add_change(CommandLine& line, CLI::App& group, const std::string& name, const std::string& description,
                const std::string& method) {
  add_child_command(line, group, name, description,
                    [method](const Child& child, EngineChannel& engine, Output& output) {
                      return change<Request, Response>(method, child, engine, output);
                    });
}

}  // namespace

void add_rebuild_commands(CommandLine& line) {
  CLI::App& group = line.group("rebuild", "Rebuilds: how a nexus' child becomes equal to the others");
  add_change<v1::StartRebuildRequest, v1::StartRebuildResponse>(
      line, group, "start", "Start the rebuild of a child that is out of sync; prints its URI", "StartRebuild");
  add_change<v1::StopRebuildRequest, v1::StopRebuildResponse>(
      line, group, "stop", "Stop a rebuild; the child stays out of sync; prints its URI", "StopRebuild");
  add_change<v1::PauseRebuildRequest, v1::PauseRebuildResponse>(
      line, group, "pause", "Pause a rebuild; prints the child's URI", "PauseRebuild");
  add_change<v1::ResumeRebuildRequest, v1::ResumeRebuildResponse>(
      line, group, "resume", "Go on with a paused rebuild; prints the child's URI", "ResumeRebuild");
  add_child_command(line, group, "state", "Show the state of a rebuild", state);
  add_child_command(line, group, "stats", "Show what a rebuild has done, in blocks", stats);
  add_child_command(line, group, "progress", "Show how much of a rebuild is done, in percent", progress);

  auto uuid = std::make_shared<std::string>();
  line.command(
          group, "history", "List the rebuilds of a nexus that have ended, oldest first",
          [uuid](EngineChannel& engine, Output& output) { return history(*uuid, engine, output); },
          "io-engine-client rebuild history 11111111-2222-4333-8444-555555555555")
      .add_option("uuid", *uuid, "UUID of the nexus")
      ->required();
}

}  // namespace cairn::cli
