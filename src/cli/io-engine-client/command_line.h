// The command line: global options, groups of commands, the command chosen.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/error.h"
#include "cli/io-engine-client/output.h"

namespace CLI {
class App;
}

namespace cairn::cli {

class EngineChannel;

// What a command does once the connection stands. Its arguments are parsed before it runs.
using Action = std::function<Result<>(EngineChannel& engine, Output& output)>;

struct GlobalOptions {
  std::string bind;  // address of the engine
  OutputOptions output;
};

// Set up the groups, parse once, then look at what was chosen.
class CommandLine {
 public:
  CommandLine();
  ~CommandLine();

  // A group ("bdev"), and a command in it ("list") or in the root. `examples` are shown below the help, one a line.
  CLI::App& group(const std::string& name, const std::string& description);
  CLI::App& group(CLI::App& parent, const std::string& name, const std::string& description);
  CLI::App& command(CLI::App& parent, const std::string& name, const std::string& description, Action action,
                    const std::string& examples = "");
  CLI::App& root() { return *root_; }

  enum class Outcome : uint8_t {
    kRun,    // options() and action() are set
    kDone,   // help or version was printed
    kUsage,  // the mistake was told on standard error
  };
  Outcome parse(int argc, char** argv);

  const GlobalOptions& options() const { return options_; }
  const Action& action() const { return action_; }

 private:
  void add_global_options(CLI::App& app);

  std::unique_ptr<CLI::App> root_;
  GlobalOptions options_;
  Action action_;
  bool quiet_ = false;
  int verbose_ = 0;
};

}  // namespace cairn::cli
