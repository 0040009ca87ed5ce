#include "nexus/resync.h"

#include <algorithm>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "block/page_memory.h"
#include "runtime/reactor.h"

namespace cairn::nexus {

using runtime::Reactor;
using runtime::Task;
using Outcome = SegmentCopy::Outcome;

namespace {

constexpr Duration kPause = std::chrono::milliseconds(100);

bool same_children(const std::vector<RebuildJob::Source>& some, const std::vector<RebuildJob::Source>& others) {
  return std::ranges::all_of(others, [&](const RebuildJob::Source& other) {
    return std::ranges::find(some, other.uri, &RebuildJob::Source::uri) != some.end();
  });
}

}  // namespace

struct Resync::Copier {
  explicit Copier(std::span<const std::unique_ptr<NexusPort>> ports, size_t segment_bytes)
      : lock(ports), memory(block::allocate_pages(2 * segment_bytes)) {}
  RangeLock lock;
  block::PageMemory memory;
};

Resync::Resync(Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, std::shared_ptr<UnequalMap> unequal,
               uint64_t num_blocks, uint64_t data_start, uint32_t block_size)
    : owner_(owner),
      ports_(ports),
      unequal_(std::move(unequal)),
      num_blocks_(num_blocks),
      data_start_(data_start),
      block_size_(block_size),
      segments_total_(unequal_->map().count()) {}

Resync::~Resync() {
  CAIRN_CHECK(num_running_ == 0 || abandoning());
}

ResyncStatistics Resync::statistics() const {
  return {.segments_total = segments_total_,
          .segments_remaining = unequal_->map().count(),
          .segments_copied = segments_copied_,
          .segment_bytes = uint64_t{unequal_->map().segment_blocks()} * block_size_};
}

void Resync::start() {
  CAIRN_CHECK(!started_);
  started_ = true;
  num_running_ = kNumCopiers;
  for (size_t i = 0; i < kNumCopiers; ++i) {
    copiers_.push_back(std::make_unique<Copier>(ports_, statistics().segment_bytes));
    Reactor::current().spawn("resync", run(*copiers_.back()));
  }
}

Task<> Resync::stop() {
  cancel();
  while (num_running_ > 0) static_cast<void>(co_await changed_.wait_uninterrupted());
}

// The next segment for a copier; as many as there are: none.
uint64_t Resync::choose() {
  const DirtyMap& map = unequal_->map();
  if (const uint64_t urgent = unequal_->take_urgent(); map.test(urgent) && !busy_.contains(urgent)) return urgent;
  uint64_t segment = map.next(0);
  while (segment < map.num_segments() && busy_.contains(segment)) segment = map.next(segment + 1);
  return segment;
}

Task<> Resync::run(Copier& copier) {
  const uint64_t segment_blocks = unequal_->map().segment_blocks();
  while (!stopping_) {
    const uint64_t segment = choose();
    if (segment >= unequal_->map().num_segments()) break;
    busy_.insert(segment);
    const uint64_t lba = segment * segment_blocks;
    co_await copier.lock.acquire(lba, segment_blocks);
    const bool equal = co_await make_equal(copier, lba, std::min(segment_blocks, num_blocks_ - lba));
    if (equal && !stopping_) unequal_->map().take(segment);
    // Reads that wait for it are tried again with this.
    co_await copier.lock.release();
    busy_.erase(segment);
    if (!equal && !stopping_) static_cast<void>(co_await runtime::sleep_for(kPause));
  }
  if (--num_running_ == 0) channels_.clear();
  changed_.pulse();
  if (num_running_ == 0 && !stopping_) owner_.on_resync_ended();
}

Task<std::shared_ptr<block::Channel>> Resync::channel_of(RebuildJob::Source child) {
  if (const auto found = channels_.find(child.uri); found != channels_.end()) co_return found->second;
  auto opened = co_await child.device->open_channel();
  if (!opened) co_return nullptr;
  std::shared_ptr<block::Channel> channel = std::move(*opened);
  // Who has left meanwhile has been dropped already.
  const auto children = owner_.resync_children();
  if (!stopping_ && std::ranges::find(children, child) != children.end()) channels_[child.uri] = channel;
  co_return channel;
}

// False: it is not, and the child that did not take it stays: another nexus has reserved it, or it is the last one.
Task<bool> Resync::make_equal(Copier& copier, uint64_t lba, uint64_t num_blocks) {
  std::vector<std::string> unreadable;
  while (!stopping_) {
    const uint64_t departures = num_departures(owner_.copy_watch());
    const std::vector<RebuildJob::Source> children = owner_.resync_children();
    const auto source = std::ranges::find_if(
        children, [&](const auto& child) { return std::ranges::find(unreadable, child.uri) == unreadable.end(); });
    if (children.size() <= 1 || source == children.end()) {
      if (children.size() > 1) log::error("blocks {} to {}: no child can read them", lba, lba + num_blocks - 1);
      co_return true;
    }
    const auto from = co_await channel_of(*source);
    if (from == nullptr) {
      unreadable.push_back(source->uri);
      continue;
    }
    // Children that are rebuilt must get what the others have now.
    owner_.on_resync_copies(lba, num_blocks);
    bool again = false;
    for (const RebuildJob::Source& child : children) {
      if (child.uri == source->uri) continue;
      const auto to = co_await channel_of(child);
      const SegmentCopy done =
          to != nullptr
              ? co_await equalize_segment(*from, *to, data_start_ + lba, num_blocks, copier.memory.get(),
                                          owner_.copy_watch(), departures)
              : SegmentCopy{Outcome::kWriteFailed, nvme::Status::generic(nvme::GenericStatus::kInternalError)};
      if (done.outcome == Outcome::kCopied || done.outcome == Outcome::kReleased) ++segments_copied_;
      if (done.outcome == Outcome::kOutdated) {
        again = true;
        break;
      }
      if (done.outcome == Outcome::kWriteFailed) {
        if (!co_await owner_.on_resync_failed(child.uri, done.status)) co_return false;
      } else if (done.outcome == Outcome::kReadFailed) {
        unreadable.push_back(source->uri);
        if (done.status.type() != nvme::StatusCodeType::kMedia) {
          static_cast<void>(co_await owner_.on_resync_failed(source->uri, done.status));
        }
        again = true;
        break;
      }
    }
    // A rebuild may have read one of them in between: its child gets the segment again, also when it is healthy by now.
    owner_.on_resync_copies(lba, num_blocks);
    if (!again && same_children(children, owner_.resync_children())) co_return true;
  }
  co_return false;
}

}  // namespace cairn::nexus
