// Memory for a step of an I/O when the reactor's buffer pool has none left.
//
// Nobody in a stack of devices waits for the pool: the I/O above already has buffers of it, and when all of them are in
// the hands of such I/Os, nobody would ever get on. Those who bring I/O in wait, before they have any.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "base/check.h"

namespace cairn::block {

inline constexpr size_t kPageSize = 4096;
inline constexpr size_t kHugePageSize = size_t{2} << 20;

struct PageMemoryFree {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using PageMemory = std::unique_ptr<std::byte, PageMemoryFree>;

// At least `size` bytes, aligned to kPageSize, as those of the pool are. From kHugePageSize on in huge pages if the
// kernel has any (none are reserved): a disk's request for memory that lies in one piece costs a fraction of one for
// scattered pages.
inline PageMemory allocate_pages(size_t size) {
  const bool huge = size >= kHugePageSize;
  const size_t alignment = huge ? kHugePageSize : kPageSize;
  const size_t whole = (size + alignment - 1) / alignment * alignment;
  PageMemory memory(static_cast<std::byte*>(std::aligned_alloc(alignment, whole)));
  CAIRN_CHECK(memory != nullptr);
  if (huge) static_cast<void>(madvise(memory.get(), whole, MADV_HUGEPAGE));  // a kernel without them is all right
  return memory;
}

}  // namespace cairn::block
