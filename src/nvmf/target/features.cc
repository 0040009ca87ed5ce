// Get Features and Set Features (NVMe Base 2.0, sections 5.15 and 5.27). Nothing is saveable: the saved value is the
// default one.
#include "nvmf/target/features.h"

#include <algorithm>
#include <array>

#include "nvmf/target/controller.h"
#include "nvmf/target/identify.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Dnr;
using nvme::FeatureId;
using nvme::FeatureSelect;
using nvme::GenericStatus;
using nvme::Status;

namespace {

using enum FeatureScope;

constexpr auto kFeatures = std::to_array<FeatureDescription>({
    {FeatureId::kArbitration, kController, true, false},
    {FeatureId::kPowerManagement, kController, true, false},
    {FeatureId::kTemperatureThreshold, kController, true, false},
    {FeatureId::kErrorRecovery, kController, true, false},
    {FeatureId::kVolatileWriteCache, kController, true, false},
    {FeatureId::kNumberOfQueues, kController, true, false},
    {FeatureId::kInterruptCoalescing, kController, false, false},
    {FeatureId::kInterruptVectorConfiguration, kController, false, false},
    {FeatureId::kWriteAtomicityNormal, kController, true, false},
    {FeatureId::kAsyncEventConfiguration, kController, true, true},
    {FeatureId::kKeepAliveTimer, kController, true, true},
    {FeatureId::kHostBehaviorSupport, kController, true, false},
    {FeatureId::kIoCommandSetProfile, kController, true, false},
    {FeatureId::kHostIdentifier, kController, false, false},
    {FeatureId::kReservationNotificationMask, kNamespace, true, false},
    {FeatureId::kReservationPersistence, kNamespace, true, false},
});

constexpr uint32_t kHostIdentifierSize = 16;
constexpr uint32_t kShortHostIdentifierSize = 8;

const Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
const Status kInvalidNamespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);

// A dword feature of which only the bits in `mask` exist.
Status keep(uint32_t& value, uint32_t wanted, uint32_t mask) {
  value = wanted & mask;
  return Status::success();
}

Status set_temperature(FeatureValues& values, uint32_t cdw11) {
  constexpr uint8_t kComposite = 0, kAllSensors = 0xf;
  const auto threshold = nvme::TemperatureThreshold::decode(cdw11);
  if ((threshold.sensor != kComposite && threshold.sensor != kAllSensors) || threshold.kind > 1) return kInvalidField;
  (threshold.kind == 0 ? values.over_temperature : values.under_temperature) = threshold.kelvin;
  return Status::success();
}

bool is_valid(const nvme::HostBehavior& behavior) {
  return behavior.acre <= 1 && behavior.etdas <= 1 && behavior.lbafee <= 1;
}

}  // namespace

const FeatureDescription* find_feature(uint8_t fid) {
  const auto found = std::ranges::find(kFeatures, static_cast<FeatureId>(fid), &FeatureDescription::id);
  return found == kFeatures.end() ? nullptr : &*found;
}

void Features::reset() {
  values = {};
  publish();
}

void Features::publish() {
  retry_delay_enabled_.store(values.host_behavior.acre != 0, std::memory_order_relaxed);
  const bool cached = (values.volatile_write_cache & nvme::kVolatileWriteCacheEnable) != 0;
  write_through_.store(!cached, std::memory_order_relaxed);
}

uint32_t feature_data_size(const nvme::GetFeatures& command) {
  if (command.select >= FeatureSelect::kSupportedCapabilities) return 0;
  switch (static_cast<FeatureId>(command.fid)) {
    case FeatureId::kHostBehaviorSupport:
      return sizeof(nvme::HostBehavior);
    case FeatureId::kHostIdentifier:
      return (command.cdw11 & nvme::kHostIdentifierExtended) != 0 ? kHostIdentifierSize : kShortHostIdentifierSize;
    default:
      return 0;
  }
}

uint32_t feature_data_size(const nvme::SetFeatures& command) {
  return static_cast<FeatureId>(command.fid) == FeatureId::kHostBehaviorSupport ? sizeof(nvme::HostBehavior) : 0;
}

const FeatureDescription* Controller::available_feature(uint8_t fid) const {
  const FeatureDescription* feature = find_feature(fid);
  return feature == nullptr || (is_discovery() && !feature->on_discovery) ? nullptr : feature;
}

// ---- Get Features ----

Status Controller::get_features(Request& request) {
  const auto command = nvme::GetFeatures::decode(request.command);
  const FeatureDescription* feature = available_feature(command.fid);
  if (feature == nullptr || command.select > FeatureSelect::kSupportedCapabilities) return kInvalidField;
  uint32_t& dw0 = request.completion.dw0;
  if (command.select == FeatureSelect::kSupportedCapabilities) {
    dw0 = (feature->scope == kNamespace ? nvme::kFeatureNamespaceSpecific : 0) |
          (feature->changeable ? nvme::kFeatureChangeable : 0);
    return Status::success();
  }
  Namespace* described = nullptr;
  if (feature->scope == kNamespace) {
    if (request.command.nsid == nvme::kBroadcastNsid) return kInvalidField;
    described = find_namespace(request.command.nsid);
    if (described == nullptr) return kInvalidNamespace;
  }

  const bool defaults = command.select != FeatureSelect::kCurrent;
  const FeatureValues default_values;
  const FeatureValues& values = defaults ? default_values : features_.values;
  switch (feature->id) {
    case FeatureId::kArbitration:
      dw0 = values.arbitration;
      break;
    case FeatureId::kPowerManagement:
      dw0 = values.power_management;
      break;
    case FeatureId::kTemperatureThreshold: {
      const auto asked = nvme::TemperatureThreshold::decode(command.cdw11);
      if (asked.sensor != 0 || asked.kind > 1) return kInvalidField;
      dw0 = asked.kind == 0 ? values.over_temperature : values.under_temperature;
      break;
    }
    case FeatureId::kErrorRecovery:
      dw0 = values.error_recovery;
      break;
    case FeatureId::kVolatileWriteCache:
      dw0 = values.volatile_write_cache;
      break;
    case FeatureId::kNumberOfQueues:
      dw0 = granted_queues();
      break;
    case FeatureId::kInterruptCoalescing:
    case FeatureId::kInterruptVectorConfiguration:
    case FeatureId::kIoCommandSetProfile:
      dw0 = 0;
      break;
    case FeatureId::kWriteAtomicityNormal:
      dw0 = values.write_atomicity;
      break;
    case FeatureId::kAsyncEventConfiguration:
      dw0 = defaults ? optional_events(*this) : events_.configuration();
      break;
    case FeatureId::kKeepAliveTimer:
      dw0 = defaults ? 0 : kato_ms_;
      break;
    case FeatureId::kHostBehaviorSupport:
      request.copy_to_data(0, nvme::bytes_of(values.host_behavior));
      request.transfer_length = request.data_length;
      break;
    case FeatureId::kHostIdentifier:
      // Message-based transports have 128-bit host identifiers only.
      if ((command.cdw11 & nvme::kHostIdentifierExtended) == 0) return kInvalidField;
      request.copy_to_data(0, std::as_bytes(std::span(host_id())));
      request.transfer_length = request.data_length;
      break;
    case FeatureId::kReservationNotificationMask: {
      const auto mask = values.reservation_mask.find(request.command.nsid);
      dw0 = mask == values.reservation_mask.end() ? 0 : mask->second;
      break;
    }
    case FeatureId::kReservationPersistence: {
      const Reservation& reservation = described->reservation();
      if (!reservation.can_persist()) return kInvalidField;
      dw0 = !defaults && reservation.state().persist ? nvme::kPersistThroughPowerLoss : 0;
      break;
    }
    default:
      return kInvalidField;
  }
  return Status::success();
}

// ---- Set Features ----

uint32_t Controller::granted_queues() const {
  const auto io_queues = static_cast<uint16_t>(target_.options().max_queue_pairs - 1);
  const auto zero_based = static_cast<uint16_t>(io_queues - 1);
  return nvme::NumberOfQueues{.submission = zero_based, .completion = zero_based}.encode();
}

runtime::Task<Status> Controller::set_features(Request& request) {
  const auto command = nvme::SetFeatures::decode(request.command);
  const uint32_t nsid = request.command.nsid;
  const FeatureDescription* feature = available_feature(command.fid);
  if (feature == nullptr) co_return kInvalidField;
  if (command.save) co_return Status::command(nvme::CommandStatus::kFeatureNotSaveable, Dnr::kYes);
  // The host identifier came with Connect.
  if (feature->id == FeatureId::kHostIdentifier) {
    co_return Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes);
  }
  if (!feature->changeable) co_return Status::command(nvme::CommandStatus::kFeatureNotChangeable, Dnr::kYes);
  if (feature->scope == kController) {
    if (nsid != 0 && nsid != nvme::kBroadcastNsid) {
      co_return Status::command(nvme::CommandStatus::kFeatureNotNamespaceSpecific, Dnr::kYes);
    }
    co_return set_controller_feature(request, command);
  }

  // All namespaces, or one.
  std::vector<std::shared_ptr<Namespace>> addressed;
  for (const auto& each : subsystem_->namespaces()) {
    if (nsid == nvme::kBroadcastNsid || each->nsid() == nsid) addressed.push_back(each);
  }
  if (addressed.empty()) co_return kInvalidNamespace;
  for (const auto& each : addressed) {
    if (feature->id == FeatureId::kReservationNotificationMask) {
      constexpr uint32_t kMasks =
          nvme::kMaskRegistrationPreempted | nvme::kMaskReservationReleased | nvme::kMaskReservationPreempted;
      features_.values.reservation_mask[each->nsid()] = command.cdw11 & kMasks;
      continue;
    }
    const bool persist = (command.cdw11 & nvme::kPersistThroughPowerLoss) != 0;
    const Status status = co_await each->set_reservation_persistence(persist);
    if (!status.is_success()) co_return status;
  }
  co_return Status::success();
}

Status Controller::set_controller_feature(Request& request, const nvme::SetFeatures& command) {
  FeatureValues& values = features_.values;
  const uint32_t wanted = command.cdw11;
  switch (static_cast<FeatureId>(command.fid)) {
    case FeatureId::kArbitration:
      return keep(values.arbitration, wanted, 0xffffff07);
    case FeatureId::kPowerManagement:
      // There is power state 0 only.
      if (nvme::PowerManagement::decode(wanted).power_state != 0) return kInvalidField;
      return keep(values.power_management, wanted, 0xff);
    case FeatureId::kTemperatureThreshold:
      return set_temperature(values, wanted);
    case FeatureId::kErrorRecovery:
      // Reading a deallocated block is never an error here (NSFEAT bit 2).
      if (nvme::ErrorRecovery::decode(wanted).deallocated_error) return kInvalidField;
      return keep(values.error_recovery, wanted, 0xffff);
    case FeatureId::kVolatileWriteCache: {
      const Status status = keep(values.volatile_write_cache, wanted, nvme::kVolatileWriteCacheEnable);
      features_.publish();
      return status;
    }
    case FeatureId::kNumberOfQueues: {
      constexpr uint16_t kReserved = 0xffff;
      const auto queues = nvme::NumberOfQueues::decode(wanted);
      if (queues.submission == kReserved || queues.completion == kReserved) return kInvalidField;
      if (num_io_queue_pairs() > 0) return Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes);
      request.completion.dw0 = granted_queues();
      return Status::success();
    }
    case FeatureId::kWriteAtomicityNormal:
      return keep(values.write_atomicity, wanted, nvme::kWriteAtomicityDisableNormal);
    case FeatureId::kAsyncEventConfiguration:
      events_.set_configuration(wanted);
      return Status::success();
    case FeatureId::kKeepAliveTimer:
      if (wanted == 0) return Status::generic(GenericStatus::kKeepAliveTimeoutInvalid, Dnr::kYes);
      kato_ms_ = round_kato(wanted);
      restart_keep_alive();
      return Status::success();
    case FeatureId::kHostBehaviorSupport: {
      nvme::HostBehavior behavior;
      request.copy_from_data(0, std::as_writable_bytes(std::span(&behavior, 1)));
      if (!is_valid(behavior)) return kInvalidField;
      values.host_behavior = behavior;
      features_.publish();
      return Status::success();
    }
    case FeatureId::kIoCommandSetProfile:
      // Index into the combinations of Identify CNS 1Ch: there is one.
      if ((wanted & 0x1ff) != 0) {
        return Status::command(nvme::CommandStatus::kIoCommandSetCombinationRejected, Dnr::kYes);
      }
      return Status::success();
    default:
      return kInvalidField;
  }
}

}  // namespace cairn::nvmf::target
