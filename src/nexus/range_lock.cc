#include "nexus/range_lock.h"

#include "base/abandonment.h"
#include "base/check.h"
#include "nexus/nexus_port.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

PortLock::PortLock(NexusPort& port, runtime::Reactor& home, void (*answered)(void*), void* lock)
    : port_(port),
      home_(home),
      acquire_([this] { port_.lock(*this); }),
      release_([this] { port_.unlock(*this); }),
      granted_([answered, lock] { answered(lock); }),
      released_([answered, lock] { answered(lock); }) {}

RangeLock::RangeLock(std::span<const std::unique_ptr<NexusPort>> ports) {
  for (const auto& port : ports) {
    parts_.push_back(std::make_unique<PortLock>(
        *port, runtime::Reactor::current(), [](void* lock) { static_cast<RangeLock*>(lock)->answered(); }, this));
  }
}

RangeLock::~RangeLock() {
  CAIRN_CHECK((!held_ && num_pending_ == 0) || abandoning());
}

void RangeLock::answered() {
  if (--num_pending_ == 0) all_answered_.pulse();
}

void RangeLock::request(uint64_t lba, uint64_t num_blocks) {
  CAIRN_CHECK(!held_ && num_pending_ == 0);
  held_ = true;
  num_pending_ = parts_.size();
  for (const auto& part : parts_) {
    part->begin_ = lba;
    part->end_ = num_blocks > UINT64_MAX - lba ? UINT64_MAX : lba + num_blocks;
    part->port_.reactor().post(part->acquire_);
  }
}

Task<> RangeLock::acquire(uint64_t lba, uint64_t num_blocks) {
  request(lba, num_blocks);
  while (num_pending_ > 0) static_cast<void>(co_await all_answered_.wait_uninterrupted());
}

Task<bool> RangeLock::acquire_within(uint64_t lba, uint64_t num_blocks, Duration limit) {
  request(lba, num_blocks);
  bool waiting = true;
  {
    const runtime::Deadline deadline(co_await runtime::current_context(), limit);
    while (num_pending_ > 0 && waiting) waiting = (co_await all_answered_.wait()).has_value();
  }
  if (num_pending_ == 0) co_return true;
  co_await withdraw();
  co_return false;
}

// Ports that have not granted it answer twice.
Task<> RangeLock::withdraw() {
  num_pending_ += parts_.size();
  for (const auto& part : parts_) part->port_.reactor().post(part->release_);
  while (num_pending_ > 0) static_cast<void>(co_await all_answered_.wait_uninterrupted());
  held_ = false;
}

Task<> RangeLock::release() {
  CAIRN_CHECK(held_ && num_pending_ == 0);
  co_await withdraw();
}

}  // namespace cairn::nexus
