// A simulated disk: how fast it is, how it loses what was not flushed, and which faults it has at the moment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/duration.h"
#include "runtime/file.h"
#include "runtime/random.h"

namespace cairn::runtime::sim {

// Uniform in [min, max], and one time in `tail_one_in` ten times that (0: never).
struct Latency {
  Duration min{};
  Duration max{};
  uint32_t tail_one_in = 100;

  Duration draw(Random& random) const;
};

struct DiskOptions {
  Latency read{std::chrono::microseconds(20), std::chrono::microseconds(200)};
  Latency write{std::chrono::microseconds(10), std::chrono::microseconds(100)};
  Latency flush{std::chrono::microseconds(50), std::chrono::milliseconds(1)};
  Latency metadata{std::chrono::microseconds(5), std::chrono::microseconds(500)};  // open, rename, remove, ...
  Duration per_mib = std::chrono::microseconds(400);
  uint32_t tear_unit = 512;         // what a power loss never splits: 512 or 4096
  uint64_t capacity_bytes = 0;      // of a file system, 0: no limit. A device ends where it ends
  bool supports_direct = true;      // O_DIRECT on its files
  uint32_t direct_alignment = 512;  // of offsets, lengths and buffers of files opened with O_DIRECT
  bool can_unmap = true;
  uint64_t max_unflushed_bytes = 8 << 20;  // older writes reach the medium by themselves
};

// Faults that last until they are taken back. The numbers are -errno of the operation, or 0.
struct DiskFaults {
  int read_error = 0;
  int write_error = 0;
  int flush_error = 0;
  uint32_t read_error_one_in = 0;  // -EIO for one read in so many; 0: none
  uint32_t write_error_one_in = 0;
  uint32_t flush_error_one_in = 0;
  bool dirty_errors = false;               // a write that ends with an error may have happened, whole or in part
  uint32_t lose_write_one_in = 0;          // acknowledged, never written
  uint32_t misdirect_write_one_in = 0;     // acknowledged, written somewhere else on the same device
  std::optional<uint64_t> misdirect_to{};  // there, instead of anywhere
  uint32_t slow_factor = 1;                // all latencies times this
  bool hang = false;                       // operations do not complete until this is taken back (Disk::set_faults)
  uint32_t stall_one_in = 0;  // one operation in so many takes up to `longest_stall`, those after it do not
  Duration longest_stall{};
};

struct DiskCounters {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t flushes = 0;
  uint64_t failed = 0;
  uint64_t lost_writes = 0;
  uint64_t misdirected_writes = 0;
};

class FileSystem;

class Disk {
 public:
  Disk(FileSystem& owner, std::string name, const DiskOptions& options, uint64_t seed)
      : owner_(owner), name_(std::move(name)), options_(options), random_(seed) {}
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  const std::string& name() const { return name_; }
  const DiskOptions& options() const { return options_; }
  const DiskFaults& faults() const { return faults_; }
  void set_faults(const DiskFaults& faults);
  const DiskCounters& counters() const { return counters_; }
  uint64_t used_bytes() const { return used_bytes_; }

 private:
  friend class FileSystem;
  friend struct Inode;
  Duration latency(FileOp::Kind kind, uint64_t length);
  Duration usual_latency(FileOp::Kind kind, uint64_t length);
  // -errno that this operation shall end with, or 0.
  int draw_error(FileOp::Kind kind);

  FileSystem& owner_;
  std::string name_;
  DiskOptions options_;
  DiskFaults faults_;
  DiskCounters counters_;
  Random random_;
  uint64_t used_bytes_ = 0;
};

}  // namespace cairn::runtime::sim
