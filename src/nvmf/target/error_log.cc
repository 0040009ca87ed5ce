#include "nvmf/target/error_log.h"

#include "nvme/discovery.h"
#include "nvme/nvm_command.h"

namespace cairn::nvmf::target {

namespace {

bool has_block_range(uint16_t sqid, const nvme::Sqe& command) {
  if (sqid == 0) return false;
  switch (command.nvm_opcode()) {
    case nvme::NvmOpcode::kRead:
    case nvme::NvmOpcode::kWrite:
    case nvme::NvmOpcode::kCompare:
    case nvme::NvmOpcode::kWriteZeroes:
    case nvme::NvmOpcode::kVerify:
      return true;
    default:
      return false;
  }
}

}  // namespace

void ErrorLog::add(uint16_t sqid, const nvme::Sqe& command, nvme::Status status) {
  constexpr uint16_t kNoSingleField = 0xffff;
  nvme::ErrorInformation entry;
  entry.sqid = sqid;
  entry.cid = command.cid;
  entry.status_field = status.to_wire();
  entry.parameter_error_location = kNoSingleField;
  if (has_block_range(sqid, command)) entry.lba = nvme::BlockRange::decode(command).slba;
  if (!command.is_fabrics()) entry.nsid = command.nsid;
  entry.trtype = static_cast<uint8_t>(nvme::TransportType::kTcp);
  const std::lock_guard lock(mutex_);
  entry.error_count = ++count_;
  ring_[count_ % kNumEntries] = entry;
}

uint64_t ErrorLog::count() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

std::vector<nvme::ErrorInformation> ErrorLog::newest_first() const {
  const std::lock_guard lock(mutex_);
  std::vector<nvme::ErrorInformation> entries;
  for (uint64_t n = count_; n > 0 && entries.size() < kNumEntries; --n) entries.push_back(ring_[n % kNumEntries]);
  return entries;
}

}  // namespace cairn::nvmf::target
