// What is pure in a nexus: geometry, dirty maps, health records.
#include "nexus/geometry.h"

#include <gtest/gtest.h>

#include "nexus/child_health.h"
#include "nexus/dirty_map.h"

namespace cairn::nexus {
namespace {

TEST(GeometryTest, DataArea) {
  EXPECT_EQ(data_start(512), 10240u);
  EXPECT_EQ(data_start(4096), 1280u);
  // Reference nexus.md, section 1: replicas of 12 MiB, 10 MiB requested.
  EXPECT_EQ(data_end(24576, 512, 10 << 20), 24542u);
  // A child with room: the requested size counts.
  EXPECT_EQ(data_end(1 << 20, 512, 10 << 20), 10240u + 20480 - 1);
  EXPECT_EQ(data_end(1 << 20, 512, (10 << 20) + 1), 10240u + 20481 - 1);
  EXPECT_EQ(data_end(3072, 4096, 10 << 20), 3072u - 4 - 2);
}

TEST(GeometryTest, TooSmall) {
  EXPECT_FALSE(data_end(0, 512, 1 << 20));
  EXPECT_FALSE(data_end(34, 512, 1 << 20));
  EXPECT_FALSE(data_end(10240 + 34, 512, 1 << 20));
  EXPECT_TRUE(data_end(10240 + 36, 512, 1 << 20));
  EXPECT_FALSE(data_end(1 << 20, 512, 0));
  EXPECT_EQ(data_end(1 << 20, 512, UINT64_MAX), (1u << 20) - 34);
}

TEST(DirtyMapTest, Segments) {
  DirtyMap map(1000, 128);
  EXPECT_EQ(map.num_segments(), 8u);
  EXPECT_EQ(map.next(0), 8u);
  map.set(127, 2);
  map.set(900, 100);
  EXPECT_EQ(map.count(), 3u);
  EXPECT_EQ(map.next(0), 0u);
  EXPECT_EQ(map.next(2), 7u);
  EXPECT_TRUE(map.take(0));
  EXPECT_FALSE(map.take(0));
  EXPECT_EQ(map.next(0), 1u);
  map.set(5, 0);
  EXPECT_EQ(map.count(), 2u);
  EXPECT_FALSE(map.outgrown());
  map.set(1023, 2);
  EXPECT_TRUE(map.outgrown());
  map.set_all();
  EXPECT_EQ(map.count(), 8u);
}

TEST(HealthRecordTest, Json) {
  const HealthRecord record{.clean_shutdown = false, .children = {{"a-b", true}, {"c", false}}};
  const std::string text =
      R"({"clean_shutdown":false,"children":[{"uuid":"a-b","healthy":true},{"uuid":"c","healthy":false}]})";
  EXPECT_EQ(to_json(record), text);
  EXPECT_EQ(*parse_health_record(text), record);
  for (const char* bad :
       {"", "[]", "{}", R"({"clean_shutdown":1,"children":[]})", R"({"clean_shutdown":true})",
        R"({"clean_shutdown":true,"children":[{}]})", R"({"clean_shutdown":true,"children":[{"uuid":"x"}]})",
        R"({"clean_shutdown":true,"children":[{"uuid":1,"healthy":true}]})"}) {
    const auto parsed = parse_health_record(bad);
    ASSERT_FALSE(parsed) << bad;
    EXPECT_EQ(parsed.error().code(), Code::kDataLoss);
  }
}

}  // namespace
}  // namespace cairn::nexus
