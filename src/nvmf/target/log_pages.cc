// Get Log Page (NVMe Base 2.0, section 5.16). A page is made as a whole and the host gets its window of it: bytes
// behind the end read as zero, an offset behind the end is refused. Discovery logs may be long and are made for the
// window only.
#include <algorithm>

#include "nvme/admin_command.h"
#include "nvme/log_page.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::LogPageId;
using nvme::Status;

namespace {

const Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
const Status kInvalidLogPage = Status::command(nvme::CommandStatus::kInvalidLogPage, Dnr::kYes);

constexpr LogPageId kPages[] = {
    LogPageId::kSupportedLogPages,
    LogPageId::kErrorInformation,
    LogPageId::kHealth,
    LogPageId::kFirmwareSlot,
    LogPageId::kChangedNamespaceList,
    LogPageId::kCommandsSupportedAndEffects,
    LogPageId::kAna,
    LogPageId::kFeatureIdentifiersSupportedAndEffects,
    LogPageId::kReservationNotification,
};
constexpr LogPageId kDiscoveryPages[] = {
    LogPageId::kSupportedLogPages,
    LogPageId::kErrorInformation,
    LogPageId::kDiscovery,
};

std::span<const LogPageId> pages_of(bool discovery) {
  return discovery ? std::span<const LogPageId>(kDiscoveryPages) : std::span<const LogPageId>(kPages);
}

Status answer(Request& request, uint64_t offset, std::span<const std::byte> page) {
  if (offset > page.size()) return kInvalidField;
  const std::span<const std::byte> rest = page.subspan(offset);
  const size_t copied = std::min<size_t>(rest.size(), request.data_length);
  request.copy_to_data(0, rest.first(copied));
  constexpr std::array<std::byte, 4096> kZeroes{};
  for (size_t at = copied; at < request.data_length;) {
    const size_t part = std::min<size_t>(kZeroes.size(), request.data_length - at);
    request.copy_to_data(at, std::span(kZeroes).first(part));
    at += part;
  }
  request.transfer_length = request.data_length;
  return Status::success();
}

template <typename T>
Status answer_structure(Request& request, uint64_t offset, const T& structure) {
  return answer(request, offset, nvme::bytes_of(structure));
}

nvme::CommandsSupportedAndEffects command_effects() {
  using Effects = nvme::CommandsSupportedAndEffects;
  Effects page;
  using enum nvme::AdminOpcode;
  for (const auto opcode :
       {kGetLogPage, kIdentify, kAbort, kSetFeatures, kGetFeatures, kAsyncEventRequest, kKeepAlive}) {
    page.admin[static_cast<uint8_t>(opcode)] = Effects::kSupported;
  }
  using Nvm = nvme::NvmOpcode;
  for (const auto opcode : {Nvm::kFlush, Nvm::kRead, Nvm::kCompare, Nvm::kReservationRegister, Nvm::kReservationReport,
                            Nvm::kReservationAcquire, Nvm::kReservationRelease}) {
    page.io[static_cast<uint8_t>(opcode)] = Effects::kSupported;
  }
  for (const auto opcode : {Nvm::kWrite, Nvm::kWriteZeroes, Nvm::kDatasetManagement, Nvm::kCopy}) {
    page.io[static_cast<uint8_t>(opcode)] = Effects::kSupported | Effects::kBlockContentChange;
  }
  return page;
}

nvme::Uint128 data_units(uint64_t bytes) {
  constexpr uint64_t kUnit = 512 * 1000;
  return {.low = bytes / kUnit + (bytes % kUnit != 0 ? 1 : 0)};
}

}  // namespace

Status Controller::get_log_page(Request& request) {
  const auto command = nvme::GetLogPage::decode(request.command);
  const auto page = static_cast<LogPageId>(command.lid);
  const uint32_t nsid = request.command.nsid;
  if (std::ranges::find(pages_of(is_discovery()), page) == pages_of(is_discovery()).end()) return kInvalidLogPage;
  if (page == LogPageId::kAna && !subsystem_->options().ana_reporting) return kInvalidLogPage;
  if (command.index_offset || command.offset % 4 != 0) return kInvalidField;
  const Status status = make_log_page(request, command, page, nsid);
  if (!status.is_success()) return status;

  // It was read: what it said need not be said again.
  if (!command.retain_event) {
    events_.log_page_read(page);
    if (page == LogPageId::kChangedNamespaceList) changed_namespaces_.clear();
  }
  if (page == LogPageId::kReservationNotification && command.offset == 0 && !reservation_notices_.empty()) {
    reservation_notices_.pop_front();
  }
  return status;
}

Status Controller::make_log_page(Request& request, const nvme::GetLogPage& command, LogPageId page, uint32_t nsid) {
  const uint64_t offset = command.offset;
  switch (page) {
    case LogPageId::kSupportedLogPages: {
      nvme::SupportedLogPages supported;
      for (const LogPageId each : pages_of(is_discovery())) {
        if (each == LogPageId::kAna && !subsystem_->options().ana_reporting) continue;
        supported.lid[static_cast<uint8_t>(each)] = nvme::SupportedLogPages::kSupported;
      }
      return answer_structure(request, offset, supported);
    }
    case LogPageId::kErrorInformation: {
      std::vector<nvme::ErrorInformation> entries = error_log_.newest_first();
      entries.resize(ErrorLog::kNumEntries);
      return answer(request, offset, std::as_bytes(std::span(entries)));
    }
    case LogPageId::kHealth:
      // Of the controller; the one namespace has the same values.
      if (nsid != 0 && nsid != nvme::kBroadcastNsid && find_namespace(nsid) == nullptr) {
        return Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
      }
      return answer_structure(request, offset, health_log());
    case LogPageId::kFirmwareSlot: {
      nvme::FirmwareSlotInformation firmware;
      firmware.afi = 1;
      nvme::set_ascii(firmware.frs[0], target_.options().firmware_revision);
      return answer_structure(request, offset, firmware);
    }
    case LogPageId::kChangedNamespaceList:
      return answer_structure(request, offset, changed_namespace_log());
    case LogPageId::kCommandsSupportedAndEffects:
      if (command.csi != 0) return kInvalidField;
      return answer_structure(request, offset, command_effects());
    case LogPageId::kAna: {
      const std::vector<std::byte> log = ana_log((command.lsp & nvme::kAnaGroupsOnly) != 0);
      return answer(request, offset, log);
    }
    case LogPageId::kFeatureIdentifiersSupportedAndEffects:
      return answer_structure(request, offset, feature_effects());
    case LogPageId::kReservationNotification:
      return answer_structure(request, offset, reservation_log());
    case LogPageId::kDiscovery: {
      if (offset > target_.discovery_log_size(host_nqn(), local_address())) return kInvalidField;
      std::vector<std::byte> window(request.data_length);
      target_.fill_discovery_log(host_nqn(), local_address(), offset, window);
      return answer(request, 0, window);
    }
    default:
      return kInvalidLogPage;
  }
}

nvme::FeaturesSupportedAndEffects Controller::feature_effects() const {
  using Effects = nvme::CommandsSupportedAndEffects;
  constexpr uint32_t kControllerScope = 1u << (Effects::kScopeShift + 1), kNamespaceScope = 1u << Effects::kScopeShift;
  nvme::FeaturesSupportedAndEffects page;
  for (unsigned fid = 0; fid < std::size(page.fid); ++fid) {
    const FeatureDescription* feature = available_feature(static_cast<uint8_t>(fid));
    if (feature == nullptr) continue;
    const bool per_namespace = feature->scope == FeatureScope::kNamespace;
    page.fid[fid] = Effects::kSupported | (per_namespace ? kNamespaceScope : kControllerScope);
  }
  return page;
}

// Virtual media: no wear, no spare, no sensor. The counters are those of the devices, all hosts together.
nvme::HealthInformation Controller::health_log() const {
  constexpr uint8_t kAllSpare = 100;
  nvme::HealthInformation health;
  health.available_spare = kAllSpare;
  uint64_t bytes_read = 0, bytes_written = 0;
  for (const auto& each : subsystem_->namespaces()) {
    const auto statistics = each->device().statistics();
    bytes_read += statistics.read.bytes;
    bytes_written += statistics.write.bytes;
    health.host_read_commands.low += statistics.read.operations;
    health.host_write_commands.low += statistics.write.operations;
    health.media_errors.low += statistics.read.errors + statistics.write.errors;
  }
  health.data_units_read = data_units(bytes_read);
  health.data_units_written = data_units(bytes_written);
  health.power_cycles.low = 1;  // of this process
  const Duration uptime = target_.primary().now() - target_.started_at();
  health.power_on_hours.low = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::hours>(uptime).count());
  health.error_log_entries.low = error_log_.count();
  return health;
}

nvme::ChangedNamespaceList Controller::changed_namespace_log() const {
  nvme::ChangedNamespaceList list;
  if (changed_namespaces_.size() > nvme::ChangedNamespaceList::kMaxEntries) {
    list.nsid[0] = nvme::ChangedNamespaceList::kTooMany;
  } else {
    std::ranges::copy(changed_namespaces_, std::begin(list.nsid));
  }
  return list;
}

// One group with the one namespace; empty when there is none.
std::vector<std::byte> Controller::ana_log(bool groups_only) const {
  std::vector<std::byte> log(sizeof(nvme::AnaLogHeader));
  nvme::AnaLogHeader header;
  for (const auto& each : subsystem_->namespaces()) {
    header.chgcnt = std::max(header.chgcnt, each->ana_change_count());
    ++header.num_groups;
    nvme::AnaGroupDescriptor group;
    group.anagrpid = header.num_groups;
    group.num_nsids = groups_only ? 0 : 1;
    group.chgcnt = each->ana_change_count();
    group.state = static_cast<nvme::AnaState>(each->ana_state());
    const auto bytes = nvme::bytes_of(group);
    log.insert(log.end(), bytes.begin(), bytes.end());
    if (groups_only) continue;
    const uint32_t nsid = each->nsid();
    const auto nsid_bytes = nvme::bytes_of(nsid);
    log.insert(log.end(), nsid_bytes.begin(), nsid_bytes.end());
  }
  nvme::store(std::span(log), header);
  return log;
}

nvme::ReservationNotification Controller::reservation_log() const {
  if (reservation_notices_.empty()) return {};
  nvme::ReservationNotification notice = reservation_notices_.front();
  notice.num_available = static_cast<uint8_t>(std::min<size_t>(reservation_notices_.size() - 1, 255));
  return notice;
}

}  // namespace cairn::nvmf::target
