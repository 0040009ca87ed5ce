#include "runtime/blocking_pool.h"

#include <pthread.h>

namespace cairn::runtime {

BlockingPool::~BlockingPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  job_added_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void BlockingPool::submit(Job& job) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back(job);
  if (jobs_.size() + busy_ > threads_.size() && threads_.size() < max_threads_) {
    threads_.emplace_back([this] { run_jobs(); });
    pthread_setname_np(threads_.back().native_handle(), "blocking-pool");
  }
  job_added_.notify_one();
}

void BlockingPool::drain() {
  std::unique_lock lock(mutex_);
  drained_.wait(lock, [this] { return jobs_.empty() && busy_ == 0; });
}

void BlockingPool::run_jobs() {
  std::unique_lock lock(mutex_);
  for (;;) {
    job_added_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    Job* job = jobs_.pop_front();
    if (job == nullptr) return;
    ++busy_;
    lock.unlock();
    job->work_();
    job->home_.post(job->done_);  // the job may be gone from here on
    lock.lock();
    --busy_;
    if (busy_ == 0 && jobs_.empty()) drained_.notify_all();
  }
}

}  // namespace cairn::runtime
