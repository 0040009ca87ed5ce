#include "nvme/snapshot_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cairn::nvme {
namespace {

std::vector<int> bytes_of(const SnapshotMessage& message) {
  std::vector<int> bytes;
  for (const std::byte each : encode_snapshot_message(message)) bytes.push_back(std::to_integer<int>(each));
  return bytes;
}

TEST(SnapshotMessage, ByteForByte) {
  EXPECT_THAT(bytes_of({}), testing::ElementsAre(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(bytes_of({.entity_id = "e",
                        .parent_id = std::nullopt,
                        .txn_id = "",
                        .name = "ab",
                        .uuid = std::nullopt,
                        .create_time = std::nullopt,
                        .discarded = true}),
              testing::ElementsAre(0, 0, 0, 0,                           // version
                                   1, 1, 0, 0, 0, 0, 0, 0, 0, 'e',       // entity
                                   0,                                    // parent
                                   1, 0, 0, 0, 0, 0, 0, 0, 0,            // transaction
                                   1, 2, 0, 0, 0, 0, 0, 0, 0, 'a', 'b',  // name
                                   0, 0,                                 // uuid, time
                                   1));
}

TEST(SnapshotMessage, ThereAndBack) {
  const SnapshotMessage message{.entity_id = "entity",
                                .parent_id = std::nullopt,
                                .txn_id = "",
                                .name = "name",
                                .uuid = "uuid",
                                .create_time = "2024-05-17 09:30:00 UTC",
                                .discarded = true};
  auto bytes = encode_snapshot_message(message);
  EXPECT_EQ(decode_snapshot_message(bytes), message);
  // Every beginning of it is refused; what follows it does not matter.
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_snapshot_message(std::span(bytes).first(size))) << size;
  bytes.resize(bytes.size() + 100);
  EXPECT_EQ(decode_snapshot_message(bytes), message);
}

TEST(SnapshotMessage, RefusesOtherBytes) {
  const auto good = encode_snapshot_message({.entity_id = "e",
                                             .parent_id = std::nullopt,
                                             .txn_id = std::nullopt,
                                             .name = std::nullopt,
                                             .uuid = std::nullopt,
                                             .create_time = std::nullopt});
  for (const auto& [position, value] : {std::pair(0, 1), std::pair(4, 2), std::pair(12, 0xff), std::pair(5, 100)}) {
    auto bytes = good;
    bytes[static_cast<size_t>(position)] = static_cast<std::byte>(value);
    EXPECT_FALSE(decode_snapshot_message(bytes)) << position;
  }
}

}  // namespace
}  // namespace cairn::nvme
