// Reservations of a namespace (NVMe Base 2.0, section 8.19; behaviour kept: shared reference nvmf-target.md section 6):
// a pure state machine from commands to new states, notifications and access. No I/O; persistence is
// reservation_store.h's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "nvme/reservation.h"
#include "nvme/status.h"
#include "nvmf/target/namespace_view.h"

namespace cairn::nvmf::target {

// What a change means for other hosts: sent to the controllers of `host` by the caller.
struct ReservationNotification {
  HostId host;
  nvme::ReservationNotificationType type;
};

class Reservation {
 public:
  // More than the original's 16; the report of all of them fits into 64 KiB.
  static constexpr size_t kMaxRegistrants = 256;

  struct Registrant {
    uint64_t key = 0;  // not 0
    friend bool operator==(const Registrant&, const Registrant&) = default;
  };
  struct State {
    uint32_t generation = 0;
    bool persist = false;          // PTPL state of the namespace
    nvme::ReservationType type{};  // kNone: no reservation is held
    uint64_t holder_key = 0;       // the registered key of `holder`
    // A registrant. With the all-registrants types every registrant holds the reservation; this is one of them.
    std::optional<HostId> holder;
    std::map<HostId, Registrant> registrants;
    friend bool operator==(const State&, const State&) = default;
  };

  struct Outcome {
    nvme::Status status;
    // More than the generation differs from before: persist it, apply the access table to all views, then answer.
    bool changed = false;
    std::vector<ReservationNotification> notifications;
    std::vector<HostId> preempted;  // whose outstanding commands are to be aborted (preempt and abort)
  };

  explicit Reservation(bool can_persist) : can_persist_(can_persist) {}

  const State& state() const { return state_; }
  void restore(State state) { state_ = std::move(state); }
  bool can_persist() const { return can_persist_; }

  // `payload` is the command's data; sizes are checked (INVALID FIELD). A refused command changes nothing.
  Outcome register_command(const HostId& host, const nvme::Sqe& command, std::span<const std::byte> payload);
  Outcome acquire_command(const HostId& host, const nvme::Sqe& command, std::span<const std::byte> payload);
  Outcome release_command(const HostId& host, const nvme::Sqe& command, std::span<const std::byte> payload);
  // Fills `into` (the host's buffer, may be shorter than the whole report) and gives the status.
  nvme::Status report_command(const nvme::Sqe& command, std::span<std::byte> into) const;
  // Persistence flag through Set Features (reservation persistence).
  Outcome set_persist(bool persist);

  AccessTable access() const;

 private:
  Outcome preempt(const HostId& host, const nvme::ReservationAcquire& command, uint64_t prkey);
  Outcome commit(State next, bool counts);

  bool can_persist_;
  State state_;
};

}  // namespace cairn::nvmf::target
