// Log pages (NVMe Base 2.0, section 5.16.1). The discovery log page is in discovery.h, the reservation
// notification log page in reservation.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

enum class LogPageId : uint8_t {
  kSupportedLogPages = 0x00,
  kErrorInformation = 0x01,
  kHealth = 0x02,
  kFirmwareSlot = 0x03,
  kChangedNamespaceList = 0x04,
  kCommandsSupportedAndEffects = 0x05,
  kDeviceSelfTest = 0x06,
  kTelemetryHost = 0x07,
  kTelemetryController = 0x08,
  kEnduranceGroup = 0x09,
  kPredictableLatencyPerSet = 0x0a,
  kPredictableLatencyAggregate = 0x0b,
  kAna = 0x0c,
  kPersistentEvent = 0x0d,
  kLbaStatus = 0x0e,
  kEnduranceGroupAggregate = 0x0f,
  kMediaUnitStatus = 0x10,
  kSupportedCapacityConfiguration = 0x11,
  kFeatureIdentifiersSupportedAndEffects = 0x12,
  kNvmeMiCommandsSupportedAndEffects = 0x13,
  kCommandAndFeatureLockdown = 0x14,
  kBootPartition = 0x15,
  kRotationalMedia = 0x16,
  kDiscovery = 0x70,
  kReservationNotification = 0x80,
  kSanitizeStatus = 0x81,
};

// LID 00h: one dword a log page.
struct SupportedLogPages {
  static constexpr uint32_t kSupported = 1u << 0;    // LSUPP
  static constexpr uint32_t kIndexOffset = 1u << 1;  // IOS
  uint32_t lid[256] = {};                            // 31:16 log specific
};
static_assert(kIsWire<SupportedLogPages> && sizeof(SupportedLogPages) == 1024);

// LID 01h: newest first; error_count 0 = no entry.
struct ErrorInformation {
  uint64_t error_count = 0;
  uint16_t sqid = 0;
  uint16_t cid = 0;
  uint16_t status_field = 0;              // as in the completion, phase tag in bit 0
  uint16_t parameter_error_location = 0;  // byte 7:0, bit 10:8; FFFFh: not of one field
  uint64_t lba = 0;
  uint32_t nsid = 0;
  uint8_t vendor_information = 0;  // log page with more, 80h to FFh
  uint8_t trtype = 0;
  uint8_t reserved30[2] = {};
  uint64_t command_specific = 0;
  uint16_t transport_specific = 0;
  uint8_t reserved42[22] = {};
};
static_assert(kIsWire<ErrorInformation> && sizeof(ErrorInformation) == 64);
static_assert(offsetof(ErrorInformation, status_field) == 12 && offsetof(ErrorInformation, lba) == 16);
static_assert(offsetof(ErrorInformation, trtype) == 29 && offsetof(ErrorInformation, command_specific) == 32);

// LID 02h.
struct HealthInformation {
  uint8_t critical_warning = 0;           // kEvent… bits 5:0 of feature.h
  uint8_t composite_temperature[2] = {};  // kelvin, little endian at an odd offset
  uint8_t available_spare = 0;            // percent
  uint8_t available_spare_threshold = 0;
  uint8_t percentage_used = 0;
  uint8_t endurance_group_warning = 0;
  uint8_t reserved7[25] = {};
  Uint128 data_units_read{};  // 1,000 units of 512 bytes, rounded up
  Uint128 data_units_written{};
  Uint128 host_read_commands{};
  Uint128 host_write_commands{};
  Uint128 controller_busy_time{};  // minutes
  Uint128 power_cycles{};
  Uint128 power_on_hours{};
  Uint128 unsafe_shutdowns{};
  Uint128 media_errors{};
  Uint128 error_log_entries{};
  uint32_t warning_temperature_time = 0;   // minutes
  uint32_t critical_temperature_time = 0;  // minutes
  uint16_t temperature_sensor[8] = {};
  uint32_t thermal_transitions[2] = {};
  uint32_t thermal_time[2] = {};
  uint8_t reserved232[280] = {};

  constexpr void set_composite_temperature(uint16_t kelvin) {
    composite_temperature[0] = static_cast<uint8_t>(kelvin);
    composite_temperature[1] = static_cast<uint8_t>(kelvin >> 8);
  }
};
static_assert(kIsWire<HealthInformation> && sizeof(HealthInformation) == 512);
static_assert(offsetof(HealthInformation, composite_temperature) == 1 &&
              offsetof(HealthInformation, data_units_read) == 32);
static_assert(offsetof(HealthInformation, error_log_entries) == 176 &&
              offsetof(HealthInformation, warning_temperature_time) == 192);
static_assert(offsetof(HealthInformation, temperature_sensor) == 200 &&
              offsetof(HealthInformation, thermal_time) == 224);

// LID 03h.
struct FirmwareSlotInformation {
  uint8_t afi = 0;  // active slot 2:0, next 6:4
  uint8_t reserved1[7] = {};
  char frs[7][8] = {};  // ASCII; all zero = empty slot
  uint8_t reserved64[448] = {};
};
static_assert(kIsWire<FirmwareSlotInformation> && sizeof(FirmwareSlotInformation) == 512);
static_assert(offsetof(FirmwareSlotInformation, frs) == 8);

// LID 04h: ascending, zero after the last; the first FFFFFFFFh and the rest zero when more than 1,024 changed.
struct ChangedNamespaceList {
  static constexpr size_t kMaxEntries = 1024;
  static constexpr uint32_t kTooMany = 0xffffffff;
  uint32_t nsid[kMaxEntries] = {};
};
static_assert(kIsWire<ChangedNamespaceList> && sizeof(ChangedNamespaceList) == 4096);

// LID 05h: one dword an opcode.
struct CommandsSupportedAndEffects {
  static constexpr uint32_t kSupported = 1u << 0;             // CSUPP
  static constexpr uint32_t kBlockContentChange = 1u << 1;    // LBCC
  static constexpr uint32_t kNamespaceCapability = 1u << 2;   // NCC
  static constexpr uint32_t kNamespaceInventory = 1u << 3;    // NIC
  static constexpr uint32_t kControllerCapability = 1u << 4;  // CCC
  static constexpr unsigned kSubmissionShift = 16;  // CSE 18:16: 1 alone in its namespace, 2 alone in the controller
  static constexpr uint32_t kUuidSelection = 1u << 19;
  static constexpr unsigned kScopeShift = 20;  // CSP 31:20
  uint32_t admin[256] = {};
  uint32_t io[256] = {};
  uint8_t reserved2048[2048] = {};
};
static_assert(kIsWire<CommandsSupportedAndEffects> && sizeof(CommandsSupportedAndEffects) == 4096);

// LID 12h: one dword a feature, the bits of CommandsSupportedAndEffects (kBlockContentChange: user data changes).
struct FeaturesSupportedAndEffects {
  uint32_t fid[256] = {};
};
static_assert(kIsWire<FeaturesSupportedAndEffects> && sizeof(FeaturesSupportedAndEffects) == 1024);

// LID 0Ch: header, then `num_groups` descriptors, each followed by its NSIDs (none when the host asks for groups only).
enum class AnaState : uint8_t {
  kOptimized = 0x1,
  kNonOptimized = 0x2,
  kInaccessible = 0x3,
  kPersistentLoss = 0x4,
  kChange = 0xf
};
inline constexpr uint8_t kAnaGroupsOnly = 1u << 0;  // RGO, in LSP

struct AnaLogHeader {
  uint64_t chgcnt = 0;
  uint16_t num_groups = 0;  // NAGD
  uint8_t reserved10[6] = {};
};
static_assert(kIsWire<AnaLogHeader> && sizeof(AnaLogHeader) == 16 && offsetof(AnaLogHeader, num_groups) == 8);

struct AnaGroupDescriptor {
  uint32_t anagrpid = 0;
  uint32_t num_nsids = 0;
  uint64_t chgcnt = 0;
  AnaState state{};  // bits 3:0
  uint8_t reserved17[15] = {};
};
static_assert(kIsWire<AnaGroupDescriptor> && sizeof(AnaGroupDescriptor) == 32 &&
              offsetof(AnaGroupDescriptor, state) == 16);

}  // namespace cairn::nvme
