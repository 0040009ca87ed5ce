// pool create, import, destroy, export, grow, list.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/empty.pb.h>
#include <pool.pb.h>

#include <CLI/App.hpp>
#include <optional>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

struct PoolArguments {
  std::string name;
  std::vector<std::string> disks;
  std::string uuid;
  std::string cluster_size;
  std::optional<float> metadata_ratio;
  std::string type = "lvs";
  bool overwrite = false;
};

v1::PoolType pool_type(const std::string& text) {
  return text == "lvm" ? v1::Lvm : v1::Lvs;
}

std::string state_text(v1::PoolState state) {
  switch (state) {
    case v1::POOL_ONLINE:
      return "online";
    case v1::POOL_DEGRADED:
      return "degraded";
    case v1::POOL_FAULTED:
      return "faulted";
    default:
      return "unknown";
  }
}

std::string percentage(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  return fmt::format("{:.2f}%", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

Row row_of(const v1::Pool& pool, const Output& output) {
  const bool has_metadata = pool.has_md_info();
  const v1::PoolMetadataInfo& metadata = pool.md_info();
  return {pool.name(),
          pool.uuid(),
          state_text(pool.state()),
          output.size(pool.capacity()),
          output.size(pool.used()),
          percentage(pool.used(), pool.capacity()),
          output.size(pool.cluster_size()),
          pool.has_page_size() ? output.size(pool.page_size()) : "-",
          has_metadata ? output.size(metadata.md_page_size()) : "-",
          has_metadata ? std::to_string(metadata.md_pages()) : "-",
          has_metadata ? std::to_string(metadata.md_used_pages()) : "-",
          has_metadata ? percentage(metadata.md_used_pages(), metadata.md_pages()) : "-",
          fmt::format("{}", fmt::join(pool.disks(), " ")),
          output.size(pool.disk_capacity())};
}

Result<> create(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  v1::CreatePoolRequest request;
  request.set_name(arguments.name);
  if (!arguments.uuid.empty()) request.mutable_uuid()->set_value(arguments.uuid);
  for (const std::string& disk : arguments.disks) request.add_disks(disk);
  request.set_pooltype(pool_type(arguments.type));
  if (!arguments.cluster_size.empty()) {
    const Result<uint64_t> size = parse_byte_size(arguments.cluster_size);
    if (!size) return fail(size.error());
    if (*size > UINT32_MAX) return fail(Code::kInvalidArgument, fmt::format("Bad size '{}'", arguments.cluster_size));
    request.set_cluster_size(static_cast<uint32_t>(*size));
  }
  if (arguments.metadata_ratio) request.mutable_md_args()->set_md_resv_ratio(*arguments.metadata_ratio);
  request.set_overwrite(arguments.overwrite);
  v1::Pool response;
  output.detail(fmt::format("Creating the pool {}", arguments.name));
  if (auto called = engine.call("mayastor.v1.PoolRpc/CreatePool", request, response); !called) return called;
  output.result(response, [&] { output.line(response.name()); });
  return {};
}

Result<> import(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  v1::ImportPoolRequest request;
  request.set_name(arguments.name);
  if (!arguments.uuid.empty()) request.mutable_uuid()->set_value(arguments.uuid);
  for (const std::string& disk : arguments.disks) request.add_disks(disk);
  request.set_pooltype(pool_type(arguments.type));
  v1::Pool response;
  output.detail(fmt::format("Importing the pool {}", arguments.name));
  if (auto called = engine.call("mayastor.v1.PoolRpc/ImportPool", request, response); !called) return called;
  output.result(response, [&] { output.line(response.name()); });
  return {};
}

// Destroy, export and grow look the pool up by name; with a UUID, both have to match.
template <typename Request>
Request request_for(const PoolArguments& arguments) {
  Request request;
  request.set_name(arguments.name);
  if (!arguments.uuid.empty()) request.mutable_uuid()->set_value(arguments.uuid);
  return request;
}

Result<> destroy(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  Empty response;
  output.detail(fmt::format("Destroying the pool {}", arguments.name));
  if (auto called =
          engine.call("mayastor.v1.PoolRpc/DestroyPool", request_for<v1::DestroyPoolRequest>(arguments), response);
      !called)
    return called;
  output.result(response, [&] { output.line(fmt::format("pool: {} is deleted", arguments.name)); });
  return {};
}

Result<> export_pool(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  Empty response;
  output.detail(fmt::format("Exporting the pool {}", arguments.name));
  if (auto called =
          engine.call("mayastor.v1.PoolRpc/ExportPool", request_for<v1::ExportPoolRequest>(arguments), response);
      !called)
    return called;
  output.result(response, [&] { output.line(fmt::format("pool: {} is exported", arguments.name)); });
  return {};
}

Result<> grow(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  v1::GrowPoolResponse response;
  output.detail(fmt::format("Growing the pool {}", arguments.name));
  if (auto called = engine.call("mayastor.v1.PoolRpc/GrowPool", request_for<v1::GrowPoolRequest>(arguments), response);
      !called)
    return called;
  output.result(response, [&] {
    const uint64_t before = response.previous_pool().capacity();
    const uint64_t now = response.current_pool().capacity();
    const auto text = [&](uint64_t size) {
      return output.units() == SizeUnits::kBytes ? fmt::format("{} bytes", size) : output.size(size);
    };
    output.line(before == now ? fmt::format("Pool capacity did not change: {}", text(now))
                              : fmt::format("Pool capacity was {}, now {}", output.size(before), text(now)));
  });
  return {};
}

Result<> list(const PoolArguments& arguments, EngineChannel& engine, Output& output) {
  v1::ListPoolOptions request;
  if (!arguments.name.empty()) request.mutable_name()->set_value(arguments.name);
  if (!arguments.uuid.empty()) request.mutable_uuid()->set_value(arguments.uuid);
  if (!arguments.type.empty()) request.mutable_pooltype()->set_value(pool_type(arguments.type));
  v1::ListPoolsResponse response;
  output.detail("Listing the pools");
  if (auto called = engine.call("mayastor.v1.PoolRpc/ListPools", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::Pool& pool : response.pools()) rows.push_back(row_of(pool, output));
    output.table({"NAME", "UUID", "STATE", ">CAPACITY", ">USED", ">USED%", ">CLUSTER_SIZE", ">PAGE_SIZE",
                  ">MD_PAGE_SIZE", ">MD_PAGES", ">MD_USED_PAGES", ">MD_USED%", "DISKS", "DISK_CAPACITY"},
                 rows, "No pools found");
  });
  return {};
}

void add_type(CLI::App& command, PoolArguments& arguments, const std::string& help) {
  command.add_option("-t,--type", arguments.type, help)->option_text("TYPE")->check(CLI::IsMember({"lvs", "lvm"}));
}

void add_identity(CLI::App& command, PoolArguments& arguments) {
  command.add_option("pool", arguments.name, "Name of the pool")->required();
  command.add_option("-u,--uuid", arguments.uuid, "Only if the pool has this UUID")->option_text("UUID");
  add_type(command, arguments, "lvs (blobstore) or lvm (volume group) [default: lvs]");
}

}  // namespace

void add_pool_commands(CommandLine& line) {
  CLI::App& group = line.group("pool", "Pools: a disk that replicas are carved out of");

  auto created = std::make_shared<PoolArguments>();
  CLI::App& create_command = line.command(
      group, "create", "Create a pool on a blank disk, or import the one that is there; prints its name",
      [created](EngineChannel& engine, Output& output) { return create(*created, engine, output); },
      "io-engine-client pool create pool0 /dev/sdb\n"
      "  io-engine-client pool create pool0 'aio:///var/tmp/disk.img'\n"
      "  io-engine-client pool create pool0 /dev/sdb --cluster-size 16MiB");
  create_command.add_option("pool", created->name, "Name of the pool")->required();
  create_command.add_option("disk", created->disks, "Path or URI of its disk")->required();
  create_command.add_option("--uuid", created->uuid, "UUID of the pool [default: random]")->option_text("UUID");
  create_command.add_option("--cluster-size", created->cluster_size, "Unit of allocation [default: 4MiB]")
      ->option_text("SIZE");
  create_command
      .add_option("--md-resv-ratio", created->metadata_ratio,
                  "Metadata pages to reserve for each cluster; more for many small replicas [default: 1]")
      ->option_text("RATIO");
  add_type(create_command, *created, "lvs (blobstore) or lvm (volume group) [default: lvs]");
  create_command.add_flag(
      "--overwrite", created->overwrite,
      "Even if the disk carries other data or a damaged pool, which are lost; never over a pool that "
      "is whole");

  auto imported = std::make_shared<PoolArguments>();
  CLI::App& import_command = line.command(
      group, "import", "Import the pool that a disk holds; prints its name",
      [imported](EngineChannel& engine, Output& output) { return import(*imported, engine, output); },
      "io-engine-client pool import pool0 /dev/sdb");
  import_command.add_option("pool", imported->name, "Name of the pool")->required();
  import_command.add_option("disk", imported->disks, "Path or URI of its disk")->required()->expected(1);
  import_command.add_option("-u,--uuid", imported->uuid, "Only if the pool has this UUID")->option_text("UUID");
  add_type(import_command, *imported, "lvs (blobstore) or lvm (volume group) [default: lvs]");

  auto destroyed = std::make_shared<PoolArguments>();
  add_identity(line.command(
                   group, "destroy", "Destroy a pool with all its replicas and snapshots; their data is lost",
                   [destroyed](EngineChannel& engine, Output& output) { return destroy(*destroyed, engine, output); },
                   "io-engine-client pool destroy pool0"),
               *destroyed);

  auto exported = std::make_shared<PoolArguments>();
  add_identity(line.command(
                   group, "export", "Let go of a pool's disk; the data stays, pool import brings it back",
                   [exported](EngineChannel& engine, Output& output) { return export_pool(*exported, engine, output); },
                   "io-engine-client pool export pool0"),
               *exported);

  auto grown = std::make_shared<PoolArguments>();
  add_identity(line.command(
                   group, "grow", "Take in what the pool's disk has grown by",
                   [grown](EngineChannel& engine, Output& output) { return grow(*grown, engine, output); },
                   "io-engine-client pool grow pool0"),
               *grown);

  auto listed = std::make_shared<PoolArguments>();
  listed->type.clear();
  CLI::App& list_command = line.command(
      group, "list", "List the pools",
      [listed](EngineChannel& engine, Output& output) { return list(*listed, engine, output); },
      "io-engine-client -u i pool list");
  list_command.add_option("name", listed->name, "Only the pool of this name");
  list_command.add_option("uuid", listed->uuid, "Only the pool of this UUID, if no name is given");
  add_type(list_command, *listed, "Only pools of this type: lvs or lvm [default: all]");
}

}  // namespace cairn::cli
