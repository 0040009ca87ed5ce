// The masks on a clean pool's device against what its blobs use.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "pool/check/device_reader.h"
#include "pool/check/pool_check.h"

namespace cairn::pool::check {

struct MasksOnDisk {
  std::optional<std::vector<uint64_t>> pages;
  std::optional<std::vector<uint64_t>> clusters;
  std::optional<std::vector<uint64_t>> blobids;
};

// Reads the three masks; one that is unusable is a finding. To be called when the super block says that they are valid.
MasksOnDisk read_masks(DeviceReader& device, PoolReport& report);

// Appends what is marked but not used and what is used but not marked.
void compare_masks(const MasksOnDisk& masks, const Usage& usage, PoolReport& report);

}  // namespace cairn::pool::check
