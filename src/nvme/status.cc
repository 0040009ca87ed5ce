#include "nvme/status.h"

#include <fmt/format.h>

namespace cairn::nvme {
namespace {

std::string_view name_of(GenericStatus code) {
  switch (code) {
    case GenericStatus::kSuccess:
      return "Successful Completion";
    case GenericStatus::kInvalidOpcode:
      return "Invalid Command Opcode";
    case GenericStatus::kInvalidField:
      return "Invalid Field in Command";
    case GenericStatus::kCommandIdConflict:
      return "Command ID Conflict";
    case GenericStatus::kDataTransferError:
      return "Data Transfer Error";
    case GenericStatus::kAbortedPowerLoss:
      return "Commands Aborted due to Power Loss Notification";
    case GenericStatus::kInternalError:
      return "Internal Error";
    case GenericStatus::kAbortRequested:
      return "Command Abort Requested";
    case GenericStatus::kAbortedSqDeletion:
      return "Command Aborted due to SQ Deletion";
    case GenericStatus::kAbortedFailedFused:
      return "Command Aborted due to Failed Fused Command";
    case GenericStatus::kAbortedMissingFused:
      return "Command Aborted due to Missing Fused Command";
    case GenericStatus::kInvalidNamespaceOrFormat:
      return "Invalid Namespace or Format";
    case GenericStatus::kCommandSequenceError:
      return "Command Sequence Error";
    case GenericStatus::kInvalidSglSegmentDescriptor:
      return "Invalid SGL Segment Descriptor";
    case GenericStatus::kInvalidNumberOfSglDescriptors:
      return "Invalid Number of SGL Descriptors";
    case GenericStatus::kDataSglLengthInvalid:
      return "Data SGL Length Invalid";
    case GenericStatus::kMetadataSglLengthInvalid:
      return "Metadata SGL Length Invalid";
    case GenericStatus::kSglDescriptorTypeInvalid:
      return "SGL Descriptor Type Invalid";
    case GenericStatus::kInvalidUseOfCmb:
      return "Invalid Use of Controller Memory Buffer";
    case GenericStatus::kPrpOffsetInvalid:
      return "PRP Offset Invalid";
    case GenericStatus::kAtomicWriteUnitExceeded:
      return "Atomic Write Unit Exceeded";
    case GenericStatus::kOperationDenied:
      return "Operation Denied";
    case GenericStatus::kSglOffsetInvalid:
      return "SGL Offset Invalid";
    case GenericStatus::kHostIdInconsistentFormat:
      return "Host Identifier Inconsistent Format";
    case GenericStatus::kKeepAliveTimerExpired:
      return "Keep Alive Timer Expired";
    case GenericStatus::kKeepAliveTimeoutInvalid:
      return "Keep Alive Timeout Invalid";
    case GenericStatus::kAbortedPreemptAndAbort:
      return "Command Aborted due to Preempt and Abort";
    case GenericStatus::kSanitizeFailed:
      return "Sanitize Failed";
    case GenericStatus::kSanitizeInProgress:
      return "Sanitize In Progress";
    case GenericStatus::kSglDataBlockGranularityInvalid:
      return "SGL Data Block Granularity Invalid";
    case GenericStatus::kNotSupportedForQueueInCmb:
      return "Command Not Supported for Queue in CMB";
    case GenericStatus::kNamespaceWriteProtected:
      return "Namespace is Write Protected";
    case GenericStatus::kCommandInterrupted:
      return "Command Interrupted";
    case GenericStatus::kTransientTransportError:
      return "Transient Transport Error";
    case GenericStatus::kProhibitedByLockdown:
      return "Command Prohibited by Command and Feature Lockdown";
    case GenericStatus::kAdminCommandMediaNotReady:
      return "Admin Command Media Not Ready";
    case GenericStatus::kLbaOutOfRange:
      return "LBA Out of Range";
    case GenericStatus::kCapacityExceeded:
      return "Capacity Exceeded";
    case GenericStatus::kNamespaceNotReady:
      return "Namespace Not Ready";
    case GenericStatus::kReservationConflict:
      return "Reservation Conflict";
    case GenericStatus::kFormatInProgress:
      return "Format In Progress";
  }
  return {};
}

std::string_view name_of(CommandStatus code) {
  switch (code) {
    case CommandStatus::kCompletionQueueInvalid:
      return "Completion Queue Invalid";
    case CommandStatus::kInvalidQueueIdentifier:
      return "Invalid Queue Identifier";
    case CommandStatus::kInvalidQueueSize:
      return "Invalid Queue Size";
    case CommandStatus::kAbortCommandLimitExceeded:
      return "Abort Command Limit Exceeded";
    case CommandStatus::kAsyncEventRequestLimitExceeded:
      return "Asynchronous Event Request Limit Exceeded";
    case CommandStatus::kInvalidFirmwareSlot:
      return "Invalid Firmware Slot";
    case CommandStatus::kInvalidFirmwareImage:
      return "Invalid Firmware Image";
    case CommandStatus::kInvalidInterruptVector:
      return "Invalid Interrupt Vector";
    case CommandStatus::kInvalidLogPage:
      return "Invalid Log Page";
    case CommandStatus::kInvalidFormat:
      return "Invalid Format";
    case CommandStatus::kFirmwareNeedsConventionalReset:
      return "Firmware Activation Requires Conventional Reset";
    case CommandStatus::kInvalidQueueDeletion:
      return "Invalid Queue Deletion";
    case CommandStatus::kFeatureNotSaveable:
      return "Feature Identifier Not Saveable";
    case CommandStatus::kFeatureNotChangeable:
      return "Feature Not Changeable";
    case CommandStatus::kFeatureNotNamespaceSpecific:
      return "Feature Not Namespace Specific";
    case CommandStatus::kFirmwareNeedsSubsystemReset:
      return "Firmware Activation Requires NVM Subsystem Reset";
    case CommandStatus::kFirmwareNeedsControllerReset:
      return "Firmware Activation Requires Controller Level Reset";
    case CommandStatus::kFirmwareNeedsMaxTimeViolation:
      return "Firmware Activation Requires Maximum Time Violation";
    case CommandStatus::kFirmwareActivationProhibited:
      return "Firmware Activation Prohibited";
    case CommandStatus::kOverlappingRange:
      return "Overlapping Range";
    case CommandStatus::kNamespaceInsufficientCapacity:
      return "Namespace Insufficient Capacity";
    case CommandStatus::kNamespaceIdUnavailable:
      return "Namespace Identifier Unavailable";
    case CommandStatus::kNamespaceAlreadyAttached:
      return "Namespace Already Attached";
    case CommandStatus::kNamespaceIsPrivate:
      return "Namespace Is Private";
    case CommandStatus::kNamespaceNotAttached:
      return "Namespace Not Attached";
    case CommandStatus::kThinProvisioningNotSupported:
      return "Thin Provisioning Not Supported";
    case CommandStatus::kControllerListInvalid:
      return "Controller List Invalid";
    case CommandStatus::kDeviceSelfTestInProgress:
      return "Device Self-test In Progress";
    case CommandStatus::kBootPartitionWriteProhibited:
      return "Boot Partition Write Prohibited";
    case CommandStatus::kInvalidControllerId:
      return "Invalid Controller Identifier";
    case CommandStatus::kInvalidSecondaryControllerState:
      return "Invalid Secondary Controller State";
    case CommandStatus::kInvalidNumberOfControllerResources:
      return "Invalid Number of Controller Resources";
    case CommandStatus::kInvalidResourceId:
      return "Invalid Resource Identifier";
    case CommandStatus::kSanitizeProhibitedPmrEnabled:
      return "Sanitize Prohibited While Persistent Memory Region is Enabled";
    case CommandStatus::kAnaGroupIdInvalid:
      return "ANA Group Identifier Invalid";
    case CommandStatus::kAnaAttachFailed:
      return "ANA Attach Failed";
    case CommandStatus::kInsufficientCapacity:
      return "Insufficient Capacity";
    case CommandStatus::kNamespaceAttachmentLimitExceeded:
      return "Namespace Attachment Limit Exceeded";
    case CommandStatus::kProhibitionNotSupported:
      return "Prohibition of Command Execution Not Supported";
    case CommandStatus::kIoCommandSetNotSupported:
      return "I/O Command Set Not Supported";
    case CommandStatus::kIoCommandSetNotEnabled:
      return "I/O Command Set Not Enabled";
    case CommandStatus::kIoCommandSetCombinationRejected:
      return "I/O Command Set Combination Rejected";
    case CommandStatus::kInvalidIoCommandSet:
      return "Invalid I/O Command Set";
    case CommandStatus::kIdentifierUnavailable:
      return "Identifier Unavailable";
    case CommandStatus::kConflictingAttributes:
      return "Conflicting Attributes";
    case CommandStatus::kInvalidProtectionInformation:
      return "Invalid Protection Information";
    case CommandStatus::kWriteToReadOnlyRange:
      return "Attempted Write to Read Only Range";
    case CommandStatus::kCommandSizeLimitExceeded:
      return "Command Size Limit Exceeded";
  }
  return {};
}

std::string_view name_of(FabricsStatus code) {
  switch (code) {
    case FabricsStatus::kIncompatibleFormat:
      return "Connect Incompatible Format";
    case FabricsStatus::kControllerBusy:
      return "Connect Controller Busy";
    case FabricsStatus::kInvalidParameters:
      return "Connect Invalid Parameters";
    case FabricsStatus::kRestartDiscovery:
      return "Connect Restart Discovery";
    case FabricsStatus::kInvalidHost:
      return "Connect Invalid Host";
    case FabricsStatus::kInvalidQueueType:
      return "Invalid Queue Type";
    case FabricsStatus::kDiscoverRestart:
      return "Discover Restart";
    case FabricsStatus::kAuthenticationRequired:
      return "Authentication Required";
  }
  return {};
}

std::string_view name_of(MediaStatus code) {
  switch (code) {
    case MediaStatus::kWriteFault:
      return "Write Fault";
    case MediaStatus::kUnrecoveredReadError:
      return "Unrecovered Read Error";
    case MediaStatus::kGuardCheckError:
      return "End-to-end Guard Check Error";
    case MediaStatus::kApplicationTagCheckError:
      return "End-to-end Application Tag Check Error";
    case MediaStatus::kReferenceTagCheckError:
      return "End-to-end Reference Tag Check Error";
    case MediaStatus::kCompareFailure:
      return "Compare Failure";
    case MediaStatus::kAccessDenied:
      return "Access Denied";
    case MediaStatus::kDeallocatedOrUnwrittenBlock:
      return "Deallocated or Unwritten Logical Block";
    case MediaStatus::kStorageTagCheckError:
      return "End-to-end Storage Tag Check Error";
  }
  return {};
}

std::string_view name_of(PathStatus code) {
  switch (code) {
    case PathStatus::kInternalPathError:
      return "Internal Path Error";
    case PathStatus::kAnaPersistentLoss:
      return "Asymmetric Access Persistent Loss";
    case PathStatus::kAnaInaccessible:
      return "Asymmetric Access Inaccessible";
    case PathStatus::kAnaTransition:
      return "Asymmetric Access Transition";
    case PathStatus::kControllerPathingError:
      return "Controller Pathing Error";
    case PathStatus::kHostPathingError:
      return "Host Pathing Error";
    case PathStatus::kAbortedByHost:
      return "Command Aborted By Host";
  }
  return {};
}

std::string_view defined_name(Status status, bool fabrics) {
  switch (status.type()) {
    case StatusCodeType::kGeneric:
      return name_of(static_cast<GenericStatus>(status.code()));
    case StatusCodeType::kCommandSpecific:
      if (fabrics && status.code() >= 0x80) return name_of(static_cast<FabricsStatus>(status.code()));
      return name_of(static_cast<CommandStatus>(status.code()));
    case StatusCodeType::kMedia:
      return name_of(static_cast<MediaStatus>(status.code()));
    case StatusCodeType::kPath:
      return name_of(static_cast<PathStatus>(status.code()));
    case StatusCodeType::kVendor:
      return "Vendor Specific";
  }
  return {};
}

}  // namespace

std::string_view status_name(Status status, bool fabrics) {
  const std::string_view name = defined_name(status, fabrics);
  if (!name.empty()) return name;
  return status.code() >= 0xc0 ? "Vendor Specific" : "Reserved";
}

std::string Status::to_string() const {
  std::string text = fmt::format("{} ({:x}/{:02x}h)", status_name(*this), static_cast<unsigned>(type()), code());
  if (retry_delay() != 0) text += fmt::format(", retry delay {}", retry_delay());
  if (more()) text += ", more in the error log";
  if (do_not_retry()) text += ", do not retry";
  return text;
}

}  // namespace cairn::nvme
