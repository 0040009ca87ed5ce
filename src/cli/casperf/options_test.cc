#include "cli/casperf/options.h"

#include <gtest/gtest.h>

#include <utility>

namespace cairn::cli {
namespace {

Result<ParsedLoadOptions> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "casperf");
  return parse_load_options(static_cast<int>(arguments.size()), arguments.data());
}

TEST(LoadOptions, Defaults) {
  const auto parsed = parse({"malloc:///m?size_mb=64"});
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  const LoadOptions& options = parsed->options;
  EXPECT_EQ(options.uris, std::vector<std::string>{"malloc:///m?size_mb=64"});
  EXPECT_EQ(options.type, "randread");
  EXPECT_TRUE(options.workload.random);
  EXPECT_FALSE(options.workload.writes());
  EXPECT_EQ(options.io_size, 512u);
  EXPECT_EQ(options.depth, 64u);
  EXPECT_EQ(options.jobs, 1u);
  EXPECT_FALSE(options.time || options.count);
  EXPECT_EQ(options.rate, 0);
  EXPECT_EQ(options.reactors.cores.size(), 1u);
  EXPECT_EQ(options.reactors.spin_budget, runtime::kSpinForever);
}

TEST(LoadOptions, Everything) {
  const auto parsed = parse({"-t",       "rw",
                             "-M",       "40",
                             "-b",       "128KiB",
                             "-q",       "8",
                             "-j",       "3",
                             "-d",       "1m 30s",
                             "-n",       "1000",
                             "-w",       "2s",
                             "-R",       "1.5e3",
                             "--offset", "1MiB",
                             "--size",   "1GiB",
                             "--verify", "--continue-on-error",
                             "--seed",   "9",
                             "-o",       "json",
                             "--quiet",  "--interval",
                             "250ms",    "-l",
                             "0",        "--spin-budget",
                             "50us",     "--io-backend",
                             "epoll",    "null:///a",
                             "null:///b"});
  ASSERT_TRUE(parsed) << parsed.error().to_string();
  const LoadOptions& options = parsed->options;
  EXPECT_EQ(options.uris, (std::vector<std::string>{"null:///a", "null:///b"}));
  EXPECT_FALSE(options.workload.random);
  EXPECT_EQ(options.workload.read_percent, 40u);
  EXPECT_EQ(options.io_size, 131072u);
  EXPECT_EQ(options.depth, 8u);
  EXPECT_EQ(options.jobs, 3u);
  EXPECT_EQ(options.time, std::chrono::seconds(90));
  EXPECT_EQ(options.count, 1000u);
  EXPECT_EQ(options.warm_up, std::chrono::seconds(2));
  EXPECT_EQ(options.rate, 1500);
  EXPECT_EQ(options.offset, 1u << 20);
  EXPECT_EQ(options.size, 1u << 30);
  EXPECT_TRUE(options.verify && options.continue_on_error && options.json && options.quiet);
  EXPECT_EQ(options.seed, 9u);
  EXPECT_EQ(options.interval, std::chrono::milliseconds(250));
  EXPECT_EQ(options.reactors.cores, std::vector<unsigned>{0});
  EXPECT_EQ(options.reactors.spin_budget, std::chrono::microseconds(50));
  EXPECT_EQ(options.reactors.backend, runtime::BackendChoice::kEpoll);
}

TEST(LoadOptions, RefusesByName) {
  const std::pair<std::vector<const char*>, const char*> kCases[] = {
      {{}, "URI is required (casperf --help lists the options)"},
      {{"--nonsense", "null:///a"}, "The following argument was not expected: --nonsense"},
      {{"-t", "sideways", "null:///a"},
       "--type: 'sideways' is not valid: expected randread, randwrite, randrw, read, write or rw"},
      {{"-M", "50", "null:///a"}, "--read-percent: '50' is not valid: only randrw and rw mix reads and writes"},
      {{"-t", "rw", "-M", "101", "null:///a"},
       "--read-percent: '101' is not valid: expected a whole number from 0 to 100"},
      {{"-q", "0", "null:///a"}, "--depth: '0' is not valid: expected a whole number from 1 to 4096"},
      {{"-b", "5MiB", "null:///a"},
       "--io-size: '5MiB' is not valid: expected at least a block of the device and at most 4 MiB"},
      {{"-d", "10", "null:///a"}, "--time: '10' is not valid: expected a time such as 10s, 500ms or 1m 30s"},
      {{"-d", "0", "null:///a"}, "--time: '0' is not valid: expected more than nothing"},
      {{"-R", "-1", "null:///a"}, "--rate: '-1' is not valid: expected I/Os per second, more than 0 and at most 1e9"},
      {{"-o", "xml", "null:///a"}, "--output: 'xml' is not valid: expected default or json"},
      {{"-m", "1", "-l", "0", "null:///a"}, "--core-mask and --core-list: only one of them can be given"},
  };
  for (const auto& [arguments, message] : kCases) {
    const auto parsed = parse(arguments);
    ASSERT_FALSE(parsed) << message;
    EXPECT_EQ(parsed.error().code(), Code::kInvalidArgument);
    EXPECT_TRUE(parsed.error().to_string().starts_with(message)) << parsed.error().to_string();
  }
}

TEST(LoadOptions, HelpAndVersion) {
  const auto help = parse({"--help"});
  ASSERT_TRUE(help && help->print_and_exit);
  EXPECT_NE(help->print_and_exit->find("--rate"), std::string::npos);
  const auto version = parse({"-V"});
  ASSERT_TRUE(version && version->print_and_exit);
  EXPECT_TRUE(version->print_and_exit->starts_with("casperf "));
}

}  // namespace
}  // namespace cairn::cli
