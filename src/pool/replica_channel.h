// The data path of replicas: looks the cluster up and passes the I/O on to the disk, on the reactor it came in on.
//
// Only what no cluster holds yet (a first write, a release by unmap) goes to the pool's home reactor and comes back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "block/channel.h"
#include "pool/cluster_map.h"
#include "pool/pool_disk.h"
#include "pool/replica.h"

namespace cairn::pool {

// What all channels of a replica on one reactor share. Lives as long as the replica.
//
// Generations: every step that is under way to the disk belongs to the generation in which it looked its cluster up.
// publish() begins a new one and is over when the one before has ended; publications of a replica never overlap, so two
// counters do.
class ReplicaPort {
 public:
  ReplicaPort(Replica& replica, DiskPort& disk, std::shared_ptr<const MapChain> chain)
      : replica_(replica), disk_(disk), chain_(std::move(chain)), own_(chain_->own.get()) {}

  Replica& replica() const { return replica_; }
  DiskPort& disk() const { return disk_; }
  const MapChain& chain() const { return *chain_; }
  runtime::Reactor& reactor() const { return disk_.reactor; }

  const ClusterMap& own() const { return *own_; }  // of the chain

  uint8_t begin() {
    ++under_way_[generation_];
    return generation_;
  }
  // With what begin() gave.
  void end(uint8_t generation) {
    if (--under_way_[generation] == 0 && generation != generation_ && ended_ != nullptr) announce_end();
  }

  // A turn of this port in a publication; on this port's reactor.
  void adopt(std::shared_ptr<const MapChain> chain, runtime::Message& ended, runtime::Reactor& home);
  // On the home reactor: a step that waits for it.
  void home_accept(ReplicaStep& step);

 private:
  void announce_end();

  Replica& replica_;
  DiskPort& disk_;
  std::shared_ptr<const MapChain> chain_;
  const ClusterMap* own_;
  uint8_t generation_ = 0;
  uint32_t under_way_[2] = {0, 0};
  runtime::Message* ended_ = nullptr;
  runtime::Reactor* home_ = nullptr;
};

class ReplicaChannel final : public block::Channel {
 public:
  ReplicaChannel(std::shared_ptr<block::Device> device, ReplicaPort& port);

  // The answer of the home reactor to a step, on this channel's reactor.
  void resume(ReplicaStep& step);

 protected:
  void start(block::Io& io) override;

 private:
  // An I/O of several steps: lives in the driver area of the I/O.
  struct Whole {
    uint64_t next = 0;       // blocks that have been handed out
    uint32_t under_way = 0;  // steps
    bool advancing = false;
    nvme::Status status;  // of the first step that failed
  };
  static constexpr uint32_t kMaxStepsOfOne = 16;
  static constexpr uint64_t kMaxClustersOfRow = 256;

  Replica& replica() const;
  // A transfer within one cluster that needs nobody else is passed on to the disk, or done, as it is. false: it was
  // not.
  bool transfer_at_once(block::Io& io);
  static void came_back(block::Io& io);
  uint64_t cluster_of(uint64_t lba) const { return shift_ != 0 ? lba >> shift_ : lba / blocks_per_cluster_; }
  void advance(block::Io& io);
  ReplicaStep& make_step(block::Io& io, uint64_t lba, uint64_t num_blocks);
  // Looks the step's cluster up and sends it on its way, or ends it.
  void dispatch(ReplicaStep& step);
  void continue_row(ReplicaStep& step);
  block::IoType zeroing_type(const block::Io& io) const;
  void submit(ReplicaStep& step, block::IoType type, uint32_t cluster);
  void ask_home(ReplicaStep& step, ReplicaStep::Wish wish);
  static void on_disk_done(block::Io& io);
  void end_step(ReplicaStep& step, nvme::Status status);

  ReplicaPort& port_;
  DiskPort& disk_;
  const uint64_t blocks_per_cluster_;
  const unsigned shift_;  // of blocks_per_cluster_, 0 when it is not a power of two
  const bool release_clusters_;
  const bool read_only_;
};

}  // namespace cairn::pool
