// libblkid over the beginning and the end of a device that are already in memory.
#pragma once

#include <vector>

#include "pool/signature/device_signature.h"

namespace cairn::pool {

// Signatures that libblkid knows, those with a wrong checksum too. INTERNAL when it cannot work.
Result<std::vector<Signature>> probe_with_blkid(std::span<const std::byte> head, std::span<const std::byte> tail,
                                                uint64_t device_bytes, uint32_t block_size);

}  // namespace cairn::pool
