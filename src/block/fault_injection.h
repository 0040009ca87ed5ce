// A fault that tests inject into a device: which I/O it hits, and what it does (reference nexus.md, section 17).
//
//   inject://<device name>?domain=..&op=..&stage=..&method=..&begin_at=..&end_at=..&offset=..&num_blk=..&retries=..
//
//   domain     child (nexus_child, NexusChild): what a nexus does to its child; block, bdev_io (block_device, ...): all
//              I/O of the device, the default
//   op         read (r), write (w), read_write (rw, the default)
//   stage      submit (s, submission; the default): instead of the I/O; compl (c, completion): after it
//   method     status (the default): Data Transfer Error; status-nvme-<type>-<code>, hexadecimal;
//              status-lvol-nospace: Capacity Exceeded; status-submit-read, status-submit-write, status-admin: Internal
//              Error; data: the payload of reads and writes is damaged, whatever the stage; delay-<ms>: ours
//   begin_at, end_at    milliseconds since the first I/O of that domain, op and stage
//   offset, num_blk (num_blocks)    blocks of the device
//   retries    how often at most
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "block/io.h"

namespace cairn::block {

enum class FaultStage : uint8_t { kSubmission, kCompletion };
enum class FaultMethod : uint8_t { kStatus, kDamage, kDelay };

// Shared by all reactors; what does not change after parse() apart from the count of hits.
class FaultInjection {
 public:
  // INVALID_ARGUMENT, which names the key.
  static Result<std::shared_ptr<FaultInjection>> parse(std::string_view uri);

  const std::string& uri() const { return uri_; }
  const std::string& device_name() const { return device_name_; }
  FaultMethod method() const { return method_; }
  nvme::Status status() const { return status_; }
  Duration delay() const { return delay_; }

  // Any reactor. Whether it hits this I/O; if so, that is counted.
  bool hits(const Io& io, FaultStage stage, bool of_nexus_child, TimePoint now);
  // Whether an I/O now could be hit.
  bool is_active(TimePoint now) const;

 private:
  Result<> parse_method(const std::string& text);
  bool in_time(TimePoint started, TimePoint now) const;

  std::string uri_;
  std::string device_name_;
  bool only_nexus_child_ = false;
  bool reads_ = true;
  bool writes_ = true;
  FaultStage stage_ = FaultStage::kSubmission;
  FaultMethod method_ = FaultMethod::kStatus;
  nvme::Status status_;
  Duration delay_{};
  Duration begin_{};
  Duration end_ = Duration::max();
  uint64_t first_block_ = 0;
  uint64_t end_block_ = UINT64_MAX;
  uint64_t max_hits_ = UINT64_MAX;
  std::atomic<Duration::rep> started_{0};  // 0: no I/O yet
  std::atomic<uint64_t> hits_{0};
};

using FaultInjectionList = std::vector<std::shared_ptr<FaultInjection>>;

}  // namespace cairn::block
