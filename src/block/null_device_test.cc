#include "block/null_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "block/test_world.h"

namespace cairn::block {
namespace {

TEST(NullDevice, TakesEverythingAndGivesZeroes) {
  const auto reactor = make_bare_reactor();
  const runtime::Reactor::Scope scope(*reactor);
  Registry registry;
  add_null_scheme(registry);
  auto device = *run_task(*reactor, registry.create("null:///n?num_blocks=1000000000000&blk_size=4096"));
  auto channel = *run_task(*reactor, device->open_channel());

  std::vector<std::byte> data(3 * 4096, std::byte{0xab});
  iovec pieces[] = {{data.data(), 100}, {data.data() + 100, data.size() - 100}};
  TestIo io;
  io.lba = device->num_blocks() - 3;
  io.num_blocks = 3;
  io.data = pieces;
  for (const IoType type : {IoType::kWrite, IoType::kUnmap, IoType::kWriteZeroes, IoType::kFlush, IoType::kReset,
                            IoType::kCopy, IoType::kRead}) {
    io.type = type;
    EXPECT_TRUE(run_io(*reactor, *channel, io).is_success()) << static_cast<int>(type);
  }
  EXPECT_EQ(data, std::vector<std::byte>(data.size()));  // never somebody else's old data

  // Emulated: what is there are zeroes.
  io.type = IoType::kCompare;
  EXPECT_TRUE(run_io(*reactor, *channel, io).is_success());
  io.type = IoType::kCompareAndWrite;
  io.write_data = pieces;
  EXPECT_TRUE(run_io(*reactor, *channel, io).is_success());
  data[5000] = std::byte{1};
  EXPECT_TRUE(run_io(*reactor, *channel, io).is(nvme::MediaStatus::kCompareFailure));
  io.type = IoType::kCompare;
  EXPECT_TRUE(run_io(*reactor, *channel, io).is(nvme::MediaStatus::kCompareFailure));

  EXPECT_EQ(device->readable_memory(7, 3).size(), 3u * 4096);
  EXPECT_THAT(device->readable_memory(7, 3), testing::Each(std::byte{0}));
  EXPECT_TRUE(device->readable_memory(0, 1000).empty());

  channel.reset();
  device.reset();
  run_task(*reactor, registry.remove_all());
  EXPECT_TRUE(registry.empty());
}

}  // namespace
}  // namespace cairn::block
