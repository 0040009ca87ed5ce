// Hosts that read and write by chance, and check what they read, until they are told to stop. They come back whenever
// their connections end.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nvmf/target/block_history.h"
#include "nvmf/target/sim_site.h"

namespace cairn::nvmf::target {

struct SimLoadOptions {
  uint16_t max_io_queues = 3;
  unsigned max_depth = 6;  // commands at a time of each queue
  uint32_t max_blocks = 64;
  uint32_t kato_ms = 10000;
  bool flushes = true;
  bool counter = true;            // increments the counter block by fused Compare and Write
  Duration max_pause = {};        // between two commands, to stretch the run
  bool expect_io_errors = false;  // the device may fail or go
  Duration command_timeout = std::chrono::seconds(60);
};

// What all hosts of one run share and a crash does not touch. Outlives the world's nodes' programs.
class SimLoad {
 public:
  // The last block of the device is the counter, the rest is the history's.
  SimLoad(SimSite& site, const SimLoadOptions& options)
      : site_(site), options_(options), history_(site.options().num_blocks - 1) {}

  // Starts the host program on a node. `number` as in TestHostOptions.
  void start_host(runtime::sim::Node& node, uint8_t number);
  // From now on, or no longer, the hosts send next to nothing: for the long times that time-outs take.
  void set_quiet(bool quiet) { quiet_ = quiet; }
  // Nothing new is sent; ended() when every host that lives has closed its connections.
  void stop() { stopping_ = true; }
  bool ended() const { return num_running_ == 0; }
  // A host's process was killed.
  void host_crashed() { --num_running_; }
  // The target's process has ended in a crash: see BlockHistory::crash().
  void target_crashed(bool power_loss);

  BlockHistory& history() { return history_; }
  // Reads the whole device by a new host and checks it.
  runtime::Task<> verify(uint8_t host_number);

  // What went wrong; empty: nothing.
  const std::string& failure() const { return failure_; }
  uint64_t num_commands() const { return num_commands_; }
  uint64_t num_errors() const { return num_errors_; }
  uint64_t num_connects() const { return num_connects_; }

 private:
  friend class SimLoadHost;
  using Answer = Result<TestHostQueue::Answer>;

  runtime::Task<> run_host(uint8_t number);
  runtime::Task<> run_commands(TestHost& host, size_t queue);
  runtime::Task<> run_command(TestHostQueue& queue);
  runtime::Task<> write(TestHostQueue& queue, runtime::Random& random);
  runtime::Task<> read(TestHostQueue& queue, uint64_t lba, uint64_t count);
  runtime::Task<> flush(TestHostQueue& queue);
  runtime::Task<> increment(TestHostQueue& queue);
  void note_failure(std::string what);
  // Whether the command did what it should. Errors that the run allows are counted only.
  bool succeeded(const Answer& answer, const char* command);
  uint64_t counter_lba() const { return history_.num_blocks(); }
  // `at_least`: counter_certain_ when the read began.
  std::string check_counter(std::span<const std::byte> block, uint64_t at_least) const;

  SimSite& site_;
  SimLoadOptions options_;
  BlockHistory history_;
  bool stopping_ = false;
  bool quiet_ = false;
  int num_running_ = 0;
  std::string failure_;
  uint64_t num_commands_ = 0;
  uint64_t num_errors_ = 0;
  uint64_t num_connects_ = 0;
  // The counter was incremented at least so often, and at most so often.
  uint64_t counter_certain_ = 0;
  uint64_t counter_possible_ = 0;
  uint64_t num_power_losses_ = 0;  // of the target
};

// Faults of network and hosts by chance, for some time: links are cut and healed, connections reset, hosts crash and
// start again, processes stand still. Afterwards the hosts are quiet until the longest fault is over; then all is
// healed.
class SimFaults {
 public:
  SimFaults(SimSite& site, SimLoad& load, Duration duration) : site_(site), load_(load), duration_(duration) {}
  void run();

  uint64_t num_faults() const { return num_faults_; }

 private:
  // Longer than every time-out of target, hosts and network.
  static constexpr Duration kLongest = std::chrono::seconds(200);
  void next();
  void after(Duration lasting, std::function<void()> heal);

  SimSite& site_;
  SimLoad& load_;
  Duration duration_;
  uint64_t num_faults_ = 0;
  int num_lasting_ = 0;
};

}  // namespace cairn::nvmf::target
