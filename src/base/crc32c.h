// CRC-32C (Castagnoli), as used by NVMe/TCP digests (NVMe/TCP Transport 1.0, section 3.3.1.1) and the blobstore format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace cairn {

// Streaming form: start with kCrc32cInit, feed pieces in order, finish with crc32c_finish.
inline constexpr uint32_t kCrc32cInit = 0xffffffff;
uint32_t crc32c_update(uint32_t state, std::span<const std::byte> data);
inline uint32_t crc32c_finish(uint32_t state) { return state ^ 0xffffffff; }

inline uint32_t crc32c(std::span<const std::byte> data) { return crc32c_finish(crc32c_update(kCrc32cInit, data)); }

namespace internal {
// The table-driven form used where the processor has no CRC instruction; public for the test that compares both.
uint32_t crc32c_update_portable(uint32_t state, std::span<const std::byte> data);
}  // namespace internal

}  // namespace cairn
