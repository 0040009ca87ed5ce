#include "runtime/buffer_pool.h"

#include <sys/mman.h>

#include "base/abandonment.h"
#include "base/check.h"

namespace cairn::runtime {

BufferPool::BufferPool(size_t size_bytes) {
  const size_t num_blocks = (size_bytes + kMaxBufferSize - 1) / kMaxBufferSize;
  CAIRN_CHECK(num_blocks > 0);
  void* memory = mmap(nullptr, num_blocks * kMaxBufferSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CAIRN_CHECK(memory != MAP_FAILED);
  region_ = {static_cast<std::byte*>(memory), num_blocks * kMaxBufferSize};
  blocks_ = std::make_unique<Block[]>(num_blocks);
  num_blocks_ = num_blocks;
  for (size_t i = 0; i < num_blocks; ++i) free_blocks_.push_back(blocks_[i]);
}

BufferPool::~BufferPool() {
  CAIRN_CHECK((bytes_in_use_ == 0 && waiters_.empty()) || abandoning());
  for (size_t i = 0; i < num_blocks_; ++i) blocks_[i].unlink();
  munmap(region_.data(), region_.size());
}

size_t BufferPool::class_of(size_t size) {
  for (size_t i = 0; i < kClassSizes.size(); ++i) {
    if (size <= kClassSizes[i]) return i;
  }
  CAIRN_CHECK(!"a buffer is at most 128 KiB");
  return 0;
}

std::byte* BufferPool::block_start(const Block& block) const {
  return region_.data() + static_cast<size_t>(&block - blocks_.get()) * kMaxBufferSize;
}

std::byte* BufferPool::allocate(size_t size) {
  CAIRN_CHECK(size > 0);
  const size_t size_class = class_of(size);
  const size_t buffer_size = kClassSizes[size_class];
  auto& partial = partial_[size_class];
  if (partial.empty()) {
    Block* block = take_block();
    if (block == nullptr) return nullptr;
    block->size_class = static_cast<uint8_t>(size_class);
    block->free = nullptr;
    block->fresh = static_cast<uint16_t>(kMaxBufferSize / buffer_size);
    partial.push_front(*block);
    ++idle_blocks_;
  }
  Block& block = partial.front();
  std::byte* buffer;
  if (block.free != nullptr) {
    buffer = reinterpret_cast<std::byte*>(block.free);
    block.free = block.free->next;
  } else {
    const size_t used = kMaxBufferSize / buffer_size - block.fresh;
    buffer = block_start(block) + used * buffer_size;
    --block.fresh;
  }
  if (block.in_use == 0) --idle_blocks_;
  ++block.in_use;
  bytes_in_use_ += buffer_size;
  if (block.free == nullptr && block.fresh == 0) block.unlink();
  return buffer;
}

BufferPool::Block* BufferPool::take_block() {
  if (Block* block = free_blocks_.pop_front()) return block;
  if (idle_blocks_ == 0) return nullptr;
  for (auto& partial : partial_) {
    for (Block* block = partial.first(); block != nullptr; block = partial.next(*block)) {
      if (block->in_use > 0) continue;
      block->unlink();
      --idle_blocks_;
      return block;
    }
  }
  CAIRN_CHECK(!"an idle block is in a list");
  return nullptr;
}

void BufferPool::release(std::byte* buffer) {
  const auto offset = static_cast<size_t>(buffer - region_.data());
  CAIRN_CHECK(offset < region_.size());
  Block& block = blocks_[offset / kMaxBufferSize];
  const size_t buffer_size = kClassSizes[block.size_class];
  CAIRN_CHECK(block.in_use > 0 && offset % buffer_size == 0);
  --block.in_use;
  bytes_in_use_ -= buffer_size;
  auto* free = reinterpret_cast<FreeBuffer*>(buffer);
  free->next = block.free;
  block.free = free;
  auto& partial = partial_[block.size_class];
  if (!block.is_linked()) partial.push_front(block);
  if (block.in_use == 0) ++idle_blocks_;
  // The last partial block of a class stays divided, so that a lone buffer does not divide a block again and again.
  if (block.in_use == 0 && (&partial.front() != &partial.back() || buffer_size == kMaxBufferSize)) {
    block.unlink();
    --idle_blocks_;
    free_blocks_.push_front(block);
  }
  if (has_waiters() && !serving_ && !abandoning()) serve_waiters();
}

void BufferPool::serve_waiters() {
  serving_ = true;
  while (Waiter* waiter = waiters_.first()) {
    const size_t size_class = class_of(waiter->size);
    if (!can_allocate(size_class)) break;
    waiter->unlink();
    waiter->ready(*waiter);
  }
  serving_ = false;
}

}  // namespace cairn::runtime
