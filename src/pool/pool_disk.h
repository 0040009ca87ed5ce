// The way of a pool to its disk on every reactor: one channel each, shared by all replicas there, and the steps that
// their I/O is made of.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "block/channel.h"
#include "block/device.h"
#include "runtime/message.h"
#include "runtime/task_waits.h"

namespace cairn::pool {

class ReplicaChannel;
class ReplicaPort;
struct Volume;

// A part of a replica's I/O that lies in one cluster, or (kRelease) a row of whole clusters to give back. Belongs to
// the reactor it was made on; while it waits for the home reactor it is linked there.
class ReplicaStep : public block::Io {
 public:
  enum class Wish : uint8_t { kAllocate, kRelease };

  ReplicaStep();

  ReplicaChannel* channel = nullptr;
  ReplicaPort* port = nullptr;
  block::Io* whole = nullptr;  // the I/O it is a part of
  uint64_t index = 0;          // cluster of the volume
  uint64_t num_clusters = 0;   // kRelease
  uint64_t first_block = 0;    // within the cluster
  uint8_t generation = 0;      // of the port, while I/O is under way
  std::array<iovec, kMaxPieces> pieces;

  // Between reactors.
  Wish wish = Wish::kAllocate;
  nvme::Status answer;
  bool written = false;  // by the home reactor, into the new cluster, with the outcome `written_with`
  nvme::Status written_with;
  runtime::Message to_home;
  runtime::Message to_channel;
};

class DiskPort {
 public:
  explicit DiskPort(std::unique_ptr<block::Channel> disk) : reactor(disk->reactor()), channel(std::move(disk)) {}
  ~DiskPort();

  ReplicaStep& take_step() {
    if (ReplicaStep* step = static_cast<ReplicaStep*>(free_.pop_front())) return *step;
    return steps_.emplace_back();
  }
  void give_back(ReplicaStep& step) { free_.push_front(step); }

  runtime::Reactor& reactor;
  std::unique_ptr<block::Channel> channel;

 private:
  std::deque<ReplicaStep> steps_;  // as many as were ever in use at a time
  IntrusiveList<block::Io> free_;
};

class PoolDisk {
 public:
  explicit PoolDisk(std::shared_ptr<block::Device> device) : device_(std::move(device)) {}
  ~PoolDisk();  // closed

  block::Device& device() const { return *device_; }
  // The port of the calling reactor; lives until close().
  runtime::Task<Result<DiskPort*>> port_here();
  // Home reactor, when no replica is left: closes the channels and lets go of the device.
  runtime::Task<> close();

 private:
  std::shared_ptr<block::Device> device_;
  std::mutex mutex_;  // taken when a port is made
  std::vector<std::unique_ptr<DiskPort>> ports_;
};

}  // namespace cairn::pool
