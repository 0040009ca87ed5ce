// What will happen in the simulated world, ordered by time; equal times in the order they were scheduled.
//
// A heap with four children a node, in which every event knows its place: a quarter of them is cancelled long before
// its time (a reactor's next timer, as soon as it gets work), and would otherwise be most of the heap.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/duration.h"

namespace cairn::runtime::sim {

class EventQueue {
 public:
  using Function = std::move_only_function<void()>;
  struct Id {
    uint32_t slot = 0;
    uint32_t generation = 0;  // 0: none
  };
  struct Event {
    TimePoint at;
    Function function;
  };

  Id schedule(TimePoint at, Function&& function);
  // Does nothing when the event has run or was cancelled.
  void cancel(Id id);
  void clear();
  bool empty() const { return heap_.empty(); }
  TimePoint next_time() const { return heap_.empty() ? kNever : heap_.front().at; }
  // Takes the earliest event off the queue. Not when empty.
  Event pop();

 private:
  static constexpr size_t kFanOut = 4;
  struct Entry {
    TimePoint at;
    uint64_t order;
    uint32_t slot;
    bool before(const Entry& other) const { return at != other.at ? at < other.at : order < other.order; }
  };
  struct Slot {
    Function function;
    uint32_t generation = 1;
    uint32_t place = 0;  // in heap_
  };
  // Puts `entry` where it belongs, from an empty place on.
  void rise(size_t place, const Entry& entry);
  void sink(size_t place, const Entry& entry);
  void put(size_t place, const Entry& entry);
  void remove(size_t place);
  Function release(uint32_t slot);

  std::vector<Entry> heap_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  uint64_t next_order_ = 0;
};

// Cancels its event when destroyed or assigned to.
class ScheduledEvent {
 public:
  ScheduledEvent() = default;
  ScheduledEvent(EventQueue& queue, EventQueue::Id id) : queue_(&queue), id_(id) {}
  ScheduledEvent(ScheduledEvent&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)), id_(other.id_) {}
  ScheduledEvent& operator=(ScheduledEvent&& other) noexcept {
    if (this != &other) {
      cancel();
      queue_ = std::exchange(other.queue_, nullptr);
      id_ = other.id_;
    }
    return *this;
  }
  ~ScheduledEvent() { cancel(); }
  void cancel() {
    if (EventQueue* queue = std::exchange(queue_, nullptr)) queue->cancel(id_);
  }

 private:
  EventQueue* queue_ = nullptr;
  EventQueue::Id id_;
};

}  // namespace cairn::runtime::sim
