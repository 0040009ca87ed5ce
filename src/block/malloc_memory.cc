#include "block/malloc_memory.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "block/data_pieces.h"

namespace cairn::block {

namespace {

constexpr unsigned kSpinsBeforeYield = 256;
// How much is given back under one lock: bounds the time others may spin.
constexpr uint64_t kGiveBackStep = uint64_t{16} << 20;

constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Walks through the scattered memory of an Io.
class PieceCursor {
 public:
  explicit PieceCursor(std::span<const iovec> pieces) : pieces_(pieces) {}

  template <typename Part>
  void advance(size_t size, Part part) {
    while (size > 0) {
      CAIRN_CHECK(!pieces_.empty());
      const iovec& piece = pieces_.front();
      const size_t length = std::min(size, piece.iov_len - offset_);
      part(static_cast<std::byte*>(piece.iov_base) + offset_, length);
      size -= length;
      offset_ += length;
      if (offset_ == piece.iov_len) {
        pieces_ = pieces_.subspan(1);
        offset_ = 0;
      }
    }
  }

 private:
  std::span<const iovec> pieces_;
  size_t offset_ = 0;
};

}  // namespace

void MallocMemory::SpinLock::lock() {
  unsigned spins = 0;
  while (taken.exchange(true, std::memory_order_acquire)) {
    while (taken.load(std::memory_order_relaxed)) {
      if (++spins % kSpinsBeforeYield == 0) {
        sched_yield();  // the holder may have lost its core
      } else {
        __builtin_ia32_pause();
      }
    }
  }
}

class MallocMemory::RangeLock {
 public:
  RangeLock(MallocMemory& memory, uint64_t offset, uint64_t size) : memory_(memory) {
    const uint64_t first = offset / kPageSize;
    const uint64_t last = (offset + size - 1) / kPageSize;
    if (last - first + 1 >= kNumLocks) {
      wanted_.set();
    } else {
      for (uint64_t page = first; page <= last; ++page) wanted_.set(page % kNumLocks);
    }
    for (size_t i = 0; i < kNumLocks; ++i) {
      if (wanted_[i]) memory_.locks_[i].lock();
    }
  }
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;
  ~RangeLock() {
    for (size_t i = 0; i < kNumLocks; ++i) {
      if (wanted_[i]) memory_.locks_[i].unlock();
    }
  }

 private:
  MallocMemory& memory_;
  std::bitset<kNumLocks> wanted_;
};

MallocMemory::~MallocMemory() {
  if (tables_.empty()) return;
  for (const Extent& extent : *tables_.back()) munmap(extent.memory.data(), extent.memory.size());
}

uint64_t MallocMemory::mapped_bytes() const {
  if (tables_.empty()) return 0;
  const Extent& last = tables_.back()->back();
  return last.start + last.memory.size();
}

Result<> MallocMemory::resize(uint64_t size_bytes) {
  const uint64_t mapped = mapped_bytes();
  if (size_bytes > mapped) {
    const uint64_t more = round_up(size_bytes - mapped, kPageSize);
    void* memory = mmap(nullptr, more, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return fail(Error::from_errno(errno, fmt::format("mapping {} bytes", more)));
    auto table = tables_.empty() ? std::make_unique<ExtentTable>() : std::make_unique<ExtentTable>(*tables_.back());
    table->push_back({mapped, {static_cast<std::byte*>(memory), more}});
    extents_.store(table.get(), std::memory_order_release);
    tables_.push_back(std::move(table));
  }
  // What was given up by an earlier shrinking may have been written since, by accesses that were under way.
  const uint64_t unused_from = std::min(size_bytes_, size_bytes);
  const uint64_t unused_to = std::min(std::max(size_bytes_, size_bytes), mapped);
  size_bytes_ = size_bytes;
  if (unused_to > unused_from) erase(unused_from, unused_to - unused_from);
  return {};
}

std::span<std::byte> MallocMemory::memory_at(uint64_t offset) const {
  for (const Extent& extent : *extents_.load(std::memory_order_acquire)) {
    if (offset - extent.start < extent.memory.size()) return extent.memory.subspan(offset - extent.start);
  }
  CAIRN_CHECK(!"an offset lies in an extent");
  return {};
}

// Calls part(address, length) for each stretch of the range, under the locks of its pages, until it returns false.
template <typename Part>
void MallocMemory::for_each_stretch(uint64_t offset, uint64_t size, Part part) {
  while (size > 0) {
    const std::span<std::byte> memory = memory_at(offset);
    const size_t length = std::min<uint64_t>({size, kStretch - offset % kStretch, memory.size()});
    // In the order of the locks: a stretch does not reach round their end.
    static_assert(kNumLocks * kPageSize % kStretch == 0);
    SpinLock* const first = &lock_of(offset);
    SpinLock* const last = &lock_of(offset + length - 1);
    for (SpinLock* lock = first; lock <= last; ++lock) lock->lock();
    const bool more = part(memory.data(), length);
    for (SpinLock* lock = first; lock <= last; ++lock) lock->unlock();
    if (!more) return;
    offset += length;
    size -= length;
  }
}

void MallocMemory::read(uint64_t offset, uint64_t size, std::span<const iovec> into) {
  PieceCursor cursor(into);
  for_each_stretch(offset, size, [&](const std::byte* page, size_t length) {
    cursor.advance(length, [&](std::byte* piece, size_t part) {
      std::memcpy(piece, page, part);
      page += part;
    });
    return true;
  });
}

void MallocMemory::write(uint64_t offset, uint64_t size, std::span<const iovec> from) {
  PieceCursor cursor(from);
  for_each_stretch(offset, size, [&](std::byte* page, size_t length) {
    cursor.advance(length, [&](const std::byte* piece, size_t part) {
      std::memcpy(page, piece, part);
      page += part;
    });
    return true;
  });
}

bool MallocMemory::equals(uint64_t offset, uint64_t size, std::span<const iovec> expected) {
  PieceCursor cursor(expected);
  bool equal = true;
  for_each_stretch(offset, size, [&](const std::byte* page, size_t length) {
    cursor.advance(length, [&](const std::byte* piece, size_t part) {
      equal = equal && std::memcmp(page, piece, part) == 0;
      page += part;
    });
    return equal;
  });
  return equal;
}

bool MallocMemory::compare_and_write(uint64_t offset, uint64_t size, std::span<const iovec> expected,
                                     std::span<const iovec> from) {
  const RangeLock lock(*this, offset, size);
  bool equal = true;
  PieceCursor expected_cursor(expected);
  PieceCursor from_cursor(from);
  for (const bool writing : {false, true}) {
    for (uint64_t done = 0; done < size && equal;) {
      const size_t length = std::min<uint64_t>(size - done, kPageSize - (offset + done) % kPageSize);
      std::byte* page = memory_at(offset + done).data();
      PieceCursor& cursor = writing ? from_cursor : expected_cursor;
      cursor.advance(length, [&](const std::byte* piece, size_t part) {
        if (writing) {
          std::memcpy(page, piece, part);
        } else {
          equal = equal && std::memcmp(page, piece, part) == 0;
        }
        page += part;
      });
      done += length;
    }
  }
  return equal;
}

void MallocMemory::copy(uint64_t to, uint64_t from, uint64_t size) {
  alignas(64) std::byte page_copy[kPageSize];
  // Towards a target behind the source: from the end, so that nothing is overwritten before it was read.
  const bool backwards = to > from && to - from < size;
  uint64_t left = size;
  while (left > 0) {
    size_t length = kPageSize;
    if (backwards) {
      length = std::min<uint64_t>({left, (from + left - 1) % kPageSize + 1, (to + left - 1) % kPageSize + 1});
    } else {
      const uint64_t done = size - left;
      length = std::min<uint64_t>({left, kPageSize - (from + done) % kPageSize, kPageSize - (to + done) % kPageSize});
    }
    const uint64_t start = backwards ? left - length : size - left;
    for_each_stretch(from + start, length, [&](const std::byte* page, size_t part) {
      std::memcpy(page_copy, page, part);
      return true;
    });
    for_each_stretch(to + start, length, [&](std::byte* page, size_t part) {
      std::memcpy(page, page_copy, part);
      return true;
    });
    left -= length;
  }
}

void MallocMemory::erase(uint64_t offset, uint64_t size) {
  const uint64_t inner_begin = round_up(offset, kPageSize);
  const uint64_t inner_end = (offset + size) / kPageSize * kPageSize;
  if (inner_end < inner_begin + kGiveBackBytes) {
    erase_by_writing(offset, size);
    return;
  }
  erase_by_writing(offset, inner_begin - offset);
  give_back(inner_begin, inner_end - inner_begin);
  erase_by_writing(inner_end, offset + size - inner_end);
}

void MallocMemory::erase_by_writing(uint64_t offset, uint64_t size) {
  for_each_stretch(offset, size, [](std::byte* page, size_t length) {
    std::memset(page, 0, length);
    return true;
  });
}

void MallocMemory::give_back(uint64_t offset, uint64_t size) {
  for (const Extent& extent : *extents_.load(std::memory_order_acquire)) {
    uint64_t begin = std::max(offset, extent.start);
    const uint64_t end = std::min(offset + size, extent.start + extent.memory.size());
    while (begin < end) {
      const uint64_t length = std::min(end - begin, kGiveBackStep);
      const RangeLock lock(*this, begin, length);
      CAIRN_CHECK(madvise(extent.memory.data() + (begin - extent.start), length, MADV_DONTNEED) == 0);
      begin += length;
    }
  }
}

std::span<const std::byte> MallocMemory::view(uint64_t offset, uint64_t size) const {
  for (const Extent& extent : *extents_.load(std::memory_order_acquire)) {
    if (offset - extent.start >= extent.memory.size()) continue;
    const uint64_t start = offset - extent.start;
    if (size > extent.memory.size() - start) return {};
    return extent.memory.subspan(start, size);
  }
  return {};
}

}  // namespace cairn::block
