// Memory for a step of an I/O when the reactor's buffer pool has none left.
//
// Nobody in a stack of devices waits for the pool: the I/O above already has buffers of it, and when all of them are in
// the hands of such I/Os, nobody would ever get on. Those who bring I/O in wait, before they have any.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

#include "base/check.h"

namespace cairn::block {

inline constexpr size_t kPageSize = 4096;

struct PageMemoryFree {
  void operator()(std::byte* memory) const { std::free(memory); }
};
using PageMemory = std::unique_ptr<std::byte, PageMemoryFree>;

// At least `size` bytes, aligned to kPageSize, as those of the pool are.
inline PageMemory allocate_pages(size_t size) {
  PageMemory memory(
      static_cast<std::byte*>(std::aligned_alloc(kPageSize, (size + kPageSize - 1) / kPageSize * kPageSize)));
  CAIRN_CHECK(memory != nullptr);
  return memory;
}

}  // namespace cairn::block
