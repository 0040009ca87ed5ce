#include "runtime/sim/sparse_bytes.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace cairn::runtime::sim {

namespace {

// Calls visit(page, offset in the page, offset in the range, length) for each page of a range.
template <typename Visit>
void for_each_page(uint64_t offset, uint64_t length, Visit visit) {
  uint64_t done = 0;
  while (done < length) {
    const uint64_t at = (offset + done) % SparseBytes::kPageSize;
    const uint64_t size = std::min(length - done, SparseBytes::kPageSize - at);
    visit((offset + done) / SparseBytes::kPageSize, at, done, size);
    done += size;
  }
}

}  // namespace

SparseBytes::Page& SparseBytes::page(uint64_t index, bool overwritten) {
  auto& page = pages_[index];
  if (page == nullptr) page = overwritten ? std::make_unique_for_overwrite<Page>() : std::make_unique<Page>();
  return *page;
}

void SparseBytes::read(uint64_t offset, std::span<std::byte> into) const {
  for_each_page(offset, into.size(), [&](uint64_t index, uint64_t at, uint64_t done, uint64_t size) {
    const auto found = pages_.find(index);
    if (found == pages_.end()) {
      std::memset(into.data() + done, 0, size);
    } else {
      std::memcpy(into.data() + done, found->second->data() + at, size);
    }
  });
}

void SparseBytes::write(uint64_t offset, std::span<const std::byte> from) {
  for_each_page(offset, from.size(), [&](uint64_t index, uint64_t at, uint64_t done, uint64_t size) {
    std::memcpy(page(index, size == kPageSize).data() + at, from.data() + done, size);
  });
}

void SparseBytes::zero(uint64_t offset, uint64_t length) {
  if (length == 0) return;
  const uint64_t end = offset + length;
  const uint64_t first_whole = (offset + kPageSize - 1) / kPageSize;
  const uint64_t end_whole = end / kPageSize;
  const auto zero_part = [&](uint64_t from, uint64_t to) {
    if (from >= to) return;
    const auto found = pages_.find(from / kPageSize);
    if (found != pages_.end()) std::memset(found->second->data() + from % kPageSize, 0, to - from);
  };
  if (first_whole > end_whole) return zero_part(offset, end);
  zero_part(offset, first_whole * kPageSize);
  zero_part(end_whole * kPageSize, end);
  if (end_whole - first_whole > pages_.size()) {
    std::erase_if(pages_, [&](const auto& entry) { return entry.first >= first_whole && entry.first < end_whole; });
  } else {
    for (uint64_t index = first_whole; index < end_whole; ++index) pages_.erase(index);
  }
}

void SparseBytes::copy_range(const SparseBytes& other, uint64_t offset, uint64_t length) {
  if (length == 0) return;
  zero(offset, length);
  const uint64_t end = offset + length;
  const auto copy_page = [&](uint64_t index, const Page& from) {
    const uint64_t start = std::max(offset, index * kPageSize);
    const uint64_t stop = std::min(end, (index + 1) * kPageSize);
    std::memcpy(page(index).data() + start % kPageSize, from.data() + start % kPageSize, stop - start);
  };
  const uint64_t first = offset / kPageSize;
  const uint64_t last = (end - 1) / kPageSize;
  if (last - first > other.pages_.size()) {
    for (const auto& [index, from] : other.pages_) {
      if (index >= first && index <= last) copy_page(index, *from);
    }
    return;
  }
  for (uint64_t index = first; index <= last; ++index) {
    const auto found = other.pages_.find(index);
    if (found != other.pages_.end()) copy_page(index, *found->second);
  }
}

uint64_t SparseBytes::missing_bytes(uint64_t offset, uint64_t length) const {
  uint64_t missing = 0;
  for_each_page(offset, length, [&](uint64_t index, uint64_t, uint64_t, uint64_t) {
    if (!pages_.contains(index)) missing += kPageSize;
  });
  return missing;
}

void SparseBytes::xor_byte(uint64_t offset, std::byte mask) {
  page(offset / kPageSize)[offset % kPageSize] ^= mask;
}

}  // namespace cairn::runtime::sim
