// io-engine: the data plane of a node.
#include <signal.h>

#include <cstdio>
#include <cstdlib>

#include "base/log.h"
#include "engine/config_file.h"
#include "engine/engine.h"
#include "engine/version.h"

namespace {

constexpr int kExitUsage = 2;
constexpr int kExitFailure = 1;

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// SIGINT and SIGTERM are blocked in every thread and taken by sigwait in main.
sigset_t block_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cairn;
  auto parsed = engine::parse_options(argc, argv, environment);
  if (!parsed) {
    std::fprintf(stderr, "io-engine: %s\n", parsed.error().to_string().c_str());
    return kExitUsage;
  }
  if (parsed->print_and_exit) {
    std::fputs(parsed->print_and_exit->c_str(), stdout);
    return EXIT_SUCCESS;
  }
  engine::EngineOptions& options = parsed->options;
  if (!options.config_file.empty()) {
    if (auto applied = engine::apply_config_file(options.config_file, options); !applied) {
      std::fprintf(stderr, "io-engine: %s\n", applied.error().to_string().c_str());
      return kExitUsage;
    }
  }
  log::configure(options.log);
  for (const std::string& text : options.ignored) log::info("option ignored: {}", text);

  const sigset_t signals = block_signals();
  engine::Engine io_engine(std::move(options));
  if (auto started = io_engine.start(); !started) {
    log::error("start failed: {}", started.error().to_string());
    io_engine.stop();
    return kExitFailure;
  }
  std::fputs(io_engine.banner().c_str(), stdout);
  std::fflush(stdout);
  log::info("ready");

  int signal_number = 0;
  sigwait(&signals, &signal_number);
  log::info("{}: shutting down", signal_number == SIGTERM ? "SIGTERM" : "SIGINT");
  io_engine.stop();
  log::info("stopped");
  return EXIT_SUCCESS;
}
