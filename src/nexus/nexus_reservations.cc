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

Task<Result<>> Nexus::renew_reservation(ChildPtr child) {
  const ReservationParameters parameters = request_.nvme.reservation();
  auto remote = std::dynamic_pointer_cast<NvmeDevice>(child->device);
  if (parameters.key == 0 || remote == nullptr) co_return Result<>{};
  const auto state = co_await renew(*remote, parameters);
  const bool present = child->device == remote;
  remote.reset();
  if (!present || child->state != ChildState::kOpen) co_return fail(Code::kCancelled, "the child has left");
  if (!state) {
    // Without a connection: the next one brings us here again.
    if (state.error().code() != Code::kUnavailable) {
      log::warn("nexus {}: child {}: {}", name(), child->uri, state.error().to_string());
      run_in_background("retire child", [child](Nexus& nexus) -> Task<> {
        co_await nexus.retire(child, ChildState::kFaulted, FaultReason::kAdminCommandFailed, false);
      });
    }
    co_return fail(state.error());
  }
  if (*state == ReservationState::kOurs) co_return Result<>{};
  on_conflict(child->uri);
  co_return fail(Code::kFailedPrecondition, "another host has reserved it");
}

}  // namespace cairn::nexus
