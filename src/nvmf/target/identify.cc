#include "nvmf/target/identify.h"

#include <bit>

#include "nvme/admin_command.h"
#include "nvme/feature.h"
#include "nvme/identify.h"
#include "nvme/nqn.h"
#include "nvme/property.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Cns;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

namespace {

constexpr uint32_t kPageSize = 4096;  // CAP.MPSMIN
constexpr uint8_t kAnaTransitionSeconds = 10;
constexpr uint32_t kAnaGroup = 1;
constexpr uint32_t kMaxWriteZeroesBlocks = 65536;  // what NLB can say

constexpr uint8_t log2_pages(uint64_t bytes) {
  return static_cast<uint8_t>(std::bit_width(bytes / kPageSize) - 1);
}

uint16_t deciseconds(Duration duration) {
  return static_cast<uint16_t>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count() / 100);
}

// ONCS and VWC speak for all namespaces of the controller; without any, for those that may come.
template <typename Predicate>
bool any_device(Subsystem& subsystem, Predicate predicate) {
  if (subsystem.namespaces().empty()) return true;
  return std::ranges::any_of(subsystem.namespaces(), [&](const auto& each) { return predicate(each->device()); });
}

bool supports(Subsystem& subsystem, block::IoType type) {
  return any_device(subsystem, [type](block::Device& device) { return device.supports(type); });
}

uint16_t optional_commands(Subsystem& subsystem) {
  using nvme::IdentifyController;
  uint16_t oncs = IdentifyController::kOncsSaveSelect | IdentifyController::kOncsReservations;
  if (supports(subsystem, block::IoType::kCompare)) oncs |= IdentifyController::kOncsCompare;
  if (supports(subsystem, block::IoType::kUnmap)) oncs |= IdentifyController::kOncsDatasetManagement;
  if (supports(subsystem, block::IoType::kWriteZeroes)) oncs |= IdentifyController::kOncsWriteZeroes;
  if (supports(subsystem, block::IoType::kCopy)) oncs |= IdentifyController::kOncsCopy;
  return oncs;
}

void fill_common(Controller& controller, nvme::IdentifyController& id) {
  using nvme::IdentifyController;
  const Options& options = controller.target().options();
  nvme::set_ascii(id.fr, options.firmware_revision);
  nvme::set_ascii(id.mn, SubsystemOptions{}.model_number);
  id.mdts = log2_pages(options.max_io_size);
  id.cntlid = controller.cntlid();
  id.ver = nvme::kVersion2_0;
  id.oaes = optional_events(controller);
  id.ctratt = IdentifyController::kCtrattHostId128;
  id.aerl = static_cast<uint8_t>(options.max_async_events - 1);
  id.frmw = IdentifyController::kFrmwSlot1ReadOnly | 1u << IdentifyController::kFrmwSlotsShift;
  id.elpe = ErrorLog::kNumEntries - 1;
  id.kas = deciseconds(options.keep_alive_granularity);
  id.maxcmd = options.max_queue_depth;
  id.sgls = IdentifyController::kSglsSupported | IdentifyController::kSglsLargerThanData |
            IdentifyController::kSglsOffset | IdentifyController::kSglsTransportDataBlock;
  id.ioccsz = (sizeof(nvme::Sqe) + options.in_capsule_data_size) / 16;
  id.iorcsz = sizeof(nvme::Cqe) / 16;
  id.msdbd = 1;
}

void fill_ana(nvme::IdentifyController& id) {
  using nvme::IdentifyController;
  id.cmic |= IdentifyController::kCmicAnaReporting;
  id.anatt = kAnaTransitionSeconds;
  id.anacap = IdentifyController::kAnacapOptimized | IdentifyController::kAnacapNonOptimized |
              IdentifyController::kAnacapInaccessible | IdentifyController::kAnacapPersistentLoss |
              IdentifyController::kAnacapChange | IdentifyController::kAnacapGroupIdFixed;
  id.anagrpmax = kAnaGroup;
  id.nanagrpid = 1;
  id.mnan = Subsystem::kMaxNamespaces;
}

uint8_t reservation_capabilities(Namespace& described) {
  const uint8_t persist = described.reservation().can_persist() ? nvme::kRescapPersist : uint8_t{0};
  return nvme::kRescapAllTypes | nvme::kRescapIgnoreExistingKey | persist;
}

uint16_t zero_based(uint32_t count) {
  return static_cast<uint16_t>(std::min<uint32_t>(count, 65536) - 1);
}

}  // namespace

uint32_t optional_events(Controller& controller) {
  if (controller.is_discovery()) return nvme::kEventDiscoveryLogChange;
  const bool ana = controller.subsystem()->options().ana_reporting;
  return nvme::kEventNamespaceAttribute | (ana ? nvme::kEventAnaChange : 0);
}

nvme::IdentifyController identify_controller(Controller& controller) {
  using nvme::IdentifyController;
  IdentifyController id;
  fill_common(controller, id);
  if (controller.is_discovery()) {
    nvme::set_ascii(id.sn, "00000000000000000000");
    nvme::set_c_string(id.subnqn, nvme::kDiscoveryNqn);
    id.cntrltype = nvme::ControllerType::kDiscovery;
    id.lpa = IdentifyController::kLpaExtendedData | IdentifyController::kLpaSupportedLogPages;
    return id;
  }
  Subsystem& subsystem = *controller.subsystem();
  const Options& options = controller.target().options();
  id.cntrltype = nvme::ControllerType::kIo;
  id.vid = id.ssvid = 0x8086;
  id.ieee[0] = 0xe4;
  id.ieee[1] = 0xd2;
  id.ieee[2] = 0x5c;
  nvme::set_ascii(id.sn, subsystem.serial_number());
  nvme::set_ascii(id.mn, subsystem.options().model_number);
  nvme::set_c_string(id.subnqn, subsystem.nqn());
  nvme::set_c_string(id.vendor3072, IdentifyController::kPredecessorsEnd);
  std::ranges::copy(options.boot_id.bytes(), std::begin(id.boot_id));
  id.rab = 6;
  id.cmic = IdentifyController::kCmicMultiplePorts | IdentifyController::kCmicMultipleControllers;
  std::ranges::copy(options.command_retry_delay, std::begin(id.crdt));
  id.acl = Controller::kMaxAborts - 1;
  id.lpa = IdentifyController::kLpaSmartPerNamespace | IdentifyController::kLpaCommandEffects |
           IdentifyController::kLpaExtendedData | IdentifyController::kLpaSupportedLogPages;
  id.sqes = 0x66;
  id.cqes = 0x44;
  id.nn = Subsystem::kMaxNamespaces;
  id.oncs = optional_commands(subsystem);
  if (supports(subsystem, block::IoType::kCompareAndWrite)) id.fuses = IdentifyController::kFusesCompareAndWrite;
  // Present whatever the device: the original says so, and hosts then flush; a device without a cache answers at once.
  id.vwc = IdentifyController::kVwcFlushBroadcastUnsupported | IdentifyController::kVwcPresent;
  if ((id.oncs & IdentifyController::kOncsCopy) != 0) id.ocfs = 1u << 0;  // source range format 0h
  if (subsystem.options().ana_reporting) fill_ana(id);
  return id;
}

nvme::IdentifyNvmController identify_nvm_controller(Controller& controller) {
  nvme::IdentifyNvmController id;
  Subsystem& subsystem = *controller.subsystem();
  if (!subsystem.namespaces().empty()) {
    uint32_t block_size = UINT32_MAX;
    for (const auto& each : subsystem.namespaces()) block_size = std::min(block_size, each->device().block_size());
    id.wzsl = log2_pages(uint64_t{kMaxWriteZeroesBlocks} * block_size);
  }
  return id;
}

nvme::IdentifyNamespace identify_namespace(Controller& controller, Namespace& described) {
  using nvme::IdentifyNamespace;
  IdentifyNamespace id;
  const block::Device& device = described.device();
  const uint32_t physical_blocks = std::max(device.physical_block_size() / device.block_size(), 1u);
  const bool inaccessible = described.ana_state() == AnaState::kInaccessible;
  id.nsze = id.ncap = device.num_blocks();
  id.nuse = inaccessible ? 0 : id.nsze;
  id.nsfeat = IdentifyNamespace::kNsfeatOptimalPerformance;
  id.nmic = nvme::kNmicShared;
  id.rescap = reservation_capabilities(described);
  id.dlfeat = IdentifyNamespace::kDlfeatReadsZeroes;
  if (device.supports(block::IoType::kUnmap)) id.dlfeat |= IdentifyNamespace::kDlfeatWriteZeroesDeallocates;
  if (physical_blocks > 1) {
    id.nsfeat |= IdentifyNamespace::kNsfeatAtomicBoundaries;
    id.nawun = id.nawupf = zero_based(physical_blocks);
  }
  id.npwg = id.npwa = id.npdg = id.npda = zero_based(physical_blocks);
  const uint32_t boundary =
      std::min<uint32_t>(device.optimal_io_boundary(), controller.target().options().max_io_size / device.block_size());
  id.noiob = static_cast<uint16_t>(std::min<uint32_t>(boundary, UINT16_MAX));
  id.nows = zero_based(std::max({boundary, physical_blocks}));
  id.nvmcap.low = device.size_bytes();
  if (device.supports(block::IoType::kCopy)) {
    id.mssrl = kMaxCopyRangeBlocks;
    id.mcl = kMaxCopyBlocks;
    id.msrc = kMaxCopyRanges - 1;
  }
  if (controller.subsystem()->options().ana_reporting) id.anagrpid = kAnaGroup;
  std::ranges::copy(device.uuid().bytes(), std::begin(id.nguid));
  id.lbaf[0].lbads = static_cast<uint8_t>(std::countr_zero(device.block_size()));
  return id;
}

nvme::IdentifyIndependentNamespace identify_independent_namespace(Controller& controller, Namespace& described) {
  nvme::IdentifyIndependentNamespace id;
  id.nmic = nvme::kNmicShared;
  id.rescap = reservation_capabilities(described);
  if (controller.subsystem()->options().ana_reporting) id.anagrpid = kAnaGroup;
  id.nstat = nvme::kNstatReady;
  return id;
}

// ---- The command ----

namespace {

const Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
const Status kInvalidNamespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);

template <typename T>
Status answer(Request& request, const T& structure) {
  static_assert(sizeof(T) == nvme::kIdentifySize);
  request.copy_to_data(0, nvme::bytes_of(structure));
  request.transfer_length = nvme::kIdentifySize;
  return Status::success();
}

Status answer_zeroes(Request& request) {
  struct Zeroes {
    uint8_t bytes[nvme::kIdentifySize] = {};
  };
  return answer(request, Zeroes{});
}

// A namespace that could exist: within NN.
bool is_valid_nsid(uint32_t nsid) {
  return nsid >= 1 && nsid <= Subsystem::kMaxNamespaces;
}

Status answer_active_list(Request& request, Subsystem& subsystem, uint32_t after) {
  if (after >= nvme::kBroadcastNsid - 1) return kInvalidNamespace;
  nvme::NamespaceList list;
  size_t count = 0;
  for (const auto& each : subsystem.namespaces()) {
    if (!each->removed() && each->nsid() > after) list.nsid[count++] = each->nsid();
  }
  return answer(request, list);
}

Status answer_descriptors(Request& request, Namespace& described) {
  const uint8_t csi = static_cast<uint8_t>(nvme::CommandSet::kNvm);
  nvme::NamespaceDescriptorList list;
  list.add(nvme::NamespaceIdType::kNguid, described.device().uuid().bytes());
  list.add(nvme::NamespaceIdType::kUuid, described.device().uuid().bytes());
  list.add(nvme::NamespaceIdType::kCommandSet, {&csi, 1});
  request.copy_to_data(0, list.data());
  request.transfer_length = nvme::kIdentifySize;
  return Status::success();
}

}  // namespace

Status Controller::identify(Request& request) {
  const auto command = nvme::Identify::decode(request.command);
  const uint32_t nsid = request.command.nsid;
  const auto cns = static_cast<Cns>(command.cns);
  if (cns == Cns::kController) return answer(request, identify_controller(*this));
  if (is_discovery()) return kInvalidField;

  const bool is_nvm = command.csi == static_cast<uint8_t>(nvme::CommandSet::kNvm);
  Namespace* described = find_namespace(nsid);
  switch (cns) {
    case Cns::kActiveNamespaceList:
      return answer_active_list(request, *subsystem_, nsid);
    case Cns::kCommandSetActiveNamespaceList:
      return is_nvm ? answer_active_list(request, *subsystem_, nsid) : kInvalidField;
    case Cns::kCommandSetController:
      return is_nvm ? answer(request, identify_nvm_controller(*this)) : kInvalidField;
    case Cns::kCommandSetCombinations: {
      const bool own = command.cntid == nvme::kDynamicControllerId || command.cntid == cntlid();
      if (!own) return kInvalidField;
      nvme::CommandSetCombinations combinations;
      combinations.vector[0] = nvme::CommandSetCombinations::kNvm;
      return answer(request, combinations);
    }
    case Cns::kNamespace:
      if (!is_valid_nsid(nsid)) return kInvalidNamespace;
      return described != nullptr ? answer(request, identify_namespace(*this, *described)) : answer_zeroes(request);
    case Cns::kCommandSetNamespace:
      if (!is_nvm) return kInvalidField;
      if (!is_valid_nsid(nsid)) return kInvalidNamespace;
      return answer(request, nvme::IdentifyNvmNamespace{});  // no metadata, no protection information
    case Cns::kIndependentNamespace:
      if (!is_valid_nsid(nsid)) return kInvalidNamespace;
      return described != nullptr ? answer(request, identify_independent_namespace(*this, *described))
                                  : answer_zeroes(request);
    case Cns::kNamespaceDescriptorList:
      return described != nullptr ? answer_descriptors(request, *described) : kInvalidNamespace;
    default:
      return kInvalidField;
  }
}

}  // namespace cairn::nvmf::target
