// Whether the objects being destroyed belong to a simulated process that has crashed.
//
// A crash is not a shutdown: the process stops in the middle of everything, and what it held must vanish without
// another line of its code having an effect. The simulator therefore destroys tasks, programs and reactors inside an
// AbandonScope, in which destructors that otherwise insist on an orderly end ("no operation is in flight", "nobody is
// linked here") let go silently. A destructor with such a check writes CAIRN_CHECK(in_flight == 0 || abandoning()).
// Always false in a real process.
#pragma once

#include <utility>

namespace cairn {

namespace internal {
inline thread_local bool abandoning_now = false;
}

inline bool abandoning() {
  return internal::abandoning_now;
}

class AbandonScope {
 public:
  AbandonScope() : outer_(std::exchange(internal::abandoning_now, true)) {}
  AbandonScope(const AbandonScope&) = delete;
  AbandonScope& operator=(const AbandonScope&) = delete;
  ~AbandonScope() { internal::abandoning_now = outer_; }

 private:
  bool outer_;
};

}  // namespace cairn
