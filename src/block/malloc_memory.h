// The memory of a malloc device: ordinary pages, touched when written, given back when erased.
//
// Any thread may read and write any range at any time, without blocking but for a short spin: an access is atomic for
// each 4 KiB page of the device (so for each block), which is what NVMe promises with an atomic write unit of one
// block. The locks are striped over the pages; they are always taken, an uncontended one costs a few nanoseconds a
// page, for the pages of up to 64 KiB at a time. Resizing is for one thread at a time.
#pragma once

#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"

namespace cairn::block {

class MallocMemory {
 public:
  static constexpr size_t kPageSize = 4096;
  // Smaller erasures write zeroes: cheaper than giving pages back and touching them again.
  static constexpr size_t kGiveBackBytes = size_t{64} << 10;

  MallocMemory() = default;
  ~MallocMemory();
  MallocMemory(const MallocMemory&) = delete;
  MallocMemory& operator=(const MallocMemory&) = delete;

  // Grows reads as zeroes. Never moves: memory that was beyond a smaller size is still readable, for accesses under
  // way.
  Result<> resize(uint64_t size_bytes);

  // Offsets and sizes in bytes, within the size or within what it was when the access began.
  void read(uint64_t offset, uint64_t size, std::span<const iovec> into);
  void write(uint64_t offset, uint64_t size, std::span<const iovec> from);
  void erase(uint64_t offset, uint64_t size);
  bool equals(uint64_t offset, uint64_t size, std::span<const iovec> expected);
  // Atomic against every other access of the range.
  bool compare_and_write(uint64_t offset, uint64_t size, std::span<const iovec> expected, std::span<const iovec> from);
  // Ranges may overlap. Multiples of 512.
  void copy(uint64_t to, uint64_t from, uint64_t size);
  // In place; empty when the range is not in one piece.
  std::span<const std::byte> view(uint64_t offset, uint64_t size) const;

 private:
  static constexpr size_t kNumLocks = 512;
  // What is moved under one set of locks. Taking a lock waits until all that was written before it has reached the
  // cache, so a lock for each page in turn would make large writes to memory outside of it as slow as that memory.
  static constexpr uint64_t kStretch = uint64_t{64} << 10;
  struct alignas(64) SpinLock {
    std::atomic<bool> taken{false};
    void lock();
    void unlock() { taken.store(false, std::memory_order_release); }
  };
  // Locks all pages of a range, in one order for everybody.
  class RangeLock;

  struct Extent {
    uint64_t start;  // of the device, a multiple of kPageSize
    std::span<std::byte> memory;
  };
  using ExtentTable = std::vector<Extent>;  // without gaps, ascending

  // From there to the end of its extent.
  std::span<std::byte> memory_at(uint64_t offset) const;
  SpinLock& lock_of(uint64_t offset) { return locks_[(offset / kPageSize) % kNumLocks]; }
  uint64_t mapped_bytes() const;
  template <typename Part>
  void for_each_stretch(uint64_t offset, uint64_t size, Part part);
  void give_back(uint64_t offset, uint64_t size);
  void erase_by_writing(uint64_t offset, uint64_t size);

  uint64_t size_bytes_ = 0;
  std::array<SpinLock, kNumLocks> locks_;
  std::atomic<const ExtentTable*> extents_{nullptr};
  std::vector<std::unique_ptr<const ExtentTable>> tables_;  // all there ever were; the last is in use
};

}  // namespace cairn::block
