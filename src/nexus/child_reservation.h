// NVMe reservations on remote children: they keep a nexus that has been replaced, but may still be alive, from writing.
//
// A nexus with a key registers it with each remote child and takes the reservation, from others as its policy allows
// (reference nexus.md, section 7). Whoever is preempted gets Reservation Conflict for the next write, and shuts itself
// down. Registrations belong to the host (its identifier), not to a connection.
//
// Nothing is given back when a nexus ends: one that was preempted before and comes back later must find the children
// reserved. The next nexus takes them over.
//
// Local children have no reservations. Their device has one claim, which the NVMe-oF target holds while it exports it:
// a nexus gets it when that export has ended, and with it all I/O of remote hosts.
#pragma once

#include <cstdint>

#include "base/error.h"
#include "nvme/reservation.h"
#include "nvmf/host/nvme_device.h"
#include "runtime/task.h"

namespace cairn::nexus {

struct ReservationParameters {
  uint64_t key = 0;          // 0: no reservations
  uint64_t preempt_key = 0;  // of the nexus that is replaced; 0: none
  nvme::ReservationType type = nvme::ReservationType::kWriteExclusiveAllRegistrants;
  bool preempt_holder = false;  // policy Holder: whoever holds it, is replaced; else ArgKey
};

// Registers and takes the reservation. FAILED_PRECONDITION: others hold it, and the policy does not allow to take it;
// UNAVAILABLE; INTERNAL with what the controller says.
runtime::Task<Result<>> reserve(nvmf::host::NvmeDevice& child, const ReservationParameters& parameters);

enum class ReservationState : uint8_t {
  kOurs,
  kOthers,  // somebody has taken it over
};

// After a connection was made anew: the other end may have been started anew and have forgotten us, or we may have been
// preempted. Reserves again what nobody has, or only the nexus that we replaced; never takes it from others. Errors as
// reserve().
runtime::Task<Result<ReservationState>> renew(nvmf::host::NvmeDevice& child, const ReservationParameters& parameters);

}  // namespace cairn::nexus
