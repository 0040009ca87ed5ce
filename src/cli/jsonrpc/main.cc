// jsonrpc: calls a JSON-RPC method on the io-engine's unix socket and prints its result.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/version.h"
#include "cli/json_text.h"
#include "cli/jsonrpc/json_rpc_call.h"

namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  using Json = nlohmann::ordered_json;
  std::string socket_path = "/var/tmp/mayastor.sock";
  std::string method;
  std::string params_text;

  CLI::App app("Calls a JSON-RPC method on the unix socket of an io-engine.", "jsonrpc");
  app.set_version_flag("-V,--version", fmt::format("jsonrpc {}", cairn::version()), "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.require_subcommand(1);
  app.add_option("-s,--socket", socket_path, "Path of the socket [default: /var/tmp/mayastor.sock]")
      ->option_text("PATH");
  CLI::App& raw = *app.add_subcommand("raw", "Call a method; prints its result");
  raw.add_option("method", method, "Name of the method")->required();
  raw.add_option("params", params_text, "Its parameters as JSON text");
  app.footer(
      "Examples:\n  jsonrpc raw rpc_get_methods\n  jsonrpc -s /run/engine.sock raw bdev_get_bdevs '{\"name\": "
      "\"disk0\"}'");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    return app.exit(help_or_version);
  } catch (const CLI::ParseError& error) {
    fmt::print(stderr, "error: {}\n\nFor more information, try 'jsonrpc --help'.\n", error.what());
    return kUsage;
  }

  Json params;
  if (!params_text.empty()) {
    params = Json::parse(params_text, nullptr, /*allow_exceptions=*/false);
    if (params.is_discarded()) {
      fmt::print(stderr, "error: the parameters are not JSON: {}\n", params_text);
      return kUsage;
    }
  }
  const auto result = cairn::cli::call_json_rpc(socket_path, method, params);
  if (!result) {
    fmt::print(stderr, "error: {}\n", result.error().to_string());
    return kFailed;
  }
  fmt::print("{}\n", cairn::cli::render_json(*result, cairn::cli::stdout_takes_colour()));
  return 0;
}
