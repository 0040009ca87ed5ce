#include "runtime/buffer_pool.h"

#include <gmock/gmock.h>

#include <cstring>
#include <map>
#include <vector>

#include "runtime/random.h"

namespace cairn::runtime {
namespace {

using testing::ElementsAre;

constexpr size_t kBlock = BufferPool::kMaxBufferSize;

size_t class_size(size_t size) {
  return size <= 4096 ? 4096 : size <= 16384 ? 16384 : kBlock;
}

TEST(BufferPool, RoundsItsSizeUpToWholeBlocks) {
  BufferPool pool(kBlock + 1);
  EXPECT_EQ(pool.region().size(), 2 * kBlock);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

TEST(BufferPool, GivesOutEveryByteAndThenNothing) {
  for (const size_t size : {size_t{1}, size_t{4096}, size_t{4097}, size_t{16384}, size_t{16385}, kBlock}) {
    BufferPool pool(3 * kBlock);
    std::vector<std::byte*> buffers;
    while (std::byte* buffer = pool.allocate(size)) buffers.push_back(buffer);
    EXPECT_EQ(buffers.size(), 3 * kBlock / class_size(size)) << size;
    EXPECT_EQ(pool.bytes_in_use(), 3 * kBlock);
    for (std::byte* buffer : buffers) pool.release(buffer);
    EXPECT_EQ(pool.bytes_in_use(), 0u);
  }
}

// A block kept divided for small buffers must serve large ones when there is nothing else.
TEST(BufferPool, AnIdleDividedBlockServesEverySize) {
  BufferPool pool(kBlock);
  for (const size_t size : {size_t{4096}, kBlock, size_t{16384}, size_t{4096}, size_t{16384}, kBlock}) {
    std::byte* buffer = pool.allocate(size);
    ASSERT_NE(buffer, nullptr) << size;
    pool.release(buffer);
  }
}

struct TestWaiter : BufferPool::Waiter {
  TestWaiter(BufferPool& pool, size_t wanted, std::vector<TestWaiter*>& served) : pool_(pool), served_(served) {
    size = wanted;
    ready = [](Waiter& waiter) {
      auto& self = static_cast<TestWaiter&>(waiter);
      EXPECT_FALSE(self.is_linked());
      self.buffer = self.pool_.allocate(self.size);
      EXPECT_NE(self.buffer, nullptr);
      self.served_.push_back(&self);
    };
    pool.wait(*this);
  }
  std::byte* buffer = nullptr;

 private:
  BufferPool& pool_;
  std::vector<TestWaiter*>& served_;
};

TEST(BufferPool, ServesWaitersInOrder) {
  BufferPool pool(kBlock);
  std::byte* all = pool.allocate(kBlock);
  std::vector<TestWaiter*> served;
  TestWaiter first(pool, 4096, served);
  TestWaiter second(pool, kBlock, served);
  TestWaiter third(pool, 4096, served);
  EXPECT_TRUE(pool.has_waiters());
  pool.release(all);
  EXPECT_THAT(served, ElementsAre(&first));  // the third would fit, but the second is before it
  pool.release(first.buffer);
  EXPECT_THAT(served, ElementsAre(&first, &second));
  pool.release(second.buffer);
  EXPECT_THAT(served, ElementsAre(&first, &second, &third));
  pool.release(third.buffer);
  EXPECT_FALSE(pool.has_waiters());
}

TEST(BufferPool, AWaiterIsServedByABlockThatIsOnlyKeptDivided) {
  BufferPool pool(2 * kBlock);
  std::byte* small = pool.allocate(4096);
  std::byte* medium = pool.allocate(16384);
  EXPECT_EQ(pool.allocate(kBlock), nullptr);
  std::vector<TestWaiter*> served;
  TestWaiter waiter(pool, kBlock, served);
  pool.release(small);
  EXPECT_THAT(served, ElementsAre(&waiter));
  pool.release(medium);
  pool.release(waiter.buffer);
}

TEST(BufferPool, AWaiterMayLeave) {
  BufferPool pool(kBlock);
  std::byte* all = pool.allocate(kBlock);
  std::vector<TestWaiter*> served;
  {
    TestWaiter leaving(pool, 4096, served);
    leaving.unlink();
  }
  pool.release(all);
  EXPECT_THAT(served, ElementsAre());
}

// Random allocation and release: buffers never overlap, are aligned, keep their content, and the sum is right.
TEST(BufferPool, BuffersNeverOverlap) {
  Random random(3);
  BufferPool pool(8 * kBlock);
  std::map<std::byte*, std::pair<size_t, uint8_t>> model;  // size of the class and fill
  size_t in_use = 0;
  size_t refused = 0;
  for (int step = 0; step < 100000; ++step) {
    if (random.below(100) < 52) {
      const size_t size = random.one_in(8) ? 1 + random.below(kBlock) : 1 + random.below(20000);
      std::byte* buffer = pool.allocate(size);
      if (buffer == nullptr) {
        ++refused;
        continue;
      }
      const size_t bytes = class_size(size);
      ASSERT_EQ(reinterpret_cast<uintptr_t>(buffer) % 4096, 0u);
      ASSERT_GE(buffer, pool.region().data());
      ASSERT_LE(buffer + bytes, pool.region().data() + pool.region().size());
      const auto after = model.lower_bound(buffer);
      if (after != model.end()) ASSERT_LE(buffer + bytes, after->first);
      if (after != model.begin()) ASSERT_LE(std::prev(after)->first + std::prev(after)->second.first, buffer);
      const auto fill = static_cast<uint8_t>(random.next());
      std::memset(buffer, fill, size);
      model[buffer] = {size, fill};
      in_use += bytes;
    } else if (!model.empty()) {
      auto entry = model.lower_bound(pool.region().data() + random.below(pool.region().size()));
      if (entry == model.end()) entry = model.begin();
      const auto [size, fill] = entry->second;
      ASSERT_EQ(static_cast<uint8_t>(entry->first[0]), fill);
      ASSERT_EQ(static_cast<uint8_t>(entry->first[size - 1]), fill);
      in_use -= class_size(size);
      pool.release(entry->first);
      model.erase(entry);
    }
    ASSERT_EQ(pool.bytes_in_use(), in_use);
  }
  EXPECT_GT(refused, 0u);
  for (const auto& [buffer, content] : model) pool.release(buffer);
  EXPECT_EQ(pool.bytes_in_use(), 0u);
}

}  // namespace
}  // namespace cairn::runtime
