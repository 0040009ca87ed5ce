#include "engine/device_wipe.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/crc32c.h"
#include "block/io_wait.h"
#include "block/page_memory.h"
#include "runtime/reactor.h"

namespace cairn::engine {

namespace {

constexpr uint64_t kBackupTableBlocks = 33;  // where a GPT has its second copy
constexpr uint64_t kMaxChunks = 1024;
constexpr uint64_t kMaxIoBytes = 8u << 20;
constexpr uint64_t kMaxReadBytes = 1u << 20;

Error invalid(const char* text) {
  return Error(Code::kInvalidArgument, text);
}

}  // namespace

Result<WipeProgress> plan_wipe(uint64_t num_blocks, uint32_t block_size, uint64_t chunk_size) {
  const uint64_t wiped_blocks = num_blocks > kBackupTableBlocks ? num_blocks - kBackupTableBlocks : num_blocks;
  WipeProgress plan;
  plan.total_bytes = wiped_blocks * block_size;
  if (plan.total_bytes == 0) return fail(invalid("The bdev seems to have no size!"));
  plan.chunk_size = chunk_size == 0 ? plan.total_bytes : chunk_size;
  if (plan.chunk_size > plan.total_bytes) return fail(invalid("The chunk_size is larger than the bdev"));
  if (plan.chunk_size % block_size != 0)
    return fail(invalid("The chunk_size is not a multiple of the bdev block size"));
  const uint64_t rest = plan.total_bytes % plan.chunk_size;
  plan.total_chunks = plan.total_bytes / plan.chunk_size + (rest > 0 ? 1 : 0);
  plan.last_chunk_size = rest > 0 ? rest : plan.chunk_size;
  if (plan.total_chunks >= kMaxChunks) return fail(invalid("Too many notifications, try increasing the chunk_size"));
  return plan;
}

runtime::Task<Result<>> wipe_device(std::shared_ptr<block::Device> device, WipeMethod method, WipeProgress progress,
                                    std::function<runtime::Task<Result<>>(const WipeProgress&)> notify,
                                    std::function<bool()> aborted) {
  runtime::Reactor& reactor = runtime::Reactor::current();
  const TimePoint started = reactor.now();
  auto channel = co_await device->open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  block::PageMemory memory;
  uint32_t crc = kCrc32cInit;
  if (method == WipeMethod::kChecksum) {
    memory = block::allocate_pages(kMaxReadBytes);
    progress.crc32c = crc;
  }
  if (auto told = co_await notify(progress); !told) co_return told;
  while (progress.wiped_chunks < progress.total_chunks) {
    const bool last = progress.wiped_chunks + 1 == progress.total_chunks;
    const uint64_t end = progress.wiped_bytes + (last ? progress.last_chunk_size : progress.chunk_size);
    while (progress.wiped_bytes < end) {
      if (aborted()) co_return fail(Code::kAborted, "The wipe has been aborted");
      const uint64_t limit = method == WipeMethod::kChecksum ? kMaxReadBytes : kMaxIoBytes;
      const uint64_t size = std::min(end - progress.wiped_bytes, limit);
      const iovec piece{memory.get(), size};
      block::IoRequest io{.lba = progress.wiped_bytes / device->block_size(),
                          .num_blocks = size / device->block_size()};
      nvme::Status status = nvme::Status::success();
      if (method == WipeMethod::kWriteZeroes) {
        io.type = block::IoType::kWriteZeroes;
        status = co_await block::perform(**channel, io);
      } else if (method == WipeMethod::kChecksum) {
        io.type = block::IoType::kRead;
        io.data = {&piece, 1};
        status = co_await block::perform(**channel, io);
        crc = crc32c_update(crc, {memory.get(), size});
      }
      if (!status.is_success()) {
        co_return fail(Code::kDataLoss, fmt::format("Error while wiping the bdev (IO Error): {} at byte {}",
                                                    nvme::status_name(status), progress.wiped_bytes));
      }
      progress.wiped_bytes += size;
    }
    ++progress.wiped_chunks;
    progress.since = reactor.now() - started;
    if (method == WipeMethod::kChecksum) progress.crc32c = last ? crc32c_finish(crc) : crc;
    if (auto told = co_await notify(progress); !told) co_return told;
  }
  co_return Result<>{};
}

}  // namespace cairn::engine
