// The buffers that receives of one reactor share: the kernel takes one when bytes have arrived, and gets it back when
// they were looked at. Idle connections hold none. Only a few buffers go round as long as they suffice, so that they
// stay in the cache; memory is touched when first used.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "base/error.h"
#include "runtime/uring_ring.h"

namespace cairn::runtime {

class UringReceiveBuffers {
 public:
  static constexpr uint16_t kGroup = 0;

  // An error when the kernel has no buffer rings.
  static Result<std::unique_ptr<UringReceiveBuffers>> create(UringRing& ring, unsigned count, size_t buffer_bytes);
  ~UringReceiveBuffers();
  UringReceiveBuffers(const UringReceiveBuffers&) = delete;
  UringReceiveBuffers& operator=(const UringReceiveBuffers&) = delete;

  size_t buffer_bytes() const { return buffer_bytes_; }
  std::span<std::byte> buffer(unsigned id) { return {memory_ + id * buffer_bytes_, buffer_bytes_}; }
  // Gives the buffer to the kernel again.
  void recycle(unsigned id);
  // The kernel found none: adds some if there are more. (Otherwise the receive is to be repeated; by then buffers have
  // come back.)
  void add_more();

 private:
  UringReceiveBuffers(UringRing& ring, unsigned count, size_t buffer_bytes);

  UringRing& ring_;
  unsigned count_;  // a power of two
  unsigned added_ = 0;
  size_t buffer_bytes_;
  std::byte* memory_ = nullptr;
  io_uring_buf_ring* shared_ = nullptr;
};

}  // namespace cairn::runtime
