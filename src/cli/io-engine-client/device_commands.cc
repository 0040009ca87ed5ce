// device list.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <host.pb.h>

#include <CLI/App.hpp>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;

constexpr uint64_t kSectorBytes = 512;

// "a", "b"
std::string quoted_list(const google::protobuf::RepeatedPtrField<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += fmt::format("{}\"{}\"", list.empty() ? "" : ", ", text);
  return list;
}

Row row_of(const v1::BlockDevice& device, const Output& output) {
  const std::string partition_type =
      device.has_partition() ? fmt::format("{}:{}", device.partition().scheme(), device.partition().typeid_()) : "";
  const v1::BlockDevice::Filesystem& filesystem = device.filesystem();  // all empty when absent
  return {device.devname(),
          device.devtype(),
          std::to_string(device.devmajor()),
          std::to_string(device.devminor()),
          output.size(device.size() * kSectorBytes),
          device.available() ? "yes" : "no",
          device.model(),
          partition_type,
          filesystem.fstype(),
          filesystem.uuid(),
          quoted_list(filesystem.mountpoints()),
          device.devpath(),
          quoted_list(device.devlinks())};
}

Result<> list(bool all, EngineChannel& engine, Output& output) {
  v1::ListBlockDevicesRequest request;
  request.set_all(all);
  v1::ListBlockDevicesResponse response;
  output.detail(fmt::format("Listing {} disks and partitions of the node", all ? "all" : "the available"));
  if (auto called = engine.call("mayastor.v1.HostRpc/ListBlockDevices", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::BlockDevice& device : response.devices()) rows.push_back(row_of(device, output));
    output.table({"DEVNAME", "DEVTYPE", ">MAJOR", "MINOR", ">SIZE", "AVAILABLE", "MODEL", "PARTTYPE", "FSTYPE",
                  "FSUUID", "MOUNTPOINTS", "DEVPATH", "DEVLINKS"},
                 rows, "No devices found");
  });
  return {};
}

}  // namespace

void add_device_commands(CommandLine& line) {
  CLI::App& group = line.group("device", "Disks and partitions of the io-engine's node");
  auto all = std::make_shared<bool>(false);
  line.command(
          group, "list", "List the disks and partitions that are free to use",
          [all](EngineChannel& engine, Output& output) { return list(*all, engine, output); },
          "io-engine-client -u d device list\n"
          "  io-engine-client device list --all")
      .add_flag("-a,--all", *all, "Also those in use");
}

}  // namespace cairn::cli
