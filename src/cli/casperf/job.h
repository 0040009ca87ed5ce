// One job of casperf: keeps `depth` I/Os in flight over one channel, or starts them on a schedule, and counts.
//
// A job lives on one reactor: everything but live_ios() and the construction happens there. All memory is taken when it
// opens; in steady state an I/O allocates nothing.
//
//   closed -> open() -> [fill()] -> measure() -> [check()] -> close()
// stop() ends the present phase as soon as its I/Os are complete, and lets later ones end at once.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/channel.h"
#include "block/device.h"
#include "cli/casperf/block_stamp.h"
#include "cli/casperf/latency_histogram.h"
#include "cli/casperf/options.h"
#include "runtime/message.h"
#include "runtime/random.h"
#include "runtime/task_waits.h"
#include "runtime/timer.h"

namespace cairn::cli {

struct JobOptions {
  Workload workload = {};
  uint64_t io_size = 512;  // bytes, a multiple of the block size
  uint32_t depth = 1;
  // The job's part of the device, nobody else's: slots of io_size bytes each. With `verify` more than `depth` of them.
  uint64_t first_lba = 0;
  uint64_t num_slots = 1;
  std::optional<Duration> time = {};
  std::optional<uint64_t> count = {};
  Duration warm_up{};
  Duration gap{};          // between the starts of two I/Os on schedule; 0: no schedule
  Duration first_start{};  // of the schedule, after its begin
  bool verify = false;
  bool continue_on_error = false;
  uint64_t seed = 1;
  uint64_t run = 1;  // stamps blocks; each run of the program has another
};

struct JobResult {
  static constexpr size_t kMaxFaultTexts = 8;

  LatencyHistogram reads, writes;  // successful ones, of the measurement
  Duration elapsed{};              // of the measurement
  uint64_t errors = 0;             // failed I/Os, of all phases
  std::string first_error;
  uint64_t blocks_checked = 0;
  std::array<uint64_t, kNumBlockFaults> faults{};
  std::vector<std::string> fault_texts;  // the first ones
  // With a schedule: I/Os that started late because `depth` were in flight, and that had not started when the
  // measurement ended.
  uint64_t late = 0;
  uint64_t not_started = 0;

  uint64_t ios() const { return reads.count() + writes.count(); }
  uint64_t num_faults() const;
};

class Job {
 public:
  explicit Job(const JobOptions& options);
  ~Job();  // closed
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Bytes of the reactor's buffer pool that open() takes.
  static size_t buffer_bytes(uint64_t io_size, uint32_t depth);

  runtime::Task<Result<>> open(block::Device& device);
  runtime::Task<> fill();  // stamps every block
  runtime::Task<> measure();
  runtime::Task<> check();  // reads everything back
  void close();
  void stop();

  bool stopped() const { return stopped_; }
  const JobResult& result() const { return result_; }
  const JobOptions& options() const { return options_; }
  uint64_t live_ios() const { return live_ios_.load(std::memory_order_relaxed); }  // of the measurement; any thread

 private:
  struct Operation;
  // What the I/Os of a phase are.
  struct Phase {
    bool random = false;
    unsigned read_percent = 100;
    bool endless = false;  // else each slot once
    bool scheduled = false;
  };
  // State of a slot with `verify`: the generation of its blocks, and these flags.
  static constexpr uint32_t kBusy = 1u << 31;       // an I/O is in flight
  static constexpr uint32_t kUncertain = 1u << 30;  // a write failed: either generation may be there
  static constexpr uint32_t kGenerationMask = kUncertain - 1;

  runtime::Task<> run(const Phase& phase);
  void pump();
  bool may_start();
  void start(Operation& operation);
  void on_complete(Operation& operation);
  void count(const Operation& operation);
  void note_error(const Operation& operation);
  void begin_counting();
  void end_counting(TimePoint now);
  void end_phase();
  void finish_if_drained();
  uint64_t choose_slot();
  void stamp(Operation& operation, uint32_t generation);
  void verify(const Operation& operation);
  TimePoint due(uint64_t number) const;

  const JobOptions options_;
  uint32_t blocks_per_io_ = 1;
  uint32_t block_size_ = 512;
  runtime::Reactor* reactor_ = nullptr;
  std::unique_ptr<block::Channel> channel_;
  std::vector<Operation> operations_;
  std::vector<iovec> pieces_;  // of all operations
  std::vector<uint32_t> slots_;
  IntrusiveList<block::Io> idle_;
  uint32_t in_flight_ = 0;
  runtime::Random random_;

  Phase phase_;
  bool pumping_ = false;
  bool ending_ = false;  // the phase starts no more I/Os
  bool stopped_ = false;
  uint64_t cursor_ = 0;     // next slot of sequential phases
  uint64_t started_ = 0;    // I/Os of the phase; with `count`, of the measurement
  uint64_t scheduled_ = 0;  // number of the next I/O on the schedule
  TimePoint schedule_begin_{};
  TimePoint now_{};  // as of the last completion or timer

  bool counting_ = false;
  TimePoint counting_since_{};
  JobResult result_;
  std::atomic<uint64_t> live_ios_{0};

  runtime::Event drained_;
  runtime::Timer phase_timer_;  // ends warm-up, then the measurement
  runtime::Timer start_timer_;  // the next I/O of the schedule is due
  runtime::Message go_on_;      // pumps again in the next round
  bool go_on_posted_ = false;
};

}  // namespace cairn::cli
