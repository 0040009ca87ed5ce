#include "engine/device_wipe.h"

#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "block/io_wait.h"
#include "block/malloc_device.h"
#include "block/registry.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace cairn::engine {
namespace {

constexpr uint32_t kBlock = 512;

TEST(PlanWipe, Chunks) {
  auto plan = plan_wipe(133, kBlock, 0);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->total_bytes, 100 * kBlock);  // the last 33 blocks are left alone
  EXPECT_EQ(plan->total_chunks, 1u);
  EXPECT_EQ(plan->chunk_size, 100 * kBlock);
  EXPECT_EQ(plan->last_chunk_size, 100 * kBlock);
  plan = plan_wipe(133, kBlock, 30 * kBlock);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->total_chunks, 4u);
  EXPECT_EQ(plan->last_chunk_size, 10 * kBlock);
  EXPECT_EQ(plan_wipe(33, kBlock, 0)->total_bytes, 33 * kBlock);  // too small to leave any
}

TEST(PlanWipe, Refusals) {
  for (const auto& [blocks, chunk, text] :
       {std::tuple(0u, 0u, "The bdev seems to have no size!"),
        std::tuple(133u, 101 * kBlock, "The chunk_size is larger than the bdev"),
        std::tuple(133u, 100u, "The chunk_size is not a multiple of the bdev block size"),
        std::tuple(33u + 1024, kBlock, "Too many notifications, try increasing the chunk_size")}) {
    const auto plan = plan_wipe(blocks, kBlock, chunk);
    ASSERT_FALSE(plan) << text;
    EXPECT_EQ(plan.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(plan.error().message(), text);
  }
  EXPECT_TRUE(plan_wipe(33 + 1023, kBlock, kBlock));
}

class WipeTest : public testing::Test {
 protected:
  WipeTest() {
    auto group = runtime::ReactorGroup::start({});
    CAIRN_CHECK(group.has_value());
    group_ = std::move(*group);
  }
  ~WipeTest() override { group_->stop(); }

  // A device full of 0x5a is wiped.
  Result<> wipe(WipeMethod method, uint64_t chunk, std::function<bool(const WipeProgress&)> go_on = {}) {
    return runtime::run_on(group_->reactor(0), "test",
                           [&]() -> runtime::Task<Result<>> {
                             block::Registry registry;
                             block::add_malloc_scheme(registry);
                             auto device = co_await registry.create("malloc:///m?num_blocks=4096");
                             CAIRN_CHECK(device.has_value());
                             auto channel = co_await (*device)->open_channel();
                             content_.assign(4096 * kBlock, std::byte{0x5a});
                             const iovec piece{content_.data(), content_.size()};
                             block::IoRequest io{
                                 .type = block::IoType::kWrite, .num_blocks = 4096, .data = {&piece, 1}};
                             CAIRN_CHECK((co_await block::perform(**channel, io)).is_success());
                             bool aborted = false;
                             auto result = co_await wipe_device(
                                 *device, method, *plan_wipe(4096, kBlock, chunk),
                                 [&](const WipeProgress& progress) -> runtime::Task<Result<>> {
                                   told_.push_back(progress);
                                   aborted = go_on && !go_on(progress);
                                   co_return Result<>{};
                                 },
                                 [&] { return aborted; });
                             io.type = block::IoType::kRead;
                             CAIRN_CHECK((co_await block::perform(**channel, io)).is_success());
                             channel->reset();
                             device->reset();
                             co_await registry.remove_all();
                             co_return result;
                           })
        .get();
  }
  // Up to where the device holds zeroes; behind it, it must be as it was.
  size_t zeroes() const {
    size_t count = 0;
    while (count < content_.size() && content_[count] == std::byte{0}) ++count;
    for (size_t i = count; i < content_.size(); ++i) CAIRN_CHECK(content_[i] == std::byte{0x5a});
    return count;
  }

  std::unique_ptr<runtime::ReactorGroup> group_;
  std::vector<std::byte> content_;
  std::vector<WipeProgress> told_;
};

constexpr uint64_t kRange = (4096 - 33) * kBlock;

TEST_F(WipeTest, Zeroes) {
  ASSERT_TRUE(wipe(WipeMethod::kWriteZeroes, 1 << 20));
  EXPECT_EQ(zeroes(), kRange);
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[0].wiped_bytes, 0u);
  EXPECT_EQ(told_[1].wiped_bytes, 1u << 20);
  EXPECT_EQ(told_[2].wiped_bytes, kRange);
  EXPECT_EQ(told_[2].wiped_chunks, 2u);
  EXPECT_FALSE(told_[2].crc32c);
}

TEST_F(WipeTest, NoneTouchesNothing) {
  ASSERT_TRUE(wipe(WipeMethod::kNone, 0));
  EXPECT_EQ(zeroes(), 0u);
  EXPECT_EQ(told_.back().wiped_bytes, kRange);
}

TEST_F(WipeTest, Checksum) {
  ASSERT_TRUE(wipe(WipeMethod::kChecksum, 1 << 20));
  EXPECT_EQ(zeroes(), 0u);
  ASSERT_EQ(told_.size(), 3u);
  EXPECT_EQ(told_[0].crc32c, kCrc32cInit);
  EXPECT_EQ(told_[1].crc32c, crc32c_update(kCrc32cInit, std::span(content_).first(1 << 20)));  // not inverted
  EXPECT_EQ(told_[2].crc32c, crc32c(std::span(content_).first(kRange)));
}

TEST_F(WipeTest, AbortStopsIt) {
  const auto result =
      wipe(WipeMethod::kWriteZeroes, 64 << 10, [](const WipeProgress& progress) { return progress.wiped_chunks < 3; });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::kAborted);
  EXPECT_EQ(zeroes(), 3u * (64 << 10));
}

}  // namespace
}  // namespace cairn::engine
