// Children that copies wait for: copiers of rebuilds, resynchronisations and scrubs hold range locks meanwhile, so that
// a child that keeps an I/O of theirs too long holds up hosts although it has none of theirs. And what they read from a
// child that left the healthy ones meanwhile may be old: nobody may write it anywhere. Nor may anybody write to such a
// child, for it may have another user when its device has been let go. Home reactor.
#pragma once

#include <functional>
#include <utility>

#include "base/intrusive_list.h"
#include "block/device.h"
#include "block/io_wait.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::nexus {

class CopyWatch {
 public:
  // `on_slow` is told of each that has kept an I/O for `limit`, and again as long as it does.
  CopyWatch(Duration limit, std::function<void(const block::Device&)> on_slow)
      : limit_(limit), on_slow_(std::move(on_slow)), timer_([this] { look(); }) {}
  ~CopyWatch() { waits_.forget(); }
  CopyWatch(const CopyWatch&) = delete;
  CopyWatch& operator=(const CopyWatch&) = delete;

  // While it lives, the device is waited for.
  class Wait : public ListLink<> {
   public:
    Wait(CopyWatch* watch, const block::Device& its_device, bool its_writes)
        : device(its_device), since(runtime::Reactor::current().now()), writes(its_writes), watch_(watch) {
      if (watch == nullptr) return;
      watch->waits_.push_back(*this);
      if (!watch->timer_.armed()) runtime::Reactor::current().arm(watch->timer_, since + watch->limit_);
    }
    ~Wait() {
      if (!is_linked()) return;
      unlink();
      if (writes) watch_->write_ended_.pulse();
    }
    const block::Device& device;
    const TimePoint since;
    const bool writes;

   private:
    CopyWatch* const watch_;
  };

  // A child has ceased to be healthy, or the nexus leaves them all.
  void note_departure() { ++num_departures_; }
  // Of any child. When it has changed between the choice of a child and its answer to a read, what it gave counts for
  // nothing; when it has changed before a write, that is not begun.
  uint64_t num_departures() const { return num_departures_; }
  // Until no write of a copy to this device is under way. It is to be let go: its departure has been noted.
  runtime::Task<> writes_ended(const block::Device& device) {
    while (is_written(device)) static_cast<void>(co_await write_ended_.wait_uninterrupted());
  }

 private:
  bool is_written(const block::Device& device) {
    for (const Wait& wait : waits_) {
      if (wait.writes && &wait.device == &device) return true;
    }
    return false;
  }
  void look() {
    if (waits_.empty()) return;
    const TimePoint now = runtime::Reactor::current().now();
    for (const Wait& wait : waits_) {
      if (now - wait.since < limit_) break;
      on_slow_(wait.device);
    }
    const TimePoint next = waits_.first()->since + limit_;
    runtime::Reactor::current().arm(timer_, next > now ? next : now + limit_ / 4);
  }

  const Duration limit_;
  const std::function<void(const block::Device&)> on_slow_;
  IntrusiveList<Wait> waits_;  // oldest first
  uint64_t num_departures_ = 0;
  runtime::Event write_ended_;  // pulsed
  runtime::Timer timer_;
};

// Without a watch nobody ceases to be healthy.
inline uint64_t num_departures(const CopyWatch* watch) {
  return watch != nullptr ? watch->num_departures() : 0;
}

// One I/O of a copy. Without a watch it is nobody's business how long it takes.
inline runtime::Task<nvme::Status> perform_watched(CopyWatch* watch, block::Channel& channel,
                                                   block::IoRequest request) {
  const bool writes = request.type == block::IoType::kWrite || request.type == block::IoType::kWriteZeroes;
  const CopyWatch::Wait wait(watch, channel.device(), writes);
  co_return co_await block::perform(channel, request);
}

}  // namespace cairn::nexus
