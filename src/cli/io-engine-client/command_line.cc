#include "cli/io-engine-client/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "base/version.h"

namespace cairn::cli {
namespace {

constexpr const char* kBindDefault = "http://127.0.0.1:10124";
constexpr const char* kBindVariable = "MY_POD_IP";

constexpr const char* kRootExamples =
    "Environment:\n"
    "  MY_POD_IP     address of the io-engine when -b is not given\n"
    "  API_VERSION   version of the API: v1 (the default)\n"
    "\n"
    "Exit codes: 0 done, 1 refused by the io-engine, 2 wrong usage, 101 io-engine not reached.\n"
    "\n"
    "Examples:\n"
    "  io-engine-client bdev create 'malloc:///disk0?size_mb=64'\n"
    "  io-engine-client bdev share disk0\n"
    "  io-engine-client -u i bdev list\n"
    "  io-engine-client -b 10.0.0.7 -o json device list --all\n"
    "\n"
    "Each command explains itself: io-engine-client bdev share --help";

// The deepest command that was named.
const CLI::App* innermost(const CLI::App* app) {
  for (auto chosen = app->get_subcommands(); !chosen.empty(); chosen = app->get_subcommands()) app = chosen.front();
  return app;
}

std::string full_name(const CLI::App* app) {
  return app->get_parent() == nullptr ? app->get_name() : full_name(app->get_parent()) + " " + app->get_name();
}

std::string help_of(const CLI::App& app) {
  return app.help(app.get_parent() == nullptr ? "" : full_name(app.get_parent()));
}

void usage_error(const CLI::App& app, std::string_view message) {
  fmt::print(stderr, "error: {}\n\nFor more information, try '{} --help'.\n", message, full_name(&app));
}

}  // namespace

CommandLine::CommandLine()
    : root_(std::make_unique<CLI::App>("Mayastor CLI V1: talks to one io-engine.", "io-engine-client")) {
  root_->set_version_flag("-V,--version", fmt::format("io-engine-client {}", version()), "Print the version and exit");
  root_->set_help_flag("-h,--help", "Print this help and exit");
  root_->footer(kRootExamples);
  root_->require_subcommand(1);
  add_global_options(*root_);
  // Not on the commands: some of them will have a -u of their own.
  root_
      ->add_option_function<std::string>(
          "-u,--units",
          [this](const std::string& value) {
            options_.output.units = value == "i" ? SizeUnits::kBinary : SizeUnits::kDecimal;
          },
          "Sizes in units of 1024 (i: KiB, MiB) or of 1000 (d: KB, MB) instead of bytes; has to stand before the "
          "command")
      ->check(CLI::IsMember({"i", "d"}))
      ->option_text("i|d");
}

CommandLine::~CommandLine() = default;

CLI::App& CommandLine::group(const std::string& name, const std::string& description) {
  return group(*root_, name, description);
}

CLI::App& CommandLine::group(CLI::App& parent, const std::string& name, const std::string& description) {
  CLI::App& app = *parent.add_subcommand(name, description);
  app.require_subcommand(1);
  add_global_options(app);
  return app;
}

CLI::App& CommandLine::command(CLI::App& parent, const std::string& name, const std::string& description, Action action,
                               const std::string& examples) {
  CLI::App& app = *parent.add_subcommand(name, description);
  add_global_options(app);
  app.callback([this, action = std::move(action)] { action_ = action; });
  if (!examples.empty()) app.footer("Examples:\n  " + examples);
  return app;
}

// The global options may stand before or after the command's name, so every level has them; all write to the same
// place.
void CommandLine::add_global_options(CLI::App& app) {
  const std::string section = "Global options";
  app.add_option_function<std::string>(
         "-b,--bind", [this](const std::string& value) { options_.bind = value; },
         fmt::format("Address of the io-engine, URI or host; port 10124 unless given [env: {}] [default: {}]",
                     kBindVariable, kBindDefault))
      ->option_text("HOST")
      ->group(section);
  app.add_option_function<std::string>(
         "-o,--output",
         [this](const std::string& value) {
           options_.output.format = value == "json" ? OutputFormat::kJson : OutputFormat::kDefault;
         },
         "default: text for people; json: the io-engine's answer")
      ->check(CLI::IsMember({"default", "json"}))
      ->option_text("default|json")
      ->group(section);
  app.add_flag_callback(
         "-q,--quiet", [this] { quiet_ = true; }, "Print results only: no messages, no table header")
      ->group(section);
  app.add_flag_function(
         "-v,--verbose", [this](int64_t count) { verbose_ += static_cast<int>(count); },
         "Tell what goes on; repeat for more")
      ->group(section);
}

CommandLine::Outcome CommandLine::parse(int argc, char** argv) {
  try {
    root_->parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", help_of(*innermost(root_.get())));
    return Outcome::kDone;
  } catch (const CLI::CallForVersion& call) {
    fmt::print("{}\n", call.what());
    return Outcome::kDone;
  } catch (const CLI::ParseError& error) {
    const CLI::App* app = innermost(root_.get());
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError) &&
        app->get_require_subcommand_min() > 0) {
      fmt::print(stderr, "error: a command is missing\n\n{}", help_of(*app));
      return Outcome::kUsage;
    }
    usage_error(*app, error.what());
    return Outcome::kUsage;
  }
  if (quiet_ && verbose_ > 0) {
    usage_error(*root_, "--quiet cannot be used with --verbose");
    return Outcome::kUsage;
  }
  options_.output.verbosity = quiet_ ? 0 : 1 + verbose_;
  if (options_.bind.empty()) {
    const char* variable = std::getenv(kBindVariable);
    options_.bind = variable != nullptr && *variable != '\0' ? variable : kBindDefault;
  }
  return Outcome::kRun;
}

}  // namespace cairn::cli
