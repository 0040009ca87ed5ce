#include "nvmf/target/async_events.h"

#include <algorithm>

#include "nvme/feature.h"

namespace cairn::nvmf::target {

namespace {

nvme::AsyncEvent event_of(EventKind kind) {
  switch (kind) {
    case EventKind::kNamespaceAttribute:
      return nvme::AsyncEvent::namespace_changed();
    case EventKind::kAnaChange:
      return nvme::AsyncEvent::ana_changed();
    case EventKind::kReservationLog:
      return nvme::AsyncEvent::reservation_log_available();
    case EventKind::kDiscoveryLog:
      return nvme::AsyncEvent::discovery_log_changed();
  }
  return {};
}

bool is_enabled(EventKind kind, uint32_t configuration) {
  switch (kind) {
    case EventKind::kNamespaceAttribute:
      return (configuration & nvme::kEventNamespaceAttribute) != 0;
    case EventKind::kAnaChange:
      return (configuration & nvme::kEventAnaChange) != 0;
    case EventKind::kReservationLog:
      return true;
    case EventKind::kDiscoveryLog:
      return (configuration & nvme::kEventDiscoveryLogChange) != 0;
  }
  return false;
}

}  // namespace

runtime::Task<nvme::Status> AsyncEvents::wait(uint16_t cid, uint32_t& dw0) {
  if (waiting_.size() >= max_requests_) {
    co_return nvme::Status::command(nvme::CommandStatus::kAsyncEventRequestLimitExceeded, nvme::Dnr::kYes);
  }
  Waiter waiter;
  waiter.cid = cid;
  waiting_.push_back(&waiter);
  deliver();
  if (!co_await waiter.done.wait()) {
    std::erase(waiting_, &waiter);
    co_return nvme::Status::generic(nvme::GenericStatus::kAbortedSqDeletion);
  }
  dw0 = waiter.dw0;
  co_return waiter.status;
}

void AsyncEvents::raise(EventKind kind) {
  State& state = states_[static_cast<size_t>(kind)];
  if (state != State::kIdle || !is_enabled(kind, configuration_)) return;
  state = State::kPending;
  deliver();
}

void AsyncEvents::deliver() {
  for (size_t i = 0; i < kNumEventKinds && !waiting_.empty(); ++i) {
    if (states_[i] != State::kPending) continue;
    states_[i] = State::kReported;
    Waiter& waiter = *waiting_.front();
    waiting_.erase(waiting_.begin());
    waiter.dw0 = event_of(static_cast<EventKind>(i)).encode();
    waiter.done.set();
  }
}

void AsyncEvents::log_page_read(nvme::LogPageId page) {
  for (size_t i = 0; i < kNumEventKinds; ++i) {
    if (event_of(static_cast<EventKind>(i)).log_page == static_cast<uint8_t>(page)) states_[i] = State::kIdle;
  }
}

bool AsyncEvents::abort(uint16_t cid) {
  const auto found = std::ranges::find(waiting_, cid, &Waiter::cid);
  if (found == waiting_.end()) return false;
  (*found)->status = nvme::Status::generic(nvme::GenericStatus::kAbortRequested);
  (*found)->done.set();
  waiting_.erase(found);
  return true;
}

void AsyncEvents::drop_all() {
  states_.fill(State::kIdle);
  for (Waiter* waiter : waiting_) {
    waiter->status = nvme::Status::generic(nvme::GenericStatus::kAbortedSqDeletion);
    waiter->done.set();
  }
  waiting_.clear();
}

}  // namespace cairn::nvmf::target
