// The reservations of a nexus on its remote children.
#include <fmt/format.h>

#include "base/log.h"
#include "nexus/child_reservation.h"
#include "nexus/nexus.h"
#include "nexus/nexus_error.h"

namespace cairn::nexus {

using nvmf::host::NvmeDevice;
using runtime::Task;

Task<Result<>> Nexus::reserve_child(Child& child) {
  const ReservationParameters parameters = request_.nvme.reservation();
  const auto remote = std::dynamic_pointer_cast<NvmeDevice>(child.device);
  if (parameters.key == 0 || remote == nullptr) co_return Result<>{};
  auto reserved = co_await reserve(*remote, parameters);
  if (!reserved) co_return fail(nexus_error::reserve_child(name(), child.uri, std::move(reserved.error())));
  co_return Result<>{};
}

void Nexus::on_child_reconnected(Child& child) {
  const ChildPtr self = child_in(child.slot);
  if (self == nullptr || request_.nvme.reservation_key == 0) return;
  run_in_background("renew reservation", [self](Nexus& nexus) { return nexus.renew_reservation(self); });
}

Task<> Nexus::renew_reservation(ChildPtr child) {
  const ReservationParameters parameters = request_.nvme.reservation();
  auto remote = std::dynamic_pointer_cast<NvmeDevice>(child->device);
  if (remote == nullptr) co_return;
  const auto state = co_await renew(*remote, parameters);
  const bool present = child->device == remote;
  remote.reset();
  if (!present || child->state != ChildState::kOpen) co_return;
  if (!state) {
    log::warn("nexus {}: child {}: {}", name(), child->uri, state.error().to_string());
    // Without a connection: the next one brings us here again.
    if (state.error().code() == Code::kUnavailable) co_return;
    co_await retire(child, ChildState::kFaulted, FaultReason::kAdminCommandFailed, false);
    co_return;
  }
  if (*state == ReservationState::kOurs) co_return;
  const auto guard = co_await health_.lock();
  if (guard) co_await self_shutdown(fmt::format("another host has reserved child {}", child->uri));
}

}  // namespace cairn::nexus
