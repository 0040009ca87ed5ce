#include "pool/signature/device_signature.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "block/device.h"
#include "block/io_wait.h"
#include "pool/format/metadata_page.h"
#include "pool/signature/blkid_probe.h"

namespace cairn::pool {
namespace {

using format::kPageSize;
using format::SuperBlockFault;

std::string_view kind_text(Signature::Kind kind) {
  switch (kind) {
    case Signature::Kind::kPool:
      return "pool";
    case Signature::Kind::kDamagedPool:
      return "damaged pool";
    case Signature::Kind::kForeignStore:
      return "store of another kind";
    case Signature::Kind::kPoolRemains:
      return "remains of a pool without super block";
    case Signature::Kind::kFileSystem:
      return "file system";
    case Signature::Kind::kPartitionTable:
      return "partition table";
    case Signature::Kind::kEncryption:
      return "encrypted device";
    case Signature::Kind::kRaid:
      return "member of a RAID or volume group";
    case Signature::Kind::kOther:
      break;
  }
  return "signature";
}

// The root of the first blob of every store lies on the first metadata page, whose place only the super block tells.
std::optional<uint64_t> find_remains(std::span<const std::byte> head) {
  for (size_t i = 1; i < head.size() / kPageSize; ++i) {
    const format::PageView page = format::page_at(head, i);
    const format::MetadataPageHeader header = format::read_md_header(page);
    if (header.blob_id == format::blob_id_of(0) && header.sequence == 0 && format::crc_matches(page)) {
      return i * kPageSize;
    }
  }
  return std::nullopt;
}

void find_pool(std::span<const std::byte> head, uint64_t device_bytes, std::vector<Signature>& found) {
  if (head.size() < kPageSize) return;
  const auto super = format::decode_super_block(format::page_at(head, 0), device_bytes);
  if (super) {
    found.push_back({.kind = Signature::Kind::kPool, .type = "blobstore"});
    return;
  }
  if (super.error().kind == SuperBlockFault::Kind::kNoSignature) {
    if (const auto offset = find_remains(head)) {
      found.push_back({.kind = Signature::Kind::kPoolRemains, .type = "blobstore", .offset = *offset});
    }
    return;
  }
  const bool foreign = super.error().kind == SuperBlockFault::Kind::kForeignType;
  found.push_back({.kind = foreign ? Signature::Kind::kForeignStore : Signature::Kind::kDamagedPool,
                   .type = "blobstore",
                   .detail = super.error().message});
}

}  // namespace

std::string Signature::describe() const {
  std::string text = fmt::format("{} {}", type, kind_text(kind));
  if (!label.empty()) text += fmt::format(", label {}", label);
  if (!uuid.empty()) text += fmt::format(", uuid {}", uuid);
  if (!detail.empty()) text += fmt::format(" ({})", detail);
  return text + fmt::format(", at byte {}", offset);
}

std::string describe(std::span<const Signature> signatures) {
  std::string text;
  for (const Signature& signature : signatures) {
    if (!text.empty()) text += "; ";
    text += signature.describe();
  }
  return text;
}

Result<std::vector<Signature>> find_signatures(std::span<const std::byte> head, std::span<const std::byte> tail,
                                               uint64_t device_bytes, uint32_t block_size) {
  CAIRN_CHECK(head.size() <= device_bytes && tail.size() <= device_bytes);
  std::vector<Signature> found;
  find_pool(head, device_bytes, found);
  auto others = probe_with_blkid(head, tail, device_bytes, block_size);
  if (!others) return fail(std::move(others.error()));
  std::ranges::move(*others, std::back_inserter(found));
  return found;
}

namespace {

// Pieces that every device takes.
constexpr uint64_t kReadBytes = 128u << 10;

runtime::Task<Result<std::vector<std::byte>>> read_range(block::Channel& channel, uint64_t first_block,
                                                         uint64_t num_blocks) {
  const uint32_t block_size = channel.device().block_size();
  std::vector<std::byte> bytes(num_blocks * block_size);
  const uint64_t step = kReadBytes / block_size;
  for (uint64_t at = 0; at < num_blocks; at += step) {
    const uint64_t count = std::min(step, num_blocks - at);
    const iovec piece = {.iov_base = bytes.data() + at * block_size, .iov_len = count * block_size};
    const nvme::Status status = co_await block::perform(
        channel,
        {.type = block::IoType::kRead, .lba = first_block + at, .num_blocks = count, .data = std::span(&piece, 1)});
    if (!status.is_success()) {
      co_return fail(Code::kDataLoss, fmt::format("cannot read {} blocks at {} of {}: {}", count, first_block + at,
                                                  channel.device().name(), status.to_string()));
    }
  }
  co_return bytes;
}

}  // namespace

runtime::Task<Result<std::vector<Signature>>> find_signatures(block::Channel& channel) {
  const uint32_t block_size = channel.device().block_size();
  const uint64_t num_blocks = channel.device().num_blocks();
  const uint64_t head_blocks = std::min(num_blocks, kSignatureHeadBytes / block_size);
  const uint64_t tail_blocks = std::min(num_blocks - head_blocks, kSignatureTailBytes / block_size);
  auto head = co_await read_range(channel, 0, head_blocks);
  if (!head) co_return fail(std::move(head.error()));
  auto tail = co_await read_range(channel, num_blocks - tail_blocks, tail_blocks);
  if (!tail) co_return fail(std::move(tail.error()));
  co_return find_signatures(*head, *tail, num_blocks * block_size, block_size);
}

}  // namespace cairn::pool
