// casperf: puts load on block devices and measures it.
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "base/check.h"
#include "base/log.h"
#include "cli/casperf/load.h"
#include "cli/casperf/report.h"
#include "runtime/external_call.h"
#include "runtime/file_descriptor.h"

namespace {

using namespace cairn;
using namespace cairn::cli;

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr int kWrongData = 3;
constexpr int kGivenUp = 130;

// SIGINT and SIGTERM, blocked in all threads that are started after this, as a descriptor to wait for.
runtime::FileDescriptor watch_signals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return runtime::FileDescriptor(::signalfd(-1, &signals, SFD_CLOEXEC));
}

// The main thread's view of a run: lines while it lasts, signals that end it.
class Console {
 public:
  Console(const LoadOptions& options, runtime::Reactor& primary, Load& load, runtime::FileDescriptor signals)
      : options_(options),
        primary_(primary),
        load_(load),
        signals_(std::move(signals)),
        ended_(::eventfd(0, EFD_CLOEXEC)) {
    CAIRN_CHECK(signals_.valid() && ended_.valid());
  }

  // Any thread.
  void set_opened() { opened_.store(true, std::memory_order_release); }
  void set_ended() {
    const uint64_t one = 1;
    CAIRN_CHECK(::write(ended_.get(), &one, sizeof one) == sizeof one);
  }

  // Returns after set_ended().
  void watch() {
    const bool shows_progress = !options_.quiet && !options_.json;
    const auto interval_ms = std::chrono::duration_cast<std::chrono::milliseconds>(options_.interval).count();
    for (;;) {
      pollfd watched[] = {{ended_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      const int ready = ::poll(watched, 2, shows_progress ? static_cast<int>(interval_ms) : -1);
      if (ready < 0 && errno == EINTR) continue;
      CAIRN_CHECK(ready >= 0);
      if (watched[0].revents != 0) return;
      if (watched[1].revents != 0) on_signal();
      if (ready == 0) show_progress();
    }
  }

 private:
  void on_signal() {
    signalfd_siginfo info;
    CAIRN_CHECK(::read(signals_.get(), &info, sizeof info) == sizeof info);
    if (signalled_) {
      fmt::print(stderr, "casperf: I/Os in flight do not end, given up\n");
      ::_exit(kGivenUp);
    }
    signalled_ = true;
    runtime::start_on(
        primary_, "interrupt",
        [this]() -> runtime::Task<> {
          load_.stop();
          co_return;
        },
        [] {});
  }

  void show_progress() {
    if (!opened_.load(std::memory_order_acquire)) return;
    const auto now = std::chrono::steady_clock::now();
    const double elapsed = std::chrono::duration<double>(now - shown_at_).count();
    shown_at_ = now;
    seen_.resize(load_.members().size());
    for (size_t i = 0; i < seen_.size(); ++i) {
      const uint64_t ios = load_.members()[i].job->live_ios();
      const double rate = static_cast<double>(ios - seen_[i]) / elapsed;
      seen_[i] = ios;
      fmt::print("{}: {:.0f} IO/s, {:.1f} MB/s\n", load_.members()[i].name, rate,
                 rate * static_cast<double>(options_.io_size) / 1e6);
    }
    std::fflush(stdout);
  }

  const LoadOptions& options_;
  runtime::Reactor& primary_;
  Load& load_;
  runtime::FileDescriptor signals_;
  runtime::FileDescriptor ended_;
  std::atomic<bool> opened_{false};
  bool signalled_ = false;
  std::chrono::steady_clock::time_point shown_at_ = std::chrono::steady_clock::now();
  std::vector<uint64_t> seen_;
};

Result<> run_load(Load& load, Console& console, runtime::Reactor& primary) {
  Result<> outcome;
  runtime::start_on(
      primary, "run load",
      [&]() -> runtime::Task<Result<>> {
        auto opened = co_await load.open();
        if (opened) {
          console.set_opened();
          co_await load.run();
        }
        co_return opened;
      },
      [&](Result<> result) {
        outcome = std::move(result);
        console.set_ended();
      });
  console.watch();
  return outcome;
}

}  // namespace

int main(int argc, char** argv) {
  auto parsed = parse_load_options(argc, argv);
  if (!parsed) {
    fmt::print(stderr, "casperf: {}\n", parsed.error().to_string());
    return kUsage;
  }
  if (parsed->print_and_exit) {
    fmt::print("{}", *parsed->print_and_exit);
    return EXIT_SUCCESS;
  }
  LoadOptions& options = parsed->options;
  log::configure({.level = log::Level::kWarn, .host = {}});
  runtime::FileDescriptor signals = watch_signals();
  options.reactors.buffer_pool_bytes =
      Load::buffer_pool_bytes(options, std::max<size_t>(1, options.reactors.cores.size()));
  auto reactors = runtime::ReactorGroup::start(options.reactors);
  if (!reactors) {
    fmt::print(stderr, "casperf: cannot start the reactors: {}\n", reactors.error().to_string());
    return kFailed;
  }
  runtime::Reactor& primary = (*reactors)->primary();

  Load load(options, (*reactors)->reactors());
  Console console(options, primary, load, std::move(signals));
  const Result<> outcome = run_load(load, console, primary);
  if (outcome) fmt::print("{}", options.json ? render_json_report(options, load) : render_text_report(options, load));
  runtime::run_on(primary, "close", [&] { return load.close(); }).get();
  (*reactors)->stop();
  if (!outcome) {
    fmt::print(stderr, "casperf: {}\n", outcome.error().to_string());
    return kFailed;
  }
  return has_faults(load) ? kWrongData : has_errors(load) ? kFailed : EXIT_SUCCESS;
}
