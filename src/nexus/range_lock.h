// Keeps writes away from a range of the nexus on all reactors while a rebuild copies it.
//
//   acquire(): from each port's "granted" on, no write to the range starts there, and none is under way.
//   acquire_within(): gives up when the time is over.
//   release(): those that were held back go on.
// Reads are never held back. Home reactor; made once per copier and used again and again without allocation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/duration.h"
#include "base/intrusive_list.h"
#include "runtime/message.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

class NexusPort;

// The part of a lock that one port keeps.
class PortLock : public ListLink<> {
 public:
  PortLock(NexusPort& port, runtime::Reactor& home, void (*answered)(void*), void* lock);

  NexusPort& port() const { return port_; }
  bool overlaps(uint64_t lba, uint64_t num_blocks) const {
    return num_blocks != 0 && lba < end_ && begin_ < lba + num_blocks;
  }

 private:
  friend class NexusPort;
  friend class RangeLock;
  NexusPort& port_;
  runtime::Reactor& home_;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  size_t num_before_ = 0;  // writes that were under way when it came
  runtime::Message acquire_;
  runtime::Message release_;
  // At home. One of each for every acquisition, whether it is given up or not.
  runtime::Message granted_;
  runtime::Message released_;
};

class RangeLock {
 public:
  explicit RangeLock(std::span<const std::unique_ptr<NexusPort>> ports);
  ~RangeLock();  // not held
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  // Not interrupted by a cancellation. `num_blocks` may reach beyond the end.
  runtime::Task<> acquire(uint64_t lba, uint64_t num_blocks);
  // False: writes under way did not end in time, or the task was cancelled; nothing is held.
  runtime::Task<bool> acquire_within(uint64_t lba, uint64_t num_blocks, Duration limit);
  runtime::Task<> release();

 private:
  void request(uint64_t lba, uint64_t num_blocks);
  runtime::Task<> withdraw();
  void answered();
  std::vector<std::unique_ptr<PortLock>> parts_;
  size_t num_pending_ = 0;  // answers of ports
  bool held_ = false;
  runtime::Event all_answered_;
};

}  // namespace cairn::nexus
