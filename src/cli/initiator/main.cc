// initiator: a test tool that does single things with a block device, mostly a remote one.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <csignal>
#include <functional>

#include "base/byte_size.h"
#include "base/log.h"
#include "base/version.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "block/registry.h"
#include "cli/initiator/actions.h"
#include "nvmf/host/nvmf_scheme.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace {

using namespace cairn;
using namespace cairn::cli;
using runtime::Task;

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr const char* kHostNqn = "nqn.2019-05.io.openebs:initiator";

using Action = std::function<Task<Result<std::string>>(block::Device&)>;

struct Request {
  std::string uri;
  bool writes = false;
  Action action;
};

Task<Result<std::string>> perform(Request request) {
  block::Registry registry;
  block::add_malloc_scheme(registry);
  block::add_null_scheme(registry);
  block::add_aio_scheme(registry);
  block::add_uring_scheme(registry);
  nvmf::host::ConnectionOptions defaults;
  defaults.host = nvmf::host::make_host_identity(kHostNqn, {});
  nvmf::host::add_nvmf_schemes(registry, defaults);

  auto device = co_await registry.create(request.uri);
  if (!device) co_return fail(std::move(device.error()));
  Result<std::string> result;
  if (auto claimed = request.writes ? (*device)->claim("initiator") : Result<>{}; !claimed) {
    result = fail(std::move(claimed.error()));
  } else {
    result = co_await request.action(**device);
  }
  device->reset();
  co_await registry.remove_all();
  co_return result;
}

std::optional<uint8_t> parse_opcode(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (hexadecimal) text.remove_prefix(2);
  uint8_t opcode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), opcode, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return opcode;
}

class CommandLine {
 public:
  CommandLine()
      : app_("Does single things with a block device, mostly one that is reached over NVMe-oF.", "initiator") {
    app_.set_version_flag("-V,--version", fmt::format("initiator {}", version()), "Print the version and exit");
    app_.add_option("URI", uri_, "the device, such as nvmf://192.0.2.7:8420/nqn.2019-05.io.openebs:disk0")->required();
    app_.add_option("-o,--offset", offset_, "where on the device, bytes or with a unit: 1MiB")->capture_default_str();
    app_.require_subcommand(1);
    app_.add_subcommand("connect", "Connect, tell what is there, disconnect");
    CLI::App* read = app_.add_subcommand("read", "Read into a file");
    read->add_option("FILE", file_)->required();
    read->add_option("-l,--length", length_, "how much [a block]");
    app_.add_subcommand("write", "Write a file; the last block is filled with zeroes")
        ->add_option("FILE", file_)
        ->required();
    app_.add_subcommand("nvme-admin", "Send an admin command without data")
        ->add_option("OPCODE", opcode_, "decimal, or hexadecimal: 0xc0")
        ->required();
    app_.add_subcommand("id-ctrlr", "Identify Controller, into a file")->add_option("FILE", file_)->required();
    CLI::App* snapshot = app_.add_subcommand("create-snapshot", "Make a snapshot of the replica behind the device");
    snapshot->add_option("--name", snapshot_name_, "of the snapshot")->capture_default_str();
    snapshot->add_option("--uuid", snapshot_uuid_, "of the snapshot");
    snapshot->add_option("--entity-id", entity_id_, "that it belongs to");
    snapshot->add_option("--txn-id", txn_id_, "of the transaction");
  }

  // An exit code when there is nothing to do.
  std::optional<int> parse(int argc, char** argv) {
    try {
      app_.parse(argc, argv);
    } catch (const CLI::Success& help_or_version) {
      return app_.exit(help_or_version);
    } catch (const CLI::ParseError& error) {
      return refuse(error.what());
    }
    return std::nullopt;
  }

  std::expected<Request, int> request() const {
    uint64_t offset = 0, length = 0;
    for (const auto& [option, text, value] :
         {std::tuple("--offset", &offset_, &offset), std::tuple("--length", &length_, &length)}) {
      if (text->empty()) continue;
      auto size = parse_byte_size(*text);
      if (!size) return std::unexpected(refuse(fmt::format("{}: {}", option, size.error().message())));
      *value = *size;
    }
    Request request{.uri = uri_, .action = {}};
    const std::string& command = app_.get_subcommands().front()->get_name();
    if (command == "connect") {
      request.action = [](block::Device& device) -> Task<Result<std::string>> { co_return describe_device(device); };
    } else if (command == "read") {
      request.action = [offset, length, file = file_](block::Device& device) {
        return read_to_file(device, offset, length, file);
      };
    } else if (command == "write") {
      request.writes = true;
      request.action = [offset, file = file_](block::Device& device) { return write_from_file(device, offset, file); };
    } else if (command == "nvme-admin") {
      const auto opcode = parse_opcode(opcode_);
      if (!opcode) return std::unexpected(refuse(fmt::format("'{}' is no opcode (0 to 255)", opcode_)));
      request.action = [opcode = *opcode](block::Device& device) { return send_admin_command(device, opcode); };
    } else if (command == "id-ctrlr") {
      request.action = [file = file_](block::Device& device) { return identify_controller(device, file); };
    } else {
      auto given = [](const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); };
      request.action = [message = nvme::SnapshotMessage{.entity_id = given(entity_id_),
                                                        .parent_id = std::nullopt,
                                                        .txn_id = given(txn_id_),
                                                        .name = given(snapshot_name_),
                                                        .uuid = given(snapshot_uuid_),
                                                        .create_time = std::nullopt}](block::Device& device) {
        return create_snapshot(device, message);
      };
    }
    return request;
  }

 private:
  static int refuse(std::string_view why) {
    fmt::print(stderr, "initiator: {}\n\nFor more information, try 'initiator --help'.\n", why);
    return kUsage;
  }

  CLI::App app_;
  std::string uri_, offset_ = "0", length_, file_, opcode_;
  std::string snapshot_name_ = "snapshot", snapshot_uuid_, entity_id_, txn_id_;
};

}  // namespace

int main(int argc, char** argv) {
  CommandLine command_line;
  if (const auto code = command_line.parse(argc, argv)) return *code;
  auto request = command_line.request();
  if (!request) return request.error();

  signal(SIGPIPE, SIG_IGN);
  log::configure({.level = log::Level::kWarn, .host = {}});
  auto reactors = runtime::ReactorGroup::start({});
  if (!reactors) {
    fmt::print(stderr, "initiator: cannot start: {}\n", reactors.error().to_string());
    return kFailed;
  }
  const auto result =
      runtime::run_on((*reactors)->primary(), "initiator", [&] { return perform(std::move(*request)); }).get();
  (*reactors)->stop();
  if (!result) {
    fmt::print(stderr, "initiator: {}\n", result.error().to_string());
    return kFailed;
  }
  fmt::print("{}", *result);
  return EXIT_SUCCESS;
}
