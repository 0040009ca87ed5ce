#include "nexus/rebuild_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "base/seeded_bug.h"
#include "block/io_wait.h"
#include "block/large_memory.h"
#include "nexus/nexus_port.h"
#include "nexus/segment_copy.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using block::IoType;
using nvme::Status;
using runtime::Reactor;
using runtime::Task;

namespace {

constexpr Duration kYield = std::chrono::milliseconds(1);  // between looks whether hosts are still busy
// Hosts that wait for each I/O are busy between them, too.
constexpr Duration kBusyFor = std::chrono::milliseconds(5);
// Segments. 16 copiers have 4 MiB under way then, which are what hosts that come back may have to wait for: 4 ms for a
// disk or a link that does 1 GB/s.
constexpr uint64_t kMaxRun = 4;
constexpr Duration kQuietFor = std::chrono::milliseconds(100);
constexpr Duration kSlice = std::chrono::milliseconds(5);
constexpr Duration kLongestRest = std::chrono::milliseconds(200);
constexpr size_t kMaxCopiers = 64;
constexpr Duration kRetryPause = std::chrono::milliseconds(100);

// Not: it is lost, full, or never takes such a request.
bool may_pass(Status status) {
  const ChildFailure failure = failure_of(status);
  return !failure.lost && !failure.conflict && failure.reason != FaultReason::kNoSpace &&
         !status.is(nvme::GenericStatus::kInvalidOpcode) && !status.is(nvme::GenericStatus::kLbaOutOfRange);
}

}  // namespace

RebuildJob::RebuildJob(Owner& owner, std::string child_uri, std::shared_ptr<block::Device> destination,
                       std::shared_ptr<DirtyMap> map, uint64_t num_blocks, uint64_t data_start,
                       const RebuildOptions& options)
    : owner_(owner),
      child_uri_(std::move(child_uri)),
      destination_(std::move(destination)),
      map_(std::move(map)),
      num_blocks_(num_blocks),
      data_start_(data_start),
      options_(options),
      limits_(options.limits),
      is_partial_(map_->count() < map_->num_segments()),
      read_turns_((num_copiers() + 1) / 2) {}

size_t RebuildJob::num_copiers() const {
  return std::clamp<size_t>(options_.num_copiers, 1, kMaxCopiers);
}

RebuildJob::~RebuildJob() {
  CAIRN_CHECK(state_ == RebuildState::kInit || ended() || abandoning());
}

void RebuildJob::start() {
  CAIRN_CHECK(state_ == RebuildState::kInit);
  state_ = RebuildState::kRunning;
  start_time_ = Reactor::current().now();
  Reactor::current().spawn("rebuild", run());
}

Result<> RebuildJob::pause() {
  if (state_ != RebuildState::kRunning && state_ != RebuildState::kPaused) {
    return fail(Code::kInternal, fmt::format("it is {}", to_text(state_)));
  }
  state_ = RebuildState::kPaused;
  return {};
}

Result<> RebuildJob::resume() {
  if (state_ != RebuildState::kRunning && state_ != RebuildState::kPaused) {
    return fail(Code::kInternal, fmt::format("it is {}", to_text(state_)));
  }
  state_ = RebuildState::kRunning;
  changed_.pulse();
  return {};
}

Result<> RebuildJob::stop() {
  if (state_ == RebuildState::kFailed || state_ == RebuildState::kCompleted) {
    return fail(Code::kInternal, fmt::format("it is {}", to_text(state_)));
  }
  end(RebuildState::kStopped);
  return {};
}

void RebuildJob::abandon() {
  if (!stopping()) end(RebuildState::kFailed);
}

void RebuildJob::end(RebuildState state) {
  state_ = state;
  changed_.pulse();
}

void RebuildJob::drop_source(const std::string& uri) {
  if (source_ != nullptr && source_->uri == uri) source_.reset();
}

RebuildStatistics RebuildJob::statistics() const {
  const uint64_t dirty = std::min(map_->count() * map_->segment_blocks(), num_blocks_);
  const uint64_t recovered = num_blocks_ - dirty;
  return {.blocks_total = num_blocks_,
          .blocks_recovered = recovered,
          .blocks_transferred = blocks_transferred_,
          .blocks_remaining = dirty,
          .progress = recovered * 100 / num_blocks_,
          .blocks_per_task = map_->segment_blocks(),
          .block_size = destination_->block_size(),
          .tasks_total = options_.num_copiers,
          .tasks_active = num_copying_,
          .blocks_mismatched = blocks_mismatched_,
          .num_retries = num_retries_,
          .is_partial = is_partial_,
          .start_time = start_time_,
          .end_time = end_time_};
}

Task<> RebuildJob::run() {
  auto opened = co_await destination_->open_channel();
  if (opened) {
    channel_ = std::move(*opened);
  } else {
    log::error("rebuild of {}: {}", child_uri_, opened.error().to_string());
    abandon();
  }
  std::vector<std::unique_ptr<Copier>> copiers;
  const size_t count = num_copiers();
  const size_t run_bytes = kMaxRun * map_->segment_blocks() * destination_->block_size();
  const size_t copier_bytes = options_.verify == RebuildVerify::kNone ? run_bytes : 2 * run_bytes;
  const block::LargeMemory memory(count * copier_bytes);
  for (size_t i = 0; i < count; ++i) {
    copiers.push_back(std::make_unique<Copier>(owner_.rebuild_ports(), memory.get() + i * copier_bytes));
  }
  while (!stopping()) {
    cursor_ = 0;
    num_copiers_ = count;
    for (size_t i = 0; i < count; ++i) Reactor::current().spawn("rebuild copier", copy_all(*copiers[i], i));
    while (num_copiers_ > 0) static_cast<void>(co_await changed_.wait_uninterrupted());
    while (state_ == RebuildState::kPaused) {
      if (auto waited = co_await changed_.wait(); !waited) abandon();
    }
    if (stopping() || map_->next(0) < map_->num_segments()) continue;
    if (map_->outgrown()) {
      abandon();
    } else if (co_await owner_.promote(*this)) {
      state_ = RebuildState::kCompleted;  // also when it was to be stopped meanwhile
    }
  }
  channel_.reset();
  source_.reset();
  copiers.clear();
  end_time_ = Reactor::current().now();
  ended_.set();
  owner_.on_rebuild_ended(*this);
}

Task<bool> RebuildJob::flush() {
  if (!destination_->has_volatile_cache()) co_return true;
  const Status flushed = co_await perform_watched(owner_.copy_watch(), *channel_, {.type = IoType::kFlush});
  if (!flushed.is_success()) log::error("rebuild of {}: {}", child_uri_, flushed.to_string());
  co_return flushed.is_success();
}

bool RebuildJob::hosts_are_busy(TimePoint now) {
  if (std::ranges::any_of(owner_.rebuild_ports(), [](const auto& port) { return port->num_host_ios() > 0; })) {
    hosts_seen_at_ = now;
  }
  return hosts_seen_at_ != TimePoint{} && now - hosts_seen_at_ < kBusyFor;
}

// A share of the time, because that is what can be promised on any device: hosts have all of it in the rest.
Duration RebuildJob::yield_to_hosts(size_t index, TimePoint now) {
  if (!hosts_are_busy(now)) {
    slice_begin_ = rest_until_ = {};
    return {};
  }
  if (index >= std::max<size_t>(limits_.num_copiers_under_load, 1)) return kYield;
  const unsigned percent = std::clamp(limits_.percent_of_time_under_load, 1u, 100u);
  if (percent == 100) return {};
  if (now < rest_until_) return std::min(rest_until_ - now, kYield);
  if (slice_begin_ == TimePoint{}) slice_begin_ = now;
  if (now - slice_begin_ < kSlice) return {};
  if (num_copying_ > 0) return kYield;
  rest_until_ = last_copy_end_ + std::min((last_copy_end_ - slice_begin_) * (100 - percent) / percent, kLongestRest);
  slice_begin_ = {};
  return kYield;
}

// Waits until this copier may go on, or nothing is left for it. A cancelled task (the process ends) fails the job.
Task<> RebuildJob::take_turn(size_t index) {
  while (!stopping() && map_->next(cursor_) < map_->num_segments()) {
    if (state_ == RebuildState::kPaused) {
      if (auto waited = co_await changed_.wait(); !waited) abandon();
      continue;
    }
    const TimePoint now = Reactor::current().now();
    Duration pause = yield_to_hosts(index, now);
    if (pause > Duration(0)) {
      // looks again then
    } else if (limits_.max_bytes_per_second > 0 && next_copy_at_ > now) {
      pause = next_copy_at_ - now;
    } else {
      co_return;
    }
    const runtime::Deadline deadline(co_await runtime::current_context(), pause);
    if (auto waited = co_await changed_.wait(); !waited && !deadline.fired()) abandon();
  }
}

// A disk or a link takes much longer for many small I/Os than for a few larger ones. Not while hosts are about: then
// what they would have to wait for is kept small.
uint64_t RebuildJob::run_length(uint64_t first, const Copier& copier) const {
  const bool quiet = hosts_seen_at_ == TimePoint{} || Reactor::current().now() - hosts_seen_at_ >= kQuietFor;
  uint64_t length = 1;
  while (copier.dense && quiet && length < kMaxRun && map_->test(first + length)) ++length;
  return length;
}

// One pass over the map, together with the other copiers: each segment goes to one of them.
Task<> RebuildJob::copy_all(Copier& copier, size_t index) {
  const uint64_t segment_blocks = map_->segment_blocks();
  while (true) {
    if (map_->next(cursor_) == map_->num_segments()) break;
    co_await take_turn(index);
    const uint64_t segment = map_->next(cursor_);
    if (stopping() || segment == map_->num_segments()) break;
    const uint64_t count = run_length(segment, copier);
    cursor_ = segment + count;
    ++num_copying_;
    const uint64_t lba = segment * segment_blocks;
    const uint64_t num_blocks = std::min(count * segment_blocks, num_blocks_ > lba ? num_blocks_ - lba : 0);
    if (const uint64_t limit = limits_.max_bytes_per_second; limit > 0) {
      const uint64_t bytes = num_blocks * destination_->block_size();
      next_copy_at_ = Reactor::current().now() + std::chrono::nanoseconds(bytes * 1'000'000'000 / limit);
    }
    const bool locked = !seeded(SeededBug::kRebuildWithoutLock);
    if (locked) co_await copier.lock.acquire(lba, count * segment_blocks);
    if (!stopping() && map_->take(segment, count) && num_blocks > 0 && !co_await copy(copier, lba, num_blocks)) {
      if (!seeded(SeededBug::kForgetFailedCopy)) {
        map_->set(lba, num_blocks);
        abandon();
      }
    }
    if (locked) co_await copier.lock.release();
    --num_copying_;
    last_copy_end_ = Reactor::current().now();
  }
  --num_copiers_;
  changed_.pulse();
}

// Healthy now, with the segment's lock held: what it misses from here on is not in this segment. One that was healthy
// when the lock was asked for may miss the very write that was waited for.
Task<std::shared_ptr<RebuildJob::OpenSource>> RebuildJob::source(const std::vector<std::string>& tried) {
  auto usable = [&](const std::string& uri) {
    const std::vector<Source> healthy = owner_.rebuild_sources();
    return std::ranges::find(tried, uri) == tried.end() &&
           std::ranges::find(healthy, uri, &Source::uri) != healthy.end();
  };
  if (source_ != nullptr && usable(source_->uri)) co_return source_;
  for (const Source& candidate : owner_.rebuild_sources()) {
    if (!usable(candidate.uri)) continue;
    auto channel = co_await candidate.device->open_channel();
    if (!channel || !usable(candidate.uri)) continue;
    source_uri_ = candidate.uri;
    source_ = std::make_shared<OpenSource>(OpenSource{candidate.uri, std::move(*channel)});
    co_return source_;
  }
  co_return nullptr;
}

// One segment or several. Of several, those that are written nowhere or cannot be read are found one by one.
Task<bool> RebuildJob::copy(Copier& copier, uint64_t lba, uint64_t num_blocks) {
  const bool several = num_blocks > map_->segment_blocks();
  std::vector<std::string> tried;
  unsigned retries = 0;
  while (true) {
    const std::shared_ptr<OpenSource> from = co_await source(tried);
    const uint64_t departures = num_departures(owner_.copy_watch());
    if (from == nullptr) {
      log::error("rebuild of {}: no source for blocks {} to {}", child_uri_, lba, lba + num_blocks - 1);
      co_return false;
    }
    const bool swapped = seeded(SeededBug::kResyncWrongWay);
    block::Channel& good = swapped ? *channel_ : *from->channel;
    block::Channel& behind = swapped ? *from->channel : *channel_;
    const SegmentCopy done = co_await (several ? &copy_written : &copy_segment)(
        good, behind, data_start_ + lba, num_blocks, copier.memory, owner_.copy_watch(), departures, read_turns_);
    copier.dense = done.outcome == SegmentCopy::Outcome::kCopied;
    if (failure_of(done.status).conflict) {
      owner_.on_conflict(done.outcome == SegmentCopy::Outcome::kReadFailed ? from->uri : child_uri_);
      co_return false;
    }
    if (done.outcome == SegmentCopy::Outcome::kOutdated) {
      if (stopping()) co_return false;
      continue;
    }
    if (done.outcome == SegmentCopy::Outcome::kWriteFailed) {
      if (retries < options_.max_retries && may_pass(done.status) && !stopping()) {
        ++retries;
        ++num_retries_;
        log::warn("rebuild of {}: {}, retry {}", child_uri_, done.status.to_string(), retries);
        if (auto slept = co_await runtime::sleep_for(kRetryPause); !slept) co_return false;
        continue;
      }
      log::error("rebuild of {}: {}", child_uri_, done.status.to_string());
      co_return false;
    }
    if (done.outcome == SegmentCopy::Outcome::kCopied) {
      blocks_transferred_ += num_blocks;
      co_return options_.verify == RebuildVerify::kNone || co_await verify(copier, lba, num_blocks);
    }
    if (several) break;
    if (done.outcome != SegmentCopy::Outcome::kReadFailed) co_return true;
    log::warn("rebuild of {} from {}: {}", child_uri_, from->uri, done.status.to_string());
    tried.push_back(from->uri);
    if (done.status.type() != nvme::StatusCodeType::kMedia) owner_.on_source_failed(from->uri);
  }
  co_return co_await copy_each(copier, lba, num_blocks);
}

Task<bool> RebuildJob::copy_each(Copier& copier, uint64_t lba, uint64_t num_blocks) {
  const uint64_t segment_blocks = map_->segment_blocks();
  for (uint64_t done = 0; done < num_blocks; done += segment_blocks) {
    if (!co_await copy(copier, lba + done, std::min(segment_blocks, num_blocks - done))) co_return false;
  }
  co_return true;
}

// What was just copied: the copier's memory holds it, and nobody writes there meanwhile.
Task<bool> RebuildJob::verify(Copier& copier, uint64_t lba, uint64_t num_blocks) {
  const uint64_t size = num_blocks * destination_->block_size();
  iovec piece{copier.memory + size, size};
  const Status read = co_await perform_watched(
      owner_.copy_watch(), *channel_,
      {.type = IoType::kRead, .lba = data_start_ + lba, .num_blocks = num_blocks, .data = {&piece, 1}});
  const uint64_t segment_blocks = map_->segment_blocks(), block_size = destination_->block_size();
  bool equal = true;
  for (uint64_t at = 0; at < num_blocks; at += segment_blocks) {
    const uint64_t count = std::min(segment_blocks, num_blocks - at);
    const std::byte* const written = copier.memory + at * block_size;
    if (read.is_success() && std::memcmp(written, written + size, count * block_size) == 0) continue;
    equal = false;
    blocks_mismatched_ += count;
    log::error("rebuild of {}: blocks {} to {} are not what was written ({})", child_uri_, lba + at,
               lba + at + count - 1, read.is_success() ? "other content" : read.to_string());
  }
  co_return equal || options_.verify == RebuildVerify::kReport;
}

}  // namespace cairn::nexus
