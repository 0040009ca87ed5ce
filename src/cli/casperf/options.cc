#include "cli/casperf/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "base/byte_size.h"
#include "base/duration_text.h"
#include "base/option_value.h"
#include "base/version.h"
#include "runtime/core_set.h"

namespace cairn::cli {

namespace {

// What the command line said, before it is checked.
struct Raw {
  std::vector<std::string> uris;
  std::string type = "randread";
  std::string io_size = "512";
  std::string depth = "64";
  std::string jobs = "1";
  std::string read_percent;
  std::string offset = "0";
  std::string size;
  std::string time, count;
  std::string warm_up = "0";
  std::string rate;
  std::string seed = "1";
  std::string output = "default";
  std::string interval = "1s";
  std::string core_mask, core_list;
  std::string spin_budget = "poll";
  std::string backend = "auto";
  bool verify = false, continue_on_error = false, quiet = false;
};

constexpr unsigned kDefaultReadPercent = 70;  // of the mixed types
constexpr unsigned kDefaultCore = 1;          // where the original runs it

// Into `value`, when `text` is not empty.
Result<> set_size(std::string_view option, const std::string& text, uint64_t& value) {
  if (text.empty()) return {};
  auto parsed = parse_byte_size(text);
  if (!parsed) return bad_option(option, text, "expected a size in bytes, or with a unit such as 4KiB");
  value = *parsed;
  return {};
}

Result<Duration> parse_time(std::string_view option, const std::string& text) {
  auto parsed = parse_duration(text);
  if (!parsed) return bad_option(option, text, "expected a time such as 10s, 500ms or 1m 30s");
  return parsed;
}

Result<> set_workload(const Raw& raw, LoadOptions& options) {
  static constexpr struct {
    std::string_view name;
    bool random;
    unsigned read_percent;
    bool mixed;
  } kTypes[] = {
      {"randread", true, 100, false}, {"randwrite", true, 0, false}, {"randrw", true, kDefaultReadPercent, true},
      {"read", false, 100, false},    {"write", false, 0, false},    {"rw", false, kDefaultReadPercent, true}};
  const auto type = std::ranges::find(kTypes, raw.type, [](const auto& each) { return each.name; });
  if (type == std::end(kTypes)) {
    return bad_option("--type", raw.type, "expected randread, randwrite, randrw, read, write or rw");
  }
  options.type = raw.type;
  options.workload = {.random = type->random, .read_percent = type->read_percent};
  if (!raw.read_percent.empty()) {
    if (!type->mixed) return bad_option("--read-percent", raw.read_percent, "only randrw and rw mix reads and writes");
    auto percent = parse_option_number<unsigned>("--read-percent", raw.read_percent, 0, 100);
    if (!percent) return fail(std::move(percent.error()));
    options.workload.read_percent = *percent;
  }
  return {};
}

Result<> set_length(const Raw& raw, LoadOptions& options) {
  if (!raw.time.empty()) {
    auto time = parse_time("--time", raw.time);
    if (!time) return fail(std::move(time.error()));
    if (time->count() == 0) return bad_option("--time", raw.time, "expected more than nothing");
    options.time = *time;
  }
  if (!raw.count.empty()) {
    auto count = parse_option_number<uint64_t>("--count", raw.count, 1, UINT64_MAX);
    if (!count) return fail(std::move(count.error()));
    options.count = *count;
  }
  auto warm_up = parse_time("--warm-up", raw.warm_up);
  if (!warm_up) return fail(std::move(warm_up.error()));
  options.warm_up = *warm_up;
  return {};
}

Result<> set_rate(const Raw& raw, LoadOptions& options) {
  if (raw.rate.empty()) return {};
  double rate = 0;
  const auto [end, error] = std::from_chars(raw.rate.data(), raw.rate.data() + raw.rate.size(), rate);
  if (error != std::errc() || end != raw.rate.data() + raw.rate.size() || !(rate > 0) || rate > 1e9) {
    return bad_option("--rate", raw.rate, "expected I/Os per second, more than 0 and at most 1e9");
  }
  options.rate = rate;
  return {};
}

Result<> set_reactors(const Raw& raw, LoadOptions& options) {
  if (!raw.core_mask.empty() && !raw.core_list.empty()) {
    return fail(Code::kInvalidArgument, "--core-mask and --core-list: only one of them can be given");
  }
  auto& reactors = options.reactors;
  if (!raw.core_mask.empty() || !raw.core_list.empty()) {
    auto cores =
        raw.core_list.empty() ? runtime::parse_core_mask(raw.core_mask) : runtime::parse_core_list(raw.core_list);
    if (!cores) return fail(std::move(cores.error()));
    reactors.cores = std::move(*cores);
  } else {
    const auto allowed = runtime::allowed_cores();
    reactors.cores = {std::ranges::binary_search(allowed, kDefaultCore) || allowed.empty() ? kDefaultCore
                                                                                           : allowed.front()};
  }
  if (raw.spin_budget == "poll") {
    reactors.spin_budget = runtime::kSpinForever;
  } else {
    auto budget = parse_duration(raw.spin_budget);
    if (!budget) return bad_option("--spin-budget", raw.spin_budget, "expected a time such as 50us, 0 or 'poll'");
    reactors.spin_budget = *budget;
  }
  if (raw.backend == "auto") {
    reactors.backend = runtime::BackendChoice::kAuto;
  } else if (raw.backend == "io_uring") {
    reactors.backend = runtime::BackendChoice::kUring;
  } else if (raw.backend == "epoll") {
    reactors.backend = runtime::BackendChoice::kEpoll;
  } else {
    return bad_option("--io-backend", raw.backend, "expected auto, io_uring or epoll");
  }
  reactors.stall_limit = Duration(0);
  return {};
}

Result<> set_numbers(const Raw& raw, LoadOptions& options) {
  auto depth = parse_option_number<uint32_t>("--depth", raw.depth, 1, LoadOptions::kMaxDepth);
  if (!depth) return fail(std::move(depth.error()));
  options.depth = *depth;
  auto jobs = parse_option_number<uint32_t>("--jobs", raw.jobs, 1, 1024);
  if (!jobs) return fail(std::move(jobs.error()));
  options.jobs = *jobs;
  auto seed = parse_option_number<uint64_t>("--seed", raw.seed, 0, UINT64_MAX);
  if (!seed) return fail(std::move(seed.error()));
  options.seed = *seed;
  if (auto set = set_size("--io-size", raw.io_size, options.io_size); !set) return set;
  if (options.io_size == 0 || options.io_size > LoadOptions::kMaxIoSize) {
    return bad_option("--io-size", raw.io_size, "expected at least a block of the device and at most 4 MiB");
  }
  if (auto set = set_size("--offset", raw.offset, options.offset); !set) return set;
  return set_size("--size", raw.size, options.size);
}

void define_options(CLI::App& app, Raw& raw) {
  app.add_option("URI", raw.uris, "block devices, such as malloc:///m?size_mb=64 or aio:///dev/sdb")->required();
  app.add_option("-t,--type", raw.type, "randread, randwrite, randrw, read, write or rw")->capture_default_str();
  app.add_option("-M,--read-percent", raw.read_percent, "share of the reads of randrw and rw [70]");
  app.add_option("-b,--io-size", raw.io_size, "size of an I/O, bytes or with a unit: 4KiB")->capture_default_str();
  app.add_option("-q,--depth", raw.depth, "I/Os in flight of a job")->capture_default_str();
  app.add_option("-j,--jobs", raw.jobs, "jobs of each URI, spread over the cores")->capture_default_str();
  app.add_option("-d,--time", raw.time, "how long to measure, such as 10s [until interrupted]");
  app.add_option("-n,--count", raw.count, "I/Os of each job");
  app.add_option("-w,--warm-up", raw.warm_up, "load before the measurement begins, such as 2s")->capture_default_str();
  app.add_option("-R,--rate", raw.rate,
                 "I/Os per second of all jobs, started on schedule whether or not earlier ones are complete; latency "
                 "counts from the time on the schedule");
  app.add_option("--offset", raw.offset, "where the range that is used begins")->capture_default_str();
  app.add_option("--size", raw.size, "size of the range that is used [to the end of the device]");
  app.add_flag("--verify", raw.verify,
               "write stamped blocks over the whole range first, check each read, and read all again at the end");
  app.add_flag("--continue-on-error", raw.continue_on_error, "count failed I/Os instead of ending the job");
  app.add_option("--seed", raw.seed, "of the random choices")->capture_default_str();
  app.add_option("-o,--output", raw.output, "default or json")->capture_default_str();
  app.add_flag("--quiet", raw.quiet, "no lines while it runs");
  app.add_option("--interval", raw.interval, "between the lines while it runs")->capture_default_str();
  app.add_option("-m,--core-mask", raw.core_mask, "cores to run on, hexadecimal [0x2]");
  app.add_option("-l,--core-list", raw.core_list, "cores to run on, such as 1,2,10-20");
  app.add_option("--spin-budget", raw.spin_budget, "how long to poll before sleeping: 50us, 0 (never poll) or 'poll'")
      ->capture_default_str();
  app.add_option("--io-backend", raw.backend, "auto, io_uring or epoll")->capture_default_str();
  app.footer(
      "Without --time and --count it runs until it is interrupted (SIGINT, SIGTERM) and then prints the result so "
      "far.\n"
      "Exit codes: 0 done, 1 failed or an I/O failed, 2 bad usage, 3 data read was not what was written.\n\n"
      "Types that write, and --verify, overwrite the device.");
}

}  // namespace

Result<ParsedLoadOptions> parse_load_options(int argc, const char* const* argv) {
  Raw raw;
  CLI::App app{"Puts load on block devices and measures it.", "casperf"};
  app.set_version_flag("-V,--version", fmt::format("casperf {}", version()));
  define_options(app, raw);
  ParsedLoadOptions parsed;
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForVersion&) {
    parsed.print_and_exit = app.version() + "\n";
    return parsed;
  } catch (const CLI::Success&) {
    parsed.print_and_exit = app.help();
    return parsed;
  } catch (const CLI::ParseError& error) {
    return fail(Code::kInvalidArgument, fmt::format("{} (casperf --help lists the options)", error.what()));
  }

  LoadOptions& options = parsed.options;
  options.uris = raw.uris;
  options.verify = raw.verify;
  options.continue_on_error = raw.continue_on_error;
  options.quiet = raw.quiet;
  for (const auto set : {set_workload, set_length, set_rate, set_reactors, set_numbers}) {
    if (auto done = set(raw, options); !done) return fail(std::move(done.error()));
  }
  if (raw.output != "default" && raw.output != "json")
    return bad_option("--output", raw.output, "expected default or json");
  options.json = raw.output == "json";
  auto interval = parse_time("--interval", raw.interval);
  if (!interval) return fail(std::move(interval.error()));
  if (*interval < std::chrono::milliseconds(1)) return bad_option("--interval", raw.interval, "expected at least 1ms");
  options.interval = *interval;
  return parsed;
}

}  // namespace cairn::cli
