// The I/O of one nexus between the application's threads and the reactors.
//
// An I/O is an Operation from a fixed number of them. The thread that starts it takes one from a list without a lock
// and posts it to a reactor, always the same one for that thread; the reactor submits it to its channel, and calls the
// application's completion when it comes back. Nothing is allocated here (a future allocates its own state).
//
//   serving -> closed (refuse_new) -> drained (nothing under way, no completion running or to come)
#pragma once

#include <cairn/nexus.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/uuid.h"
#include "block/device.h"
#include "runtime/reactor.h"

namespace cairn::embed {

class NexusState {
 public:
  NexusState(const NexusOptions& options, const Uuid& uuid);
  ~NexusState();
  NexusState(const NexusState&) = delete;
  NexusState& operator=(const NexusState&) = delete;

  static cairn::Error closed_error(std::string_view name);

  // Primary reactor. open_channels() before the first I/O; close_channels() when it is drained, or has served nobody.
  runtime::Task<cairn::Result<>> open_channels(std::shared_ptr<block::Device> device,
                                               std::vector<runtime::Reactor*> reactors);
  runtime::Task<> close_channels();

  const std::string& name() const { return name_; }
  const Uuid& uuid() const { return uuid_; }
  bool has_random_uuid() const { return has_random_uuid_; }
  const std::string& uuid_text() const { return uuid_text_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint32_t block_size() const { return block_size_; }

  // Any thread.
  bool closed() const { return (in_flight_.load(std::memory_order_acquire) & kClosed) != 0; }
  // kRead and kWrite with memory, kFlush without.
  void start(block::IoType type, uint64_t offset, std::span<std::byte> memory, Nexus::Completion done);
  void refuse_new() { in_flight_.fetch_or(kClosed, std::memory_order_acq_rel); }
  // After refuse_new(). Not on a reactor. False: there are still some after that time.
  bool wait_until_drained(std::chrono::milliseconds limit);
  void wait_until_drained();

 private:
  static constexpr uint64_t kClosed = uint64_t{1} << 63;
  static constexpr uint32_t kNone = UINT32_MAX;
  struct Operation;

  cairn::Result<> check(block::IoType type, uint64_t offset, std::span<std::byte> memory) const;
  Operation* take();
  void give_back(Operation& operation);
  void complete(Operation& operation);
  void leave(unsigned times);
  Error io_error(const Operation& operation) const;
  std::string describe(block::IoType type, uint64_t offset, uint64_t size_bytes) const;

  const std::string name_;
  const Uuid uuid_;
  const std::string uuid_text_;
  const bool has_random_uuid_;
  uint64_t size_bytes_ = 0;
  uint32_t block_size_ = 0;
  std::vector<std::unique_ptr<block::Channel>> channels_;  // one of each reactor
  const uint32_t num_operations_;
  std::unique_ptr<Operation[]> operations_;
  // The first free operation, and above it a number that changes with each change: who was interrupted between looking
  // and changing sees that others were there.
  std::atomic<uint64_t> free_;
  std::atomic<uint64_t> in_flight_{0};  // I/Os, threads in start(), and kClosed
  std::mutex drained_mutex_;
  std::condition_variable drained_;
};

}  // namespace cairn::embed
