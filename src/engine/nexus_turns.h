// One operation of a nexus at a time, by its UUID, also while it is being made or destroyed. Primary reactor.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "base/duration.h"
#include "base/error.h"
#include "runtime/task_waits.h"

namespace cairn::engine {

class NexusTurns {
 public:
  static constexpr Duration kPatience = std::chrono::seconds(15);  // of callers that do not say (grpc-v1.md, section 1)

  // Runs `body`, a callable that makes a Task<Result<>>, when all that came before for this nexus has ended.
  // DEADLINE_EXCEEDED when that takes longer than `patience`.
  template <typename Body>
  runtime::Task<Result<>> run(std::string uuid, Duration patience, Body body) {
    const std::shared_ptr<runtime::Mutex> mutex = mutex_of(uuid);
    Result<runtime::Mutex::Guard> turn;
    {
      const runtime::Deadline deadline(co_await runtime::current_context(), patience);
      turn = co_await mutex->lock();
    }
    if (!turn) co_return fail(Code::kDeadlineExceeded, "Failed to acquire access to object within given timeout");
    co_return co_await body();
  }

 private:
  // Kept by those who use it; gone with the last of them.
  std::shared_ptr<runtime::Mutex> mutex_of(const std::string& uuid) {
    std::erase_if(mutexes_, [](const auto& entry) { return entry.second.expired(); });
    std::weak_ptr<runtime::Mutex>& entry = mutexes_[uuid];
    auto mutex = entry.lock();
    if (mutex == nullptr) entry = mutex = std::make_shared<runtime::Mutex>();
    return mutex;
  }

  std::map<std::string, std::weak_ptr<runtime::Mutex>, std::less<>> mutexes_;
};

}  // namespace cairn::engine
