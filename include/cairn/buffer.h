// Memory for I/O.
#pragma once

#include <cairn/error.h>

#include <cstddef>
#include <span>
#include <utility>

namespace cairn::embed {

// Memory that starts at a page of 4096 bytes, so that disks take it without a copy. Freed with the object; I/O that was
// started with any of it must have completed by then. Belongs to no runtime. Not for several threads at once.
class [[gnu::visibility("default")]] Buffer {
 public:
  // Zeroes. INVALID_ARGUMENT: no bytes; RESOURCE_EXHAUSTED: no memory.
  static Result<Buffer> allocate(size_t size_bytes);

  Buffer() = default;  // empty
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<std::byte> span() const { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace cairn::embed
