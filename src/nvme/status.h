// Status of a command: NVMe Base 2.0, section 3.3.3.2.1 (figures 92 to 98), NVM Command Set 1.0, section 3.1 and 4.1.
// The language of the whole data path, devices included.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cairn::nvme {

enum class StatusCodeType : uint8_t { kGeneric = 0, kCommandSpecific = 1, kMedia = 2, kPath = 3, kVendor = 7 };

// SCT 0. 80h to BFh belong to the I/O command sets; those here are the NVM command set's.
enum class GenericStatus : uint8_t {
  kSuccess = 0x00,
  kInvalidOpcode = 0x01,
  kInvalidField = 0x02,
  kCommandIdConflict = 0x03,
  kDataTransferError = 0x04,
  kAbortedPowerLoss = 0x05,
  kInternalError = 0x06,
  kAbortRequested = 0x07,
  kAbortedSqDeletion = 0x08,
  kAbortedFailedFused = 0x09,
  kAbortedMissingFused = 0x0a,
  kInvalidNamespaceOrFormat = 0x0b,
  kCommandSequenceError = 0x0c,
  kInvalidSglSegmentDescriptor = 0x0d,
  kInvalidNumberOfSglDescriptors = 0x0e,
  kDataSglLengthInvalid = 0x0f,
  kMetadataSglLengthInvalid = 0x10,
  kSglDescriptorTypeInvalid = 0x11,
  kInvalidUseOfCmb = 0x12,
  kPrpOffsetInvalid = 0x13,
  kAtomicWriteUnitExceeded = 0x14,
  kOperationDenied = 0x15,
  kSglOffsetInvalid = 0x16,
  kHostIdInconsistentFormat = 0x18,
  kKeepAliveTimerExpired = 0x19,
  kKeepAliveTimeoutInvalid = 0x1a,
  kAbortedPreemptAndAbort = 0x1b,
  kSanitizeFailed = 0x1c,
  kSanitizeInProgress = 0x1d,
  kSglDataBlockGranularityInvalid = 0x1e,
  kNotSupportedForQueueInCmb = 0x1f,
  kNamespaceWriteProtected = 0x20,
  kCommandInterrupted = 0x21,
  kTransientTransportError = 0x22,
  kProhibitedByLockdown = 0x23,
  kAdminCommandMediaNotReady = 0x24,
  kLbaOutOfRange = 0x80,
  kCapacityExceeded = 0x81,
  kNamespaceNotReady = 0x82,
  kReservationConflict = 0x83,
  kFormatInProgress = 0x84,
};

// SCT 1. 80h to BFh depend on the command set: NVM codes here, fabrics codes below.
enum class CommandStatus : uint8_t {
  kCompletionQueueInvalid = 0x00,
  kInvalidQueueIdentifier = 0x01,
  kInvalidQueueSize = 0x02,
  kAbortCommandLimitExceeded = 0x03,
  kAsyncEventRequestLimitExceeded = 0x05,
  kInvalidFirmwareSlot = 0x06,
  kInvalidFirmwareImage = 0x07,
  kInvalidInterruptVector = 0x08,
  kInvalidLogPage = 0x09,
  kInvalidFormat = 0x0a,
  kFirmwareNeedsConventionalReset = 0x0b,
  kInvalidQueueDeletion = 0x0c,
  kFeatureNotSaveable = 0x0d,
  kFeatureNotChangeable = 0x0e,
  kFeatureNotNamespaceSpecific = 0x0f,
  kFirmwareNeedsSubsystemReset = 0x10,
  kFirmwareNeedsControllerReset = 0x11,
  kFirmwareNeedsMaxTimeViolation = 0x12,
  kFirmwareActivationProhibited = 0x13,
  kOverlappingRange = 0x14,
  kNamespaceInsufficientCapacity = 0x15,
  kNamespaceIdUnavailable = 0x16,
  kNamespaceAlreadyAttached = 0x18,
  kNamespaceIsPrivate = 0x19,
  kNamespaceNotAttached = 0x1a,
  kThinProvisioningNotSupported = 0x1b,
  kControllerListInvalid = 0x1c,
  kDeviceSelfTestInProgress = 0x1d,
  kBootPartitionWriteProhibited = 0x1e,
  kInvalidControllerId = 0x1f,
  kInvalidSecondaryControllerState = 0x20,
  kInvalidNumberOfControllerResources = 0x21,
  kInvalidResourceId = 0x22,
  kSanitizeProhibitedPmrEnabled = 0x23,
  kAnaGroupIdInvalid = 0x24,
  kAnaAttachFailed = 0x25,
  kInsufficientCapacity = 0x26,
  kNamespaceAttachmentLimitExceeded = 0x27,
  kProhibitionNotSupported = 0x28,
  kIoCommandSetNotSupported = 0x29,
  kIoCommandSetNotEnabled = 0x2a,
  kIoCommandSetCombinationRejected = 0x2b,
  kInvalidIoCommandSet = 0x2c,
  kIdentifierUnavailable = 0x2d,
  kConflictingAttributes = 0x80,
  kInvalidProtectionInformation = 0x81,
  kWriteToReadOnlyRange = 0x82,
  kCommandSizeLimitExceeded = 0x83,
};

// SCT 1 on fabrics commands (Base 2.0, figure 95).
enum class FabricsStatus : uint8_t {
  kIncompatibleFormat = 0x80,
  kControllerBusy = 0x81,
  kInvalidParameters = 0x82,
  kRestartDiscovery = 0x83,
  kInvalidHost = 0x84,
  kInvalidQueueType = 0x85,
  kDiscoverRestart = 0x90,
  kAuthenticationRequired = 0x91,
};

// SCT 2.
enum class MediaStatus : uint8_t {
  kWriteFault = 0x80,
  kUnrecoveredReadError = 0x81,
  kGuardCheckError = 0x82,
  kApplicationTagCheckError = 0x83,
  kReferenceTagCheckError = 0x84,
  kCompareFailure = 0x85,
  kAccessDenied = 0x86,
  kDeallocatedOrUnwrittenBlock = 0x87,
  kStorageTagCheckError = 0x88,
};

// SCT 3.
enum class PathStatus : uint8_t {
  kInternalPathError = 0x00,
  kAnaPersistentLoss = 0x01,
  kAnaInaccessible = 0x02,
  kAnaTransition = 0x03,
  kControllerPathingError = 0x60,
  kHostPathingError = 0x70,
  kAbortedByHost = 0x71,
};

enum class Dnr : bool { kNo, kYes };  // Do Not Retry

// A value: status code type, status code, command retry delay, more, do not retry. Fifteen bits, as Linux and nvme-cli
// print them.
class Status {
 public:
  constexpr Status() = default;  // success
  static constexpr Status success() { return {}; }
  static constexpr Status generic(GenericStatus code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kGeneric, static_cast<uint8_t>(code), dnr);
  }
  static constexpr Status command(CommandStatus code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kCommandSpecific, static_cast<uint8_t>(code), dnr);
  }
  static constexpr Status fabrics(FabricsStatus code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kCommandSpecific, static_cast<uint8_t>(code), dnr);
  }
  static constexpr Status media(MediaStatus code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kMedia, static_cast<uint8_t>(code), dnr);
  }
  static constexpr Status path(PathStatus code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kPath, static_cast<uint8_t>(code), dnr);
  }
  static constexpr Status vendor(uint8_t code, Dnr dnr = Dnr::kNo) {
    return Status(StatusCodeType::kVendor, code, dnr);
  }

  // From and to the upper half of completion dword 3: the status above the phase tag (bit 0), which fabrics keep at 0.
  static constexpr Status from_wire(uint16_t field) { return Status(static_cast<uint16_t>(field >> 1)); }
  constexpr uint16_t to_wire() const { return static_cast<uint16_t>(value_ << 1); }

  constexpr bool is_success() const { return (value_ & 0x07ff) == 0; }  // SCT and SC
  constexpr StatusCodeType type() const { return static_cast<StatusCodeType>((value_ >> 8) & 7); }
  constexpr uint8_t code() const { return static_cast<uint8_t>(value_); }
  constexpr uint8_t retry_delay() const { return (value_ >> 11) & 3; }  // CRD: 0 none, n: CRDTn of Identify Controller
  constexpr bool more() const { return (value_ >> 13 & 1) != 0; }
  constexpr bool do_not_retry() const { return (value_ >> 14 & 1) != 0; }
  constexpr uint16_t value() const { return value_; }  // DNR 14, M 13, CRD 12:11, SCT 10:8, SC 7:0

  constexpr bool is(GenericStatus code) const { return has(StatusCodeType::kGeneric, static_cast<uint8_t>(code)); }
  constexpr bool is(CommandStatus code) const {
    return has(StatusCodeType::kCommandSpecific, static_cast<uint8_t>(code));
  }
  constexpr bool is(FabricsStatus code) const {
    return has(StatusCodeType::kCommandSpecific, static_cast<uint8_t>(code));
  }
  constexpr bool is(MediaStatus code) const { return has(StatusCodeType::kMedia, static_cast<uint8_t>(code)); }
  constexpr bool is(PathStatus code) const { return has(StatusCodeType::kPath, static_cast<uint8_t>(code)); }

  constexpr Status with_dnr(Dnr dnr) const {
    return Status(static_cast<uint16_t>((value_ & ~0x4000) | (dnr == Dnr::kYes ? 0x4000 : 0)));
  }
  constexpr Status with_more(bool more) const {
    return Status(static_cast<uint16_t>((value_ & ~0x2000) | (more ? 0x2000 : 0)));
  }
  constexpr Status with_retry_delay(uint8_t crd) const {  // 0 to 3
    return Status(static_cast<uint16_t>((value_ & ~0x1800) | ((crd & 3) << 11)));
  }

  // "LBA Out of Range (0/80h), do not retry".
  std::string to_string() const;

  friend constexpr bool operator==(Status, Status) = default;

 private:
  constexpr explicit Status(uint16_t value) : value_(value) {}
  constexpr Status(StatusCodeType type, uint8_t code, Dnr dnr)
      : value_(static_cast<uint16_t>(code | (static_cast<unsigned>(type) << 8) | (dnr == Dnr::kYes ? 0x4000u : 0u))) {}
  constexpr bool has(StatusCodeType type, uint8_t code) const {
    return (value_ & 0x07ff) == (code | (static_cast<unsigned>(type) << 8));
  }

  uint16_t value_ = 0;
};
static_assert(sizeof(Status) == 2);

// The specification's name of type and code, "Vendor Specific" or "Reserved" for the others. Fabrics and NVM share the
// codes 80h to BFh of SCT 1: `fabrics` says which of them the command was.
std::string_view status_name(Status status, bool fabrics = false);

}  // namespace cairn::nvme
