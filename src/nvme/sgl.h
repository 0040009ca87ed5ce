// Scatter-gather list descriptors (NVMe Base 2.0, section 4.1.2) as NVMe/TCP uses them: one descriptor in the command
// (NVMe/TCP Transport 1.0, section 3.2), either data in the capsule (Data Block, offset) or data moved by PDUs
// (Transport Data Block).
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

enum class SglType : uint8_t {
  kDataBlock = 0x0,
  kBitBucket = 0x1,
  kSegment = 0x2,
  kLastSegment = 0x3,
  kKeyedDataBlock = 0x4,
  kTransportDataBlock = 0x5,
  kVendor = 0xf,
};

enum class SglSubtype : uint8_t {
  kAddress = 0x0,
  kOffset = 0x1,         // from the start of the in-capsule data
  kTransport = 0xa,      // with kTransportDataBlock; Ah to Fh are the transport's
  kInvalidateKey = 0xf,  // keyed data block: RDMA's remote invalidate
};

struct SglDescriptor {
  uint64_t address = 0;  // or offset, by the subtype
  uint32_t length = 0;   // bytes
  uint8_t reserved[3] = {};
  uint8_t identifier = 0;  // type 7:4, subtype 3:0

  constexpr SglType type() const { return static_cast<SglType>(identifier >> 4); }
  constexpr SglSubtype subtype() const { return static_cast<SglSubtype>(identifier & 0xf); }
  constexpr bool is(SglType type, SglSubtype subtype) const { return identifier == make_identifier(type, subtype); }

  // Keyed descriptors (RDMA) have 24 bits of length, then the key.
  constexpr uint32_t keyed_length() const { return length & 0xffffff; }
  constexpr uint32_t key() const {
    return length >> 24 | uint32_t{reserved[0]} << 8 | uint32_t{reserved[1]} << 16 | uint32_t{reserved[2]} << 24;
  }

  static constexpr uint8_t make_identifier(SglType type, SglSubtype subtype) {
    return static_cast<uint8_t>(static_cast<uint8_t>(type) << 4 | static_cast<uint8_t>(subtype));
  }
  static constexpr SglDescriptor in_capsule(uint64_t offset, uint32_t length) {
    return {
        .address = offset, .length = length, .identifier = make_identifier(SglType::kDataBlock, SglSubtype::kOffset)};
  }
  static constexpr SglDescriptor transport(uint32_t length) {
    return {.length = length, .identifier = make_identifier(SglType::kTransportDataBlock, SglSubtype::kTransport)};
  }
  static constexpr SglDescriptor keyed(uint64_t address, uint32_t length, uint32_t key) {
    return {
        .address = address,
        .length = (length & 0xffffff) | key << 24,
        .reserved = {static_cast<uint8_t>(key >> 8), static_cast<uint8_t>(key >> 16), static_cast<uint8_t>(key >> 24)},
        .identifier = make_identifier(SglType::kKeyedDataBlock, SglSubtype::kAddress)};
  }
};
static_assert(kIsWire<SglDescriptor> && sizeof(SglDescriptor) == 16);
static_assert(offsetof(SglDescriptor, length) == 8 && offsetof(SglDescriptor, identifier) == 15);

}  // namespace cairn::nvme
