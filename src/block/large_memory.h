// Memory for large I/Os again and again, in huge pages if the kernel has any to give; none are reserved. A disk's
// request for memory that lies in one piece costs a fraction of one for scattered pages.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"

namespace cairn::block {

class LargeMemory {
 public:
  static constexpr size_t kHugePageSize = size_t{2} << 20;

  explicit LargeMemory(size_t size) : size_((size / kHugePageSize + 2) * kHugePageSize) {
    mapping_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CAIRN_CHECK(mapping_ != MAP_FAILED);
    const auto begin = reinterpret_cast<uintptr_t>(mapping_);
    start_ = static_cast<std::byte*>(mapping_) + (kHugePageSize - begin % kHugePageSize) % kHugePageSize;
    static_cast<void>(madvise(mapping_, size_, MADV_HUGEPAGE));  // a kernel without them will do
  }
  ~LargeMemory() { munmap(mapping_, size_); }
  LargeMemory(const LargeMemory&) = delete;
  LargeMemory& operator=(const LargeMemory&) = delete;

  // `size` bytes from here on, aligned to kHugePageSize. Zeroes to begin with.
  std::byte* get() const { return start_; }

 private:
  const size_t size_;
  void* mapping_;
  std::byte* start_;
};

}  // namespace cairn::block
