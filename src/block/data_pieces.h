// Copying between the scattered memory of an Io and a plain buffer.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/check.h"

namespace cairn::block {

// Calls `part(std::span<std::byte>)` for the parts of [offset, offset + size) of the memory in `pieces`, in order.
template <typename Part>
void for_each_part(std::span<const iovec> pieces, uint64_t offset, size_t size, Part part) {
  for (const iovec& piece : pieces) {
    if (size == 0) return;
    if (offset >= piece.iov_len) {
      offset -= piece.iov_len;
      continue;
    }
    const size_t length = std::min<size_t>(size, piece.iov_len - offset);
    part(std::span<std::byte>(static_cast<std::byte*>(piece.iov_base) + offset, length));
    offset = 0;
    size -= length;
  }
  CAIRN_CHECK(size == 0);
}

inline void copy_from_pieces(std::byte* to, std::span<const iovec> pieces, uint64_t offset, size_t size) {
  for_each_part(pieces, offset, size, [&](std::span<std::byte> part) {
    std::memcpy(to, part.data(), part.size());
    to += part.size();
  });
}

inline void copy_to_pieces(std::span<const iovec> pieces, uint64_t offset, const std::byte* from, size_t size) {
  for_each_part(pieces, offset, size, [&](std::span<std::byte> part) {
    std::memcpy(part.data(), from, part.size());
    from += part.size();
  });
}

inline bool equals_pieces(const std::byte* memory, std::span<const iovec> pieces, uint64_t offset, size_t size) {
  bool equal = true;
  for_each_part(pieces, offset, size, [&](std::span<std::byte> part) {
    equal = equal && std::memcmp(memory, part.data(), part.size()) == 0;
    memory += part.size();
  });
  return equal;
}

}  // namespace cairn::block
