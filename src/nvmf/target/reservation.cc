#include "nvmf/target/reservation.h"

#include <algorithm>
#include <utility>

#include "nvme/nvm_command.h"

namespace cairn::nvmf::target {

namespace {

using nvme::AcquireAction;
using nvme::ChangePtpl;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::RegisterAction;
using nvme::ReleaseAction;
using nvme::ReservationNotificationType;
using nvme::ReservationType;
using nvme::Status;
using State = Reservation::State;
using Outcome = Reservation::Outcome;

constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
constexpr Status kConflict = Status::generic(GenericStatus::kReservationConflict);

Outcome refuse(Status status) {
  Outcome outcome;
  outcome.status = status;
  return outcome;
}

bool is_all_registrants(ReservationType type) {
  return type == ReservationType::kWriteExclusiveAllRegistrants ||
         type == ReservationType::kExclusiveAccessAllRegistrants;
}

bool is_registrants_only(ReservationType type) {
  return type == ReservationType::kWriteExclusiveRegistrantsOnly ||
         type == ReservationType::kExclusiveAccessRegistrantsOnly;
}

bool is_write_exclusive(ReservationType type) {
  return type == ReservationType::kWriteExclusive || type == ReservationType::kWriteExclusiveRegistrantsOnly ||
         type == ReservationType::kWriteExclusiveAllRegistrants;
}

bool has_key(const State& state, const HostId& host, uint64_t key) {
  const auto found = state.registrants.find(host);
  return found != state.registrants.end() && found->second.key == key;
}

bool is_holder(const State& state, const HostId& host) {
  if (!state.holder) return false;
  return is_all_registrants(state.type) ? state.registrants.contains(host) : *state.holder == host;
}

void hold(State& state, const HostId& host, ReservationType type) {
  state.type = type;
  state.holder = host;
  state.holder_key = state.registrants.at(host).key;
}

void release(State& state) {
  state.type = ReservationType::kNone;
  state.holder.reset();
  state.holder_key = 0;
}

// Takes a registrant away. A reservation goes with its holder; one of all registrants goes with the last of them.
void unregister(State& state, const HostId& host) {
  state.registrants.erase(host);
  if (state.holder != host) return;
  if (is_all_registrants(state.type) && !state.registrants.empty()) {
    hold(state, state.registrants.begin()->first, state.type);
  } else {
    release(state);
  }
}

std::vector<HostId> hosts_with_key(const State& state, uint64_t key) {
  std::vector<HostId> hosts;
  for (const auto& [host, registrant] : state.registrants) {
    if (registrant.key == key) hosts.push_back(host);
  }
  return hosts;
}

// To every registrant of `state` but the host that sent the command.
void notify(Outcome& outcome, const State& state, const HostId& sender, ReservationNotificationType type) {
  for (const auto& [host, registrant] : state.registrants) {
    if (host != sender) outcome.notifications.push_back({host, type});
  }
}

}  // namespace

// `counts`: the command increments the generation when it succeeds (Base 2.0, figure "Reservation Status Data
// Structure": Register, Clear, Preempt and Preempt and Abort do, whether they change anything or not).
Outcome Reservation::commit(State next, bool counts) {
  Outcome outcome;
  outcome.changed = next != state_;
  if (counts) ++next.generation;
  state_ = std::move(next);
  return outcome;
}

// Base 2.0, sections 7.3, 8.19.3 (registering) and 8.19.4 (unregistering).
Outcome Reservation::register_command(const HostId& host, const nvme::Sqe& sqe, std::span<const std::byte> payload) {
  const auto command = nvme::ReservationRegister::decode(sqe);
  if (payload.size() < sizeof(nvme::ReservationRegisterData)) return refuse(kInvalidField);
  const auto [crkey, nrkey] = nvme::load<nvme::ReservationRegisterData>(payload);

  State next = state_;
  switch (command.change_ptpl) {
    case ChangePtpl::kNoChange:
      break;
    case ChangePtpl::kClear:
      next.persist = false;
      break;
    case ChangePtpl::kSet:
      if (!can_persist_) return refuse(kInvalidField);
      next.persist = true;
      break;
    default:
      return refuse(kInvalidField);
  }

  const auto found = next.registrants.find(host);
  const bool registered = found != next.registrants.end();
  const bool key_fits = registered && (command.ignore_existing_key || found->second.key == crkey);
  const bool full = next.registrants.size() >= kMaxRegistrants;
  bool released = false;
  switch (command.action) {
    case RegisterAction::kRegister:
      if (nrkey == 0) return refuse(kInvalidField);
      if (registered && found->second.key != nrkey) return refuse(kConflict);
      if (!registered && full) return refuse(Status::generic(GenericStatus::kInternalError));
      next.registrants[host].key = nrkey;
      break;
    case RegisterAction::kUnregister:
      if (!key_fits) return refuse(kConflict);
      released = is_registrants_only(next.type) && next.holder == host;
      unregister(next, host);
      break;
    case RegisterAction::kReplace:
      if (nrkey == 0) return refuse(kInvalidField);
      if (registered ? !key_fits : !command.ignore_existing_key) return refuse(kConflict);
      if (!registered && full) return refuse(Status::generic(GenericStatus::kInternalError));
      next.registrants[host].key = nrkey;
      if (next.holder == host) next.holder_key = nrkey;
      break;
    default:
      return refuse(kInvalidField);
  }

  Outcome outcome = commit(std::move(next), true);
  if (released) notify(outcome, state_, host, ReservationNotificationType::kReservationReleased);
  return outcome;
}

// Base 2.0, sections 7.2, 8.19.5 (acquiring) and 8.19.7 (preempting).
Outcome Reservation::acquire_command(const HostId& host, const nvme::Sqe& sqe, std::span<const std::byte> payload) {
  const auto command = nvme::ReservationAcquire::decode(sqe);
  if (payload.size() < sizeof(nvme::ReservationAcquireData)) return refuse(kInvalidField);
  if (command.ignore_existing_key || !is_valid(command.type)) return refuse(kInvalidField);
  const auto [crkey, prkey] = nvme::load<nvme::ReservationAcquireData>(payload);

  switch (command.action) {
    case AcquireAction::kAcquire: {
      if (!has_key(state_, host, crkey)) return refuse(kConflict);
      State next = state_;
      if (!next.holder) {
        hold(next, host, command.type);
      } else if (!is_holder(next, host) || next.type != command.type) {
        return refuse(kConflict);
      }
      return commit(std::move(next), false);
    }
    case AcquireAction::kPreempt:
    case AcquireAction::kPreemptAndAbort:
      if (!has_key(state_, host, crkey)) return refuse(kConflict);
      return preempt(host, command, prkey);
    default:
      return refuse(kInvalidField);
  }
}

Outcome Reservation::preempt(const HostId& host, const nvme::ReservationAcquire& command, uint64_t prkey) {
  const State before = state_;
  State next = state_;
  const bool takes_single = next.holder && !is_all_registrants(next.type) && prkey == next.holder_key;
  const bool takes_all = next.holder && is_all_registrants(next.type) && prkey == 0;

  if (takes_all) {
    next.registrants = {{host, before.registrants.at(host)}};
    hold(next, host, command.type);
  } else if (takes_single) {
    if (*next.holder != host) {
      for (const HostId& other : hosts_with_key(before, prkey)) {
        if (other != host) next.registrants.erase(other);
      }
    }
    hold(next, host, command.type);
  } else {
    // Only registrations: the sender's own too, when it has that key.
    if (prkey == 0) return refuse(next.holder ? kInvalidField : kConflict);
    const std::vector<HostId> hosts = hosts_with_key(before, prkey);
    if (hosts.empty()) return refuse(kConflict);
    for (const HostId& other : hosts) unregister(next, other);
  }

  Outcome outcome = commit(std::move(next), true);
  for (const auto& [other, registrant] : before.registrants) {
    if (other == host || state_.registrants.contains(other)) continue;
    outcome.notifications.push_back({other, ReservationNotificationType::kRegistrationPreempted});
    if (command.action == AcquireAction::kPreemptAndAbort) outcome.preempted.push_back(other);
  }
  if (takes_single && (before.holder != state_.holder || before.type != state_.type)) {
    notify(outcome, state_, host, ReservationNotificationType::kReservationReleased);
  }
  return outcome;
}

// Base 2.0, sections 7.4, 8.19.6 (releasing) and 8.19.8 (clearing).
Outcome Reservation::release_command(const HostId& host, const nvme::Sqe& sqe, std::span<const std::byte> payload) {
  const auto command = nvme::ReservationRelease::decode(sqe);
  if (payload.size() < sizeof(nvme::ReservationReleaseData)) return refuse(kInvalidField);
  if (command.ignore_existing_key) return refuse(kInvalidField);
  const uint64_t crkey = nvme::load<nvme::ReservationReleaseData>(payload).crkey;

  switch (command.action) {
    case ReleaseAction::kRelease: {
      if (!has_key(state_, host, crkey)) return refuse(kConflict);
      if (!state_.holder) return {};
      if (command.type != state_.type) return refuse(kInvalidField);
      if (!is_holder(state_, host)) return {};
      const bool shared = is_registrants_only(state_.type) || is_all_registrants(state_.type);
      State next = state_;
      release(next);
      Outcome outcome = commit(std::move(next), false);
      if (shared) notify(outcome, state_, host, ReservationNotificationType::kReservationReleased);
      return outcome;
    }
    case ReleaseAction::kClear: {
      if (!has_key(state_, host, crkey)) return refuse(kConflict);
      const State before = state_;
      State next = state_;
      next.registrants.clear();
      release(next);
      Outcome outcome = commit(std::move(next), true);
      notify(outcome, before, host, ReservationNotificationType::kReservationPreempted);
      return outcome;
    }
    default:
      return refuse(kInvalidField);
  }
}

// Base 2.0, section 7.5. Only the extended structures: all our hosts have 128-bit identifiers.
Status Reservation::report_command(const nvme::Sqe& sqe, std::span<std::byte> into) const {
  const auto command = nvme::ReservationReport::decode(sqe);
  if (!command.extended) return Status::generic(GenericStatus::kHostIdInconsistentFormat, Dnr::kYes);

  std::ranges::fill(into, std::byte{0});
  size_t offset = 0;
  const auto append = [&](const auto& structure) {
    if (offset < into.size()) {
      const auto bytes = nvme::bytes_of(structure);
      const size_t size = std::min(bytes.size(), into.size() - offset);
      std::ranges::copy(bytes.first(size), into.begin() + static_cast<ptrdiff_t>(offset));
    }
    offset += sizeof(structure);
  };
  nvme::ReservationStatusHeaderExtended header;
  header.base.gen = state_.generation;
  header.base.rtype = state_.type;
  header.base.num_registrants = static_cast<uint16_t>(state_.registrants.size());
  header.base.ptpls = state_.persist ? 1 : 0;
  append(header);
  for (const auto& [host, registrant] : state_.registrants) {
    nvme::RegistrantExtended entry;
    entry.cntlid = 0xffff;  // the dynamic controller model
    entry.rcsts = is_holder(state_, host) ? nvme::kRegistrantHoldsReservation : 0;
    entry.rkey = registrant.key;
    std::ranges::copy(host, entry.hostid);
    append(entry);
  }
  return Status::success();
}

Outcome Reservation::set_persist(bool persist) {
  if (persist && !can_persist_) return refuse(kInvalidField);
  State next = state_;
  next.persist = persist;
  return commit(std::move(next), false);
}

AccessTable Reservation::access() const {
  AccessTable table;
  if (!state_.holder) return table;
  table.reserved = true;
  table.others = {.read = is_write_exclusive(state_.type), .write = false};
  if (is_registrants_only(state_.type) || is_all_registrants(state_.type)) {
    for (const auto& [host, registrant] : state_.registrants) table.hosts[host] = {};
  } else {
    table.hosts[*state_.holder] = {};
  }
  return table;
}

}  // namespace cairn::nvmf::target
