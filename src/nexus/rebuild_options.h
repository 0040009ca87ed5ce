// How rebuilds of a nexus go about it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cairn::nexus {

// May be changed while rebuilds run.
struct RebuildLimits {
  // While hosts do I/O: so many segments at a time, in so much of the time (1 to 100). What is left is the hosts'
  // alone.
  size_t num_copiers_under_load = 4;
  unsigned percent_of_time_under_load = 25;
  uint64_t max_bytes_per_second = 0;  // of each job; 0: no limit
};

// Whether what was copied is read again and compared.
enum class RebuildVerify : uint8_t {
  kNone,
  kReport,  // what differs is counted and logged
  kFail,    // and the rebuild fails
};

struct RebuildOptions {
  size_t num_copiers = 16;  // each with a segment, or a few adjacent ones while hosts do no I/O
  RebuildLimits limits;
  RebuildVerify verify = RebuildVerify::kNone;
  unsigned max_retries = 3;  // of a copy that the child did not take, for a reason that may pass
};

}  // namespace cairn::nexus
