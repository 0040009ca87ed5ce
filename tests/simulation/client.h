// A client node: an NVMe/TCP initiator connected to the volume's target by a path to each storage node but those that
// it is told to shun, and workers that write tagged blocks and check what they read.
//
// What the checker knows lives in ClientState, outside of the node, and survives its crashes.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "block/io_wait.h"
#include "block/registry.h"
#include "nvmf/target/block_history.h"
#include "simulation/engine_program.h"

namespace cairn::simulation {

using nvmf::target::BlockHistory;

struct ClientOptions {
  size_t workers = 4;
  Duration max_pause = std::chrono::milliseconds(150);  // between two operations of a worker
  uint32_t max_blocks = 160;                            // of a large operation
  uint64_t trim_one_in = 60;                            // of writes: whole clusters are given back
  uint64_t flush_one_in = 16;
  uint64_t fua_one_in = 8;
  uint64_t write_percent = 55;  // of what is no flush
  // Most operations go to so many blocks, so that they meet each other; 0: all blocks are alike.
  uint64_t hot_blocks = 0;
  uint64_t hot_lba = 0;
};

struct ClientState {
  explicit ClientState(uint64_t num_blocks) : history(num_blocks) {}

  // A write whose outcome the client did not live to see.
  struct Limbo {
    BlockHistory::Write write;
    TimePoint since;
  };
  struct Operation {
    const char* what;
    uint64_t lba, num_blocks;
    TimePoint since;  // world's time
  };

  BlockHistory history;
  std::list<BlockHistory::Write> writing;  // under way
  std::list<Limbo> limbo;
  std::list<Operation> operations;  // under way
  bool stopping = false;            // no further operations
  bool closing = false;             // no device either
  bool closed = false;
  size_t num_workers = 0;
  bool connected = false;
  uint64_t num_connects = 0;
  uint64_t num_errors = 0;
  uint64_t num_flushes = 0;
  uint64_t num_unmaps = 0;
  Duration longest{};  // an operation took
  std::string failure;
  // Storage nodes to which it has no path, by the control plane; survives the client as what is written in the cluster.
  std::set<size_t> shunned;
  uint64_t paths_version = 0;  // of that

  void note_failure(std::string what) {
    if (failure.empty() && !what.empty()) failure = std::move(what);
  }
  bool is_free(uint64_t lba, uint64_t num_blocks) const;
  // The client has died.
  void crash(TimePoint now);
  // What has been in limbo since before then does not happen any more.
  void settle_limbo(TimePoint before);
};

class ClientProgram final : public sim::NodeProgram, private block::DeviceListener {
 public:
  // `uri`: of the volume by these paths; empty: there is none.
  ClientProgram(sim::Node& node, ClientState& state, const ClientOptions& options,
                std::function<std::string(const std::set<size_t>& shunned)> uri);
  ~ClientProgram() override { unlink(); }

  // All of the volume, by a channel of its own. Errors are failures.
  Task<> verify();
  // Returns when it uses only what state.shunned leaves. What was under way has ended, with errors.
  Task<Result<bool>> change_paths();

 private:
  Task<> run();
  Task<> work(size_t index);
  Task<> do_one(block::Channel& channel, std::vector<std::byte>& data);
  Task<> write(block::Channel& channel, std::vector<std::byte>& data, uint64_t lba, uint64_t num_blocks, bool trims);
  Task<> read(block::Channel& channel, std::vector<std::byte>& data, uint64_t lba, uint64_t num_blocks);
  Task<> flush(block::Channel& channel);
  Task<nvme::Status> perform(block::Channel& channel, block::IoRequest request, const char* what);
  void on_removed(block::Device& device) override;

  sim::Node& node_;
  ClientState& state_;
  const ClientOptions options_;
  const std::function<std::string(const std::set<size_t>&)> uri_of_;
  uint64_t version_in_use_ = UINT64_MAX;  // of the paths
  block::Registry devices_;
  std::shared_ptr<block::Device> device_;
  bool gone_ = false;
  bool aborting_ = false;
  size_t num_workers_ = 0;
};

}  // namespace cairn::simulation
