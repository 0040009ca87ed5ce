// bdev list, create, destroy, share, unshare.
#include <bdev.pb.h>
#include <fmt/format.h>
#include <google/protobuf/empty.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

struct ShareArguments {
  std::string name;
  std::string protocol = "Nvmf";
  std::vector<std::string> allowed_hosts;
};

Result<> list(EngineChannel& engine, Output& output) {
  v1::ListBdevResponse response;
  output.detail("Listing the block devices");
  if (auto called = engine.call("mayastor.v1.BdevRpc/List", v1::ListBdevOptions(), response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::Bdev& bdev : response.bdevs()) {
      rows.push_back({bdev.uuid(), std::to_string(bdev.num_blocks()), std::to_string(bdev.blk_size()),
                      output.size(bdev.num_blocks() * bdev.blk_size()), bdev.claimed_by(), bdev.name(),
                      bdev.share_uri()});
    }
    output.table({"UUID", "NUM_BLOCKS", "BLK_SIZE", "CAPACITY", "CLAIMED_BY", "NAME", "SHARE_URI"}, rows,
                 "No bdevs found");
  });
  return {};
}

Result<> create(const std::string& uri, EngineChannel& engine, Output& output) {
  v1::CreateBdevRequest request;
  request.set_uri(uri);
  v1::CreateBdevResponse response;
  output.detail(fmt::format("Creating the block device of {}", uri));
  if (auto called = engine.call("mayastor.v1.BdevRpc/Create", request, response); !called) return called;
  output.result(response, [&] { output.line(response.bdev().name()); });
  return {};
}

// The engine destroys by URI; people know names.
Result<> destroy(const std::string& name, EngineChannel& engine, Output& output) {
  v1::ListBdevOptions options;
  options.mutable_name()->set_value(name);
  v1::ListBdevResponse found;
  output.detail(fmt::format("Looking up the block device {}", name));
  if (auto called = engine.call("mayastor.v1.BdevRpc/List", options, found); !called) return called;
  if (found.bdevs().empty()) return fail(Code::kNotFound, fmt::format("block device '{}' could not be found", name));

  v1::DestroyBdevRequest request;
  request.set_uri(found.bdevs(0).uri());
  google::protobuf::Empty response;
  output.detail(fmt::format("Destroying the block device of {}", request.uri()));
  if (auto called = engine.call("mayastor.v1.BdevRpc/Destroy", request, response); !called) return called;
  output.result(response, [&] { output.line(name); });
  return {};
}

Result<> share(const ShareArguments& arguments, EngineChannel& engine, Output& output) {
  v1::BdevShareRequest request;
  request.set_name(arguments.name);
  request.set_protocol(v1::NVMF);  // the only one that the command line accepts
  for (const std::string& host : arguments.allowed_hosts) request.add_allowed_hosts(host);
  v1::BdevShareResponse response;
  output.detail(fmt::format("Sharing the block device {} over {}", arguments.name, arguments.protocol));
  if (auto called = engine.call("mayastor.v1.BdevRpc/Share", request, response); !called) return called;
  output.result(response, [&] { output.line(response.bdev().uri()); });
  return {};
}

Result<> unshare(const std::string& name, EngineChannel& engine, Output& output) {
  v1::BdevUnshareRequest request;
  request.set_name(name);
  google::protobuf::Empty response;
  output.detail(fmt::format("Unsharing the block device {}", name));
  if (auto called = engine.call("mayastor.v1.BdevRpc/Unshare", request, response); !called) return called;
  output.result(response, [&] { output.line(name); });
  return {};
}

}  // namespace

void add_bdev_commands(CommandLine& line) {
  CLI::App& group = line.group("bdev", "Block devices: list, create, destroy, share");

  line.command(group, "list", "List the block devices", list, "io-engine-client -u i bdev list");

  auto uri = std::make_shared<std::string>();
  line.command(
          group, "create", "Create a block device; prints its name",
          [uri](EngineChannel& engine, Output& output) { return create(*uri, engine, output); },
          "io-engine-client bdev create 'malloc:///disk0?size_mb=64'     memory, lost at the end\n"
          "  io-engine-client bdev create 'aio:///var/tmp/disk1.img'        a file that exists\n"
          "  io-engine-client bdev create 'uring:///dev/sdb?blk_size=4096'  a kernel device")
      .add_option("uri", *uri, "What it is made of: <driver>:///<path or name>?<parameter>=<value>")
      ->required();

  auto destroyed = std::make_shared<std::string>();
  line.command(
          group, "destroy", "Destroy a block device; files and disks keep their data",
          [destroyed](EngineChannel& engine, Output& output) { return destroy(*destroyed, engine, output); },
          "io-engine-client bdev destroy disk0")
      .add_option("name", *destroyed, "Name, as bdev list shows it")
      ->required();

  auto arguments = std::make_shared<ShareArguments>();
  CLI::App& share_command = line.command(
      group, "share", "Make a block device an NVMe-oF namespace; prints its URI",
      [arguments](EngineChannel& engine, Output& output) { return share(*arguments, engine, output); },
      "io-engine-client bdev share disk0\n"
      "  io-engine-client bdev share disk0 --allowed-host "
      "nqn.2014-08.org.nvmexpress:uuid:11111111-2222-3333-4444-555555555555\n"
      "\nThe address that hosts connect to is SHARE_URI of bdev list.");
  share_command.add_option("name", arguments->name, "Name, as bdev list shows it")->required();
  share_command.add_option("-p,--protocol", arguments->protocol, "Nvmf is the only one")
      ->option_text("PROTOCOL")
      ->default_str("Nvmf")
      ->check(CLI::IsMember({"Nvmf"}, CLI::ignore_case));
  share_command
      .add_option("--allowed-host", arguments->allowed_hosts,
                  "NQN of a host that may connect; repeat for more; any host without it")
      ->option_text("HOST")
      ->allow_extra_args(false);

  auto unshared = std::make_shared<std::string>();
  line.command(
          group, "unshare", "End the share of a block device; connected hosts lose it",
          [unshared](EngineChannel& engine, Output& output) { return unshare(*unshared, engine, output); },
          "io-engine-client bdev unshare disk0")
      .add_option("name", *unshared, "Name, as bdev list shows it")
      ->required();
}

}  // namespace cairn::cli
