#include "runtime/uring_receive_buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace cairn::runtime {

namespace {

constexpr unsigned kInitialBuffers = 8;

std::byte* map_memory(size_t size) {
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CAIRN_CHECK(memory != MAP_FAILED);
  return static_cast<std::byte*>(memory);
}

}  // namespace

UringReceiveBuffers::UringReceiveBuffers(UringRing& ring, unsigned count, size_t buffer_bytes)
    : ring_(ring), count_(std::bit_ceil(std::max(count, 1U))), buffer_bytes_(buffer_bytes) {
  memory_ = map_memory(count_ * buffer_bytes_);
  shared_ = reinterpret_cast<io_uring_buf_ring*>(map_memory(count_ * sizeof(io_uring_buf)));
}

UringReceiveBuffers::~UringReceiveBuffers() {
  io_uring_unregister_buf_ring(&ring_.raw(), kGroup);
  munmap(shared_, count_ * sizeof(io_uring_buf));
  munmap(memory_, count_ * buffer_bytes_);
}

Result<std::unique_ptr<UringReceiveBuffers>> UringReceiveBuffers::create(UringRing& ring, unsigned count,
                                                                         size_t buffer_bytes) {
  std::unique_ptr<UringReceiveBuffers> buffers(new UringReceiveBuffers(ring, count, buffer_bytes));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(buffers->shared_);
  registration.ring_entries = buffers->count_;
  registration.bgid = kGroup;
  const int result = io_uring_register_buf_ring(&ring.raw(), &registration, 0);
  if (result != 0) return fail(Error::from_errno(-result, "register receive buffers"));
  buffers->add_more();
  return buffers;
}

void UringReceiveBuffers::recycle(unsigned id) {
  CAIRN_CHECK(id < added_);
  io_uring_buf_ring_add(shared_, memory_ + id * buffer_bytes_, static_cast<unsigned>(buffer_bytes_),
                        static_cast<uint16_t>(id), io_uring_buf_ring_mask(count_), 0);
  io_uring_buf_ring_advance(shared_, 1);
}

void UringReceiveBuffers::add_more() {
  const unsigned target = std::min(count_, std::max(kInitialBuffers, added_ * 2));
  while (added_ < target) {
    ++added_;
    recycle(added_ - 1);
  }
}

}  // namespace cairn::runtime
