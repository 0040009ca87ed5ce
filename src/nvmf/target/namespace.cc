#include "base/log.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/subsystem.h"
#include "nvmf/target/target.h"

namespace cairn::nvmf::target {

using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;

namespace {

const Status kInvalidNamespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
// The task was cancelled while it waited for its turn.
const Status kInterrupted = Status::generic(GenericStatus::kCommandInterrupted);

}  // namespace

Namespace::Namespace(Subsystem& subsystem, uint32_t nsid, std::shared_ptr<block::Device> device)
    : subsystem_(subsystem),
      nsid_(nsid),
      device_(std::move(device)),
      reservation_(!subsystem.options().ptpl_path.empty()) {
  if (reservation_.can_persist()) store_.emplace(subsystem.options().ptpl_path, device_->uuid());
  device_->add_listener(*this);
}

Namespace::~Namespace() {
  unlink();
}

NamespaceView::Decision Namespace::decision() const {
  return {.access = std::make_shared<const AccessTable>(reservation_.access()),
          .ana_state = ana_state_,
          .removed = removed_};
}

// ---- Reservations ----

runtime::Task<Status> Namespace::execute_reservation(const HostId& host, Request& request) {
  const std::shared_ptr<Namespace> self = shared_from_this();
  const auto turn = co_await changing_.lock();
  if (!turn) co_return kInterrupted;
  if (removed_) co_return kInvalidNamespace;

  std::vector<std::byte> payload(request.data_length);
  const nvme::Sqe& command = request.command;
  if (command.nvm_opcode() == nvme::NvmOpcode::kReservationReport) {
    const Status status = reservation_.report_command(command, payload);
    if (status.is_success()) {
      request.copy_to_data(0, payload);
      request.transfer_length = request.data_length;
    }
    co_return status;
  }
  request.copy_from_data(0, payload);
  Reservation::State before = reservation_.state();
  switch (command.nvm_opcode()) {
    case nvme::NvmOpcode::kReservationRegister:
      co_return co_await carry_out(reservation_.register_command(host, command, payload), std::move(before));
    case nvme::NvmOpcode::kReservationAcquire:
      co_return co_await carry_out(reservation_.acquire_command(host, command, payload), std::move(before));
    case nvme::NvmOpcode::kReservationRelease:
      co_return co_await carry_out(reservation_.release_command(host, command, payload), std::move(before));
    default:
      co_return Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  }
}

runtime::Task<Status> Namespace::set_reservation_persistence(bool persist) {
  const std::shared_ptr<Namespace> self = shared_from_this();
  const auto turn = co_await changing_.lock();
  if (!turn) co_return kInterrupted;
  if (removed_) co_return kInvalidNamespace;
  Reservation::State before = reservation_.state();
  co_return co_await carry_out(reservation_.set_persist(persist), std::move(before));
}

// Preempt and abort needs nothing of its own: when the views have changed, no command of a preempted host is executing.
runtime::Task<Status> Namespace::carry_out(Reservation::Outcome outcome, Reservation::State before) {
  if (outcome.changed) {
    if (store_) {
      if (const auto saved = co_await store_->save(reservation_.state()); !saved) {
        log::error("nvmf: {}: reservations not changed: {}", subsystem_.nqn(), saved.error().to_string());
        reservation_.restore(std::move(before));
        co_return Status::generic(GenericStatus::kInternalError);
      }
    }
    co_await subsystem_.apply_to_views(*this);
  }
  for (const ReservationNotification& notification : outcome.notifications) {
    for (const auto& [cntlid, controller] : subsystem_.controllers()) {
      if (controller->host_id() == notification.host) controller->reservation_notice(nsid_, notification.type);
    }
  }
  co_return outcome.status;
}

// ---- ANA ----

runtime::Task<> Namespace::set_ana_state(AnaState state) {
  const std::shared_ptr<Namespace> self = shared_from_this();
  const auto turn = co_await changing_.lock();
  if (!turn || removed_ || state == ana_state_) co_return;
  ana_state_ = state;
  ++ana_change_count_;
  co_await subsystem_.apply_to_views(*this);
  if (!subsystem_.options().ana_reporting) co_return;
  for (const auto& [cntlid, controller] : subsystem_.controllers()) controller->ana_changed();
}

// ---- The device ----

void Namespace::on_resized(block::Device& device) {
  log::info("nvmf: {}: namespace {} now has {} blocks", subsystem_.nqn(), nsid_, device.num_blocks());
  subsystem_.announce_namespace(nsid_);
}

void Namespace::on_removed(block::Device&) {
  unlink();
  subsystem_.target().primary().spawn("nvmf namespace removal",
                                      [](Subsystem& subsystem, std::shared_ptr<Namespace> self) -> runtime::Task<> {
                                        const Subsystem::Use use(subsystem);
                                        co_await subsystem.remove_namespace(std::move(self));
                                      }(subsystem_, shared_from_this()));
}

}  // namespace cairn::nvmf::target
