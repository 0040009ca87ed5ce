#include <cairn/buffer.h>
#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "block/page_memory.h"

namespace cairn::embed {

Result<Buffer> Buffer::allocate(size_t size_bytes) {
  if (size_bytes == 0) return std::unexpected(Error{Code::kInvalidArgument, "a buffer of no bytes"});
  Buffer buffer;
  if (size_bytes <= std::numeric_limits<size_t>::max() - block::kPageSize) {
    const size_t whole_pages = (size_bytes + block::kPageSize - 1) / block::kPageSize * block::kPageSize;
    buffer.data_ = static_cast<std::byte*>(std::aligned_alloc(block::kPageSize, whole_pages));
  }
  if (buffer.data_ == nullptr) {
    return std::unexpected(Error{Code::kResourceExhausted, fmt::format("no memory for {} bytes", size_bytes)});
  }
  buffer.size_ = size_bytes;
  std::memset(buffer.data_, 0, size_bytes);
  return buffer;
}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Buffer::~Buffer() {
  std::free(data_);
}

}  // namespace cairn::embed
