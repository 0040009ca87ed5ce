// The asynchronous events of a controller: Asynchronous Event Requests that wait, and events that wait for a request
// (NVMe Base 2.0, section 5.2). Primary reactor.
//
// Each kind of event is idle -> pending (nobody has asked) -> reported (a request was answered with it) -> idle again
// when its log page was read without RAE. Until then further events of the kind are only visible in the log page.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "nvme/async_event.h"
#include "nvme/log_page.h"
#include "nvme/status.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

enum class EventKind : uint8_t { kNamespaceAttribute, kAnaChange, kReservationLog, kDiscoveryLog };
inline constexpr size_t kNumEventKinds = 4;

class AsyncEvents {
 public:
  // `max_requests`: requests that may wait at a time.
  explicit AsyncEvents(uint8_t max_requests) : max_requests_(max_requests) {}
  AsyncEvents(const AsyncEvents&) = delete;
  AsyncEvents& operator=(const AsyncEvents&) = delete;

  // An Asynchronous Event Request: gives its status when there is an event (then completion DW0 is `dw0`), when it was
  // aborted, or at once when too many wait.
  runtime::Task<nvme::Status> wait(uint16_t cid, uint32_t& dw0);

  // Something happened. Nothing is reported when the configuration masks the kind.
  void raise(EventKind kind);
  // Get Log Page with RAE cleared.
  void log_page_read(nvme::LogPageId page);

  // Asynchronous Event Configuration (kEvent... bits). Does not concern the reservation log, which has its own mask.
  uint32_t configuration() const { return configuration_; }
  void set_configuration(uint32_t configuration) { configuration_ = configuration; }

  // Host's Abort: false when no such request waits.
  bool abort(uint16_t cid);
  // All waiting requests end with ABORTED SQ DELETION, all events are forgotten.
  void drop_all();

  size_t num_waiting() const { return waiting_.size(); }

 private:
  enum class State : uint8_t { kIdle, kPending, kReported };
  struct Waiter {
    uint16_t cid = 0;
    uint32_t dw0 = 0;
    nvme::Status status;
    runtime::Event done;
  };
  void deliver();

  const uint8_t max_requests_;
  uint32_t configuration_ = 0;
  std::array<State, kNumEventKinds> states_{};
  std::vector<Waiter*> waiting_;  // in the order of arrival
};

}  // namespace cairn::nvmf::target
