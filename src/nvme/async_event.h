// Asynchronous events (NVMe Base 2.0, section 5.2): completion DW0 of an Asynchronous Event Request.
#pragma once

#include <cstdint>

namespace cairn::nvme {

enum class AsyncEventType : uint8_t {
  kError = 0,
  kHealth = 1,
  kNotice = 2,
  kImmediate = 3,
  kIoCommandSpecific = 6,
  kVendor = 7
};

// Information of each type.
enum class ErrorEvent : uint8_t {
  kInvalidDoorbell = 0,
  kInvalidDoorbellValue = 1,
  kDiagnosticFailure = 2,
  kPersistentInternalError = 3,
  kTransientInternalError = 4,
  kFirmwareImageLoadError = 5,
};
enum class HealthEvent : uint8_t { kReliability = 0, kTemperatureThreshold = 1, kSpareBelowThreshold = 2 };
enum class NoticeEvent : uint8_t {
  kNamespaceAttributeChanged = 0x00,
  kFirmwareActivationStarting = 0x01,
  kTelemetryLogChanged = 0x02,
  kAnaChange = 0x03,
  kPredictableLatencyLogChanged = 0x04,
  kLbaStatusInformation = 0x05,
  kEnduranceGroupLogChanged = 0x06,
  kDiscoveryLogPageChanged = 0xf0,
};
enum class ImmediateEvent : uint8_t { kNormalSubsystemShutdown = 0 };
enum class IoCommandEvent : uint8_t {
  kReservationLogPageAvailable = 0,
  kSanitizeCompleted = 1,
  kSanitizeCompletedUnexpectedDeallocation = 2,
};

struct AsyncEvent {
  AsyncEventType type = AsyncEventType::kError;  // bits 2:0
  uint8_t information = 0;                       // bits 15:8
  uint8_t log_page = 0;                          // bits 23:16; reading it with RAE cleared re-arms the event

  static constexpr AsyncEvent decode(uint32_t dw0) {
    return {.type = static_cast<AsyncEventType>(dw0 & 7),
            .information = static_cast<uint8_t>(dw0 >> 8),
            .log_page = static_cast<uint8_t>(dw0 >> 16)};
  }
  constexpr uint32_t encode() const {
    return static_cast<uint32_t>(type) | uint32_t{information} << 8 | uint32_t{log_page} << 16;
  }
  static constexpr AsyncEvent notice(NoticeEvent event, uint8_t log_page) {
    return {.type = AsyncEventType::kNotice, .information = static_cast<uint8_t>(event), .log_page = log_page};
  }
  // Log identifiers as in log_page.h.
  static constexpr AsyncEvent namespace_changed() { return notice(NoticeEvent::kNamespaceAttributeChanged, 0x04); }
  static constexpr AsyncEvent ana_changed() { return notice(NoticeEvent::kAnaChange, 0x0c); }
  static constexpr AsyncEvent discovery_log_changed() { return notice(NoticeEvent::kDiscoveryLogPageChanged, 0x70); }
  static constexpr AsyncEvent reservation_log_available() {
    return {.type = AsyncEventType::kIoCommandSpecific,
            .information = static_cast<uint8_t>(IoCommandEvent::kReservationLogPageAvailable),
            .log_page = 0x80};
  }
};

}  // namespace cairn::nvme
