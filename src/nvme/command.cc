#include "nvme/command.h"

namespace cairn::nvme {

std::string_view admin_opcode_name(uint8_t opcode) {
  switch (static_cast<AdminOpcode>(opcode)) {
    case AdminOpcode::kDeleteIoSq:
      return "Delete I/O Submission Queue";
    case AdminOpcode::kCreateIoSq:
      return "Create I/O Submission Queue";
    case AdminOpcode::kGetLogPage:
      return "Get Log Page";
    case AdminOpcode::kDeleteIoCq:
      return "Delete I/O Completion Queue";
    case AdminOpcode::kCreateIoCq:
      return "Create I/O Completion Queue";
    case AdminOpcode::kIdentify:
      return "Identify";
    case AdminOpcode::kAbort:
      return "Abort";
    case AdminOpcode::kSetFeatures:
      return "Set Features";
    case AdminOpcode::kGetFeatures:
      return "Get Features";
    case AdminOpcode::kAsyncEventRequest:
      return "Asynchronous Event Request";
    case AdminOpcode::kNamespaceManagement:
      return "Namespace Management";
    case AdminOpcode::kFirmwareCommit:
      return "Firmware Commit";
    case AdminOpcode::kFirmwareImageDownload:
      return "Firmware Image Download";
    case AdminOpcode::kDeviceSelfTest:
      return "Device Self-test";
    case AdminOpcode::kNamespaceAttachment:
      return "Namespace Attachment";
    case AdminOpcode::kKeepAlive:
      return "Keep Alive";
    case AdminOpcode::kDirectiveSend:
      return "Directive Send";
    case AdminOpcode::kDirectiveReceive:
      return "Directive Receive";
    case AdminOpcode::kVirtualizationManagement:
      return "Virtualization Management";
    case AdminOpcode::kNvmeMiSend:
      return "NVMe-MI Send";
    case AdminOpcode::kNvmeMiReceive:
      return "NVMe-MI Receive";
    case AdminOpcode::kCapacityManagement:
      return "Capacity Management";
    case AdminOpcode::kLockdown:
      return "Lockdown";
    case AdminOpcode::kDoorbellBufferConfig:
      return "Doorbell Buffer Config";
    case AdminOpcode::kFabrics:
      return "Fabrics";
    case AdminOpcode::kFormatNvm:
      return "Format NVM";
    case AdminOpcode::kSecuritySend:
      return "Security Send";
    case AdminOpcode::kSecurityReceive:
      return "Security Receive";
    case AdminOpcode::kSanitize:
      return "Sanitize";
    case AdminOpcode::kGetLbaStatus:
      return "Get LBA Status";
  }
  return "Unknown";
}

std::string_view nvm_opcode_name(uint8_t opcode) {
  switch (static_cast<NvmOpcode>(opcode)) {
    case NvmOpcode::kFlush:
      return "Flush";
    case NvmOpcode::kWrite:
      return "Write";
    case NvmOpcode::kRead:
      return "Read";
    case NvmOpcode::kWriteUncorrectable:
      return "Write Uncorrectable";
    case NvmOpcode::kCompare:
      return "Compare";
    case NvmOpcode::kWriteZeroes:
      return "Write Zeroes";
    case NvmOpcode::kDatasetManagement:
      return "Dataset Management";
    case NvmOpcode::kVerify:
      return "Verify";
    case NvmOpcode::kReservationRegister:
      return "Reservation Register";
    case NvmOpcode::kReservationReport:
      return "Reservation Report";
    case NvmOpcode::kReservationAcquire:
      return "Reservation Acquire";
    case NvmOpcode::kReservationRelease:
      return "Reservation Release";
    case NvmOpcode::kCopy:
      return "Copy";
    case NvmOpcode::kFabrics:
      return "Fabrics";
  }
  return "Unknown";
}

}  // namespace cairn::nvme
