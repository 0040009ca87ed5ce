// Makes healthy children equal again where they may differ after an unclean stop of the nexus before.
//
// All of them have everything that was acknowledged; of what was under way each may have something else. The best
// healthy child is the source, for no other reason than that one must be. Segment by segment under the range lock,
// those that somebody waits to read first; when the source fails, the next healthy child takes its place.
//
// Home reactor.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>

#include "nexus/nexus_port.h"
#include "nexus/rebuild_job.h"
#include "nexus/segment_copy.h"
#include "nexus/unequal_map.h"

namespace cairn::nexus {

struct ResyncStatistics {
  uint64_t segments_total = 0;
  uint64_t segments_remaining = 0;
  uint64_t segments_copied = 0;  // differed
  uint64_t segment_bytes = 0;
};

class Resync {
 public:
  class Owner {
   public:
    // Healthy children, the best first.
    virtual std::vector<RebuildJob::Source> resync_children() = 0;
    // Returns when it is dealt with, whether the child has left the healthy ones; it stays as the last one, or when
    // another nexus has reserved it.
    virtual runtime::Task<bool> on_resync_failed(std::string uri, nvme::Status status) = 0;
    // These blocks are about to change on healthy children only.
    virtual void on_resync_copies(uint64_t lba, uint64_t num_blocks) = 0;
    virtual void on_resync_ended() = 0;
    virtual CopyWatch* copy_watch() = 0;

   protected:
    ~Owner() = default;
  };

  Resync(Owner& owner, std::span<const std::unique_ptr<NexusPort>> ports, std::shared_ptr<UnequalMap> unequal,
         uint64_t num_blocks, uint64_t data_start, uint32_t block_size);
  ~Resync();  // ended
  Resync(const Resync&) = delete;
  Resync& operator=(const Resync&) = delete;

  void start();
  // The copies under way are the last ones.
  void cancel() { stopping_ = true; }
  // Waits until nothing runs any more.
  runtime::Task<> stop();
  // The device of this child is about to go.
  void drop_child(const std::string& uri) { channels_.erase(uri); }
  UnequalMap& unequal() { return *unequal_; }
  ResyncStatistics statistics() const;

 private:
  static constexpr size_t kNumCopiers = 4;
  struct Copier;

  runtime::Task<> run(Copier& copier);
  runtime::Task<bool> make_equal(Copier& copier, uint64_t lba, uint64_t num_blocks);
  runtime::Task<std::shared_ptr<block::Channel>> channel_of(RebuildJob::Source child);
  uint64_t choose();

  Owner& owner_;
  const std::span<const std::unique_ptr<NexusPort>> ports_;
  const std::shared_ptr<UnequalMap> unequal_;
  const uint64_t num_blocks_;
  const uint64_t data_start_;
  const uint32_t block_size_;
  const uint64_t segments_total_;
  uint64_t segments_copied_ = 0;
  bool stopping_ = false;
  bool started_ = false;
  std::set<uint64_t> busy_;  // segments
  std::map<std::string, std::shared_ptr<block::Channel>> channels_;
  std::vector<std::unique_ptr<Copier>> copiers_;
  size_t num_running_ = 0;
  runtime::Event changed_;  // pulsed
};

}  // namespace cairn::nexus
