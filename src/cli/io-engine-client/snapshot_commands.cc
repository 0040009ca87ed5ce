// snapshot create_for_nexus, create_for_replica, list, destroy, create_clone, list_clone.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/util/time_util.h>
#include <snapshot.pb.h>

#include <CLI/App.hpp>
#include <algorithm>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"
#include "cli/io-engine-client/nexus_state_text.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

struct CreateArguments {
  std::string replica_uuid, name, entity_id, txn_id, uuid;
};

struct NexusArguments {
  std::string nexus_uuid, entity_id, txn_id, name, replica_uuids, snapshot_uuids;
};

struct DestroyArguments {
  std::string uuid, pool_uuid, pool_name;
};

struct CloneArguments {
  std::string snapshot_uuid, name, uuid;
};

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string yes_no(bool value) {
  return value ? "true" : "false";
}

// What the tables of create and list have in common.
Row row_of(const v1::SnapshotInfo& snapshot, const Output& output) {
  return {snapshot.snapshot_uuid(),
          snapshot.snapshot_name(),
          output.size(snapshot.snapshot_size()),
          google::protobuf::util::TimeUtil::ToString(snapshot.timestamp()),
          std::to_string(snapshot.num_clones()),
          snapshot.source_uuid(),
          output.size(snapshot.source_size()),
          snapshot.pool_uuid(),
          snapshot.entity_id(),
          snapshot.txn_id(),
          yes_no(snapshot.valid_snapshot()),
          yes_no(snapshot.discarded_snapshot())};
}

Result<> create(const CreateArguments& arguments, EngineChannel& engine, Output& output) {
  v1::CreateReplicaSnapshotRequest request;
  request.set_replica_uuid(arguments.replica_uuid);
  request.set_snapshot_uuid(arguments.uuid);
  request.set_snapshot_name(arguments.name);
  request.set_entity_id(arguments.entity_id);
  request.set_txn_id(arguments.txn_id);
  v1::CreateReplicaSnapshotResponse response;
  output.detail(fmt::format("Taking a snapshot of the replica {}", arguments.replica_uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/CreateReplicaSnapshot", request, response); !called)
    return called;
  output.result(response, [&] {
    output.table({"SNAP_UUID", "SNAP_NAME", "SNAP_SIZE", "CREATE_TIME", "CLONES", "SOURCE_UUID", "SOURCE_SIZE",
                  "POOL_UUID", "ENTITY_ID", "TXN_ID", "VALID_SNAPSHOT", "discarded_snapshot"},
                 {row_of(response.snapshot(), output)}, "");
  });
  return {};
}

Result<> create_for_nexus(const NexusArguments& arguments, EngineChannel& engine, Output& output) {
  const auto replicas = split_at_commas(arguments.replica_uuids), snapshots = split_at_commas(arguments.snapshot_uuids);
  if (replicas.size() != snapshots.size()) {
    return fail(Code::kInvalidArgument, fmt::format("{} replicas, but {} UUIDs of snapshots: each replica needs one",
                                                    replicas.size(), snapshots.size()));
  }
  v1::NexusCreateSnapshotRequest request;
  request.set_nexus_uuid(arguments.nexus_uuid);
  request.set_entity_id(arguments.entity_id);
  request.set_txn_id(arguments.txn_id);
  request.set_snapshot_name(arguments.name);
  for (size_t i = 0; i < replicas.size(); ++i) {
    auto& replica = *request.add_replicas();
    replica.set_replica_uuid(replicas[i]);
    replica.set_snapshot_uuid(snapshots[i]);
  }
  v1::NexusCreateSnapshotResponse response;
  output.detail(fmt::format("Taking a snapshot of the nexus {}", arguments.nexus_uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/CreateNexusSnapshot", request, response); !called)
    return called;
  output.result(response, [&] {
    const v1::Nexus& nexus = response.nexus();
    std::vector<Row> rows;
    for (const auto& replica : response.replicas_done()) {
      rows.push_back({nexus.uuid(), output.size(nexus.size()), nexus_state_text(nexus.state()), replica.replica_uuid(),
                      std::to_string(replica.status_code())});
    }
    output.table({"NEXUS_UUID", "NEXUS_SIZE", "NEXUS_STATE", "REPLICA_UUID", "STATUS"}, rows, "");
  });
  return {};
}

Result<> list(const std::string& source_uuid, const std::string& snapshot_uuid, EngineChannel& engine, Output& output) {
  v1::ListSnapshotsRequest request;
  if (!source_uuid.empty()) request.set_source_uuid(source_uuid);
  if (!snapshot_uuid.empty()) request.set_snapshot_uuid(snapshot_uuid);
  v1::ListSnapshotsResponse response;
  output.detail("Listing the snapshots");
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/ListSnapshot", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::SnapshotInfo& snapshot : response.snapshots()) {
      rows.push_back(row_of(snapshot, output));
      rows.back().push_back(output.size(snapshot.referenced_bytes()));
    }
    output.table({"SNAP_UUID", "SNAP_NAME", "SNAP_SIZE", "CREATE_TIME", "CLONES", "REPLICA_UUID", "REPLICA_SIZE",
                  "POOL_UUID", "ENTITY_ID", "TXN_ID", "VALID_SNAPSHOT", "DISCARD_SNAPSHOT", "ANCESTOR_SIZE"},
                 rows, "No snapshots found");
  });
  return {};
}

Result<> destroy(const DestroyArguments& arguments, EngineChannel& engine, Output& output) {
  v1::DestroySnapshotRequest request;
  request.set_snapshot_uuid(arguments.uuid);
  if (!arguments.pool_uuid.empty()) request.set_pool_uuid(arguments.pool_uuid);
  if (!arguments.pool_name.empty()) request.set_pool_name(arguments.pool_name);
  Empty response;
  output.detail(fmt::format("Destroying the snapshot {}", arguments.uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/DestroySnapshot", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("snapshot: {} is deleted", arguments.uuid)); });
  return {};
}

void print_clones(const google::protobuf::RepeatedPtrField<v1::Replica>& clones, const Output& output) {
  std::vector<Row> rows;
  for (const v1::Replica& clone : clones) {
    rows.push_back({clone.name(), clone.uuid(), output.size(clone.usage().capacity_bytes()),
                    output.size(clone.usage().allocated_bytes()), yes_no(clone.thin()), clone.poolname(),
                    yes_no(clone.is_clone()), clone.snapshot_uuid()});
  }
  output.table(
      {"CLONE_NAME", "CLONE_UUID", "CLONE_CAPACITY", "CLONE_ALLOC", "THIN", "POOL", "IS_CLONE", "SNAPSHOT_UUID"}, rows,
      "No clones found");
}

Result<> create_clone(const CloneArguments& arguments, EngineChannel& engine, Output& output) {
  v1::CreateSnapshotCloneRequest request;
  request.set_snapshot_uuid(arguments.snapshot_uuid);
  request.set_clone_name(arguments.name);
  request.set_clone_uuid(arguments.uuid);
  v1::Replica response;
  output.detail(fmt::format("Cloning the snapshot {}", arguments.snapshot_uuid));
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/CreateSnapshotClone", request, response); !called)
    return called;
  output.result(response, [&] {
    google::protobuf::RepeatedPtrField<v1::Replica> clones;
    *clones.Add() = response;
    print_clones(clones, output);
  });
  return {};
}

Result<> list_clones(const std::string& snapshot_uuid, EngineChannel& engine, Output& output) {
  v1::ListSnapshotCloneRequest request;
  if (!snapshot_uuid.empty()) request.set_snapshot_uuid(snapshot_uuid);
  v1::ListSnapshotCloneResponse response;
  output.detail("Listing the clones");
  if (auto called = engine.call("mayastor.v1.SnapshotRpc/ListSnapshotClone", request, response); !called) return called;
  output.result(response, [&] { print_clones(response.replicas(), output); });
  return {};
}

}  // namespace

void add_snapshot_commands(CommandLine& line) {
  CLI::App& group = line.group("snapshot", "Snapshots of replicas, and clones of snapshots");

  auto created = std::make_shared<CreateArguments>();
  CLI::App& create_command = line.command(
      group, "create_for_replica", "Take a snapshot of a replica",
      [created](EngineChannel& engine, Output& output) { return create(*created, engine, output); },
      "io-engine-client snapshot create_for_replica 11111111-2222-3333-4444-555555555555 monday volume0 txn1 "
      "22222222-2222-3333-4444-555555555555");
  create_command.add_option("replica_uuid", created->replica_uuid, "UUID of the replica")->required();
  create_command.add_option("snapshot_name", created->name, "Name of the snapshot")->required();
  create_command.add_option("entity_id", created->entity_id, "Whose snapshot it is (the volume)")->required();
  create_command.add_option("txn_id", created->txn_id, "What snapshots of one moment have in common")->required();
  create_command.add_option("snapshot_uuid", created->uuid, "UUID of the snapshot")->required();

  auto of_nexus = std::make_shared<NexusArguments>();
  CLI::App& nexus_command = line.command(
      group, "create_for_nexus", "Take a snapshot of all replicas of a nexus at one moment",
      [of_nexus](EngineChannel& engine, Output& output) { return create_for_nexus(*of_nexus, engine, output); },
      "io-engine-client snapshot create_for_nexus 44444444-2222-3333-4444-555555555555 volume0 txn1 monday "
      "REPLICA,REPLICA SNAPSHOT,SNAPSHOT");
  nexus_command.add_option("nexus_uuid", of_nexus->nexus_uuid, "UUID of the nexus")->required();
  nexus_command.add_option("entity_id", of_nexus->entity_id, "Whose snapshot it is (the volume)")->required();
  nexus_command.add_option("txn_id", of_nexus->txn_id, "What snapshots of one moment have in common")->required();
  nexus_command.add_option("snapshot_name", of_nexus->name, "Name of the snapshots")->required();
  nexus_command.add_option("replica_uuid", of_nexus->replica_uuids, "UUIDs of all replicas, with commas between them")
      ->required();
  nexus_command
      .add_option("snapshot_uuid", of_nexus->snapshot_uuids, "UUIDs of their snapshots, likewise in the same order")
      ->required();

  auto listed = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App& list_command = line.command(
      group, "list", "List the snapshots, newest first for one replica",
      [listed](EngineChannel& engine, Output& output) { return list(listed->first, listed->second, engine, output); },
      "io-engine-client -u i snapshot list");
  list_command.add_option("source_uuid", listed->first, "Only those of the replica of this UUID");
  list_command.add_option("snapshot_uuid", listed->second, "Only the snapshot of this UUID");

  auto destroyed = std::make_shared<DestroyArguments>();
  CLI::App& destroy_command = line.command(
      group, "destroy", "Destroy a snapshot; with clones left, it goes with the last of them",
      [destroyed](EngineChannel& engine, Output& output) { return destroy(*destroyed, engine, output); },
      "io-engine-client snapshot destroy 22222222-2222-3333-4444-555555555555");
  destroy_command.add_option("snapshot_uuid", destroyed->uuid, "UUID of the snapshot")->required();
  CLI::Option* pool_uuid =
      destroy_command.add_option("--pool-uuid", destroyed->pool_uuid, "Only if it lies on the pool of this UUID")
          ->option_text("UUID");
  destroy_command.add_option("--pool-name", destroyed->pool_name, "Only if it lies on the pool of this name")
      ->option_text("NAME")
      ->excludes(pool_uuid);

  auto cloned = std::make_shared<CloneArguments>();
  CLI::App& clone_command = line.command(
      group, "create_clone", "Make a thin replica that begins as a copy of a snapshot",
      [cloned](EngineChannel& engine, Output& output) { return create_clone(*cloned, engine, output); },
      "io-engine-client snapshot create_clone 22222222-2222-3333-4444-555555555555 tuesday "
      "33333333-2222-3333-4444-555555555555");
  clone_command.add_option("snapshot_uuid", cloned->snapshot_uuid, "UUID of the snapshot")->required();
  clone_command.add_option("clone_name", cloned->name, "Name of the clone")->required();
  clone_command.add_option("clone_uuid", cloned->uuid, "UUID of the clone")->required();

  auto of = std::make_shared<std::string>();
  line.command(
          group, "list_clone", "List the clones",
          [of](EngineChannel& engine, Output& output) { return list_clones(*of, engine, output); },
          "io-engine-client snapshot list_clone")
      .add_option("snapshot_uuid", *of, "Only those of the snapshot of this UUID");
}

}  // namespace cairn::cli
