// Makes one child equal to the healthy ones: copies the segments of its dirty map until none is left.
//
//   init -> running <-> paused; running, paused -> stopped | failed; running -> completed
//
// A full rebuild begins with a map that is all set, a partial one with the log of a child that was away: there is no
// other difference. A segment is copied while its range lock is held (no write to it is under way anywhere), so between
// copies the child, which gets all new writes, stays equal in what is not set. What is unwritten in the source is
// released in the destination unless it is unwritten there too: nothing stale survives, thin stays thin.
//
// Home reactor. Several copiers at a time, each with up to four adjacent segments; while hosts do I/O fewer of them,
// with one segment each.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "block/device.h"
#include "nexus/dirty_map.h"
#include "nexus/nexus_state.h"
#include "nexus/range_lock.h"
#include "nexus/rebuild_options.h"
#include "nexus/segment_copy.h"
#include "runtime/task_waits.h"

namespace cairn::nexus {

class CopyWatch;

struct RebuildStatistics {
  uint64_t blocks_total = 0;        // of the nexus
  uint64_t blocks_recovered = 0;    // equal on both
  uint64_t blocks_transferred = 0;  // copied
  uint64_t blocks_remaining = 0;
  uint64_t progress = 0;  // percent
  uint64_t blocks_per_task = 0;
  uint64_t block_size = 0;
  uint64_t tasks_total = 0;
  uint64_t tasks_active = 0;
  uint64_t blocks_mismatched = 0;  // by verification
  uint64_t num_retries = 0;
  bool is_partial = false;
  TimePoint start_time{};
  std::optional<TimePoint> end_time;
};

struct RebuildRecord {
  std::string child_uri;
  std::string source_uri;
  RebuildState state = RebuildState::kInit;
  RebuildStatistics statistics;
};

class RebuildJob {
 public:
  struct Source {
    std::string uri;
    std::shared_ptr<block::Device> device;
    bool operator==(const Source&) const = default;
  };
  class Owner {
   public:
    virtual std::span<const std::unique_ptr<NexusPort>> rebuild_ports() = 0;
    // Healthy children, the best first.
    virtual std::vector<Source> rebuild_sources() = 0;
    virtual void on_source_failed(const std::string& uri) = 0;
    // Another host has reserved this child, a source or the one that is rebuilt.
    virtual void on_conflict(const std::string& uri) = 0;
    // Nothing is dirty: makes the child healthy. False: something is again, or the child has gone.
    virtual runtime::Task<bool> promote(RebuildJob& job) = 0;
    virtual void on_rebuild_ended(RebuildJob& job) = 0;
    virtual CopyWatch* copy_watch() = 0;

   protected:
    ~Owner() = default;
  };

  RebuildJob(Owner& owner, std::string child_uri, std::shared_ptr<block::Device> destination,
             std::shared_ptr<DirtyMap> map, uint64_t num_blocks, uint64_t data_start, const RebuildOptions& options);
  ~RebuildJob();  // ended
  RebuildJob(const RebuildJob&) = delete;
  RebuildJob& operator=(const RebuildJob&) = delete;

  // The owner keeps the job until on_rebuild_ended().
  void start();
  // INTERNAL when the state does not allow it.
  Result<> pause();
  Result<> resume();
  Result<> stop();
  // At once: nobody sleeps out what the former limit demanded.
  // Makes stable what was copied. False: the child does not.
  runtime::Task<bool> flush();
  void set_limits(const RebuildLimits& limits) {
    limits_ = limits;
    next_copy_at_ = {};
    changed_.pulse();
  }
  // The child has gone.
  void abandon();
  // The device of this source is about to go: lets go of it as soon as no copy uses it.
  void drop_source(const std::string& uri);

  const std::string& child_uri() const { return child_uri_; }
  const std::string& source_uri() const { return source_uri_; }
  RebuildState state() const { return state_; }
  DirtyMap& map() { return *map_; }
  RebuildStatistics statistics() const;
  RebuildRecord record() const { return {child_uri_, source_uri_, state_, statistics()}; }
  bool ended() const { return ended_.is_set(); }
  auto wait_ended() { return ended_.wait_uninterrupted(); }

 private:
  struct OpenSource {
    std::string uri;
    std::unique_ptr<block::Channel> channel;
  };
  struct Copier {
    Copier(std::span<const std::unique_ptr<NexusPort>> ports, std::byte* its_memory)
        : lock(ports), memory(its_memory) {}
    RangeLock lock;
    std::byte* const memory;  // for a run, with verification twice
    bool dense = false;       // what it copied last was written
  };

  runtime::Task<> run();
  runtime::Task<> copy_all(Copier& copier, size_t index);
  // How many segments to copy at once, all of them set.
  uint64_t run_length(uint64_t first, const Copier& copier) const;
  runtime::Task<bool> copy(Copier& copier, uint64_t lba, uint64_t num_blocks);
  runtime::Task<bool> copy_each(Copier& copier, uint64_t lba, uint64_t num_blocks);
  runtime::Task<bool> verify(Copier& copier, uint64_t lba, uint64_t num_blocks);
  runtime::Task<std::shared_ptr<OpenSource>> source(const std::vector<std::string>& tried);
  runtime::Task<> take_turn(size_t index);
  bool hosts_are_busy(TimePoint now);
  // How long a copier has to leave the children to the hosts before it looks again; 0: it may go on.
  Duration yield_to_hosts(size_t index, TimePoint now);
  size_t num_copiers() const;
  bool stopping() const { return state_ != RebuildState::kRunning && state_ != RebuildState::kPaused; }
  void end(RebuildState state);

  Owner& owner_;
  const std::string child_uri_;
  std::string source_uri_;
  const std::shared_ptr<block::Device> destination_;
  const std::shared_ptr<DirtyMap> map_;
  const uint64_t num_blocks_;
  const uint64_t data_start_;
  const RebuildOptions options_;
  RebuildLimits limits_;
  RebuildState state_ = RebuildState::kInit;
  std::unique_ptr<block::Channel> channel_;
  std::shared_ptr<OpenSource> source_;
  uint64_t cursor_ = 0;
  size_t num_copying_ = 0;
  size_t num_copiers_ = 0;
  uint64_t blocks_transferred_ = 0;
  uint64_t blocks_mismatched_ = 0;
  uint64_t num_retries_ = 0;
  bool is_partial_ = false;
  TimePoint start_time_{};
  std::optional<TimePoint> end_time_;
  TimePoint next_copy_at_{};  // for max_bytes_per_second
  // Under load: copies begin in slices, which end with their last copy; a rest follows that is as long in proportion.
  TimePoint hosts_seen_at_{};
  TimePoint slice_begin_{};  // 0: none
  TimePoint last_copy_end_{};
  TimePoint rest_until_{};
  ReadTurns read_turns_;
  runtime::Event changed_;  // pulsed: state or number of copiers
  runtime::Event ended_;
};

}  // namespace cairn::nexus
