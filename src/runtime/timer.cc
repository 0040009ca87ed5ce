#include "runtime/timer.h"

#include "base/check.h"

namespace cairn::runtime {

void Timer::disarm() {
  if (queue_ != nullptr) queue_->remove(*this);
}

void TimerQueue::arm(Timer& timer, TimePoint expires_at) {
  timer.disarm();
  timer.queue_ = this;
  timer.expires_at_ = expires_at;
  timer.order_ = next_order_++;
  heap_.push_back(&timer);
  timer.position_ = heap_.size() - 1;
  sift_up(timer.position_);
}

TimePoint TimerQueue::next_expiry() const { return heap_.empty() ? kNever : heap_.front()->expires_at_; }

size_t TimerQueue::run_expired(TimePoint now) {
  size_t count = 0;
  while (!heap_.empty() && heap_.front()->expires_at_ <= now) {
    Timer& timer = *heap_.front();
    remove(timer);
    // A copy: the function may destroy its own timer.
    const auto function = timer.function_;
    function();
    ++count;
  }
  return count;
}

void TimerQueue::remove(Timer& timer) {
  CAIRN_CHECK(timer.queue_ == this);
  const size_t position = timer.position_;
  timer.queue_ = nullptr;
  Timer* last = heap_.back();
  heap_.pop_back();
  if (last == &timer) return;
  place(position, *last);
  sift_up(position);
  sift_down(last->position_);
}

bool TimerQueue::earlier(const Timer& a, const Timer& b) const {
  return a.expires_at_ != b.expires_at_ ? a.expires_at_ < b.expires_at_ : a.order_ < b.order_;
}

void TimerQueue::place(size_t position, Timer& timer) {
  heap_[position] = &timer;
  timer.position_ = position;
}

void TimerQueue::sift_up(size_t position) {
  Timer& timer = *heap_[position];
  while (position > 0) {
    const size_t parent = (position - 1) / 2;
    if (!earlier(timer, *heap_[parent])) break;
    place(position, *heap_[parent]);
    position = parent;
  }
  place(position, timer);
}

void TimerQueue::sift_down(size_t position) {
  Timer& timer = *heap_[position];
  for (;;) {
    size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && earlier(*heap_[child + 1], *heap_[child])) ++child;
    if (!earlier(*heap_[child], timer)) break;
    place(position, *heap_[child]);
    position = child;
  }
  place(position, timer);
}

}  // namespace cairn::runtime
