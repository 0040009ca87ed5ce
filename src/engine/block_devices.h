// The block devices of this host (shared reference: engine.md section 13), from udev and the mount table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace cairn::engine {

struct BlockDevice {
  struct Partition {
    std::string parent;
    uint32_t number = 0;
    std::string name, scheme, type_id, uuid;
  };
  struct Filesystem {
    std::string type, label, uuid;
    std::vector<std::string> mountpoints;
  };
  std::string devname, devtype;
  uint32_t devmajor = 0, devminor = 0;
  std::string model, devpath;
  std::vector<std::string> devlinks;
  uint64_t size_sectors = 0;  // of 512 bytes
  std::string connection_type;
  std::optional<bool> is_rotational;
  std::optional<Partition> partition;
  std::optional<Filesystem> filesystem;
  bool available = false;
};

// Disks with their partitions behind them; only those that could become a pool unless `all`. Any thread.
Result<std::vector<BlockDevice>> list_block_devices(bool all);

// The rule of "available" (pure): `has_partitions` for disks.
bool is_available(const BlockDevice& device, bool has_partitions);

}  // namespace cairn::engine
