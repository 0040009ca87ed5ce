// What a disk carries before anybody formats it: pools of our own format, whole or damaged, and whatever libblkid
// knows: file systems, partition tables, encryption, RAID and volume-manager members, swap.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "block/channel.h"
#include "pool/format/super_block.h"
#include "runtime/task.h"

namespace cairn::pool {

struct Signature {
  enum class Kind : uint8_t {
    kPool,          // a super block that decodes
    kDamagedPool,   // a super block that does not: checksum, version, size, numbers
    kForeignStore,  // a blobstore of another type
    kPoolRemains,   // metadata of a pool whose super block is gone
    kFileSystem,
    kPartitionTable,
    kEncryption,  // LUKS, BitLocker, ...
    kRaid,        // a member of a RAID or a volume group
    kOther,       // swap, ...
  };
  Kind kind;
  std::string type;      // "ext4", "gpt", "crypto_LUKS", "LVM2_member"; "blobstore"
  std::string label{};   // when it has one
  std::string uuid{};    // the same
  std::string detail{};  // of damaged pools: what is wrong
  uint64_t offset = 0;   // of its magic bytes

  // "ext4 file system, label data, uuid 5a.., at byte 1080".
  std::string describe() const;
  friend bool operator==(const Signature&, const Signature&) = default;
};

// All descriptions, joined with "; ".
std::string describe(std::span<const Signature> signatures);

// How much of the beginning and of the end is looked at, which covers the places of all signatures.
inline constexpr uint64_t kSignatureHeadBytes = 8u << 20;
inline constexpr uint64_t kSignatureTailBytes = 2u << 20;

// What the device carries; empty means blank: nothing that anybody would recognise. Errors: a read that failed (as from
// its status), memory or libblkid's refusal (INTERNAL). Reads at most kSignatureHeadBytes + kSignatureTailBytes. On the
// channel's reactor, which the examination itself (in memory, some milliseconds) keeps busy.
runtime::Task<Result<std::vector<Signature>>> find_signatures(block::Channel& channel);

// The same of bytes already read: `head` from the start, `tail` up to the end of the device (they may overlap).
Result<std::vector<Signature>> find_signatures(std::span<const std::byte> head, std::span<const std::byte> tail,
                                               uint64_t device_bytes, uint32_t block_size);

}  // namespace cairn::pool
