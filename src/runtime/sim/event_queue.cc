#include "runtime/sim/event_queue.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::runtime::sim {

EventQueue::Id EventQueue::schedule(TimePoint at, Function function) {
  uint32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[slot].function = std::move(function);
  const Id id{slot, slots_[slot].generation};
  heap_.push_back({at, next_order_++, id});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  ++live_;
  return id;
}

EventQueue::Function EventQueue::release(uint32_t slot) {
  Function function = std::move(slots_[slot].function);
  slots_[slot].function = nullptr;
  if (++slots_[slot].generation == 0) slots_[slot].generation = 1;
  free_slots_.push_back(slot);
  --live_;
  return function;
}

void EventQueue::cancel(Id id) {
  if (id.generation == 0 || slots_[id.slot].generation != id.generation) return;
  release(id.slot);  // its entry is skipped when it comes up
}

void EventQueue::clear() {
  // One by one: what a function owned may cancel other events when it goes.
  for (const Entry& entry : std::exchange(heap_, {})) cancel(entry.id);
}

void EventQueue::drop_cancelled() {
  while (!heap_.empty() && slots_[heap_.front().id.slot].generation != heap_.front().id.generation) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    heap_.pop_back();
  }
}

TimePoint EventQueue::next_time() {
  drop_cancelled();
  return heap_.empty() ? kNever : heap_.front().at;
}

std::pair<TimePoint, EventQueue::Function> EventQueue::pop() {
  drop_cancelled();
  CAIRN_CHECK(!heap_.empty());
  const Entry entry = heap_.front();
  std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
  heap_.pop_back();
  return {entry.at, release(entry.id.slot)};
}

}  // namespace cairn::runtime::sim
