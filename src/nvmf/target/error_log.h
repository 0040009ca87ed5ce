// The error information log of a controller (LID 01h): the last commands that failed.
//
// Failures come from all reactors that have queue pairs of the controller. The lock is taken for a failed command and
// for reading the log only.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "nvme/command.h"
#include "nvme/log_page.h"

namespace cairn::nvmf::target {

class ErrorLog {
 public:
  static constexpr size_t kNumEntries = 64;

  // Any reactor.
  void add(uint16_t sqid, const nvme::Sqe& command, nvme::Status status);
  // Errors since the controller was made.
  uint64_t count() const;
  std::vector<nvme::ErrorInformation> newest_first() const;

 private:
  mutable std::mutex mutex_;
  uint64_t count_ = 0;
  std::array<nvme::ErrorInformation, kNumEntries> ring_{};  // error n lies at n % kNumEntries
};

}  // namespace cairn::nvmf::target
