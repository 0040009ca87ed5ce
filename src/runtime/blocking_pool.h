// A few threads for system calls that block and have no asynchronous form: open, rename, fsync of a directory, ioctls.
// Shared by all reactors of a process. Nothing of the data path runs here where io_uring exists.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/intrusive_list.h"
#include "runtime/message.h"
#include "runtime/reactor.h"
#include "runtime/task.h"

namespace cairn::runtime {

class BlockingPool {
 public:
  static constexpr unsigned kDefaultThreads = 16;  // carries all file I/O where io_uring is missing

  // Threads start when they are first needed.
  explicit BlockingPool(unsigned max_threads = kDefaultThreads) : max_threads_(max_threads) {}
  ~BlockingPool();  // waits for the jobs
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  // One call. Owned by the submitter until its message (posted to `home` when `work` has returned) runs.
  class Job : public ListLink<> {
   public:
    Job(std::function<void()> work, Reactor& home, std::function<void()> done)
        : work_(std::move(work)), home_(home), done_(std::move(done)) {}

   private:
    friend class BlockingPool;
    std::function<void()> work_;
    Reactor& home_;
    Message done_;
  };

  // Any thread.
  void submit(Job& job);
  // Waits until no job runs or waits and none of the threads touches a reactor.
  void drain();

 private:
  void run_jobs();

  const unsigned max_threads_;
  std::mutex mutex_;
  std::condition_variable job_added_;
  std::condition_variable drained_;
  IntrusiveList<Job> jobs_;
  unsigned busy_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// co_await BlockingCall(pool, [..] { ... return value; }): runs the function on the pool and gives its value. Ends only
// when the function has returned, cancelled or not: what it refers to stays alive.
template <typename Work>
class BlockingCall final : public Suspension {
  using Value = std::invoke_result_t<Work&>;

 public:
  BlockingCall(BlockingPool& pool, Work work)
      : pool_(pool),
        work_(std::move(work)),
        job_([this] { value_.emplace(work_()); }, Reactor::current(), [this] { finish(); }) {}
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    begin(task);
    pool_.submit(job_);
  }
  Value await_resume() { return std::move(*value_); }

 private:
  void on_cancel() override {}
  BlockingPool& pool_;
  Work work_;
  std::optional<Value> value_;
  BlockingPool::Job job_;
};

}  // namespace cairn::runtime
