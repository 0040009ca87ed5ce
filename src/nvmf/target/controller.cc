#include "nvmf/target/controller.h"

#include "base/abandonment.h"
#include "base/log.h"
#include "nvmf/target/identify.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

namespace {

std::string_view subsystem_name(Subsystem* subsystem) {
  return subsystem != nullptr ? std::string_view(subsystem->nqn()) : std::string_view("discovery");
}

runtime::Task<> disconnect(std::shared_ptr<QueuePairHandle> handle) {
  co_await runtime::call_on(handle->reactor, [handle]() -> runtime::Task<> {
    if (handle->queue_pair != nullptr) handle->queue_pair->disconnect();
    co_return;
  });
}

}  // namespace

Controller::Controller(Target& target, Subsystem* subsystem, ControllerIdentity identity)
    : target_(target),
      subsystem_(subsystem),
      identity_(std::move(identity)),
      keep_alive_timer_([this] { keep_alive_expired(); }),
      association_timer_([this] { terminate("the host did not enable it in time"); }),
      events_(target.options().max_async_events) {
  kato_ms_ = round_kato(identity_.kato_ms);
  if (is_discovery() && kato_ms_ == 0) kato_ms_ = kDiscoveryKatoMs;
  events_.set_configuration(optional_events(*this));
  update_timers();
  log::info("nvmf: host {} connected to {} as controller {}", host_nqn(), subsystem_name(subsystem_), cntlid());
}

Controller::~Controller() {
  CAIRN_CHECK(queue_pairs_.empty() || abandoning());
}

Namespace* Controller::find_namespace(uint32_t nsid) const {
  return subsystem_ != nullptr ? subsystem_->find_namespace(nsid) : nullptr;
}

// ---- Queue pairs ----

void Controller::add_queue_pair(uint16_t qid, std::shared_ptr<QueuePairHandle> queue_pair) {
  CAIRN_CHECK(!terminating_);
  const bool added = queue_pairs_.emplace(qid, std::move(queue_pair)).second;
  CAIRN_CHECK(added);
}

void Controller::admin_queue_closing() {
  terminate("its admin queue was disconnected");
}

void Controller::remove_queue_pair(uint16_t qid) {
  queue_pairs_.erase(qid);
  queue_pairs_changed_.pulse();
  if (!queue_pairs_.empty()) return;
  log::info("nvmf: controller {} of {} (host {}) is gone", cntlid(), subsystem_name(subsystem_), host_nqn());
  auto& siblings = subsystem_ != nullptr ? subsystem_->controllers() : target_.discovery_controllers();
  siblings.erase(cntlid());
  gone_.set();
}

void Controller::terminate(std::string_view reason) {
  if (terminating_) return;
  terminating_ = true;
  log::info("nvmf: controller {} of {} (host {}) ends: {}", cntlid(), subsystem_name(subsystem_), host_nqn(), reason);
  update_timers();
  events_.drop_all();
  for (const auto& [qid, handle] : queue_pairs_) target_.primary().spawn("nvmf disconnect", disconnect(handle));
}

runtime::Task<> Controller::terminate_now(std::string reason) {
  std::vector<std::shared_ptr<QueuePairHandle>> handles;
  for (const auto& [qid, handle] : queue_pairs_) handles.push_back(handle);
  terminate(reason);
  for (const auto& handle : handles) co_await disconnect(handle);
}

void Controller::disconnect_io_queue_pairs() {
  for (const auto& [qid, handle] : queue_pairs_) {
    if (qid != nvme::kAdminQueueId) target_.primary().spawn("nvmf disconnect", disconnect(handle));
  }
}

// ---- Commands ----

runtime::Task<Status> Controller::execute_admin(Request& request) {
  const nvme::Sqe& command = request.command;
  request.completion = {};
  if (command.is_fabrics()) {
    const bool get = nvme::fabrics_type(command) == nvme::FabricsType::kPropertyGet;
    co_return get ? property_get(request) : property_set(request);
  }
  // What was on its way when the controller ended: an event request would wait for ever.
  if (terminating_) co_return Status::generic(GenericStatus::kAbortedSqDeletion);
  if (!ready()) co_return Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes);
  switch (command.admin_opcode()) {
    case nvme::AdminOpcode::kGetLogPage:
      co_return get_log_page(request);
    case nvme::AdminOpcode::kIdentify:
      co_return identify(request);
    case nvme::AdminOpcode::kGetFeatures:
      co_return get_features(request);
    case nvme::AdminOpcode::kSetFeatures:
      co_return co_await set_features(request);
    case nvme::AdminOpcode::kAbort:
      co_return co_await abort(request);
    case nvme::AdminOpcode::kAsyncEventRequest:
      co_return co_await events_.wait(command.cid, request.completion.dw0);
    case nvme::AdminOpcode::kKeepAlive:
      restart_keep_alive();
      co_return Status::success();
    default:
      co_return co_await execute_vendor(request);
  }
}

// begin() let it through: the opcode is the subsystem's.
const VendorCommand& Controller::vendor_command() const {
  return subsystem_->options().vendor_command;
}

runtime::Task<Status> Controller::execute_vendor(Request& request) {
  Namespace* found = find_namespace(request.command.nsid);
  if (found == nullptr) co_return Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
  const Subsystem::Use use(*subsystem_);
  const std::shared_ptr<block::Device> device = found->device_ptr();
  std::vector<std::byte> data(request.data_length);
  request.copy_from_data(0, data);
  co_return co_await vendor_command().handle(*device, std::move(data), request.completion.dw0);
}

runtime::Task<Status> Controller::execute_reservation(Request& request) {
  request.completion = {};
  Namespace* found = find_namespace(request.command.nsid);
  if (found == nullptr) co_return Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
  co_return co_await found->execute_reservation(host_id(), request);
}

// ---- Events ----

void Controller::namespace_changed(uint32_t nsid) {
  if (!ready()) return;
  changed_namespaces_.insert(nsid);
  events_.raise(EventKind::kNamespaceAttribute);
}

void Controller::reservation_notice(uint32_t nsid, nvme::ReservationNotificationType type) {
  if (!ready()) return;
  uint32_t suppressed_by = 0;
  switch (type) {
    case nvme::ReservationNotificationType::kRegistrationPreempted:
      suppressed_by = nvme::kMaskRegistrationPreempted;
      break;
    case nvme::ReservationNotificationType::kReservationReleased:
      suppressed_by = nvme::kMaskReservationReleased;
      break;
    case nvme::ReservationNotificationType::kReservationPreempted:
      suppressed_by = nvme::kMaskReservationPreempted;
      break;
    case nvme::ReservationNotificationType::kEmpty:
      return;
  }
  const auto mask = features_.values.reservation_mask.find(nsid);
  if (mask != features_.values.reservation_mask.end() && (mask->second & suppressed_by) != 0) return;
  // A host that never reads loses the oldest; the gap in the count tells.
  if (reservation_notices_.size() == kMaxReservationNotices) reservation_notices_.pop_front();
  nvme::ReservationNotification notice;
  notice.log_page_count = ++num_reservation_notices_;
  notice.type = type;
  notice.nsid = nsid;
  reservation_notices_.push_back(notice);
  events_.raise(EventKind::kReservationLog);
}

// ---- Timers ----

uint32_t Controller::round_kato(uint32_t kato_ms) const {
  const auto granularity = static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(target_.options().keep_alive_granularity).count());
  const uint64_t rounded = (kato_ms + granularity - 1) / granularity * granularity;
  // Nobody waits for 49 days: the largest multiple that the feature can say.
  return static_cast<uint32_t>(std::min<uint64_t>(rounded, UINT32_MAX / granularity * granularity));
}

void Controller::restart_keep_alive() {
  if (kato_ms_ == 0) return;
  target_.primary().arm(keep_alive_timer_, target_.primary().now() + std::chrono::milliseconds(kato_ms_));
}

void Controller::update_timers() {
  const bool serving = ready() && status_.shst == nvme::ShutdownStatus::kNormalOperation;
  if (terminating_ || !serving || kato_ms_ == 0) {
    keep_alive_timer_.disarm();
  } else if (!keep_alive_timer_.armed()) {
    restart_keep_alive();
  }
  if (terminating_ || serving) {
    association_timer_.disarm();
  } else if (!association_timer_.armed()) {
    target_.primary().arm(association_timer_, target_.primary().now() + target_.options().association_timeout);
  }
}

void Controller::keep_alive_expired() {
  log::warn("nvmf: controller {} of {}: no keep-alive from host {} for {} ms", cntlid(), subsystem_name(subsystem_),
            host_nqn(), kato_ms_);
  status_.cfs = true;
  terminate("keep-alive expired");
}

}  // namespace cairn::nvmf::target
