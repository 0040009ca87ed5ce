// Overwrites or checksums a whole device, chunk by chunk, and tells how far it is (shared reference: pool-replica.md
// section 9).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/error.h"
#include "block/device.h"
#include "runtime/task.h"

namespace cairn::engine {

enum class WipeMethod : uint8_t { kNone, kWriteZeroes, kChecksum };

struct WipeProgress {
  uint64_t total_bytes = 0;  // the range: all of the device but its last 33 blocks
  uint64_t chunk_size = 0;   // bytes
  uint64_t last_chunk_size = 0;
  uint64_t total_chunks = 0;
  uint64_t wiped_bytes = 0;
  uint64_t wiped_chunks = 0;
  Duration since{};                  // the start
  std::optional<uint32_t> crc32c{};  // kChecksum: the register as it stands, inverted behind the last chunk
};

// What there is to do. `chunk_size`: bytes, 0 for one chunk. INVALID_ARGUMENT: an empty device, a chunk larger than the
// range or not of whole blocks, 1024 chunks or more.
Result<WipeProgress> plan_wipe(uint64_t num_blocks, uint32_t block_size, uint64_t chunk_size);

// On the reactor it is called on. `notify` is called before the first and behind each chunk; its error ends the wipe.
// `aborted` is asked between I/Os: ABORTED. DATA_LOSS: an I/O failed.
runtime::Task<Result<>> wipe_device(std::shared_ptr<block::Device> device, WipeMethod method, WipeProgress plan,
                                    std::function<runtime::Task<Result<>>(const WipeProgress&)> notify,
                                    std::function<bool()> aborted);

}  // namespace cairn::engine
