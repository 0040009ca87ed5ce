// Submission and completion queue entries and the opcodes (NVMe Base 2.0, sections 3.3.3.1 and 3.3.3.2; opcodes:
// figures 138, 390, 391, 390 of the command sets). Fields of single commands: admin_command.h, nvm_command.h,
// fabrics.h, reservation.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nvme/sgl.h"
#include "nvme/status.h"
#include "nvme/wire.h"

namespace cairn::nvme {

inline constexpr uint32_t kBroadcastNsid = 0xffffffff;

// Bits 1:0 of an opcode: the direction of its data.
enum class DataDirection : uint8_t { kNone = 0, kHostToController = 1, kControllerToHost = 2, kBidirectional = 3 };

enum class AdminOpcode : uint8_t {
  kDeleteIoSq = 0x00,
  kCreateIoSq = 0x01,
  kGetLogPage = 0x02,
  kDeleteIoCq = 0x04,
  kCreateIoCq = 0x05,
  kIdentify = 0x06,
  kAbort = 0x08,
  kSetFeatures = 0x09,
  kGetFeatures = 0x0a,
  kAsyncEventRequest = 0x0c,
  kNamespaceManagement = 0x0d,
  kFirmwareCommit = 0x10,
  kFirmwareImageDownload = 0x11,
  kDeviceSelfTest = 0x14,
  kNamespaceAttachment = 0x15,
  kKeepAlive = 0x18,
  kDirectiveSend = 0x19,
  kDirectiveReceive = 0x1a,
  kVirtualizationManagement = 0x1c,
  kNvmeMiSend = 0x1d,
  kNvmeMiReceive = 0x1e,
  kCapacityManagement = 0x20,
  kLockdown = 0x24,
  kDoorbellBufferConfig = 0x7c,
  kFabrics = 0x7f,
  kFormatNvm = 0x80,
  kSecuritySend = 0x81,
  kSecurityReceive = 0x82,
  kSanitize = 0x84,
  kGetLbaStatus = 0x86,
};
inline constexpr uint8_t kFirstVendorAdminOpcode = 0xc0;

enum class NvmOpcode : uint8_t {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kWriteUncorrectable = 0x04,
  kCompare = 0x05,
  kWriteZeroes = 0x08,
  kDatasetManagement = 0x09,
  kVerify = 0x0c,
  kReservationRegister = 0x0d,
  kReservationReport = 0x0e,
  kReservationAcquire = 0x11,
  kReservationRelease = 0x15,
  kCopy = 0x19,
  kFabrics = 0x7f,
};
inline constexpr uint8_t kFirstVendorNvmOpcode = 0x80;

inline constexpr uint8_t kFabricsOpcode = 0x7f;

constexpr DataDirection data_direction(uint8_t opcode) {
  return static_cast<DataDirection>(opcode & 3);
}

// "Read", "Get Log Page"; "Unknown" for the rest.
std::string_view admin_opcode_name(uint8_t opcode);
std::string_view nvm_opcode_name(uint8_t opcode);

enum class Fuse : uint8_t { kNormal = 0, kFirst = 1, kSecond = 2, kReserved = 3 };

// PRP or SGL for data transfer: fabrics use SGLs, metadata pointer unused (kSglMptrAddress) or an SGL.
enum class Psdt : uint8_t { kPrp = 0, kSglMptrAddress = 1, kSglMptrSgl = 2, kReserved = 3 };

// Submission queue entry.
struct Sqe {
  uint8_t opcode = 0;
  uint8_t flags = 0;  // FUSE 1:0, PSDT 7:6
  uint16_t cid = 0;
  uint32_t nsid = 0;  // fabrics commands: FCTYPE in its first byte
  uint32_t cdw2 = 0;
  uint32_t cdw3 = 0;
  uint64_t mptr = 0;
  SglDescriptor sgl{};
  uint32_t cdw10 = 0;
  uint32_t cdw11 = 0;
  uint32_t cdw12 = 0;
  uint32_t cdw13 = 0;
  uint32_t cdw14 = 0;
  uint32_t cdw15 = 0;

  constexpr AdminOpcode admin_opcode() const { return static_cast<AdminOpcode>(opcode); }
  constexpr NvmOpcode nvm_opcode() const { return static_cast<NvmOpcode>(opcode); }
  constexpr bool is_fabrics() const { return opcode == kFabricsOpcode; }
  constexpr Fuse fuse() const { return static_cast<Fuse>(flags & 3); }
  constexpr Psdt psdt() const { return static_cast<Psdt>(flags >> 6); }
  constexpr void set_flags(Fuse fuse, Psdt psdt) {
    flags = static_cast<uint8_t>(static_cast<uint8_t>(fuse) | static_cast<uint8_t>(psdt) << 6);
  }
};
static_assert(kIsWire<Sqe> && sizeof(Sqe) == 64);
static_assert(offsetof(Sqe, cid) == 2 && offsetof(Sqe, nsid) == 4 && offsetof(Sqe, mptr) == 16 &&
              offsetof(Sqe, sgl) == 24);
static_assert(offsetof(Sqe, cdw10) == 40 && offsetof(Sqe, cdw15) == 60);

// Completion queue entry.
struct Cqe {
  uint32_t dw0 = 0;
  uint32_t dw1 = 0;
  uint16_t sqhd = 0;
  uint16_t sqid = 0;  // reserved on fabrics
  uint16_t cid = 0;
  uint16_t status_field = 0;  // Status::to_wire(); bit 0 is the phase tag, reserved on fabrics

  constexpr Status status() const { return Status::from_wire(status_field); }
  constexpr void set_status(Status status) { status_field = status.to_wire(); }
  constexpr uint64_t value64() const { return dw0 | uint64_t{dw1} << 32; }  // Property Get
  constexpr void set_value64(uint64_t value) {
    dw0 = static_cast<uint32_t>(value);
    dw1 = static_cast<uint32_t>(value >> 32);
  }
};
static_assert(kIsWire<Cqe> && sizeof(Cqe) == 16);
static_assert(offsetof(Cqe, sqhd) == 8 && offsetof(Cqe, cid) == 12 && offsetof(Cqe, status_field) == 14);

}  // namespace cairn::nvme
