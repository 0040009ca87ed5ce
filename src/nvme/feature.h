// Features (NVMe Base 2.0, section 5.27.1; NVM Command Set 1.0, section 4.1.3). Encodings are of CDW11 of Set Features
// and of completion DW0 of Get Features unless said otherwise.
#pragma once

#include <cstdint>

#include "nvme/wire.h"

namespace cairn::nvme {

enum class FeatureId : uint8_t {
  kArbitration = 0x01,
  kPowerManagement = 0x02,
  kLbaRangeType = 0x03,
  kTemperatureThreshold = 0x04,
  kErrorRecovery = 0x05,
  kVolatileWriteCache = 0x06,
  kNumberOfQueues = 0x07,
  kInterruptCoalescing = 0x08,
  kInterruptVectorConfiguration = 0x09,
  kWriteAtomicityNormal = 0x0a,
  kAsyncEventConfiguration = 0x0b,
  kAutonomousPowerStateTransition = 0x0c,
  kHostMemoryBuffer = 0x0d,
  kTimestamp = 0x0e,
  kKeepAliveTimer = 0x0f,
  kHostControlledThermalManagement = 0x10,
  kNonOperationalPowerState = 0x11,
  kReadRecoveryLevel = 0x12,
  kPredictableLatencyConfig = 0x13,
  kPredictableLatencyWindow = 0x14,
  kLbaStatusInformationAttributes = 0x15,
  kHostBehaviorSupport = 0x16,
  kSanitizeConfig = 0x17,
  kEnduranceGroupEventConfiguration = 0x18,
  kIoCommandSetProfile = 0x19,
  kSpinupControl = 0x1a,
  kEnhancedControllerMetadata = 0x7d,
  kControllerMetadata = 0x7e,
  kNamespaceMetadata = 0x7f,
  kSoftwareProgressMarker = 0x80,
  kHostIdentifier = 0x81,
  kReservationNotificationMask = 0x82,
  kReservationPersistence = 0x83,
  kNamespaceWriteProtection = 0x84,
};

struct Arbitration {
  uint8_t burst = 0;                      // 2^n commands, 7 = no limit
  uint8_t low = 0, medium = 0, high = 0;  // weights, 0's based

  static constexpr Arbitration decode(uint32_t v) {
    return {.burst = static_cast<uint8_t>(v & 7),
            .low = static_cast<uint8_t>(v >> 8),
            .medium = static_cast<uint8_t>(v >> 16),
            .high = static_cast<uint8_t>(v >> 24)};
  }
  constexpr uint32_t encode() const {
    return (burst & 7u) | uint32_t{low} << 8 | uint32_t{medium} << 16 | uint32_t{high} << 24;
  }
};

struct PowerManagement {
  uint8_t power_state = 0;    // bits 4:0
  uint8_t workload_hint = 0;  // bits 7:5

  static constexpr PowerManagement decode(uint32_t v) {
    return {.power_state = static_cast<uint8_t>(v & 0x1f), .workload_hint = static_cast<uint8_t>(bits(v, 5, 3))};
  }
  constexpr uint32_t encode() const { return (power_state & 0x1fu) | (workload_hint & 7u) << 5; }
};

struct TemperatureThreshold {
  uint16_t kelvin = 0;
  uint8_t sensor = 0;  // TMPSEL: 0 composite, 1 to 8, 15 all (set only)
  uint8_t kind = 0;    // THSEL: 0 over, 1 under, others reserved

  static constexpr TemperatureThreshold decode(uint32_t v) {
    return {.kelvin = static_cast<uint16_t>(v),
            .sensor = static_cast<uint8_t>(bits(v, 16, 4)),
            .kind = static_cast<uint8_t>(bits(v, 20, 2))};
  }
  constexpr uint32_t encode() const { return kelvin | uint32_t{sensor & 0xfu} << 16 | uint32_t{kind & 3u} << 20; }
};

struct ErrorRecovery {
  uint16_t time_limit = 0;         // TLER, 100 ms
  bool deallocated_error = false;  // DULBE

  static constexpr ErrorRecovery decode(uint32_t v) {
    return {.time_limit = static_cast<uint16_t>(v), .deallocated_error = bit(v, 16)};
  }
  constexpr uint32_t encode() const { return time_limit | uint32_t{deallocated_error} << 16; }
};

inline constexpr uint32_t kVolatileWriteCacheEnable = 1u << 0;

// Both 0's based; FFFFh is reserved in a request.
struct NumberOfQueues {
  uint16_t submission = 0;
  uint16_t completion = 0;

  static constexpr NumberOfQueues decode(uint32_t v) {
    return {.submission = static_cast<uint16_t>(v), .completion = static_cast<uint16_t>(v >> 16)};
  }
  constexpr uint32_t encode() const { return submission | uint32_t{completion} << 16; }
};

struct InterruptCoalescing {
  uint8_t threshold = 0;  // 0's based entries
  uint8_t time = 0;       // 100 us

  static constexpr InterruptCoalescing decode(uint32_t v) {
    return {.threshold = static_cast<uint8_t>(v), .time = static_cast<uint8_t>(v >> 8)};
  }
  constexpr uint32_t encode() const { return threshold | uint32_t{time} << 8; }
};

struct InterruptVectorConfiguration {
  uint16_t vector = 0;
  bool coalescing_disable = false;

  static constexpr InterruptVectorConfiguration decode(uint32_t v) {
    return {.vector = static_cast<uint16_t>(v), .coalescing_disable = bit(v, 16)};
  }
  constexpr uint32_t encode() const { return vector | uint32_t{coalescing_disable} << 16; }
};

inline constexpr uint32_t kWriteAtomicityDisableNormal = 1u << 0;

// Asynchronous Event Configuration. OAES of Identify Controller has the notices among these (bits 8, 9, 11 to 15, 27,
// 31) at the same places.
inline constexpr uint32_t kEventSpareBelowThreshold = 1u << 0;
inline constexpr uint32_t kEventTemperature = 1u << 1;
inline constexpr uint32_t kEventReliabilityDegraded = 1u << 2;
inline constexpr uint32_t kEventReadOnly = 1u << 3;
inline constexpr uint32_t kEventVolatileBackupFailed = 1u << 4;
inline constexpr uint32_t kEventPersistentMemoryReadOnly = 1u << 5;
inline constexpr uint32_t kEventNamespaceAttribute = 1u << 8;
inline constexpr uint32_t kEventFirmwareActivation = 1u << 9;
inline constexpr uint32_t kEventTelemetryLog = 1u << 10;  // not in OAES
inline constexpr uint32_t kEventAnaChange = 1u << 11;
inline constexpr uint32_t kEventPredictableLatency = 1u << 12;
inline constexpr uint32_t kEventLbaStatusInformation = 1u << 13;
inline constexpr uint32_t kEventEnduranceGroup = 1u << 14;
inline constexpr uint32_t kEventNormalShutdown = 1u << 15;
inline constexpr uint32_t kEventZoneDescriptorChanged = 1u << 27;
inline constexpr uint32_t kEventDiscoveryLogChange = 1u << 31;

// Keep Alive Timer: the whole dword is KATO in milliseconds.

// Host Identifier: CDW11 bit 0, the data is 16 bytes instead of 8.
inline constexpr uint32_t kHostIdentifierExtended = 1u << 0;

// Reservation Notification Mask: set bits suppress.
inline constexpr uint32_t kMaskRegistrationPreempted = 1u << 1;
inline constexpr uint32_t kMaskReservationReleased = 1u << 2;
inline constexpr uint32_t kMaskReservationPreempted = 1u << 3;

// Reservation Persistence.
inline constexpr uint32_t kPersistThroughPowerLoss = 1u << 0;

// Host Behavior Support: data.
struct HostBehavior {
  uint8_t acre = 0;    // advanced command retry enable: 0 or 1
  uint8_t etdas = 0;   // extended telemetry data area 4 supported
  uint8_t lbafee = 0;  // LBA format extension enable
  uint8_t reserved3[509] = {};
};
static_assert(kIsWire<HostBehavior> && sizeof(HostBehavior) == 512);

// Timestamp: data.
struct Timestamp {
  uint8_t milliseconds[6] = {};  // since 1970-01-01, little endian
  uint8_t attributes = 0;
  uint8_t reserved7 = 0;
};
static_assert(kIsWire<Timestamp> && sizeof(Timestamp) == 8);

}  // namespace cairn::nvme
