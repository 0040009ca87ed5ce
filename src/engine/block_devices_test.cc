#include "engine/block_devices.h"

#include <gtest/gtest.h>

namespace cairn::engine {
namespace {

BlockDevice disk() {
  BlockDevice device;
  device.devname = "/dev/sdx";
  device.devtype = "disk";
  device.devmajor = 8;
  device.size_sectors = 1000;
  return device;
}

TEST(BlockDevices, WhatIsAvailable) {  // engine.md, section 13
  EXPECT_TRUE(is_available(disk(), false));
  EXPECT_FALSE(is_available(disk(), true));
  for (const uint32_t major : {7u, 43u, 240u, 255u, 259u}) {
    BlockDevice device = disk();
    device.devmajor = major;
    EXPECT_TRUE(is_available(device, false)) << major;
  }
  for (const uint32_t major : {1u, 9u, 11u, 239u, 256u}) {
    BlockDevice device = disk();
    device.devmajor = major;
    EXPECT_FALSE(is_available(device, false)) << major;
  }
  BlockDevice device = disk();
  device.size_sectors = 0;
  EXPECT_FALSE(is_available(device, false));
  device = disk();
  device.model = "Mayastor NVMe controller";
  EXPECT_FALSE(is_available(device, false));
  device = disk();
  device.filesystem = BlockDevice::Filesystem{"ext4", "", "", {}};
  EXPECT_FALSE(is_available(device, false));
}

TEST(BlockDevices, PartitionsByType) {
  BlockDevice device = disk();
  device.partition = BlockDevice::Partition{"/dev/sdx", 1, "", "gpt", "0fc63daf-8483-4772-8e79-3d69d8477de4", ""};
  EXPECT_TRUE(is_available(device, false));
  device.partition->type_id = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
  EXPECT_FALSE(is_available(device, false));
  device.partition->scheme = "dos";
  device.partition->type_id = "0x83";
  EXPECT_TRUE(is_available(device, false));
}

TEST(BlockDevices, ListsThisHost) {
  const auto all = list_block_devices(true);
  ASSERT_TRUE(all.has_value()) << all.error().to_string();
  const auto available = list_block_devices(false);
  ASSERT_TRUE(available.has_value());
  EXPECT_LE(available->size(), all->size());
  for (const BlockDevice& device : *available) EXPECT_TRUE(device.available) << device.devname;
}

}  // namespace
}  // namespace cairn::engine
