#include "pool/format/super_block.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <string_view>

#include "nvme/wire.h"
#include "pool/format/layout.h"
#include "pool/format/mask.h"

namespace cairn::pool::format {
namespace {

using Kind = SuperBlockFault::Kind;

constexpr std::string_view kSignature = "SPDKBLOB";
constexpr std::string_view kStoreType = "LVOLSTORE";
constexpr uint32_t kDefaultIoUnitSize = 4096;

struct [[gnu::packed]] SuperBlockOnDisk {
  char signature[8];
  uint32_t version;
  uint32_t length;
  uint32_t clean;
  uint64_t super_blob;
  uint32_t cluster_size;
  uint32_t used_page_mask_start;
  uint32_t used_page_mask_len;
  uint32_t used_cluster_mask_start;
  uint32_t used_cluster_mask_len;
  uint32_t md_start;
  uint32_t md_len;
  char bstype[16];
  uint32_t used_blobid_mask_start;
  uint32_t used_blobid_mask_len;
  uint64_t size;
  uint32_t io_unit_size;
};
static_assert(nvme::kIsWire<SuperBlockOnDisk> && sizeof(SuperBlockOnDisk) == 92);
static_assert(offsetof(SuperBlockOnDisk, version) == 8 && offsetof(SuperBlockOnDisk, length) == 12);
static_assert(offsetof(SuperBlockOnDisk, clean) == 16 && offsetof(SuperBlockOnDisk, super_blob) == 20);
static_assert(offsetof(SuperBlockOnDisk, cluster_size) == 28 && offsetof(SuperBlockOnDisk, used_page_mask_start) == 32);
static_assert(offsetof(SuperBlockOnDisk, used_page_mask_len) == 36);
static_assert(offsetof(SuperBlockOnDisk, used_cluster_mask_start) == 40);
static_assert(offsetof(SuperBlockOnDisk, used_cluster_mask_len) == 44 && offsetof(SuperBlockOnDisk, md_start) == 48);
static_assert(offsetof(SuperBlockOnDisk, md_len) == 52 && offsetof(SuperBlockOnDisk, bstype) == 56);
static_assert(offsetof(SuperBlockOnDisk, used_blobid_mask_start) == 72);
static_assert(offsetof(SuperBlockOnDisk, used_blobid_mask_len) == 76 && offsetof(SuperBlockOnDisk, size) == 80);
static_assert(offsetof(SuperBlockOnDisk, io_unit_size) == 88);

// Newer writers store the size of their metadata pages after our last field; other sizes than ours cannot be read.
constexpr size_t kPageSizeOffset = sizeof(SuperBlockOnDisk);

std::unexpected<SuperBlockFault> fault(Kind kind, std::string message) {
  return std::unexpected(SuperBlockFault{.kind = kind, .message = "super block: " + std::move(message)});
}

bool overlap(const PageRange& a, const PageRange& b) {
  return a.length != 0 && b.length != 0 && a.start < b.end() && b.start < a.end();
}

std::expected<void, SuperBlockFault> validate_mask(std::string_view name, const PageRange& mask, uint32_t needed,
                                                   uint32_t md_start) {
  if (mask.start < 1 || mask.end() > md_start) {
    return fault(Kind::kLayout, fmt::format("{} occupies pages {} to {}, outside 1 to md_start {}", name, mask.start,
                                            mask.end(), md_start));
  }
  if (mask.length < needed) {
    return fault(Kind::kLayout, fmt::format("{}_len is {}, needed are at least {} pages", name, mask.length, needed));
  }
  return {};
}

}  // namespace

Error SuperBlockFault::to_error() const {
  switch (kind) {
    case Kind::kNoSignature:
      return Error(Code::kNotFound, message);
    case Kind::kForeignType:
    case Kind::kVersion:
      return Error(Code::kFailedPrecondition, message);
    case Kind::kChecksum:
    case Kind::kShrunkDevice:
    case Kind::kLayout:
      break;
  }
  return Error(Code::kDataLoss, message);
}

SuperBlock read_super_block_fields(PageView page) {
  const auto disk = nvme::load<SuperBlockOnDisk>(page);
  return {.version = disk.version,
          .clean = disk.clean == 1,
          .super_blob = disk.super_blob,
          .cluster_size = disk.cluster_size,
          .used_page_mask = {disk.used_page_mask_start, disk.used_page_mask_len},
          .used_cluster_mask = {disk.used_cluster_mask_start, disk.used_cluster_mask_len},
          .used_blobid_mask = {disk.used_blobid_mask_start, disk.used_blobid_mask_len},
          .md_start = disk.md_start,
          .md_len = disk.md_len,
          .size = disk.size,
          .io_unit_size = disk.io_unit_size};
}

std::expected<SuperBlock, SuperBlockFault> decode_super_block(PageView page, uint64_t device_bytes) {
  const auto disk = nvme::load<SuperBlockOnDisk>(page);
  if (std::string_view(disk.signature, sizeof(disk.signature)) != kSignature) {
    return fault(Kind::kNoSignature, fmt::format("no signature {} at byte 0", kSignature));
  }
  if (disk.version < kFirstVersion || disk.version > kVersion) {
    const uint32_t version = disk.version;
    return fault(Kind::kVersion, fmt::format("version is {}, known are {} to {}", version, kFirstVersion, kVersion));
  }
  if (!crc_matches(page)) {
    return fault(Kind::kChecksum, fmt::format("crc is {:#010x}, the page's contents give {:#010x}", stored_crc(page),
                                              computed_crc(page)));
  }
  if (nvme::get_c_string(disk.bstype) != kStoreType) {
    return fault(Kind::kForeignType,
                 fmt::format("bstype is '{}', not {}", nvme::get_c_string(disk.bstype), kStoreType));
  }
  if (disk.length != kPageSize) {
    const uint32_t length = disk.length;
    return fault(Kind::kLayout, fmt::format("length is {}, not {}", length, kPageSize));
  }
  const auto page_size = nvme::load<uint32_t>(page.subspan<kPageSizeOffset>());
  if (page_size != 0 && page_size != kPageSize) {
    return fault(Kind::kVersion, fmt::format("metadata page size is {}, known is {}", page_size, kPageSize));
  }

  SuperBlock super = read_super_block_fields(page);
  if (super.size == 0) super.size = device_bytes;
  if (super.io_unit_size == 0) super.io_unit_size = kDefaultIoUnitSize;
  if (auto valid = validate_super_block(super, device_bytes); !valid) return std::unexpected(std::move(valid.error()));
  return super;
}

std::expected<void, SuperBlockFault> validate_super_block(const SuperBlock& super, uint64_t device_bytes) {
  if (super.size > device_bytes) {
    return fault(Kind::kShrunkDevice, fmt::format("size is {} bytes, the device has {}", super.size, device_bytes));
  }
  if (super.cluster_size < kPageSize || super.cluster_size % kPageSize != 0) {
    return fault(Kind::kLayout, fmt::format("cluster_size is {}, not a multiple of {}", super.cluster_size, kPageSize));
  }
  if (!is_valid_block_size(super.io_unit_size)) {
    return fault(Kind::kLayout, fmt::format("io_unit_size is {}, not a power of two between {} and {}",
                                            super.io_unit_size, kMinBlockSize, kPageSize));
  }
  const uint64_t clusters = super.size / super.cluster_size;
  if (clusters < 1 || clusters > kMaxClusters) {
    return fault(Kind::kLayout, fmt::format("size {} and cluster_size {} make {} clusters, accepted are 1 to {}",
                                            super.size, super.cluster_size, clusters, kMaxClusters));
  }
  const uint64_t md_end = uint64_t{super.md_start} + super.md_len;
  if (super.md_len < 1 || divide_up(md_end * kPageSize, super.cluster_size) > clusters) {
    return fault(Kind::kLayout, fmt::format("metadata pages {} to {} do not fit into {} clusters of {} bytes",
                                            super.md_start, md_end, clusters, super.cluster_size));
  }
  const uint32_t md_mask_pages = mask_pages(super.md_len);
  if (auto valid = validate_mask("used_page_mask", super.used_page_mask, md_mask_pages, super.md_start); !valid) {
    return valid;
  }
  if (auto valid = validate_mask("used_cluster_mask", super.used_cluster_mask, mask_pages(clusters), super.md_start);
      !valid) {
    return valid;
  }
  if (super.used_blobid_mask.length != 0) {
    if (auto valid = validate_mask("used_blobid_mask", super.used_blobid_mask, md_mask_pages, super.md_start); !valid) {
      return valid;
    }
  }
  if (overlap(super.used_page_mask, super.used_cluster_mask) || overlap(super.used_page_mask, super.used_blobid_mask) ||
      overlap(super.used_cluster_mask, super.used_blobid_mask)) {
    return fault(Kind::kLayout,
                 fmt::format("masks overlap: used pages at {}, used clusters at {}, used blob ids at {}",
                             super.used_page_mask.start, super.used_cluster_mask.start, super.used_blobid_mask.start));
  }
  if (super.super_blob != kNoBlob &&
      (!is_blob_id(super.super_blob) || root_page_of(super.super_blob) >= super.md_len)) {
    return fault(Kind::kLayout, fmt::format("super_blob is {:#x}, accepted are {:#x} to {:#x} and none ({:#x})",
                                            super.super_blob, blob_id_of(0), blob_id_of(super.md_len - 1), kNoBlob));
  }
  return {};
}

void encode_super_block(const SuperBlock& super, PageSpan page) {
  SuperBlockOnDisk disk = {.signature = {},
                           .version = super.version,
                           .length = kPageSize,
                           .clean = super.clean ? 1u : 0u,
                           .super_blob = super.super_blob,
                           .cluster_size = super.cluster_size,
                           .used_page_mask_start = super.used_page_mask.start,
                           .used_page_mask_len = super.used_page_mask.length,
                           .used_cluster_mask_start = super.used_cluster_mask.start,
                           .used_cluster_mask_len = super.used_cluster_mask.length,
                           .md_start = super.md_start,
                           .md_len = super.md_len,
                           .bstype = {},
                           .used_blobid_mask_start = super.used_blobid_mask.start,
                           .used_blobid_mask_len = super.used_blobid_mask.length,
                           .size = super.size,
                           .io_unit_size = super.io_unit_size};
  std::memcpy(disk.signature, kSignature.data(), kSignature.size());
  nvme::set_c_string(disk.bstype, kStoreType);
  nvme::store(page, disk);
  seal(page);
}

}  // namespace cairn::pool::format
