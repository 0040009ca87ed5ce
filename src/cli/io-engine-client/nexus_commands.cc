// nexus create, destroy, shutdown, publish, unpublish, ana_state, add, remove, list, children, resize, child.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/empty.pb.h>
#include <google/protobuf/util/time_util.h>
#include <nexus.pb.h>

#include <CLI/App.hpp>
#include <sstream>

#include "cli/io-engine-client/command_groups.h"
#include "cli/io-engine-client/command_line.h"
#include "cli/io-engine-client/engine_channel.h"
#include "cli/io-engine-client/nexus_state_text.h"

namespace cairn::cli {
namespace {

namespace v1 = mayastor::v1;
using google::protobuf::Empty;

constexpr const char* kExampleUuid = "11111111-2222-4333-8444-555555555555";

struct CreateArguments {
  std::string uuid, name, size;
  std::vector<std::string> children;
  uint32_t min_cntlid = 1;
  uint32_t max_cntlid = 65519;
  uint64_t reservation_key = 0;
  uint64_t preempt_key = 0;
  std::string reservation_type;
  std::string preempt_policy = "ArgKey";
  std::string info_key;
};

struct PublishArguments {
  std::string uuid, key;
  std::string protocol = "nvmf";
  std::vector<std::string> allowed_hosts;
};

struct ChildArguments {
  std::string uuid, uri;
  std::string norebuild = "false";
};

std::string state_text(v1::ChildState state) {
  switch (state) {
    case v1::CHILD_STATE_ONLINE:
      return "online";
    case v1::CHILD_STATE_DEGRADED:
      return "degraded";
    case v1::CHILD_STATE_FAULTED:
      return "faulted";
    default:
      return "unknown";
  }
}

std::string reason_text(v1::ChildStateReason reason) {
  switch (reason) {
    case v1::CHILD_STATE_REASON_INIT:
      return "init";
    case v1::CHILD_STATE_REASON_CLOSED:
      return "closed";
    case v1::CHILD_STATE_REASON_CANNOT_OPEN:
      return "cannot open";
    case v1::CHILD_STATE_REASON_CONFIG_INVALID:
      return "config invalid";
    case v1::CHILD_STATE_REASON_REBUILD_FAILED:
      return "rebuild failed";
    case v1::CHILD_STATE_REASON_IO_FAILURE:
      return "I/O failure";
    case v1::CHILD_STATE_REASON_BY_CLIENT:
      return "by client";
    case v1::CHILD_STATE_REASON_OUT_OF_SYNC:
      return "out of sync";
    case v1::CHILD_STATE_REASON_NO_SPACE:
      return "no space";
    case v1::CHILD_STATE_REASON_TIMED_OUT:
      return "timed out";
    case v1::CHILD_STATE_REASON_ADMIN_FAILED:
      return "admin failed";
    default:
      return "-";
  }
}

std::string ana_text(v1::NvmeAnaState state) {
  switch (state) {
    case v1::NVME_ANA_OPTIMIZED_STATE:
      return "optimized";
    case v1::NVME_ANA_NON_OPTIMIZED_STATE:
      return "non_optimized";
    case v1::NVME_ANA_INACCESSIBLE_STATE:
      return "inaccessible";
    case v1::NVME_ANA_PERSISTENT_LOSS_STATE:
      return "persistent_loss";
    case v1::NVME_ANA_CHANGE_STATE:
      return "change";
    default:
      return "invalid";
  }
}

v1::NvmeAnaState ana_state(const std::string& text) {
  if (text == "optimized") return v1::NVME_ANA_OPTIMIZED_STATE;
  return text == "inaccessible" ? v1::NVME_ANA_INACCESSIBLE_STATE : v1::NVME_ANA_NON_OPTIMIZED_STATE;
}

v1::NvmeReservation reservation_type(const std::string& text) {
  v1::NvmeReservation type = v1::Reserved;
  v1::NvmeReservation_Parse(text, &type);
  return type;
}

v1::ShareProtocol share_protocol(const std::string& text) {
  if (text == "nvmf") return v1::NVMF;
  return text == "iscsi" ? v1::ISCSI : v1::NONE;
}

Result<> create(const CreateArguments& arguments, EngineChannel& engine, Output& output) {
  v1::CreateNexusRequest request;
  const Result<uint64_t> size = parse_byte_size(arguments.size);
  if (!size) return fail(size.error());
  request.set_name(arguments.name.empty() ? arguments.uuid : arguments.name);
  request.set_uuid(arguments.uuid);
  request.set_size(*size);
  request.set_mincntlid(arguments.min_cntlid);
  request.set_maxcntlid(arguments.max_cntlid);
  request.set_resvkey(arguments.reservation_key);
  request.set_preemptkey(arguments.preempt_key);
  for (const std::string& argument : arguments.children) {
    std::istringstream uris(argument);
    for (std::string uri; uris >> uri;) request.add_children(uri);
  }
  request.set_preemptpolicy(arguments.preempt_policy == "Holder" ? v1::Holder : v1::ArgKey);
  request.set_nexusinfokey(arguments.info_key);
  if (!arguments.reservation_type.empty()) request.set_resvtype(reservation_type(arguments.reservation_type));
  v1::CreateNexusResponse response;
  output.detail(fmt::format("Creating the nexus {} of {} bytes", request.name(), *size));
  if (auto called = engine.call("mayastor.v1.NexusRpc/CreateNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(response.nexus().uuid()); });
  return {};
}

Result<> destroy(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::DestroyNexusRequest request;
  request.set_uuid(uuid);
  Empty response;
  output.detail(fmt::format("Destroying the nexus {}", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/DestroyNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(uuid); });
  return {};
}

Result<> shutdown(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::ShutdownNexusRequest request;
  request.set_uuid(uuid);
  v1::ShutdownNexusResponse response;
  output.detail(fmt::format("Shutting the nexus {} down", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/ShutdownNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(uuid); });
  return {};
}

Result<> publish(const PublishArguments& arguments, EngineChannel& engine, Output& output) {
  v1::PublishNexusRequest request;
  request.set_uuid(arguments.uuid);
  request.set_key(arguments.key);
  request.set_share(share_protocol(arguments.protocol));
  for (const std::string& host : arguments.allowed_hosts) request.add_allowed_hosts(host);
  v1::PublishNexusResponse response;
  output.detail(fmt::format("Publishing the nexus {}", arguments.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/PublishNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("Nexus published over: {}", response.nexus().device_uri())); });
  return {};
}

Result<> unpublish(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::UnpublishNexusRequest request;
  request.set_uuid(uuid);
  v1::UnpublishNexusResponse response;
  output.detail(fmt::format("Unpublishing the nexus {}", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/UnpublishNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(uuid); });
  return {};
}

Result<> show_ana_state(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::GetNvmeAnaStateRequest request;
  request.set_uuid(uuid);
  v1::GetNvmeAnaStateResponse response;
  output.detail(fmt::format("Reading the ANA state of the nexus {}", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/GetNvmeAnaState", request, response); !called) return called;
  output.result(response, [&] { output.note(ana_text(response.ana_state())); });
  return {};
}

Result<> change_ana_state(const std::string& uuid, const std::string& state, EngineChannel& engine, Output& output) {
  v1::SetNvmeAnaStateRequest request;
  request.set_uuid(uuid);
  request.set_ana_state(ana_state(state));
  v1::SetNvmeAnaStateResponse response;
  output.detail(fmt::format("Setting the ANA state of the nexus {} to {}", uuid, state));
  if (auto called = engine.call("mayastor.v1.NexusRpc/SetNvmeAnaState", request, response); !called) return called;
  output.result(response, [&] { output.note(uuid); });
  return {};
}

Result<> add(const ChildArguments& arguments, EngineChannel& engine, Output& output) {
  v1::AddChildNexusRequest request;
  request.set_uuid(arguments.uuid);
  request.set_uri(arguments.uri);
  request.set_norebuild(arguments.norebuild == "true");
  v1::AddChildNexusResponse response;
  output.detail(fmt::format("Adding {} to the nexus {}", arguments.uri, arguments.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/AddChildNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(arguments.uuid); });
  return {};
}

Result<> remove(const ChildArguments& arguments, EngineChannel& engine, Output& output) {
  v1::RemoveChildNexusRequest request;
  request.set_uuid(arguments.uuid);
  request.set_uri(arguments.uri);
  v1::RemoveChildNexusResponse response;
  output.detail(fmt::format("Removing {} from the nexus {}", arguments.uri, arguments.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/RemoveChildNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("Removed {} from specified nexus", arguments.uri)); });
  return {};
}

Result<> fault(const ChildArguments& arguments, EngineChannel& engine, Output& output) {
  v1::FaultNexusChildRequest request;
  request.set_uuid(arguments.uuid);
  request.set_uri(arguments.uri);
  v1::FaultNexusChildResponse response;
  output.detail(fmt::format("Faulting {} of the nexus {}", arguments.uri, arguments.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/FaultNexusChild", request, response); !called) return called;
  output.result(response, [&] { output.line(arguments.uri); });
  return {};
}

Result<> operate(const ChildArguments& arguments, v1::ChildAction action, EngineChannel& engine, Output& output) {
  v1::ChildOperationRequest request;
  request.set_nexus_uuid(arguments.uuid);
  request.set_uri(arguments.uri);
  request.set_action(action);
  v1::ChildOperationResponse response;
  output.detail(fmt::format("{} of {} of the nexus {}", v1::ChildAction_Name(action), arguments.uri, arguments.uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/ChildOperation", request, response); !called) return called;
  output.result(response, [&] { output.line(arguments.uri); });
  return {};
}

Result<> resize(const std::string& uuid, const std::string& size_text, EngineChannel& engine, Output& output) {
  const Result<uint64_t> size = parse_byte_size(size_text);
  if (!size) return fail(size.error());
  v1::ResizeNexusRequest request;
  request.set_uuid(uuid);
  request.set_requested_size(*size);
  v1::ResizeNexusResponse response;
  output.detail(fmt::format("Resizing the nexus {} to {} bytes", uuid, *size));
  if (auto called = engine.call("mayastor.v1.NexusRpc/ResizeNexus", request, response); !called) return called;
  output.result(response, [&] { output.line(fmt::format("Resized nexus {} to {}", uuid, output.size(*size))); });
  return {};
}

Result<> list(bool show_children, EngineChannel& engine, Output& output) {
  v1::ListNexusResponse response;
  output.detail("Listing the nexuses");
  if (auto called = engine.call("mayastor.v1.NexusRpc/ListNexus", v1::ListNexusOptions(), response); !called)
    return called;
  output.result(response, [&] {
    std::vector<std::string_view> headers = {"NAME", "UUID", ">SIZE", "STATE", ">REBUILDS", "PATH"};
    if (show_children) headers.push_back("CHILDREN");
    std::vector<Row> rows;
    for (const v1::Nexus& nexus : response.nexus_list()) {
      rows.push_back({nexus.name(), nexus.uuid(), output.size(nexus.size()), nexus_state_text(nexus.state()),
                      std::to_string(nexus.rebuilds()), nexus.device_uri()});
      if (!show_children) continue;
      std::vector<std::string> uris;
      for (const v1::Child& child : nexus.children()) uris.push_back(child.uri());
      rows.back().push_back(fmt::format("{}", fmt::join(uris, ",")));
    }
    output.table(headers, rows, "No nexus found");
  });
  return {};
}

Result<> children(const std::string& uuid, EngineChannel& engine, Output& output) {
  v1::ListNexusOptions request;
  request.mutable_uuid()->set_value(uuid);
  v1::ListNexusResponse response;
  output.detail(fmt::format("Listing the children of the nexus {}", uuid));
  if (auto called = engine.call("mayastor.v1.NexusRpc/ListNexus", request, response); !called) return called;
  output.result(response, [&] {
    std::vector<Row> rows;
    for (const v1::Nexus& nexus : response.nexus_list()) {
      for (const v1::Child& child : nexus.children()) {
        rows.push_back(
            {child.uri(), state_text(child.state()), reason_text(child.state_reason()),
             child.has_fault_timestamp() ? google::protobuf::util::TimeUtil::ToString(child.fault_timestamp()) : "-"});
      }
    }
    output.table({"NAME", "STATE", "REASON", "LAST_FAULTED_AT"}, rows, "No nexus found");
  });
  return {};
}

void add_create(CommandLine& line, CLI::App& group) {
  auto arguments = std::make_shared<CreateArguments>();
  CLI::App& command = line.command(
      group, "create", "Create a nexus over children that hold the same data; prints its UUID",
      [arguments](EngineChannel& engine, Output& output) { return create(*arguments, engine, output); },
      fmt::format("io-engine-client nexus create {} 10GiB 'bdev:///r0?uuid=...' "
                  "'nvmf://10.0.0.8:8420/nqn.2019-05.io.openebs:r1?uuid=...'",
                  kExampleUuid));
  command.add_option("uuid", arguments->uuid, "UUID of the nexus")->required();
  command.add_option("size", arguments->size, "Size, in bytes or with a unit")->required();
  command.add_option("children", arguments->children, "URIs of the children")->required();
  command.add_option("--name", arguments->name, "Name of the nexus [default: its UUID]")->option_text("NAME");
  command.add_option("--min-cntlid", arguments->min_cntlid, "First NVMe controller identifier of hosts [default: 1]")
      ->option_text("ID");
  command.add_option("--max-cntlid", arguments->max_cntlid, "Last one [default: 65519]")->option_text("ID");
  command
      .add_option("--resv-key", arguments->reservation_key,
                  "Key under which the children are reserved; 0: they are not [default: 0]")
      ->option_text("KEY");
  command
      .add_option("--preempt-key", arguments->preempt_key, "Key of a reservation to take over; 0: none [default: 0]")
      ->option_text("KEY");
  command.add_option("--resv-type", arguments->reservation_type, "Type of the reservation [default: the engine's]")
      ->option_text("TYPE")
      ->check(CLI::IsMember({"", "Reserved", "WriteExclusive", "ExclusiveAccess", "WriteExclusiveRegsOnly",
                             "ExclusiveAccessRegsOnly", "WriteExclusiveAllRegs", "ExclusiveAccessAllRegs"}));
  command
      .add_option("--preempt-policy", arguments->preempt_policy,
                  "Whose reservation is taken over: that of --preempt-key, or that of whoever holds one "
                  "[default: ArgKey]")
      ->option_text("ArgKey|Holder")
      ->check(CLI::IsMember({"ArgKey", "Holder"}));
  command
      .add_option("--nexus-info-key", arguments->info_key,
                  "Key of the record about the children's health [default: the nexus' UUID]")
      ->option_text("KEY");
}

// A command that has the nexus' UUID as its one argument.
void add_simple(CommandLine& line, CLI::App& group, const std::string& name, const std::string& description,
                Result<> (*run)(const std::string& uuid, EngineChannel& engine, Output& output)) {
  auto uuid = std::make_shared<std::string>();
  line.command(
          group, name, description,
          [uuid, run](EngineChannel& engine, Output& output) { return run(*uuid, engine, output); },
          fmt::format("io-engine-client nexus {} {}", name, kExampleUuid))
      .add_option("uuid", *uuid, "UUID of the nexus")
      ->required();
}

void add_publish(CommandLine& line, CLI::App& group) {
  auto arguments = std::make_shared<PublishArguments>();
  CLI::App& command = line.command(
      group, "publish", "Make a nexus an NVMe-oF namespace; again: only the hosts are replaced; prints its URI",
      [arguments](EngineChannel& engine, Output& output) { return publish(*arguments, engine, output); },
      fmt::format("io-engine-client nexus publish {}", kExampleUuid));
  command.add_option("uuid", arguments->uuid, "UUID of the nexus")->required();
  command.add_option("key", arguments->key, "16 characters, not used");
  command
      .add_option("--allowed-host", arguments->allowed_hosts,
                  "NQN of a host that may connect; repeat for more; any host without it")
      ->option_text("HOST")
      ->allow_extra_args(false);
  command.add_option("-p,--protocol", arguments->protocol, "nvmf is the one that engines support [default: nvmf]")
      ->option_text("PROTOCOL")
      ->check(CLI::IsMember({"none", "nvmf", "iscsi"}));
}

void add_ana_state(CommandLine& line, CLI::App& group) {
  auto arguments = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App& command = line.command(
      group, "ana_state", "Show or set the ANA state of a published nexus",
      [arguments](EngineChannel& engine, Output& output) {
        return arguments->second.empty() ? show_ana_state(arguments->first, engine, output)
                                         : change_ana_state(arguments->first, arguments->second, engine, output);
      },
      fmt::format("io-engine-client nexus ana_state {0}\n  io-engine-client nexus ana_state {0} inaccessible",
                  kExampleUuid));
  command.add_option("uuid", arguments->first, "UUID of the nexus")->required();
  command.add_option("state", arguments->second, "optimized, non_optimized or inaccessible; without it: shows it")
      ->check(CLI::IsMember({"optimized", "non_optimized", "inaccessible"}));
}

// A command about a child of a nexus.
CLI::App& add_child_command(CommandLine& line, CLI::App& group, const std::string& name, const std::string& description,
                            std::function<Result<>(const ChildArguments&, EngineChannel&, Output&)> run,
                            std::shared_ptr<ChildArguments> arguments = std::make_shared<ChildArguments>()) {
  CLI::App& command = line.command(group, name, description, [arguments, run](EngineChannel& engine, Output& output) {
    return run(*arguments, engine, output);
  });
  command.add_option("uuid", arguments->uuid, "UUID of the nexus")->required();
  command.add_option("uri", arguments->uri, "URI of the child")->required();
  return command;
}

void add_child_commands(CommandLine& line, CLI::App& nexus) {
  CLI::App& group = line.group(nexus, "child", "State of a nexus' child; each prints the child's URI");
  auto operation = [](v1::ChildAction action) {
    return [action](const ChildArguments& arguments, EngineChannel& engine, Output& output) {
      return operate(arguments, action, engine, output);
    };
  };
  add_child_command(line, group, "fault", "Fault a child for good", fault);
  add_child_command(line, group, "offline", "Take a child offline; online brings it back", operation(v1::Offline));
  add_child_command(line, group, "online", "Bring a child back and rebuild it", operation(v1::Online));
  add_child_command(line, group, "retire", "Treat a child as one whose I/O failed", operation(v1::FaultIOError));
}

}  // namespace

void add_nexus_commands(CommandLine& line) {
  CLI::App& group = line.group("nexus", "Nexuses: one device over several replicas of the same data");
  add_create(line, group);
  add_simple(line, group, "destroy", "Destroy a nexus; its children keep their data; prints its UUID", destroy);
  add_simple(line, group, "shutdown", "End all I/O of a nexus and let go of its children; prints its UUID", shutdown);
  add_publish(line, group);
  add_simple(line, group, "unpublish", "End the export of a nexus; connected hosts lose it; prints its UUID",
             unpublish);
  add_ana_state(line, group);

  auto added = std::make_shared<ChildArguments>();
  add_child_command(line, group, "add", "Add a child and rebuild it; prints the nexus' UUID", add, added)
      .add_option("norebuild", added->norebuild, "true: leave it out of step for now [default: false]")
      ->check(CLI::IsMember({"true", "false"}));
  add_child_command(line, group, "remove", "Remove a child; its data stays where it is", remove);

  auto with_children = std::make_shared<bool>(false);
  line.command(
          group, "list", "List the nexuses",
          [with_children](EngineChannel& engine, Output& output) { return list(*with_children, engine, output); },
          "io-engine-client -u i nexus list --show-children")
      .add_flag("-c,--show-children", *with_children, "With the URIs of their children");
  add_simple(line, group, "children", "List the children of a nexus with their states", children);

  auto resized = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App& resize_command = line.command(
      group, "resize", "Grow a nexus, after its children",
      [resized](EngineChannel& engine, Output& output) {
        return resize(resized->first, resized->second, engine, output);
      },
      fmt::format("io-engine-client nexus resize {} 20GiB", kExampleUuid));
  resize_command.add_option("uuid", resized->first, "UUID of the nexus")->required();
  resize_command.add_option("size", resized->second, "New size, in bytes or with a unit")->required();

  add_child_commands(line, group);
  add_scrub_commands(line, group);
}

}  // namespace cairn::cli
