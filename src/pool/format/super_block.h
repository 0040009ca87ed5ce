// The super block, page 0 of a pool's device (docs/pool-format.md, "Super block").
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "base/error.h"
#include "pool/format/page.h"

namespace cairn::pool::format {

inline constexpr uint32_t kFirstVersion = 1;
inline constexpr uint32_t kNoBlobIdMaskVersion = 2;  // and below: no mask of blob ids, so masks are always rebuilt
inline constexpr uint32_t kVersion = 3;              // what new pools get

struct SuperBlock {
  uint32_t version = kVersion;
  bool clean = false;  // the masks on disk are valid
  BlobId super_blob = kNoBlob;
  uint32_t cluster_size = 0;  // bytes
  PageRange used_page_mask{};
  PageRange used_cluster_mask{};  // its current length, without the reserve
  PageRange used_blobid_mask{};   // length 0 in old versions
  uint32_t md_start = 0;          // pages
  uint32_t md_len = 0;            // pages
  uint64_t size = 0;              // bytes of the device that the pool uses; never 0 after decoding
  uint32_t io_unit_size = 0;      // bytes; never 0 after decoding

  // Whether the masks on disk may be used; otherwise they are rebuilt from the metadata pages.
  bool masks_valid() const { return clean && used_blobid_mask.length != 0; }
  friend bool operator==(const SuperBlock&, const SuperBlock&) = default;
};

// Why page 0 is not the super block of a usable pool. Only kNoSignature says that no pool was ever here.
struct SuperBlockFault {
  enum class Kind : uint8_t {
    kNoSignature,   // not a blobstore at all
    kVersion,       // a blobstore of an unknown version
    kChecksum,      // damaged
    kForeignType,   // a blobstore, but not of lvols
    kShrunkDevice,  // the pool is larger than its device
    kLayout,        // the CRC fits, the numbers do not
  };
  Kind kind;
  std::string message;  // names field, value and accepted range

  // kNoSignature: NOT_FOUND; kForeignType, kVersion: FAILED_PRECONDITION; otherwise DATA_LOSS.
  Error to_error() const;
};

// Decodes and validates page 0 of a device of `device_bytes`. Fields that old versions leave zero (size, io_unit_size)
// get their meaning: the device's size, 4096.
std::expected<SuperBlock, SuperBlockFault> decode_super_block(PageView page, uint64_t device_bytes);

// The same without the checksum and without the device's size: what a damaged super block seems to say (for
// inspection).
SuperBlock read_super_block_fields(PageView page);
// Every rule but signature, version, checksum and type, which concern the page and not its numbers.
std::expected<void, SuperBlockFault> validate_super_block(const SuperBlock& super, uint64_t device_bytes);

// Sets all fields and the CRC. Bytes that this version of the format reserves stay as they are: start from zeroes for a
// new pool and from the page that was read to change an existing one.
void encode_super_block(const SuperBlock& super, PageSpan page);

}  // namespace cairn::pool::format
