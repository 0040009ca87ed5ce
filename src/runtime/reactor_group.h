// The reactors of a process: one thread per core.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "runtime/blocking_pool.h"
#include "runtime/reactor.h"
#include "runtime/stall_detector.h"
#include "runtime/uring_ring.h"

namespace cairn::runtime {

enum class BackendChoice : uint8_t {
  kAuto,   // io_uring where the kernel has it and allows it, else epoll
  kUring,  // or fail
  kEpoll,
};

struct ReactorGroupOptions {
  std::vector<unsigned> cores;  // one reactor each, pinned; the first is the primary. Empty: one reactor, not pinned
  Duration spin_budget = ReactorOptions{}.spin_budget;
  BackendChoice backend = BackendChoice::kAuto;
  UringOptions uring;
  size_t buffer_pool_bytes = ReactorOptions{}.buffer_pool_bytes;  // of each reactor
  Duration stall_limit = std::chrono::milliseconds(500);          // 0: nobody watches
  std::function<void(const Stall&)> on_stall = StallDetector::log_stall;
};

// The back-end for one reactor; UNIMPLEMENTED or PERMISSION_DENIED when kUring cannot be had.
Result<std::unique_ptr<Backend>> make_kernel_backend(BackendChoice choice, const UringOptions& options,
                                                     std::shared_ptr<BlockingPool> pool);

class ReactorGroup {
 public:
  // Starts the threads ("reactor-<core>"), which make their reactors. The caller's thread is none of them.
  // INVALID_ARGUMENT: a core that this process may not run on, or twice the same.
  static Result<std::unique_ptr<ReactorGroup>> start(const ReactorGroupOptions& options);
  ~ReactorGroup();  // stop()
  ReactorGroup(const ReactorGroup&) = delete;
  ReactorGroup& operator=(const ReactorGroup&) = delete;

  size_t size() const { return members_.size(); }
  Reactor& reactor(size_t index) { return *members_[index]->reactor; }
  Reactor& primary() { return reactor(0); }
  std::vector<Reactor*> reactors();

  // Cancels all tasks, waits until every reactor has none left, then ends and destroys the reactors. Streams, listeners
  // and files must be gone by the time the tasks have ended. Other threads must not post any more. Not from a reactor.
  // May be called again without effect.
  void stop();

 private:
  struct Member {
    unsigned core = 0;
    bool pinned = false;
    std::thread thread;
    std::unique_ptr<Reactor> reactor;  // made and destroyed by the thread
    bool quiet = false;                // while draining: had no task and nothing ready after its last round
  };

  explicit ReactorGroup(const ReactorGroupOptions& options);
  void run_member(size_t index, std::promise<Result<>>& started);
  Result<std::unique_ptr<Reactor>> make_reactor(size_t index);
  void wait_until_quiet();
  bool all_quiet() const;
  void run_on_all(const std::function<void(Reactor&)>& function);

  ReactorGroupOptions options_;
  std::shared_ptr<BlockingPool> pool_;
  std::vector<std::unique_ptr<Member>> members_;
  std::unique_ptr<std::latch> all_ended_;  // no reactor is destroyed while another, or stop(), may touch it
  std::unique_ptr<StallDetector> stall_detector_;

  std::atomic<bool> draining_{false};
  mutable std::mutex mutex_;  // of Member::quiet
  std::condition_variable quiet_changed_;
};

}  // namespace cairn::runtime
