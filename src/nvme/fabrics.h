// Fabrics commands (NVMe Base 2.0, section 6). All have opcode 7Fh; the fabrics command type lies where NSID is
// elsewhere. Registers that Property Get and Set reach: property.h. Discovery log page: discovery.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/command.h"
#include "nvme/wire.h"

namespace cairn::nvme {

enum class FabricsType : uint8_t {
  kPropertySet = 0x00,
  kConnect = 0x01,
  kPropertyGet = 0x04,
  kAuthenticationSend = 0x05,
  kAuthenticationReceive = 0x06,
  kDisconnect = 0x08,
};
inline constexpr uint8_t kFirstVendorFabricsType = 0xc0;

constexpr FabricsType fabrics_type(const Sqe& sqe) {
  return static_cast<FabricsType>(sqe.nsid & 0xff);
}
constexpr void set_fabrics_type(Sqe& sqe, FabricsType type) {
  sqe.opcode = kFabricsOpcode;
  sqe.nsid = static_cast<uint8_t>(type);
}
// Bits 1:0 tell the direction, as in opcodes.
constexpr DataDirection data_direction(FabricsType type) {
  return data_direction(static_cast<uint8_t>(type));
}

inline constexpr uint16_t kDynamicControllerId = 0xffff;  // Connect: any controller
inline constexpr uint16_t kStaticControllerId = 0xfffe;   // Connect: any static controller
inline constexpr uint16_t kMaxControllerId = 0xffef;      // F0h to FFh of the high byte are reserved
inline constexpr uint16_t kAdminQueueId = 0;

struct Connect {
  uint16_t record_format = 0;
  uint16_t qid = 0;
  uint16_t sqsize = 0;  // 0's based number of entries
  uint8_t attributes = 0;
  uint32_t keep_alive_timeout_ms = 0;  // admin queue only

  // CATTR
  static constexpr uint8_t kPriorityClassMask = 0x03;
  static constexpr uint8_t kDisableSqFlowControl = 1u << 2;
  static constexpr uint8_t kIndividualQueueDeletion = 1u << 3;

  // Byte offsets in the SQE, for ConnectRefusal.
  static constexpr uint16_t kRecordFormatOffset = 40;
  static constexpr uint16_t kQidOffset = 42;
  static constexpr uint16_t kSqsizeOffset = 44;
  static constexpr uint16_t kAttributesOffset = 46;
  static constexpr uint16_t kKeepAliveTimeoutOffset = 48;

  static constexpr Connect decode(const Sqe& sqe) {
    return {.record_format = static_cast<uint16_t>(sqe.cdw10),
            .qid = static_cast<uint16_t>(sqe.cdw10 >> 16),
            .sqsize = static_cast<uint16_t>(sqe.cdw11),
            .attributes = static_cast<uint8_t>(sqe.cdw11 >> 16),
            .keep_alive_timeout_ms = sqe.cdw12};
  }
  constexpr void encode(Sqe& sqe) const {
    set_fabrics_type(sqe, FabricsType::kConnect);
    sqe.cdw10 = record_format | uint32_t{qid} << 16;
    sqe.cdw11 = sqsize | uint32_t{attributes} << 16;
    sqe.cdw12 = keep_alive_timeout_ms;
  }
};

struct ConnectData {
  uint8_t hostid[16] = {};
  uint16_t cntlid = 0;
  uint8_t reserved18[238] = {};
  char subnqn[256] = {};
  char hostnqn[256] = {};
  uint8_t reserved768[256] = {};
};
static_assert(kIsWire<ConnectData> && sizeof(ConnectData) == 1024);
static_assert(offsetof(ConnectData, cntlid) == 16 && offsetof(ConnectData, subnqn) == 256 &&
              offsetof(ConnectData, hostnqn) == 512);

// Completion DW0 of a Connect that succeeded.
struct ConnectAccept {
  uint16_t cntlid = 0;
  bool authentication_required = false;  // ATR
  bool secure_channel_required = false;  // ASCR

  static constexpr ConnectAccept decode(uint32_t dw0) {
    return {.cntlid = static_cast<uint16_t>(dw0),
            .authentication_required = bit(dw0, 17),
            .secure_channel_required = bit(dw0, 18)};
  }
  constexpr uint32_t encode() const {
    return cntlid | uint32_t{authentication_required} << 17 | uint32_t{secure_channel_required} << 18;
  }
};

// Completion DW0 of a Connect refused with FabricsStatus::kInvalidParameters: where the first bad field starts.
struct ConnectRefusal {
  uint16_t offset = 0;   // IPO, bytes
  bool in_data = false;  // IATTR bit 0: in the connect data, else in the SQE

  static constexpr ConnectRefusal decode(uint32_t dw0) {
    return {.offset = static_cast<uint16_t>(dw0), .in_data = bit(dw0, 16)};
  }
  constexpr uint32_t encode() const { return offset | uint32_t{in_data} << 16; }
};

struct PropertyGet {
  bool eight_bytes = false;  // ATTRIB bits 2:0: 0 = four bytes, 1 = eight, others reserved
  bool size_is_reserved = false;
  uint32_t offset = 0;

  static constexpr PropertyGet decode(const Sqe& sqe) {
    return {.eight_bytes = (sqe.cdw10 & 7) == 1, .size_is_reserved = (sqe.cdw10 & 7) > 1, .offset = sqe.cdw11};
  }
  constexpr void encode(Sqe& sqe) const {
    set_fabrics_type(sqe, FabricsType::kPropertyGet);
    sqe.cdw10 = eight_bytes ? 1 : 0;
    sqe.cdw11 = offset;
  }
};

struct PropertySet {
  bool eight_bytes = false;
  bool size_is_reserved = false;
  uint32_t offset = 0;
  uint64_t value = 0;  // the lower half when four bytes

  static constexpr PropertySet decode(const Sqe& sqe) {
    const bool eight = (sqe.cdw10 & 7) == 1;
    return {.eight_bytes = eight,
            .size_is_reserved = (sqe.cdw10 & 7) > 1,
            .offset = sqe.cdw11,
            .value = sqe.cdw12 | (eight ? uint64_t{sqe.cdw13} << 32 : 0)};
  }
  constexpr void encode(Sqe& sqe) const {
    set_fabrics_type(sqe, FabricsType::kPropertySet);
    sqe.cdw10 = eight_bytes ? 1 : 0;
    sqe.cdw11 = offset;
    sqe.cdw12 = static_cast<uint32_t>(value);
    sqe.cdw13 = eight_bytes ? static_cast<uint32_t>(value >> 32) : 0;
  }
};

struct Disconnect {
  uint16_t record_format = 0;

  static constexpr Disconnect decode(const Sqe& sqe) { return {.record_format = static_cast<uint16_t>(sqe.cdw10)}; }
  constexpr void encode(Sqe& sqe) const {
    set_fabrics_type(sqe, FabricsType::kDisconnect);
    sqe.cdw10 = record_format;
  }
};

// Authentication Send and Receive have the same fields.
struct Authentication {
  static constexpr uint8_t kNvmeProtocol = 0xe9;  // SECP: the only one defined for fabrics
  uint8_t spsp0 = 0;
  uint8_t spsp1 = 0;
  uint8_t security_protocol = 0;
  uint32_t length = 0;  // TL (send) or AL (receive), bytes

  static constexpr Authentication decode(const Sqe& sqe) {
    return {.spsp0 = static_cast<uint8_t>(sqe.cdw10 >> 8),
            .spsp1 = static_cast<uint8_t>(sqe.cdw10 >> 16),
            .security_protocol = static_cast<uint8_t>(sqe.cdw10 >> 24),
            .length = sqe.cdw11};
  }
};

}  // namespace cairn::nvme
