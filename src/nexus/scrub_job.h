// Compares the healthy children of a nexus, and repairs what differs when told to.
//
//   running <-> paused; running, paused -> stopped | failed; running -> completed
//
// Segment by segment under the range lock, so that no write is under way in what is compared; reads of hosts go on. A
// child that cannot read a segment differs there. Repaired is by the majority (more than half of the children agree) or
// from a named child; whoever does not take a repair is retired. Unwritten blocks are zeroes.
//
// Home reactor. Hosts come first: while they do I/O the scrub pauses between segments, and its rate may be limited.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "block/page_memory.h"
#include "nexus/nexus_port.h"
#include "nexus/rebuild_job.h"
#include "nexus/resync.h"

namespace cairn::nexus {

enum class ScrubRepair : uint8_t {
  kNone,      // report only
  kMajority,  // where there is one
  kSource,    // from ScrubRequest::source_uri
};

struct ScrubRequest {
  ScrubRepair repair = ScrubRepair::kNone;
  std::string source_uri;
  uint64_t max_bytes_per_second = 0;  // of each child; 0: no limit
};

// Blocks that differ.
struct ScrubDifference {
  uint64_t lba = 0;  // of the nexus
  uint64_t num_blocks = 0;
  std::vector<std::string> deviating;   // children that are not as the majority, or as the source; all when none leads
  std::vector<std::string> unreadable;  // of these: could not be read
  bool repaired = false;
};

enum class ScrubState : uint8_t { kRunning, kPaused, kStopped, kFailed, kCompleted };
std::string_view to_text(ScrubState state);

struct ScrubReport {
  ScrubState state = ScrubState::kRunning;
  ScrubRequest request;
  uint64_t blocks_total = 0;
  uint64_t blocks_compared = 0;
  uint64_t blocks_different = 0;
  uint64_t blocks_repaired = 0;
  uint64_t block_size = 0;
  uint64_t progress = 0;                     // percent
  std::vector<ScrubDifference> differences;  // the first kMaxDifferences
  std::string failure;                       // of kFailed
  TimePoint start_time{};
  std::optional<TimePoint> end_time;
};

class ScrubJob {
 public:
  static constexpr size_t kMaxDifferences = 1000;

  ScrubJob(Resync::Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, ScrubRequest request,
           uint64_t num_blocks, uint64_t data_start, uint32_t block_size, std::function<void()> ended);
  ~ScrubJob();  // ended
  ScrubJob(const ScrubJob&) = delete;
  ScrubJob& operator=(const ScrubJob&) = delete;

  void start();
  // Of one that goes on.
  void pause();
  void resume();
  // The segment it is at is the last one. Nothing happens to one that is over.
  void stop();
  // The nexus has grown: the new blocks are compared, too.
  void grow(uint64_t num_blocks);
  auto wait_ended() { return ended_.wait(); }
  bool ended() const { return ended_.is_set(); }
  // Stopped, failed or completed; it may not have ended yet.
  bool is_over() const { return report_.state != ScrubState::kRunning && report_.state != ScrubState::kPaused; }
  // The device of this child is about to go.
  void drop_child(const std::string& uri) { channels_.erase(uri); }
  const ScrubReport& report() const { return report_; }

 private:
  struct Copy;

  runtime::Task<> run();
  enum class Outcome : uint8_t { kCompared, kOutdated, kOver };
  runtime::Task<Outcome> scrub(uint64_t lba, uint64_t num_blocks);
  runtime::Task<bool> repair(ScrubDifference& difference, const Copy& good, std::vector<Copy>& copies,
                             uint64_t departures);
  runtime::Task<> take_turn(uint64_t bytes);
  runtime::Task<std::shared_ptr<block::Channel>> channel_of(RebuildJob::Source child);
  void note(ScrubDifference difference);
  void fail_with(std::string why);

  Resync::Owner& owner_;
  const std::span<const std::unique_ptr<NexusPort>> ports_;
  const uint64_t data_start_;
  const std::function<void()> on_ended_;
  RangeLock lock_;
  ScrubReport report_;
  std::map<std::string, std::shared_ptr<block::Channel>> channels_;
  std::map<std::string, block::PageMemory> memory_;  // of a segment, for each child
  block::PageMemory repair_memory_;
  TimePoint next_at_{};
  runtime::Event changed_;  // pulsed
  runtime::Event ended_;
};

}  // namespace cairn::nexus
