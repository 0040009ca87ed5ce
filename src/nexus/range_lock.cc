#include "nexus/range_lock.h"

#include "base/abandonment.h"
#include "base/check.h"
#include "nexus/nexus_port.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Task;

PortLock::PortLock(NexusPort& port, runtime::Reactor& home, void (*arrived)(void*), void* lock)
    : port_(port),
      home_(home),
      acquire_([this] { port_.lock(*this); }),
      release_([this] { port_.unlock(*this); }),
      arrived_([arrived, lock] { arrived(lock); }) {}

RangeLock::RangeLock(std::span<const std::unique_ptr<NexusPort>> ports) {
  for (const auto& port : ports) {
    parts_.push_back(std::make_unique<PortLock>(
        *port, runtime::Reactor::current(), [](void* lock) { static_cast<RangeLock*>(lock)->arrived(); }, this));
  }
}

RangeLock::~RangeLock() {
  CAIRN_CHECK((!held_ && num_pending_ == 0) || abandoning());
}

void RangeLock::arrived() {
  if (--num_pending_ == 0) all_arrived_.pulse();
}

Task<> RangeLock::acquire(uint64_t lba, uint64_t num_blocks) {
  CAIRN_CHECK(!held_ && num_pending_ == 0);
  held_ = true;
  num_pending_ = parts_.size();
  for (const auto& part : parts_) {
    part->begin_ = lba;
    part->end_ = num_blocks > UINT64_MAX - lba ? UINT64_MAX : lba + num_blocks;
    part->port_.reactor().post(part->acquire_);
  }
  while (num_pending_ > 0) static_cast<void>(co_await all_arrived_.wait_uninterrupted());
}

Task<> RangeLock::release() {
  CAIRN_CHECK(held_ && num_pending_ == 0);
  num_pending_ = parts_.size();
  for (const auto& part : parts_) part->port_.reactor().post(part->release_);
  while (num_pending_ > 0) static_cast<void>(co_await all_arrived_.wait_uninterrupted());
  held_ = false;
}

}  // namespace cairn::nexus
