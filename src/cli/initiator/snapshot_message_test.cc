#include "cli/initiator/snapshot_message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cairn::cli {
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

}  // namespace
}  // namespace cairn::cli
