#include "engine/snapshot_time.h"

#include <gtest/gtest.h>

namespace cairn::engine {
namespace {

using std::chrono::nanoseconds;
using std::chrono::seconds;

TEST(SnapshotTime, ThereAndBack) {
  const nanoseconds time = seconds(1715938200) + nanoseconds(1020304);
  EXPECT_EQ(format_snapshot_time(time), "2024-05-17 09:30:00.001020304 UTC");
  EXPECT_EQ(parse_snapshot_time(format_snapshot_time(time)), time);
  EXPECT_EQ(parse_snapshot_time(snapshot_time_now()).has_value(), true);
}

TEST(SnapshotTime, FractionsOfEveryLength) {
  EXPECT_EQ(parse_snapshot_time("2024-05-17 09:30:00 UTC"), seconds(1715938200));
  EXPECT_EQ(parse_snapshot_time("2024-05-17 09:30:00.5 UTC"), seconds(1715938200) + nanoseconds(500'000'000));
  EXPECT_EQ(parse_snapshot_time("2024-05-17 09:30:00.000001 UTC"), seconds(1715938200) + nanoseconds(1000));
}

TEST(SnapshotTime, OtherText) {
  for (const char* text : {"", "2024-05-17", "2024-05-17 09:30:00", "2024-05-17T09:30:00 UTC",
                           "2024-13-17 09:30:00 UTC", "2024-02-30 09:30:00 UTC", "2024-05-17 24:30:00 UTC",
                           "2024-05-17 09:60:00 UTC", "2024-05-17 09:30:00. UTC", "2024-05-17 09:30:00.1234567890 UTC",
                           "2024-05-17 09:30:00 CET", "+024-05-17 09:30:00 UTC", "2024-05-17 09:30:00 UTC "}) {
    EXPECT_FALSE(parse_snapshot_time(text).has_value()) << text;
  }
}

}  // namespace
}  // namespace cairn::engine
