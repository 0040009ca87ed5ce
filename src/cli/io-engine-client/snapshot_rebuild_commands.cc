// snapshot-rebuild create, destroy, list.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/util/time_util.h>
#include <snapshot-rebuild.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

std::string time_text(bool present, const google::protobuf::Timestamp& time) {
  return present ? google::protobuf::util::TimeUtil::ToString(time) : "-";
}

Result<> create(const std::string& uuid, const std::string& uri, EngineChannel& engine, Output& output) {
  v1::CreateSnapshotRebuildRequest request;
  request.set_uuid(uuid);
  request.set_replica_uuid(uuid);
  request.set_snapshot_uri(uri);
  v1::SnapshotRebuild response;
  output.detail(fmt::format("Copying the snapshot {} into the replica {}", uri, uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRebuildRpc/CreateSnapshotRebuild", request, response); !called)
    return called;
  output.result(response, [&] { output.line(fmt::format("Snapshot Rebuild {} created", uuid)); });
  return {};
}

Result<> destroy(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::DestroySnapshotRebuildRequest request;
  request.set_uuid(uuid);
  Empty response;
  output.detail(fmt::format("Destroying the snapshot rebuild {}", uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRebuildRpc/DestroySnapshotRebuild", request, response); !called)
    return called;
  output.result(response, [&] { output.line(fmt::format("Snapshot Rebuild {} deleted", uuid)); });
  return {};
}

Result<> list(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::ListSnapshotRebuildRequest request;
  if (!uuid.empty()) request.set_replica_uuid(uuid);
  v1::ListSnapshotRebuildResponse response;
  output.detail("Listing the snapshot rebuilds");
  if (auto called = engine.call("mayastor.v1.SnapshotRebuildRpc/ListSnapshotRebuild", request, response); !called)
    return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::SnapshotRebuild& job : response.rebuilds()) {
      rows.push_back({job.uuid(), job.snapshot_uri(), v1::SnapshotRebuild::RebuildStatus_Name(job.status()),
                      output.size(job.total()), output.size(job.rebuilt()), output.size(job.remaining()),
                      time_text(job.has_start_timestamp(), job.start_timestamp()),
                      time_text(job.has_end_timestamp(), job.end_timestamp())});
    }
    output.table({"REPLICA", "SNAPSHOT", "STATUS", "TOTAL", "REBUILT", "REMAINING", "START", "END"}, rows,
                 "No snapshot rebuilds found");
  });
  return {};
}

}  // namespace

void add_snapshot_rebuild_commands(CommandLine& line) {
  CLI::App& group = line.group("snapshot-rebuild", "Copies of snapshots into replicas of this engine");

  auto created = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App& create_command = line.command(
      group, "create", "Begin to copy a snapshot into a replica",
      [created](EngineChannel& engine, Output& output) {
        return create(created->first, created->second, engine, output);
      },
      "io-engine-client snapshot-rebuild create 11111111-2222-3333-4444-555555555555 "
      "nvmf://10.0.0.2:8420/nqn.2019-05.io.openebs:monday");
  create_command.add_option("uuid", created->first, "UUID of the replica, and of the job")->required();
  create_command.add_option("uri", created->second, "URI of the snapshot")->required();

  auto destroyed = std::make_shared<std::string>();
  line.command(
          group, "destroy", "Stop a job if it runs, and forget it",
          [destroyed](EngineChannel& engine, Output& output) { return destroy(*destroyed, engine, output); },
          "io-engine-client snapshot-rebuild destroy 11111111-2222-3333-4444-555555555555")
      .add_option("uuid", *destroyed, "UUID of the job")
      ->required();

  auto listed = std::make_shared<std::string>();
  line.command(
          group, "list", "List the jobs",
          [listed](EngineChannel& engine, Output& output) { return list(*listed, engine, output); },
          "io-engine-client snapshot-rebuild list")
      .add_option("uuid", *listed, "Only the job of this UUID");
}

}  // namespace cairn::cli
