// What I/O needs the home reactor for: clusters for first writes, and taking them back after unmaps. Requests that come
// in while others are served share the next write of each extent page.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "base/check.h"
#include "base/log.h"
#include "base/seeded_bug.h"
#include "pool/cluster_reservation.h"
#include "pool/io_batch.h"
#include "pool/metadata_change.h"
#include "pool/pool.h"
#include "pool/pool_disk.h"
#include "pool/replica_channel.h"

namespace cairn::pool {

using block::IoType;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::Status;
using runtime::Task;

namespace {

constexpr size_t kMaxBatch = 512;
// Steps are gathered for at most one such part of the time that the last batch took, counted from its end.
constexpr int kGatheringShare = 2;
// How many free clusters are cleared together, in advance, where clearing moves no data.
constexpr uint32_t kPreparedTogether = 256;
// How much is cleared before the turn is asked for again, for somebody who needs many clusters: whether that is still
// wanted is looked at so often.
constexpr uint64_t kClearedTogetherBytes = uint64_t{256} << 20;

const Status kCapacityExceeded = Status::generic(GenericStatus::kCapacityExceeded, Dnr::kYes);
const Status kMetadataFailed = Status::generic(GenericStatus::kInternalError);
const Status kVolumeIsGoing = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);

}  // namespace

void Pool::accept(ReplicaStep& step) {
  waiting_.push_back(step);
  if (++num_waiting_ >= last_batch_.size) gathered_.set();
  if (serving_) return;
  serving_ = true;
  home_.spawn("pool allocation", serve_steps());
}

Task<> Pool::serve_steps() {
  const Use use(*this);
  while (!waiting_.empty()) {
    co_await gather_steps();
    const auto turn = co_await changing_.lock();
    const TimePoint began = home_.now();
    std::vector<ReplicaStep*> allocations, releases;
    while (allocations.size() + releases.size() < kMaxBatch) {
      auto* step = static_cast<ReplicaStep*>(waiting_.pop_front());
      if (step == nullptr) break;
      --num_waiting_;
      step->answer = turn ? Status::success() : Status::generic(GenericStatus::kCommandInterrupted);
      (step->wish == ReplicaStep::Wish::kAllocate ? allocations : releases).push_back(step);
    }
    if (turn && !releases.empty()) co_await release(releases);
    if (turn && !allocations.empty()) co_await allocate(allocations);
    const TimePoint ended = home_.now();
    last_batch_ = {.size = allocations.size() + releases.size(), .took = ended - began, .ended = ended};
    for (auto* steps : {&releases, &allocations}) {
      for (ReplicaStep* step : *steps) step->port->reactor().post(step->to_channel);
    }
  }
  serving_ = false;
}

// The hosts that were served together send their next writes at about the same time: without this, the first of them
// would have a change of the metadata to itself, and all others would wait for it.
Task<> Pool::gather_steps() {
  const TimePoint until = last_batch_.ended + last_batch_.took / kGatheringShare;
  if (num_waiting_ >= last_batch_.size || home_.now() >= until) co_return;
  gathered_.reset();
  runtime::Timer timer([this] { gathered_.set(); });
  home_.arm(timer, until);
  static_cast<void>(co_await gathered_.wait_uninterrupted());
}

Result<std::vector<uint32_t>> Pool::put_volume(MetadataChange& change, const Volume& volume,
                                               format::BlobMetadata& metadata, const FutureMap& map,
                                               std::span<const uint64_t> extent_pages, bool chain_changes) {
  metadata.num_clusters = map.size;
  if (metadata.flags.uses_extent_table()) {
    metadata.extent_table.resize(format::extent_pages_for(map.size), format::kNoExtentPage);
    for (const uint64_t number : extent_pages) {
      const auto entries = map.extent_entries(number);
      uint32_t& md_page = metadata.extent_table.at(number);
      const bool empty = std::ranges::all_of(entries, [](uint32_t cluster) { return cluster == format::kNoCluster; });
      if (empty) {
        if (md_page == format::kNoExtentPage) continue;
        change.erase_page(md_page);
        md_page = format::kNoExtentPage;
        chain_changes = true;
        continue;
      }
      const bool fresh = md_page == format::kNoExtentPage;
      if (fresh) {
        auto taken = change.take_extent_page();
        if (!taken) return fail(std::move(taken.error()));
        md_page = *taken;
        chain_changes = true;
      }
      change.put_extent_page(volume.id(), md_page, number * format::kClustersPerExtentPage, entries, fresh);
    }
  } else {
    chain_changes = true;
    metadata.runs.clear();
    for (uint64_t index = 0; index < map.size; ++index) {
      const uint32_t cluster = map.at(index);
      if (!metadata.runs.empty()) {
        format::ClusterRun& last = metadata.runs.back();
        const bool continues = cluster == format::kNoCluster
                                   ? last.first == format::kNoCluster
                                   : last.first != format::kNoCluster && cluster == last.first + last.length;
        if (continues) {
          ++last.length;
          continue;
        }
      }
      metadata.runs.push_back({cluster, 1});
    }
  }
  if (!chain_changes) return volume.chain_pages;
  return change.put_chain(metadata, volume.chain_pages);
}

// ---- Allocation ----

// Order: clusters that read as zeroes or hold the copy of what the snapshot holds, stable; new extent pages and chain
// pages, stable; extent pages in place and roots, stable; then the map, which makes the clusters visible. Meanwhile
// what the hosts write goes into the clusters: until then these are free ones for everybody else, also after a crash.
Task<> Pool::allocate(std::vector<ReplicaStep*> steps) {
  struct Allocation {
    uint32_t cluster = 0;
    uint32_t source = 0;  // of the copy
    Status copied;
  };
  struct Pending {
    std::map<uint64_t, Allocation> clusters;  // by index
    std::set<uint64_t> extent_pages;
  };
  std::map<Volume*, Pending, ByBlobId> pending;
  auto fail_all = [&](Status status) {
    for (ReplicaStep* step : steps) {
      if (step->answer.is_success()) step->answer = status;
    }
  };

  // Who gets one. Clusters and extent pages are counted first, so that what is taken below is there.
  uint64_t clusters_left = space_.free_clusters();
  uint64_t pages_left = space_.md_pages() - space_.used_md_pages();
  uint64_t zeroed_needed = 0;
  for (ReplicaStep* step : steps) {
    Volume& volume = step->port->replica().volume_;
    if (volume.removing) {
      step->answer = kVolumeIsGoing;
      continue;
    }
    if (step->index >= volume.num_clusters()) {
      step->answer = Status::generic(GenericStatus::kLbaOutOfRange, Dnr::kYes);
      continue;
    }
    if (volume.map->at(step->index) != 0) continue;  // somebody was faster
    Pending& mine = pending[&volume];
    if (mine.clusters.contains(step->index)) continue;
    const uint64_t extent_page = step->index / format::kClustersPerExtentPage;
    const bool new_page = volume.metadata.flags.uses_extent_table() &&
                          volume.metadata.extent_table[extent_page] == format::kNoExtentPage &&
                          !mine.extent_pages.contains(extent_page);
    // A chain may need as many pages again as it has, and one more.
    const uint64_t pages = new_page ? 2 + volume.chain_pages.size() : 0;
    if (clusters_left == 0 || pages_left < pages) {
      step->answer = kCapacityExceeded;
      continue;
    }
    --clusters_left;
    pages_left -= pages;
    const uint32_t source = volume.inherited(step->index);
    if (source == 0) ++zeroed_needed;
    mine.clusters.emplace(step->index, Allocation{0, source, {}});
    mine.extent_pages.insert(extent_page);
  }
  std::erase_if(pending, [](const auto& entry) { return entry.second.clusters.empty(); });
  if (pending.empty()) co_return;

  if (auto prepared = co_await prepare_free_clusters(zeroed_needed); !prepared) {
    log::error("pool '{}': {}", name_, prepared.error().to_string());
    fail_all(kMetadataFailed);
    co_return;
  }
  MetadataChange change(space_, *store_);
  // The lowest free clusters are the zeroed ones.
  for (const bool copies : {false, true}) {
    for (auto& [volume, mine] : pending) {
      for (auto& [index, allocation] : mine.clusters) {
        if ((allocation.source != 0) != copies) continue;
        const auto cluster = change.take_cluster();
        CAIRN_CHECK(cluster.has_value() && (copies || space_.is_zeroed(*cluster)));
        space_.forget_zeroed(*cluster);
        allocation.cluster = *cluster;
      }
    }
  }
  IoBatch copies(*home_port_->channel);
  for (auto& [volume, mine] : pending) {
    for (auto& [index, allocation] : mine.clusters) {
      if (allocation.source == 0) continue;
      copies.add_copy(layout_.cluster_offset(allocation.source), layout_.cluster_offset(allocation.cluster),
                      layout_.cluster_size, allocation.copied);
    }
  }
  if (!copies.empty()) {
    change.flush_data_first();
    if (const Status status = co_await copies.run(); !status.is_success()) {
      log::error("pool '{}': copying from a snapshot: {}", name_, status.to_string());
      // Only who needs these clusters fails.
      for (ReplicaStep* step : steps) {
        const auto mine = pending.find(&step->port->replica().volume_);
        if (!step->answer.is_success() || mine == pending.end()) continue;
        if (const auto found = mine->second.clusters.find(step->index); found != mine->second.clusters.end()) {
          step->answer = found->second.copied;
        }
      }
      for (auto& [volume, mine] : pending) {
        std::erase_if(mine.clusters, [&](const auto& entry) {
          if (entry.second.copied.is_success()) return false;
          change.give_back_cluster(entry.second.cluster);
          return true;
        });
      }
      std::erase_if(pending, [](const auto& entry) { return entry.second.clusters.empty(); });
      if (pending.empty()) co_return;
    }
  }

  struct Outcome {
    format::BlobMetadata metadata;
    std::vector<uint32_t> chain_pages;
  };
  std::map<Volume*, Outcome, ByBlobId> outcomes;
  for (auto& [volume, mine] : pending) {
    std::map<uint64_t, uint32_t> changes;
    for (const auto& [index, allocation] : mine.clusters) changes.emplace(index, allocation.cluster);
    Outcome outcome{volume->metadata, {}};
    const std::vector<uint64_t> extent_pages(mine.extent_pages.begin(), mine.extent_pages.end());
    auto chain =
        put_volume(change, *volume, outcome.metadata, {*volume->map, volume->num_clusters(), changes}, extent_pages);
    if (!chain) {
      log::error("pool '{}': {}", name_, chain.error().to_string());
      fail_all(kCapacityExceeded);
      co_return;
    }
    outcome.chain_pages = std::move(*chain);
    outcomes.emplace(volume, std::move(outcome));
  }
  IoBatch writes(*home_port_->channel, kMaxBatch);
  const uint64_t blocks_per_cluster = layout_.cluster_size / device_->block_size();
  for (ReplicaStep* step : steps) {
    const auto mine = pending.find(&step->port->replica().volume_);
    if (step->whole->type != IoType::kWrite || !step->answer.is_success() || mine == pending.end()) continue;
    const auto found = mine->second.clusters.find(step->index);
    if (found == mine->second.clusters.end()) continue;
    writes.add_write_of(*step, found->second.cluster * blocks_per_cluster + step->first_block, step->written_with);
    step->written = true;
  }
  writes.start();
  auto done = co_await change.commit();
  static_cast<void>(co_await writes.run());  // each has its own outcome
  if (!done) {
    log::error("pool '{}': allocating clusters: {}", name_, done.error().to_string());
    fail_all(kMetadataFailed);
    co_return;
  }
  for (auto& [volume, outcome] : outcomes) {
    volume->metadata = std::move(outcome.metadata);
    volume->chain_pages = std::move(outcome.chain_pages);
    for (const auto& [index, allocation] : pending.at(volume).clusters) volume->map->set(index, allocation.cluster);
  }
}

Task<Result<>> Pool::zero_clusters(std::vector<uint32_t> clusters) {
  if (clusters.empty() || seeded(SeededBug::kUnclearedClusters)) co_return Result<>{};
  std::ranges::sort(clusters);
  IoBatch batch(*home_port_->channel);
  constexpr uint64_t kMaxRunBytes = uint64_t{1} << 30;
  const size_t max_run = std::max<uint64_t>(1, kMaxRunBytes / layout_.cluster_size);
  for (size_t i = 0; i < clusters.size();) {
    size_t end = i + 1;
    while (end < clusters.size() && end - i < max_run && clusters[end] == clusters[end - 1] + 1) ++end;
    batch.add(IoType::kWriteZeroes, layout_.cluster_offset(clusters[i]), (end - i) * uint64_t{layout_.cluster_size});
    i = end;
  }
  if (const Status status = co_await batch.run(); !status.is_success()) {
    co_return fail(Code::kInternal, "clearing clusters: " + status.to_string());
  }
  co_return co_await store_->flush();
}

Task<Result<>> Pool::prepare_free_clusters(uint64_t count) {
  // Where clearing means giving space back it is cheap, and done for many clusters at a time.
  const bool cheap = device_->supports(IoType::kUnmap);
  std::vector<uint32_t> clusters;
  const Bitmap& taken = space_.clusters();
  uint64_t found = 0;
  uint32_t cluster = space_.lowest_free_cluster().value_or(taken.size());
  for (; cluster < taken.size() && found < count; ++cluster) {
    if (taken.test(cluster)) continue;
    ++found;
    if (!space_.is_zeroed(cluster)) clusters.push_back(cluster);
  }
  if (clusters.empty()) co_return Result<>{};
  for (uint32_t ahead = 0; cheap && ahead < kPreparedTogether && cluster < taken.size(); ++ahead, ++cluster) {
    if (!taken.test(cluster) && !space_.is_zeroed(cluster)) clusters.push_back(cluster);
  }
  if (auto zeroed = co_await zero_clusters(clusters); !zeroed) co_return zeroed;
  for (const uint32_t done : clusters) space_.set_zeroed(done);
  co_return Result<>{};
}

Task<Result<bool>> Pool::reserve_clusters(ClusterReservation& reserved, uint64_t count, runtime::Mutex::Guard& turn) {
  const uint64_t missing = count - std::min(count, reserved.size());
  if (missing > space_.free_clusters()) {
    co_return fail(Error::from_errno(
        ENOSPC, fmt::format("{} clusters are free, {} are needed", space_.free_clusters() + reserved.size(), count)));
  }
  if (device_->supports(IoType::kUnmap) && missing <= kPreparedTogether) {
    if (auto prepared = co_await prepare_free_clusters(missing); !prepared) co_return fail(std::move(prepared.error()));
  }
  for (uint64_t i = 0; i < missing; ++i) reserved.take_one();
  const auto portion = reserved.next_uncleared(std::max<uint64_t>(1, kClearedTogetherBytes / layout_.cluster_size));
  if (portion.empty()) co_return true;
  turn = {};
  auto cleared = co_await zero_clusters(portion);
  auto again = co_await changing_.lock();
  if (!again) {
    reserved.leave();
    co_return fail(std::move(again.error()));
  }
  turn = std::move(*again);
  if (!cleared) co_return fail(std::move(cleared.error()));
  reserved.set_cleared(portion);
  co_return false;
}

// ---- Giving back ----

// Order: the maps in memory, and the end of all I/O that saw the old ones; the extent pages, stable; what the clusters
// hold; then they are free.
Task<> Pool::release(std::vector<ReplicaStep*> steps) {
  std::map<Volume*, std::map<uint64_t, uint32_t>, ByBlobId> released;
  std::map<Volume*, std::vector<ReplicaStep*>, ByBlobId> of_volume;
  for (ReplicaStep* step : steps) {
    Volume& volume = step->port->replica().volume_;
    if (volume.removing) {
      step->answer = kVolumeIsGoing;
      continue;
    }
    if (!volume.thin()) continue;  // the channel looks again
    for (uint64_t index = step->index; index < step->index + step->num_clusters && index < volume.num_clusters();
         ++index) {
      const uint32_t cluster = volume.map->at(index);
      if (volume.inherited(index) != 0) break;
      if (cluster != 0) released[&volume].emplace(index, cluster);
    }
    of_volume[&volume].push_back(step);
  }
  if (released.empty()) co_return;
  for (auto& [volume, clusters] : released) {
    for (const auto& [index, cluster] : clusters) volume->map->set(index, 0);
    if (volume->replica == nullptr) continue;
    const auto held = volume->replica->shared_from_this();  // it may be removed meanwhile
    co_await volume->replica->publish(nullptr);
  }

  MetadataChange change(space_, *store_);
  struct Outcome {
    format::BlobMetadata metadata;
    std::vector<uint32_t> chain_pages;
  };
  std::map<Volume*, Outcome, ByBlobId> outcomes;
  Result<> done;
  for (auto& [volume, clusters] : released) {
    std::set<uint64_t> numbers;
    for (const auto& [index, cluster] : clusters) numbers.insert(index / format::kClustersPerExtentPage);
    const std::vector<uint64_t> extent_pages(numbers.begin(), numbers.end());
    Outcome outcome{volume->metadata, {}};
    auto chain =
        put_volume(change, *volume, outcome.metadata, {*volume->map, volume->num_clusters(), {}}, extent_pages);
    if (!chain) {
      done = fail(std::move(chain.error()));
      break;
    }
    outcome.chain_pages = std::move(*chain);
    outcomes.emplace(volume, std::move(outcome));
  }
  if (done) done = co_await change.commit();
  if (!done) {
    log::error("pool '{}': giving clusters back: {}", name_, done.error().to_string());
    for (auto& [volume, clusters] : released) {
      for (ReplicaStep* step : of_volume[volume]) step->answer = kMetadataFailed;
      if (change.may_show()) continue;  // what is written into these clusters could be lost
      for (const auto& [index, cluster] : clusters) volume->map->set(index, cluster);
    }
    co_return;
  }
  std::vector<uint32_t> free;
  for (auto& [volume, outcome] : outcomes) {
    volume->metadata = std::move(outcome.metadata);
    volume->chain_pages = std::move(outcome.chain_pages);
    for (const auto& [index, cluster] : released.at(volume)) free.push_back(cluster);
  }
  co_await discard_clusters(std::move(free));
}

Task<> Pool::discard_clusters(std::vector<uint32_t> clusters) {
  bool zeroed = false;
  if (device_->supports(IoType::kUnmap) && !device_->removed()) {
    auto done = co_await zero_clusters(clusters);
    if (!done) log::warn("pool '{}': {}", name_, done.error().to_string());
    zeroed = done.has_value();
  }
  for (const uint32_t cluster : clusters) {
    space_.free_cluster(cluster);
    if (zeroed) space_.set_zeroed(cluster);
  }
}

}  // namespace cairn::pool
