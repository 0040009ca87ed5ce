#include "nvmf/target/request.h"

#include <algorithm>
#include <cstring>

namespace cairn::nvmf::target {

namespace {

// Calls `use(memory, size)` for each contiguous part of bytes [offset, offset + size) of the pieces.
template <typename Use>
void for_each_part(std::span<const iovec> pieces, size_t offset, size_t size, Use use) {
  for (const iovec& piece : pieces) {
    if (size == 0) return;
    if (offset >= piece.iov_len) {
      offset -= piece.iov_len;
      continue;
    }
    const size_t part = std::min(size, piece.iov_len - offset);
    use(static_cast<std::byte*>(piece.iov_base) + offset, part);
    offset = 0;
    size -= part;
  }
  CAIRN_CHECK(size == 0);
}

}  // namespace

void Request::copy_to_data(size_t offset, std::span<const std::byte> from) {
  for_each_part(data(), offset, from.size(), [&](std::byte* memory, size_t size) {
    std::memcpy(memory, from.data(), size);
    from = from.subspan(size);
  });
}

void Request::copy_from_data(size_t offset, std::span<std::byte> into) const {
  for_each_part(data(), offset, into.size(), [&](const std::byte* memory, size_t size) {
    std::memcpy(into.data(), memory, size);
    into = into.subspan(size);
  });
}

}  // namespace cairn::nvmf::target
