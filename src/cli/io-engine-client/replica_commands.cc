// replica create, destroy, share, unshare, resize, list, stats.
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>
#include <replica.pb.h>
#include <stats.pb.h>

#include <CLI/App.hpp>
#include <map>
#include <random>

#include "base/uuid.h"
#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

struct CreateArguments {
  std::string first, second, pool;  // NAME UUID POOL, or POOL NAME
  std::string size;
  std::string protocol;
  bool thin = false;
  std::vector<std::string> allowed_hosts;
};

struct DestroyArguments {
  std::string first, second;  // UUID, or POOL NAME
  std::string pool_uuid, pool_name;
};

struct ShareArguments {
  std::string uuid;
  std::string protocol;
  std::vector<std::string> allowed_hosts;
};

v1::ShareProtocol share_protocol(const std::string& text) {
  if (text == "nvmf") return v1::NVMF;
  return text == "iscsi" ? v1::ISCSI : v1::NONE;
}

std::string share_text(v1::ShareProtocol protocol) {
  if (protocol == v1::NVMF) return "nvmf";
  return protocol == v1::ISCSI ? "iscsi" : "none";
}

std::string yes_no(bool value) {
  return value ? "true" : "false";
}

std::string random_uuid() {
  std::random_device device;
  const auto word = [&] { return uint64_t{device()} << 32 | device(); };
  const uint64_t high = word();
  return Uuid::random_v4(high, word()).to_string();
}

Result<> create(const CreateArguments& arguments, EngineChannel& engine, Output& output) {
  v1::CreateReplicaRequest request;
  const bool old_form = arguments.pool.empty();
  request.set_name(old_form ? arguments.second : arguments.first);
  request.set_uuid(old_form ? random_uuid() : arguments.second);
  request.set_pooluuid(old_form ? arguments.first : arguments.pool);
  const Result<uint64_t> size = parse_byte_size(arguments.size);
  if (!size) return fail(size.error());
  request.set_size(*size);
  request.set_thin(arguments.thin);
  request.set_share(share_protocol(arguments.protocol));
  for (const std::string& host : arguments.allowed_hosts) request.add_allowed_hosts(host);
  v1::Replica response;
  output.detail(fmt::format("Creating the replica {} on pool {}", request.name(), request.pooluuid()));
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/CreateReplica", request, response); !called) return called;
  output.result(response, [&] { output.line(response.uri()); });
  return {};
}

// The UUID of the replica of that name on that pool.
Result<std::string> find_uuid(const std::string& pool, const std::string& name, EngineChannel& engine) {
  v1::ListReplicaOptions request;
  request.mutable_name()->set_value(name);
  request.mutable_poolname()->set_value(pool);
  v1::ListReplicasResponse found;
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/ListReplicas", request, found); !called)
    return fail(called.error());
  if (found.replicas().empty())
    return fail(Code::kNotFound, fmt::format("replica '{}' could not be found on pool '{}'", name, pool));
  return found.replicas(0).uuid();
}

Result<> destroy(const DestroyArguments& arguments, EngineChannel& engine, Output& output) {
  v1::DestroyReplicaRequest request;
  std::string shown = arguments.first;
  if (arguments.second.empty()) {
    request.set_uuid(arguments.first);
    if (!arguments.pool_uuid.empty()) request.set_pool_uuid(arguments.pool_uuid);
    if (!arguments.pool_name.empty()) request.set_pool_name(arguments.pool_name);
  } else {
    const auto uuid = find_uuid(arguments.first, arguments.second, engine);
    if (!uuid) return fail(uuid.error());
    request.set_uuid(*uuid);
    request.set_pool_name(arguments.first);
    shown = arguments.second;
  }
  Empty response;
  output.detail(fmt::format("Destroying the replica {}", shown));
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/DestroyReplica", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("replica: {} is deleted", shown)); });
  return {};
}

Result<> share(const ShareArguments& arguments, EngineChannel& engine, Output& output) {
  v1::ShareReplicaRequest request;
  request.set_uuid(arguments.uuid);
  request.set_share(share_protocol(arguments.protocol));
  for (const std::string& host : arguments.allowed_hosts) request.add_allowed_hosts(host);
  v1::Replica response;
  output.detail(fmt::format("Sharing the replica {} over {}", arguments.uuid, arguments.protocol));
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/ShareReplica", request, response); !called) return called;
  output.result(response, [&] { output.line(response.uri()); });
  return {};
}

Result<> unshare(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::UnshareReplicaRequest request;
  request.set_uuid(uuid);
  v1::Replica response;
  output.detail(fmt::format("Unsharing the replica {}", uuid));
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/UnshareReplica", request, response); !called) return called;
  output.result(response, [&] { output.line(response.uri()); });
  return {};
}

Result<> resize(const std::string& uuid, const std::string& size_text, EngineChannel& engine, Output& output) {
  const Result<uint64_t> size = parse_byte_size(size_text);
  if (!size) return fail(size.error());
  v1::ResizeReplicaRequest request;
  request.set_uuid(uuid);
  request.set_requested_size(*size);
  v1::Replica response;
  output.detail(fmt::format("Resizing the replica {} to {} bytes", uuid, *size));
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/ResizeReplica", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("replica {} is resized", uuid)); });
  return {};
}

Result<> list(const std::vector<std::string>& types, EngineChannel& engine, Output& output) {
  v1::ListReplicaOptions request;
  for (const std::string& type : types) request.add_pooltypes(type == "lvm" ? v1::Lvm : v1::Lvs);
  v1::ListReplicasResponse response;
  output.detail("Listing the replicas");
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/ListReplicas", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::Replica& replica : response.replicas()) {
      const v1::ReplicaSpaceUsage& usage = replica.usage();
      rows.push_back({replica.poolname(), replica.name(), replica.uuid(), yes_no(replica.thin()),
                      share_text(replica.share()), output.size(replica.size()), output.size(usage.capacity_bytes()),
                      output.size(usage.allocated_bytes()), replica.uri(), yes_no(replica.is_snapshot()),
                      yes_no(replica.is_clone()), output.size(usage.allocated_bytes_snapshots()),
                      output.size(usage.allocated_bytes_snapshot_from_clone())});
    }
    output.table({"POOL", "NAME", "UUID", ">THIN", ">SHARE", ">SIZE", ">CAP", ">ALLOC", "URI", "IS_SNAPSHOT",
                  "IS_CLONE", "SNAP_ANCESTOR_SIZE", "CLONE_SNAP_ANCESTOR_SIZE"},
                 rows, "No replicas found");
  });
  return {};
}

Result<> stats(EngineChannel& engine, Output& output) {
  v1::ReplicaIoStatsResponse response;
  output.detail("Reading the I/O counters of the replicas");
  if (auto called = engine.call("mayastor.v1.StatsRpc/GetReplicaIoStats", v1::ListStatsOption(), response); !called)
    return called;
  v1::ListReplicasResponse replicas;
  if (auto called = engine.call("mayastor.v1.ReplicaRpc/ListReplicas", v1::ListReplicaOptions(), replicas); !called)
    return called;
  std::map<std::string, std::string> pools;
  for (const v1::Replica& replica : replicas.replicas()) pools[replica.uuid()] = replica.poolname();
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::ReplicaIoStats& entry : response.stats()) {
      const v1::IoStats& io = entry.stats();
      rows.push_back({pools[io.uuid()], io.name(), std::to_string(io.num_read_ops()),
                      std::to_string(io.num_write_ops()), output.size(io.bytes_read()),
                      output.size(io.bytes_written())});
    }
    output.table({"POOL", "NAME", "RDCNT", "WRCNT", "RDBYTES", "WRBYTES"}, rows, "No replicas have been created");
  });
  return {};
}

void add_allowed_hosts(CLI::App& command, std::vector<std::string>& hosts) {
  command.add_option("--allowed-host", hosts, "NQN of a host that may connect; repeat for more; any host without it")
      ->option_text("HOST")
      ->allow_extra_args(false);
}

void add_create(CommandLine& line, CLI::App& group) {
  auto arguments = std::make_shared<CreateArguments>();
  CLI::App& command = line.command(
      group, "create", "Create a replica; prints its URI",
      [arguments](EngineChannel& engine, Output& output) { return create(*arguments, engine, output); },
      "io-engine-client replica create r0 11111111-2222-3333-4444-555555555555 pool0 --size 10GiB --thin\n"
      "  io-engine-client replica create pool0 r0 --size 10GiB     pool and name only: a random UUID");
  command.add_option("name", arguments->first, "Name of the replica")->required();
  command.add_option("uuid", arguments->second, "UUID of the replica")->required();
  command.add_option("pool", arguments->pool, "UUID or name of the pool");
  command.add_option("-s,--size", arguments->size, "Size, in bytes or with a unit; rounded up to whole clusters")
      ->option_text("SIZE")
      ->required();
  command.add_option("-p,--protocol", arguments->protocol, "Share it at once: nvmf [default: none]")
      ->option_text("PROTOCOL")
      ->check(CLI::IsMember({"none", "nvmf", "iscsi"}));
  command.add_flag("-t,--thin", arguments->thin, "Space is taken from the pool when it is written to");
  command.add_option("--type", "Type of the pool; the pool knows it")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"lvs", "lvm"}));
  add_allowed_hosts(command, arguments->allowed_hosts);
}

void add_destroy(CommandLine& line, CLI::App& group) {
  auto arguments = std::make_shared<DestroyArguments>();
  CLI::App& command = line.command(
      group, "destroy", "Destroy a replica; its data is lost",
      [arguments](EngineChannel& engine, Output& output) { return destroy(*arguments, engine, output); },
      "io-engine-client replica destroy 11111111-2222-3333-4444-555555555555 --pool-name pool0\n"
      "  io-engine-client replica destroy pool0 r0     by the names of pool and replica");
  command.add_option("uuid", arguments->first, "UUID of the replica, or the name of its pool")->required();
  CLI::Option* name = command.add_option("name", arguments->second, "Name of the replica, behind that of its pool");
  CLI::Option* pool_uuid =
      command.add_option("--pool-uuid", arguments->pool_uuid, "Only if it lies on the pool of this UUID")
          ->option_text("UUID")
          ->excludes(name);
  command.add_option("--pool-name", arguments->pool_name, "Only if it lies on the pool of this name")
      ->option_text("NAME")
      ->excludes(name)
      ->excludes(pool_uuid);
}

}  // namespace

void add_replica_commands(CommandLine& line) {
  CLI::App& group = line.group("replica", "Replicas: volumes of a pool");
  add_create(line, group);
  add_destroy(line, group);

  auto shared = std::make_shared<ShareArguments>();
  CLI::App& share_command = line.command(
      group, "share", "Make a replica an NVMe-oF namespace; prints its URI",
      [shared](EngineChannel& engine, Output& output) { return share(*shared, engine, output); },
      "io-engine-client replica share 11111111-2222-3333-4444-555555555555 nvmf");
  share_command.add_option("uuid", shared->uuid, "UUID of the replica")->required();
  share_command.add_option("protocol", shared->protocol, "nvmf is the one that engines support")
      ->required()
      ->check(CLI::IsMember({"nvmf", "none", "iscsi"}));
  add_allowed_hosts(share_command, shared->allowed_hosts);

  auto unshared = std::make_shared<std::string>();
  line.command(
          group, "unshare", "End the share of a replica; connected hosts lose it; prints its URI",
          [unshared](EngineChannel& engine, Output& output) { return unshare(*unshared, engine, output); },
          "io-engine-client replica unshare 11111111-2222-3333-4444-555555555555")
      .add_option("uuid", *unshared, "UUID of the replica")
      ->required();

  auto resized = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App& resize_command = line.command(
      group, "resize", "Change the size of a replica",
      [resized](EngineChannel& engine, Output& output) {
        return resize(resized->first, resized->second, engine, output);
      },
      "io-engine-client replica resize 11111111-2222-3333-4444-555555555555 20GiB");
  resize_command.add_option("uuid", resized->first, "UUID of the replica")->required();
  resize_command.add_option("size", resized->second, "New size; what a smaller one cuts off is lost")->required();

  auto types = std::make_shared<std::vector<std::string>>();
  line.command(
          group, "list", "List replicas, snapshots and clones",
          [types](EngineChannel& engine, Output& output) { return list(*types, engine, output); },
          "io-engine-client -u i replica list")
      .add_option("-t,--type", *types, "Only those on pools of this type: lvs or lvm [default: all]")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"lvs", "lvm"}));

  line.command(group, "stats", "Show reads and writes of the replicas", stats, "io-engine-client replica stats");
}

}  // namespace cairn::cli
