// Timers of a reactor.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "base/duration.h"

namespace cairn::runtime {

class TimerQueue;

// Calls its function once when it expires. Re-arm as often as wanted; no allocation. Disarms itself when destroyed. The function runs
// on the reactor the timer was armed on, and may re-arm or destroy the timer.
class Timer {
 public:
  explicit Timer(std::function<void()> function) : function_(std::move(function)) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { disarm(); }

  bool armed() const { return queue_ != nullptr; }
  void disarm();

 private:
  friend class TimerQueue;
  std::function<void()> function_;
  TimerQueue* queue_ = nullptr;
  TimePoint expires_at_{};
  uint64_t order_ = 0;  // equal times expire in the order they were armed
  size_t position_ = 0;
};

// A binary heap of armed timers: O(log n) to arm and disarm.
class TimerQueue {
 public:
  void arm(Timer& timer, TimePoint expires_at);
  TimePoint next_expiry() const;  // kNever when none is armed
  // Runs what has expired at `now`, also what those functions arm for `now` or before. Returns how many ran.
  size_t run_expired(TimePoint now);

 private:
  friend class Timer;
  void remove(Timer& timer);
  bool earlier(const Timer& a, const Timer& b) const;
  void place(size_t position, Timer& timer);
  void sift_up(size_t position);
  void sift_down(size_t position);

  std::vector<Timer*> heap_;
  uint64_t next_order_ = 0;
};

}  // namespace cairn::runtime
