// I/O made from other I/O, for drivers that lack it: compare, write-zeroes, copy and compare-and-write from reads and
// writes.
//
// One per channel, made when first needed. At most kMaxJobs I/Os are worked on at a time, each with at most one buffer
// of the reactor's pool, or of its own when the pool is used up (page_memory.h); the rest waits in order of arrival. A
// compare-and-write is alone among those of its device on all reactors (TurnQueue); plain writes are not held back by
// it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "base/intrusive_list.h"
#include "block/io.h"

namespace cairn::block {

class Channel;

class Emulation {
 public:
  static constexpr size_t kMaxJobs = 8;

  explicit Emulation(Channel& channel);
  ~Emulation();  // idle

  static bool possible(IoType type, bool reads, bool writes);

  void start(Io& io);

 private:
  class Job;

  Channel& channel_;
  std::array<std::unique_ptr<Job>, kMaxJobs> jobs_;  // made when first needed
  IntrusiveList<Job> idle_;
  size_t num_jobs_ = 0;
  IntrusiveList<Io> waiting_;
};

}  // namespace cairn::block
