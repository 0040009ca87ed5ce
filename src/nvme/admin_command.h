// Fields of the admin commands (NVMe Base 2.0, section 5). decode() takes a command apart without judging it; encode()
// writes the command's own dwords and its opcode.
#pragma once

#include <cstdint>

#include "nvme/command.h"
#include "nvme/wire.h"

namespace cairn::nvme {

struct GetLogPage {
  uint8_t lid = 0;
  uint8_t lsp = 0;            // log specific field, 7 bits (1.4: 4)
  bool retain_event = false;  // RAE
  uint32_t num_dwords = 0;    // NUMDU:NUMDL + 1, saturated at 2^32 - 1; see size_bytes()
  uint16_t lsi = 0;           // log specific identifier
  uint64_t offset = 0;        // LPO: bytes, or an index when `index_offset`
  uint8_t uuid_index = 0;
  bool index_offset = false;  // OT
  uint8_t csi = 0;

  constexpr uint64_t size_bytes() const { return uint64_t{num_dwords} * 4; }

  static constexpr GetLogPage decode(const Sqe& sqe) {
    const uint32_t numd = sqe.cdw10 >> 16 | (sqe.cdw11 & 0xffff) << 16;
    return {.lid = static_cast<uint8_t>(sqe.cdw10),
            .lsp = static_cast<uint8_t>(bits(sqe.cdw10, 8, 7)),
            .retain_event = bit(sqe.cdw10, 15),
            .num_dwords = numd == 0xffffffff ? numd : numd + 1,
            .lsi = static_cast<uint16_t>(sqe.cdw11 >> 16),
            .offset = sqe.cdw12 | uint64_t{sqe.cdw13} << 32,
            .uuid_index = static_cast<uint8_t>(bits(sqe.cdw14, 0, 7)),
            .index_offset = bit(sqe.cdw14, 23),
            .csi = static_cast<uint8_t>(sqe.cdw14 >> 24)};
  }
  constexpr void encode(Sqe& sqe) const {
    const uint32_t numd = num_dwords - 1;
    sqe.opcode = static_cast<uint8_t>(AdminOpcode::kGetLogPage);
    sqe.cdw10 = lid | uint32_t{lsp & 0x7fu} << 8 | uint32_t{retain_event} << 15 | numd << 16;
    sqe.cdw11 = numd >> 16 | uint32_t{lsi} << 16;
    sqe.cdw12 = static_cast<uint32_t>(offset);
    sqe.cdw13 = static_cast<uint32_t>(offset >> 32);
    sqe.cdw14 = (uuid_index & 0x7fu) | uint32_t{index_offset} << 23 | uint32_t{csi} << 24;
  }
};

struct Identify {
  uint8_t cns = 0;
  uint16_t cntid = 0;
  uint16_t cns_specific = 0;
  uint8_t csi = 0;  // command set identifier
  uint8_t uuid_index = 0;

  static constexpr Identify decode(const Sqe& sqe) {
    return {.cns = static_cast<uint8_t>(sqe.cdw10),
            .cntid = static_cast<uint16_t>(sqe.cdw10 >> 16),
            .cns_specific = static_cast<uint16_t>(sqe.cdw11),
            .csi = static_cast<uint8_t>(sqe.cdw11 >> 24),
            .uuid_index = static_cast<uint8_t>(bits(sqe.cdw14, 0, 7))};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(AdminOpcode::kIdentify);
    sqe.cdw10 = cns | uint32_t{cntid} << 16;
    sqe.cdw11 = cns_specific | uint32_t{csi} << 24;
    sqe.cdw14 = uuid_index & 0x7fu;
  }
};

struct Abort {
  uint16_t sqid = 0;
  uint16_t cid = 0;
  static constexpr uint32_t kNotAborted = 1;  // completion DW0 bit 0

  static constexpr Abort decode(const Sqe& sqe) {
    return {.sqid = static_cast<uint16_t>(sqe.cdw10), .cid = static_cast<uint16_t>(sqe.cdw10 >> 16)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(AdminOpcode::kAbort);
    sqe.cdw10 = sqid | uint32_t{cid} << 16;
  }
};

enum class FeatureSelect : uint8_t { kCurrent = 0, kDefault = 1, kSaved = 2, kSupportedCapabilities = 3 };

// Completion DW0 of Get Features with kSupportedCapabilities.
inline constexpr uint32_t kFeatureSaveable = 1u << 0;
inline constexpr uint32_t kFeatureNamespaceSpecific = 1u << 1;
inline constexpr uint32_t kFeatureChangeable = 1u << 2;

struct GetFeatures {
  uint8_t fid = 0;
  FeatureSelect select = FeatureSelect::kCurrent;  // 3 bits, 4 to 7 reserved
  uint32_t cdw11 = 0;
  uint8_t uuid_index = 0;

  static constexpr GetFeatures decode(const Sqe& sqe) {
    return {.fid = static_cast<uint8_t>(sqe.cdw10),
            .select = static_cast<FeatureSelect>(bits(sqe.cdw10, 8, 3)),
            .cdw11 = sqe.cdw11,
            .uuid_index = static_cast<uint8_t>(bits(sqe.cdw14, 0, 7))};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(AdminOpcode::kGetFeatures);
    sqe.cdw10 = fid | static_cast<uint32_t>(select) << 8;
    sqe.cdw11 = cdw11;
    sqe.cdw14 = uuid_index & 0x7fu;
  }
};

struct SetFeatures {
  uint8_t fid = 0;
  bool save = false;
  uint32_t cdw11 = 0;
  uint32_t cdw12 = 0;
  uint8_t uuid_index = 0;

  static constexpr SetFeatures decode(const Sqe& sqe) {
    return {.fid = static_cast<uint8_t>(sqe.cdw10),
            .save = bit(sqe.cdw10, 31),
            .cdw11 = sqe.cdw11,
            .cdw12 = sqe.cdw12,
            .uuid_index = static_cast<uint8_t>(bits(sqe.cdw14, 0, 7))};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(AdminOpcode::kSetFeatures);
    sqe.cdw10 = fid | uint32_t{save} << 31;
    sqe.cdw11 = cdw11;
    sqe.cdw12 = cdw12;
    sqe.cdw14 = uuid_index & 0x7fu;
  }
};

// Asynchronous Event Request and Keep Alive have no fields of their own.

}  // namespace cairn::nvme
