// Controller properties and what a change of CC does (NVMe Base 2.0, sections 3.1.3, 3.5 and 3.6). Message-based
// transports have CAP, VS, CC, CSTS, NSSR and CRTO; the queue and interrupt registers of PCIe read as zero or not at
// all.
#include "nvme/property.h"

#include "base/log.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/identify.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Property;
using nvme::Status;

namespace {

const Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);

nvme::ControllerCapabilities capabilities(const Target& target, bool discovery) {
  using nvme::ControllerCapabilities;
  const uint8_t nvm_and_csi = ControllerCapabilities::kCssNvm | ControllerCapabilities::kCssIoCommandSets;
  return {.mqes = static_cast<uint16_t>(target.options().max_queue_depth - 1),
          .cqr = true,
          .to = Controller::kReadyTimeout,
          .css = discovery ? ControllerCapabilities::kCssNvm : nvm_and_csi,
          .crms = ControllerCapabilities::kCrmsWithMedia};
}

bool is_acceptable(const nvme::ControllerConfiguration& config, bool discovery) {
  using nvme::ControllerConfiguration;
  const bool command_set = config.css == ControllerConfiguration::kCssNvm ||
                           (config.css == ControllerConfiguration::kCssAllSupported && !discovery);
  return command_set && config.mps == 0 && config.ams == 0;
}

}  // namespace

Status Controller::property_get(Request& request) {
  const auto get = nvme::PropertyGet::decode(request.command);
  const auto property = static_cast<Property>(get.offset);
  if (get.size_is_reserved || get.eight_bytes != (nvme::property_size(property) == 8)) return kInvalidField;
  switch (property) {
    case Property::kCap:
      request.completion.set_value64(capabilities(target_, is_discovery()).encode());
      return Status::success();
    case Property::kVs:
      request.completion.dw0 = nvme::kVersion2_0;
      return Status::success();
    case Property::kCc:
      request.completion.dw0 = config_.encode();
      return Status::success();
    case Property::kCsts:
      request.completion.dw0 = status_.encode();
      return Status::success();
    case Property::kCrto:
      request.completion.dw0 = kReadyTimeout;  // CRWMT
      return Status::success();
    case Property::kNssr:
    case Property::kAqa:
    case Property::kAsq:
    case Property::kAcq:
      return Status::success();
    default:
      return kInvalidField;
  }
}

Status Controller::property_set(const Request& request) {
  const auto set = nvme::PropertySet::decode(request.command);
  if (set.size_is_reserved || set.eight_bytes || static_cast<Property>(set.offset) != Property::kCc) {
    return kInvalidField;
  }
  return set_configuration(nvme::ControllerConfiguration::decode(static_cast<uint32_t>(set.value)));
}

Status Controller::set_configuration(nvme::ControllerConfiguration config) {
  if (config.en && !config_.en && !is_acceptable(config, is_discovery())) return kInvalidField;
  const bool was_enabled = config_.en;
  config_ = config;
  if (config.en && !was_enabled && !resetting_) enable();
  if (!config.en && was_enabled) begin_reset();
  // Nothing is held back that a shutdown would have to write: it is complete at once.
  if (config.shn != nvme::ShutdownNotification::kNone) status_.shst = nvme::ShutdownStatus::kComplete;
  update_timers();
  return Status::success();
}

void Controller::enable() {
  status_.rdy = true;
  status_.shst = nvme::ShutdownStatus::kNormalOperation;
}

// Controller Level Reset. The admin queue and what Connect set (host identity, keep-alive) survive it.
void Controller::begin_reset() {
  events_.drop_all();
  features_.reset();
  events_.set_configuration(optional_events(*this));
  changed_namespaces_.clear();
  reservation_notices_.clear();
  if (resetting_) return;
  if (num_io_queue_pairs() == 0) {
    status_.rdy = false;
    status_.shst = nvme::ShutdownStatus::kNormalOperation;
    return;
  }
  resetting_ = true;
  disconnect_io_queue_pairs();
  target_.primary().spawn("nvmf controller reset", finish_reset(shared_from_this()));
}

runtime::Task<> Controller::finish_reset(std::shared_ptr<Controller> self) {
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), kResetTimeout);
    while (self->num_io_queue_pairs() > 0) {
      if (!co_await self->queue_pairs_changed_.wait()) break;
    }
  }
  self->resetting_ = false;
  if (self->terminating_) co_return;
  if (self->num_io_queue_pairs() > 0) {
    self->status_.cfs = true;
    self->terminate("its I/O queues did not end within the time for a reset");
    co_return;
  }
  self->status_.rdy = false;
  self->status_.shst = nvme::ShutdownStatus::kNormalOperation;
  if (self->config_.en) self->enable();
  self->update_timers();
}

}  // namespace cairn::nvmf::target
