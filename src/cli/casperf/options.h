// The command line of casperf.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "runtime/reactor_group.h"

namespace cairn::cli {

// What one job does.
struct Workload {
  bool random = true;
  unsigned read_percent = 100;
  bool writes() const { return read_percent < 100; }
  bool reads() const { return read_percent > 0; }
};

struct LoadOptions {
  static constexpr uint32_t kMaxDepth = 4096;
  static constexpr uint64_t kMaxIoSize = uint64_t{4} << 20;

  std::vector<std::string> uris;
  std::string type = "randread";  // as given
  Workload workload;
  uint64_t io_size = 512;         // bytes
  uint32_t depth = 64;            // I/Os in flight of each job
  uint32_t jobs = 1;              // of each URI
  uint64_t offset = 0;            // bytes: where the range begins that is read and written
  uint64_t size = 0;              // bytes, 0: to the end of the device
  std::optional<Duration> time;   // of the measurement
  std::optional<uint64_t> count;  // I/Os of each job
  Duration warm_up{};
  double rate = 0;  // I/Os per second of all jobs together, started on schedule; 0: as fast as they complete
  bool verify = false;
  bool continue_on_error = false;
  uint64_t seed = 1;
  bool json = false;
  bool quiet = false;                           // no lines while it runs
  Duration interval = std::chrono::seconds(1);  // between those lines
  runtime::ReactorGroupOptions reactors;        // buffer pools are sized for the load
};

struct ParsedLoadOptions {
  LoadOptions options;
  std::optional<std::string> print_and_exit;  // --help, --version
};

// INVALID_ARGUMENT with a message for the user.
Result<ParsedLoadOptions> parse_load_options(int argc, const char* const* argv);

}  // namespace cairn::cli
