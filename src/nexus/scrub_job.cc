#include "nexus/scrub_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "block/io_wait.h"
#include "nexus/copy_watch.h"
#include "nexus/geometry.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::IoType;
using nvme::Status;
using runtime::Reactor;
using runtime::Task;

namespace {

constexpr Duration kYield = std::chrono::milliseconds(1);  // after each segment while hosts do I/O

}  // namespace

// What one child has there.
struct ScrubJob::Copy {
  RebuildJob::Source child;
  std::shared_ptr<block::Channel> channel;
  const std::byte* data = nullptr;  // nullptr: it cannot be read
  Status status;

  bool equals(const Copy& other, size_t size) const {
    return data != nullptr && other.data != nullptr && std::memcmp(data, other.data, size) == 0;
  }
};

std::string_view to_text(ScrubState state) {
  switch (state) {
    case ScrubState::kRunning:
      return "running";
    case ScrubState::kPaused:
      return "paused";
    case ScrubState::kStopped:
      return "stopped";
    case ScrubState::kFailed:
      return "failed";
    case ScrubState::kCompleted:
      return "completed";
  }
  return "unknown";
}

ScrubJob::ScrubJob(Resync::Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, ScrubRequest request,
                   uint64_t num_blocks, uint64_t data_start, uint32_t block_size, std::function<void()> ended)
    : owner_(owner),
      ports_(ports),
      data_start_(data_start),
      on_ended_(std::move(ended)),
      lock_(ports),
      repair_memory_(block::allocate_pages(2 * kSegmentBytes)) {
  report_.request = std::move(request);
  report_.blocks_total = num_blocks;
  report_.block_size = block_size;
}

ScrubJob::~ScrubJob() {
  CAIRN_CHECK(ended() || abandoning());
}

void ScrubJob::start() {
  report_.start_time = Reactor::current().now();
  Reactor::current().spawn("scrub", run());
}

void ScrubJob::pause() {
  CAIRN_CHECK(!is_over());
  report_.state = ScrubState::kPaused;
}

void ScrubJob::resume() {
  CAIRN_CHECK(!is_over());
  report_.state = ScrubState::kRunning;
  changed_.pulse();
}

void ScrubJob::stop() {
  if (is_over()) return;
  report_.state = ScrubState::kStopped;
  changed_.pulse();
}

void ScrubJob::grow(uint64_t num_blocks) {
  if (!is_over()) report_.blocks_total = num_blocks;
}

void ScrubJob::fail_with(std::string why) {
  if (is_over()) return;
  report_.state = ScrubState::kFailed;
  report_.failure = std::move(why);
}

Task<> ScrubJob::run() {
  const uint64_t segment_blocks = kSegmentBytes / report_.block_size;
  while (report_.blocks_compared < report_.blocks_total) {
    co_await take_turn(kSegmentBytes);
    if (is_over()) break;
    const uint64_t lba = report_.blocks_compared;
    // To the end of the segment: before the nexus grew it may have had a part of it only.
    const uint64_t num_blocks = std::min(segment_blocks - lba % segment_blocks, report_.blocks_total - lba);
    co_await lock_.acquire(lba, num_blocks);
    Outcome outcome = Outcome::kOutdated;
    while (outcome == Outcome::kOutdated && !is_over()) outcome = co_await scrub(lba, num_blocks);
    co_await lock_.release();
    if (outcome != Outcome::kCompared) break;
    report_.blocks_compared += num_blocks;
    report_.progress = report_.blocks_compared * 100 / report_.blocks_total;
  }
  if (!is_over()) report_.state = ScrubState::kCompleted;
  channels_.clear();
  memory_.clear();
  report_.end_time = Reactor::current().now();
  log::info("scrub {}: {} of {} blocks compared, {} different, {} repaired {}", to_text(report_.state),
            report_.blocks_compared, report_.blocks_total, report_.blocks_different, report_.blocks_repaired,
            report_.failure);
  ended_.set();
  on_ended_();
}

Task<> ScrubJob::take_turn(uint64_t bytes) {
  bool yielded = false;
  while (!is_over()) {
    if (report_.state == ScrubState::kPaused) {
      if (auto waited = co_await changed_.wait(); !waited) fail_with("the process ends");
      continue;
    }
    const TimePoint now = Reactor::current().now();
    Duration pause{};
    const uint64_t limit = report_.request.max_bytes_per_second;
    if (!yielded && std::ranges::any_of(ports_, [](const auto& port) { return port->num_host_ios() > 0; })) {
      pause = kYield;
      yielded = true;
    } else if (limit > 0 && next_at_ > now) {
      pause = next_at_ - now;
    } else {
      if (limit > 0) next_at_ = now + std::chrono::nanoseconds(bytes * 1'000'000'000 / limit);
      co_return;
    }
    const runtime::Deadline deadline(co_await runtime::current_context(), pause);
    if (auto waited = co_await changed_.wait(); !waited && !deadline.fired()) fail_with("the process ends");
  }
}

Task<std::shared_ptr<block::Channel>> ScrubJob::channel_of(RebuildJob::Source child) {
  if (const auto found = channels_.find(child.uri); found != channels_.end()) co_return found->second;
  auto opened = co_await child.device->open_channel();
  if (!opened) co_return nullptr;
  std::shared_ptr<block::Channel> channel = std::move(*opened);
  // Who has left meanwhile has been dropped already.
  const auto children = owner_.resync_children();
  if (std::ranges::find(children, child) != children.end()) channels_[child.uri] = channel;
  co_return channel;
}

// Neighbours that differ in the same way are one.
void ScrubJob::note(ScrubDifference difference) {
  report_.blocks_different += difference.num_blocks;
  if (difference.repaired) report_.blocks_repaired += difference.num_blocks;
  if (!report_.differences.empty()) {
    ScrubDifference& last = report_.differences.back();
    if (last.lba + last.num_blocks == difference.lba && last.repaired == difference.repaired &&
        last.deviating == difference.deviating && last.unreadable == difference.unreadable) {
      last.num_blocks += difference.num_blocks;
      return;
    }
  }
  if (report_.differences.size() < kMaxDifferences) report_.differences.push_back(std::move(difference));
}

// Under the lock of the range. What a child gave that has left the healthy ones is nobody's difference.
Task<ScrubJob::Outcome> ScrubJob::scrub(uint64_t lba, uint64_t num_blocks) {
  const uint64_t departures = num_departures(owner_.copy_watch());
  std::vector<Copy> copies;
  for (RebuildJob::Source& child : owner_.resync_children())
    copies.push_back({.child = std::move(child), .channel = {}, .data = nullptr, .status = {}});
  if (copies.size() < 2) {
    fail_with("there are no two healthy children to compare");
    co_return Outcome::kOver;
  }
  const size_t size = num_blocks * report_.block_size;
  for (Copy& copy : copies) {
    copy.channel = co_await channel_of(copy.child);
    block::PageMemory& memory = memory_[copy.child.uri];
    if (memory == nullptr) memory = block::allocate_pages(kSegmentBytes);
    iovec piece{memory.get(), size};
    copy.status =
        copy.channel == nullptr
            ? Status::generic(nvme::GenericStatus::kInternalError)
            : co_await perform_watched(
                  owner_.copy_watch(), *copy.channel,
                  {.type = IoType::kRead, .lba = data_start_ + lba, .num_blocks = num_blocks, .data = {&piece, 1}});
    if (copy.status.is_success()) copy.data = memory.get();
  }
  if (num_departures(owner_.copy_watch()) != departures) co_return Outcome::kOutdated;
  // Whoever has most on its side; the named one when it is to be the source.
  const Copy* good = nullptr;
  size_t most = 0;
  for (const Copy& copy : copies) {
    const auto agreeing =
        static_cast<size_t>(std::ranges::count_if(copies, [&](const Copy& other) { return copy.equals(other, size); }));
    if (agreeing > most) {
      most = agreeing;
      good = &copy;
    }
  }
  if (most == copies.size()) co_return Outcome::kCompared;
  const bool has_majority = 2 * most > copies.size();
  if (report_.request.repair == ScrubRepair::kSource) {
    const auto named = std::ranges::find(copies, report_.request.source_uri,
                                         [](const Copy& copy) -> const std::string& { return copy.child.uri; });
    if (named == copies.end()) {
      fail_with(fmt::format("the source {} is not healthy any more", report_.request.source_uri));
      co_return Outcome::kOver;
    }
    good = named->data != nullptr ? &*named : nullptr;
  } else if (!has_majority) {
    good = nullptr;
  }
  ScrubDifference difference{.lba = lba, .num_blocks = num_blocks, .deviating = {}, .unreadable = {}};
  for (const Copy& copy : copies) {
    if (good == nullptr || !copy.equals(*good, size)) difference.deviating.push_back(copy.child.uri);
    if (copy.data == nullptr) difference.unreadable.push_back(copy.child.uri);
  }
  log::warn("scrub: blocks {} to {} differ on {}", lba, lba + num_blocks - 1, fmt::join(difference.deviating, ", "));
  const bool repairs = good != nullptr && report_.request.repair != ScrubRepair::kNone;
  const bool ended = !repairs || co_await repair(difference, *good, copies, departures);
  if (!difference.deviating.empty()) note(std::move(difference));
  co_return ended ? Outcome::kCompared : Outcome::kOutdated;
}

// False: a child has left before all was done, or another one has come; the difference is what was repaired until then.
Task<bool> ScrubJob::repair(ScrubDifference& difference, const Copy& good, std::vector<Copy>& copies,
                            uint64_t departures) {
  // Children that are rebuilt may have got it from one of those.
  owner_.on_resync_copies(difference.lba, difference.num_blocks);
  difference.repaired = true;
  std::vector<std::string> done_with;
  bool outdated = false;
  for (const Copy& copy : copies) {
    if (std::ranges::find(difference.deviating, copy.child.uri) == difference.deviating.end()) continue;
    const SegmentCopy done =
        copy.channel != nullptr
            ? co_await equalize_segment(*good.channel, *copy.channel, data_start_ + difference.lba,
                                        difference.num_blocks, repair_memory_.get(), owner_.copy_watch(), departures)
            : SegmentCopy{SegmentCopy::Outcome::kWriteFailed, copy.status};
    outdated = done.outcome == SegmentCopy::Outcome::kOutdated;
    if (outdated) break;
    done_with.push_back(copy.child.uri);
    if (done.outcome == SegmentCopy::Outcome::kWriteFailed) {
      static_cast<void>(co_await owner_.on_resync_failed(copy.child.uri, done.status));
      difference.repaired = false;
    } else if (done.outcome == SegmentCopy::Outcome::kReadFailed) {
      difference.repaired = false;
    }
  }
  owner_.on_resync_copies(difference.lba, difference.num_blocks);
  // One that has become healthy meanwhile may have been copied from those before.
  outdated = outdated || std::ranges::any_of(owner_.resync_children(), [&](const RebuildJob::Source& child) {
               return std::ranges::find(copies, child.uri, [](const Copy& copy) -> const std::string& {
                        return copy.child.uri;
                      }) == copies.end();
             });
  if (outdated) difference.deviating = std::move(done_with);
  co_return !outdated;
}

}  // namespace cairn::nexus
