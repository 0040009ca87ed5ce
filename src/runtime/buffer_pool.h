// Memory for I/O of one reactor: page-aligned, touched only when used, bounded, registered with the kernel by the
// back-end where possible.
//
// The region is cut into blocks of 128 KiB; a block serves one buffer of that size or is divided into 4 KiB or 16 KiB
// buffers. A block whose buffers are all free goes back to the common list. Steady state: no system call, no search.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/intrusive_list.h"

namespace cairn::runtime {

class BufferPool {
 public:
  static constexpr size_t kMaxBufferSize = size_t{128} << 10;

  // `size_bytes` is rounded up to whole blocks.
  explicit BufferPool(size_t size_bytes);
  ~BufferPool();  // all buffers must have been given back
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  std::span<std::byte> region() const { return region_; }
  size_t bytes_in_use() const { return bytes_in_use_; }  // in buffers, by their class size
  // Bytes of the buffer that allocate(size) gives.
  static size_t buffer_size(size_t size) { return kClassSizes[class_of(size)]; }

  // A buffer of at least `size` (1..kMaxBufferSize) bytes, content undefined; nullptr when the pool is used up.
  // 4096-byte aligned.
  std::byte* allocate(size_t size);
  // `buffer` from allocate(). Serves those who wait.
  void release(std::byte* buffer);

  // One who waits for memory, served in order of arrival: `ready` is called from within a release(), and then must try
  // allocate() again; it is taken off the list before.
  class Waiter : public ListLink<> {
   public:
    void (*ready)(Waiter& waiter) = nullptr;
    size_t size = 0;
  };
  void wait(Waiter& waiter) { waiters_.push_back(waiter); }
  // For a waiter that was served and needs one more buffer: keeps its place, so that only the first in line holds a
  // part of what it needs.
  void wait_first(Waiter& waiter) { waiters_.push_front(waiter); }
  bool has_waiters() const { return !waiters_.empty(); }

 private:
  static constexpr std::array<size_t, 3> kClassSizes = {4096, 16384, kMaxBufferSize};
  struct FreeBuffer {
    FreeBuffer* next;
  };
  struct Block : ListLink<> {
    uint8_t size_class = 0;
    uint16_t in_use = 0;
    FreeBuffer* free = nullptr;
    uint16_t fresh = 0;  // buffers of this block never handed out since it was divided: the tail, untouched
  };
  static size_t class_of(size_t size);
  std::byte* block_start(const Block& block) const;
  void serve_waiters();
  // A block to divide for `size_class`: a free one, or a divided one of another class that has no buffer in use.
  // nullptr: none.
  Block* take_block();
  bool can_allocate(size_t size_class) const {
    return !partial_[size_class].empty() || !free_blocks_.empty() || idle_blocks_ > 0;
  }

  std::span<std::byte> region_;
  std::unique_ptr<Block[]> blocks_;
  size_t num_blocks_ = 0;
  IntrusiveList<Block> free_blocks_;
  std::array<IntrusiveList<Block>, kClassSizes.size()> partial_;  // divided blocks with room
  IntrusiveList<Waiter> waiters_;
  size_t idle_blocks_ = 0;  // divided, and no buffer in use
  size_t bytes_in_use_ = 0;
  bool serving_ = false;
};

}  // namespace cairn::runtime
