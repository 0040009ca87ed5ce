#include "runtime/sim/event_queue.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::runtime::sim {

EventQueue::Id EventQueue::schedule(TimePoint at, Function&& function) {
  uint32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  slots_[slot].function = std::move(function);
  const Entry entry{at, next_order_++, slot};
  heap_.push_back(entry);
  rise(heap_.size() - 1, entry);
  return {slot, slots_[slot].generation};
}

void EventQueue::put(size_t place, const Entry& entry) {
  heap_[place] = entry;
  slots_[entry.slot].place = static_cast<uint32_t>(place);
}

void EventQueue::rise(size_t place, const Entry& entry) {
  while (place > 0) {
    const size_t parent = (place - 1) / kFanOut;
    if (!entry.before(heap_[parent])) break;
    put(place, heap_[parent]);
    place = parent;
  }
  put(place, entry);
}

void EventQueue::sink(size_t place, const Entry& entry) {
  while (true) {
    const size_t first = place * kFanOut + 1;
    if (first >= heap_.size()) break;
    const size_t end = std::min(first + kFanOut, heap_.size());
    size_t earliest = first;
    for (size_t child = first + 1; child < end; ++child) {
      if (heap_[child].before(heap_[earliest])) earliest = child;
    }
    if (!heap_[earliest].before(entry)) break;
    put(place, heap_[earliest]);
    place = earliest;
  }
  put(place, entry);
}

void EventQueue::remove(size_t place) {
  const Entry last = heap_.back();
  heap_.pop_back();
  if (place == heap_.size()) return;
  if (place > 0 && last.before(heap_[(place - 1) / kFanOut])) {
    rise(place, last);
  } else {
    sink(place, last);
  }
}

EventQueue::Function EventQueue::release(uint32_t slot) {
  Function function = std::move(slots_[slot].function);
  slots_[slot].function = nullptr;
  if (++slots_[slot].generation == 0) slots_[slot].generation = 1;
  free_slots_.push_back(slot);
  return function;
}

void EventQueue::cancel(Id id) {
  if (id.generation == 0 || slots_[id.slot].generation != id.generation) return;
  remove(slots_[id.slot].place);
  release(id.slot);
}

void EventQueue::clear() {
  // One by one: what a function owned may cancel other events when it goes.
  while (!heap_.empty()) {
    const uint32_t slot = heap_.back().slot;
    heap_.pop_back();
    release(slot);
  }
}

EventQueue::Event EventQueue::pop() {
  CAIRN_CHECK(!heap_.empty());
  const Entry entry = heap_.front();
  remove(0);
  return {entry.at, release(entry.slot)};
}

}  // namespace cairn::runtime::sim
