// Reservation commands and structures (NVMe Base 2.0, sections 7.2 to 7.6 and 8.19).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "nvme/command.h"
#include "nvme/wire.h"

namespace cairn::nvme {

enum class ReservationType : uint8_t {
  kNone = 0,
  kWriteExclusive = 1,
  kExclusiveAccess = 2,
  kWriteExclusiveRegistrantsOnly = 3,
  kExclusiveAccessRegistrantsOnly = 4,
  kWriteExclusiveAllRegistrants = 5,
  kExclusiveAccessAllRegistrants = 6,
};
constexpr bool is_valid(ReservationType type) {
  return type >= ReservationType::kWriteExclusive && type <= ReservationType::kExclusiveAccessAllRegistrants;
}

enum class RegisterAction : uint8_t { kRegister = 0, kUnregister = 1, kReplace = 2 };
enum class AcquireAction : uint8_t { kAcquire = 0, kPreempt = 1, kPreemptAndAbort = 2 };
enum class ReleaseAction : uint8_t { kRelease = 0, kClear = 1 };
enum class ChangePtpl : uint8_t { kNoChange = 0, kReserved = 1, kClear = 2, kSet = 3 };

struct ReservationRegister {
  RegisterAction action = RegisterAction::kRegister;  // 3 bits, 3 to 7 reserved
  bool ignore_existing_key = false;                   // IEKEY
  ChangePtpl change_ptpl = ChangePtpl::kNoChange;     // CPTPL

  static constexpr ReservationRegister decode(const Sqe& sqe) {
    return {.action = static_cast<RegisterAction>(sqe.cdw10 & 7),
            .ignore_existing_key = bit(sqe.cdw10, 3),
            .change_ptpl = static_cast<ChangePtpl>(sqe.cdw10 >> 30)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(NvmOpcode::kReservationRegister);
    sqe.cdw10 =
        static_cast<uint32_t>(action) | uint32_t{ignore_existing_key} << 3 | static_cast<uint32_t>(change_ptpl) << 30;
  }
};
struct ReservationRegisterData {
  uint64_t crkey = 0;
  uint64_t nrkey = 0;
};
static_assert(kIsWire<ReservationRegisterData> && sizeof(ReservationRegisterData) == 16);

struct ReservationAcquire {
  AcquireAction action = AcquireAction::kAcquire;  // 3 bits, 3 to 7 reserved
  bool ignore_existing_key = false;
  ReservationType type = ReservationType::kNone;  // 8 bits

  static constexpr ReservationAcquire decode(const Sqe& sqe) {
    return {.action = static_cast<AcquireAction>(sqe.cdw10 & 7),
            .ignore_existing_key = bit(sqe.cdw10, 3),
            .type = static_cast<ReservationType>(sqe.cdw10 >> 8)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(NvmOpcode::kReservationAcquire);
    sqe.cdw10 = static_cast<uint32_t>(action) | uint32_t{ignore_existing_key} << 3 | static_cast<uint32_t>(type) << 8;
  }
};
struct ReservationAcquireData {
  uint64_t crkey = 0;
  uint64_t prkey = 0;
};
static_assert(kIsWire<ReservationAcquireData> && sizeof(ReservationAcquireData) == 16);

struct ReservationRelease {
  ReleaseAction action = ReleaseAction::kRelease;  // 3 bits, 2 to 7 reserved
  bool ignore_existing_key = false;
  ReservationType type = ReservationType::kNone;

  static constexpr ReservationRelease decode(const Sqe& sqe) {
    return {.action = static_cast<ReleaseAction>(sqe.cdw10 & 7),
            .ignore_existing_key = bit(sqe.cdw10, 3),
            .type = static_cast<ReservationType>(sqe.cdw10 >> 8)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(NvmOpcode::kReservationRelease);
    sqe.cdw10 = static_cast<uint32_t>(action) | uint32_t{ignore_existing_key} << 3 | static_cast<uint32_t>(type) << 8;
  }
};
struct ReservationReleaseData {
  uint64_t crkey = 0;
};
static_assert(kIsWire<ReservationReleaseData> && sizeof(ReservationReleaseData) == 8);

struct ReservationReport {
  uint64_t size_bytes = 0;  // NUMD + 1 dwords
  bool extended = false;    // EDS: structures with 128-bit host identifiers

  static constexpr ReservationReport decode(const Sqe& sqe) {
    return {.size_bytes = (uint64_t{sqe.cdw10} + 1) * 4, .extended = bit(sqe.cdw11, 0)};
  }
  constexpr void encode(Sqe& sqe) const {
    sqe.opcode = static_cast<uint8_t>(NvmOpcode::kReservationReport);
    sqe.cdw10 = static_cast<uint32_t>(size_bytes / 4 - 1);
    sqe.cdw11 = extended ? 1 : 0;
  }
};

// Packed: REGSTRNT lies at an odd offset. Do not bind references to its fields.
struct [[gnu::packed]] ReservationStatusHeader {
  uint32_t gen = 0;
  ReservationType rtype = ReservationType::kNone;
  uint16_t num_registrants = 0;  // REGSTRNT
  uint8_t reserved7[2] = {};
  uint8_t ptpls = 0;
  uint8_t reserved10[14] = {};
};
static_assert(kIsWire<ReservationStatusHeader> && sizeof(ReservationStatusHeader) == 24);
static_assert(offsetof(ReservationStatusHeader, num_registrants) == 5 && offsetof(ReservationStatusHeader, ptpls) == 9);

inline constexpr uint8_t kRegistrantHoldsReservation = 1u << 0;  // RCSTS

// Follows ReservationStatusHeader when EDS is 0.
struct Registrant {
  uint16_t cntlid = 0;  // FFFFh: dynamic controllers
  uint8_t rcsts = 0;
  uint8_t reserved3[5] = {};
  uint64_t hostid = 0;
  uint64_t rkey = 0;
};
static_assert(kIsWire<Registrant> && sizeof(Registrant) == 24 && offsetof(Registrant, hostid) == 8 &&
              offsetof(Registrant, rkey) == 16);

// With EDS = 1: the header padded to 64 bytes, then 64 bytes a registrant.
struct [[gnu::packed]] ReservationStatusHeaderExtended {
  ReservationStatusHeader base{};
  uint8_t reserved24[40] = {};
};
static_assert(kIsWire<ReservationStatusHeaderExtended> && sizeof(ReservationStatusHeaderExtended) == 64);

struct RegistrantExtended {
  uint16_t cntlid = 0;
  uint8_t rcsts = 0;
  uint8_t reserved3[5] = {};
  uint64_t rkey = 0;
  uint8_t hostid[16] = {};
  uint8_t reserved32[32] = {};
};
static_assert(kIsWire<RegistrantExtended> && sizeof(RegistrantExtended) == 64);
static_assert(offsetof(RegistrantExtended, rkey) == 8 && offsetof(RegistrantExtended, hostid) == 16);

// Reservation notification log page, LID 80h: reading it removes the entry.
enum class ReservationNotificationType : uint8_t {
  kEmpty = 0,
  kRegistrationPreempted = 1,
  kReservationReleased = 2,
  kReservationPreempted = 3
};

struct ReservationNotification {
  uint64_t log_page_count = 0;  // wraps to 1; 0 = no entry
  ReservationNotificationType type = ReservationNotificationType::kEmpty;
  uint8_t num_available = 0;  // further pages, 255 = 255 or more
  uint8_t reserved10[2] = {};
  uint32_t nsid = 0;
  uint8_t reserved16[48] = {};
};
static_assert(kIsWire<ReservationNotification> && sizeof(ReservationNotification) == 64 &&
              offsetof(ReservationNotification, nsid) == 12);

}  // namespace cairn::nvme
