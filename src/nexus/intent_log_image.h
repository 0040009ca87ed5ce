// The write-intent log of one child as a new nexus finds it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "block/channel.h"
#include "nexus/intent_log_format.h"
#include "runtime/task.h"

namespace cairn::nexus {

struct LogImage {
  // Nothing: the child has no log of this nexus.
  std::optional<LogSuper> super;
  uint64_t region_bytes = 0;
  RegionMap intents;                                            // a page that cannot be read counts as all set
  std::array<std::optional<RegionMap>, kMaxMissedMaps> missed;  // of the slots that the super block names; the same
  uint64_t max_sequence = 0;                                    // of any page that was read
  std::array<uint8_t, kNumLogPages> next_copy = {};             // where the next write of each page goes

  const LogMember* find(const Uuid& child) const;
};

// `nexus` and `child`: whose log it must be, else there is none.
runtime::Task<LogImage> read_log(block::Channel& channel, Uuid nexus, Uuid child);

}  // namespace cairn::nexus
