// Fields of the NVM command set's I/O commands (NVM Command Set 1.0, section 3.2). decode() takes a command apart
// without judging it; encode() writes the command's own dwords, opcode and NSID and leaves the rest (CID, flags, SGL)
// to the caller.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/command.h"
#include "nvme/wire.h"

namespace cairn::nvme {

// Read, Write, Compare, Write Zeroes, Write Uncorrectable, Verify: all address one range of blocks.
struct BlockRange {
  uint64_t slba = 0;
  uint32_t num_blocks = 0;  // 1 to 65,536; the wire's NLB is 0's based

  static constexpr BlockRange decode(const Sqe& sqe) {
    return {.slba = sqe.cdw10 | uint64_t{sqe.cdw11} << 32, .num_blocks = (sqe.cdw12 & 0xffff) + 1};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.cdw10 = static_cast<uint32_t>(slba);
    sqe.cdw11 = static_cast<uint32_t>(slba >> 32);
    sqe.cdw12 = with_bits(sqe.cdw12, 0, 16, num_blocks - 1);
  }
};

// The bits of CDW12 that Read, Write, Compare, Write Zeroes and Verify share, and of CDW13 for Read and Write.
struct BlockFlags {
  bool limited_retry = false;       // LR
  bool force_unit_access = false;   // FUA
  uint8_t prinfo = 0;               // 4 bits: PRACT, PRCHK
  bool storage_tag_check = false;   // STC
  bool deallocate = false;          // DEAC, Write Zeroes only
  uint8_t directive_type = 0;       // DTYPE, Write only
  uint8_t dsm = 0;                  // CDW13 7:0: access frequency and latency hints
  uint16_t directive_specific = 0;  // DSPEC, Write only

  static constexpr BlockFlags decode(const Sqe& sqe) {
    return {.limited_retry = bit(sqe.cdw12, 31),
            .force_unit_access = bit(sqe.cdw12, 30),
            .prinfo = static_cast<uint8_t>(bits(sqe.cdw12, 26, 4)),
            .storage_tag_check = bit(sqe.cdw12, 24),
            .deallocate = bit(sqe.cdw12, 25),
            .directive_type = static_cast<uint8_t>(bits(sqe.cdw12, 20, 4)),
            .dsm = static_cast<uint8_t>(sqe.cdw13),
            .directive_specific = static_cast<uint16_t>(sqe.cdw13 >> 16)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.cdw12 = (sqe.cdw12 & 0xffff) | uint32_t{limited_retry} << 31 | uint32_t{force_unit_access} << 30 |
                uint32_t{prinfo & 0xfu} << 26 | uint32_t{deallocate} << 25 | uint32_t{storage_tag_check} << 24 |
                uint32_t{directive_type & 0xfu} << 20;
    sqe.cdw13 = dsm | uint32_t{directive_specific} << 16;
  }
};

// Dataset Management: up to 256 ranges in the data.
struct DatasetManagement {
  static constexpr uint32_t kMaxRanges = 256;
  uint32_t num_ranges = 0;      // 1 to 256; NR is 0's based
  bool deallocate = false;      // AD
  bool integral_write = false;  // IDW
  bool integral_read = false;   // IDR

  static constexpr DatasetManagement decode(const Sqe& sqe) {
    return {.num_ranges = (sqe.cdw10 & 0xff) + 1,
            .deallocate = bit(sqe.cdw11, 2),
            .integral_write = bit(sqe.cdw11, 1),
            .integral_read = bit(sqe.cdw11, 0)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.cdw10 = num_ranges - 1;
    sqe.cdw11 = uint32_t{deallocate} << 2 | uint32_t{integral_write} << 1 | uint32_t{integral_read};
  }
};

struct DatasetRange {
  uint32_t context_attributes = 0;
  uint32_t num_blocks = 0;  // not 0's based; 0 is legal
  uint64_t slba = 0;
};
static_assert(kIsWire<DatasetRange> && sizeof(DatasetRange) == 16 && offsetof(DatasetRange, slba) == 8);

// Copy to `destination` from the ranges in the data.
struct Copy {
  static constexpr uint32_t kMaxRanges = 256;
  uint64_t destination = 0;  // SDLBA
  uint32_t num_ranges = 0;   // 1 to 256; NR is 0's based
  uint8_t format = 0;        // descriptor format, 4 bits
  uint8_t prinfo_read = 0;
  uint8_t prinfo_write = 0;
  bool limited_retry = false;
  bool force_unit_access = false;
  uint8_t directive_type = 0;

  static constexpr Copy decode(const Sqe& sqe) {
    return {.destination = sqe.cdw10 | uint64_t{sqe.cdw11} << 32,
            .num_ranges = (sqe.cdw12 & 0xff) + 1,
            .format = static_cast<uint8_t>(bits(sqe.cdw12, 8, 4)),
            .prinfo_read = static_cast<uint8_t>(bits(sqe.cdw12, 12, 4)),
            .prinfo_write = static_cast<uint8_t>(bits(sqe.cdw12, 26, 4)),
            .limited_retry = bit(sqe.cdw12, 31),
            .force_unit_access = bit(sqe.cdw12, 30),
            .directive_type = static_cast<uint8_t>(bits(sqe.cdw12, 20, 4))};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.cdw10 = static_cast<uint32_t>(destination);
    sqe.cdw11 = static_cast<uint32_t>(destination >> 32);
    sqe.cdw12 = ((num_ranges - 1) & 0xff) | uint32_t{format & 0xfu} << 8 | uint32_t{prinfo_read & 0xfu} << 12 |
                uint32_t{directive_type & 0xfu} << 20 | uint32_t{prinfo_write & 0xfu} << 26 |
                uint32_t{force_unit_access} << 30 | uint32_t{limited_retry} << 31;
  }
};

// Source range of descriptor format 0h.
struct CopyRange {
  uint64_t reserved0 = 0;
  uint64_t slba = 0;
  uint16_t nlb = 0;  // 0's based
  uint8_t reserved18[6] = {};
  uint32_t expected_reference_tag = 0;
  uint16_t expected_application_tag = 0;
  uint16_t expected_application_tag_mask = 0;

  constexpr uint32_t num_blocks() const { return nlb + 1u; }
};
static_assert(kIsWire<CopyRange> && sizeof(CopyRange) == 32);
static_assert(offsetof(CopyRange, slba) == 8 && offsetof(CopyRange, nlb) == 16 &&
              offsetof(CopyRange, expected_reference_tag) == 24);

// Completion DW0 of a Copy that failed: the lowest range that was not copied. Write Zeroes and DSM have none.
inline constexpr uint8_t kCopyFormat0 = 0;

}  // namespace cairn::nvme
