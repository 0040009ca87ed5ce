// The block-device interface: everything that stores or transforms blocks implements it, everything that exports blocks takes it.
//
// A Device lives on the primary reactor: it is made, claimed, resized and destroyed there. I/O goes through a Channel, one per
// reactor and user, opened on the reactor that uses it; a channel is used on that reactor only. The device outlives its channels (they hold a
// reference); after a removal every I/O of a channel that is still open completes with an error.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/intrusive_list.h"
#include "base/uuid.h"
#include "block/io.h"
#include "runtime/task.h"

namespace cairn::block {

class Device;

// Counters of one channel, written by its reactor only, read by any thread. Latencies in nanoseconds, of successful I/O.
struct IoCounters {
  std::atomic<uint64_t> operations{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> latency_total{0};
  std::atomic<uint64_t> latency_max{0};
  std::atomic<uint64_t> latency_min{UINT64_MAX};
  std::atomic<uint64_t> errors{0};
};

// A user's way to a device on one reactor.
class Channel {
 public:
  explicit Channel(std::shared_ptr<Device> device);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel();  // no I/O in flight

  Device& device() const { return *device_; }
  uint32_t in_flight() const { return in_flight_; }

  // Checks the range (LBA_OUT_OF_RANGE) and that the device supports the type (INVALID_OPCODE), counts, and starts the I/O. A type the
  // driver lacks but the block layer can emulate (compare, write-zeroes, copy, compare-and-write) is emulated.
  void submit(Io& io);

 protected:
  // The driver's part. `io` is valid and in range. Must lead to finish(io, status), in place or later.
  virtual void start(Io& io) = 0;
  void finish(Io& io, nvme::Status status);

 private:
  std::shared_ptr<Device> device_;
  uint32_t in_flight_ = 0;
};

// What a device tells those who use it, on the primary reactor.
class DeviceListener : public ListLink<> {
 public:
  virtual void on_resized(Device& device) { (void)device; }
  // The device is going away: close every channel, then drop the reference.
  virtual void on_removed(Device& device) { (void)device; }
  virtual void on_media_error(Device& device, uint64_t lba, uint64_t num_blocks) { (void)device, (void)lba, (void)num_blocks; }

 protected:
  ~DeviceListener() = default;
};

struct DeviceIdentity {
  std::string name;
  Uuid uuid;
  std::string product_name;  // "AIO disk", "Malloc disk", ...
  std::string driver_name;   // "aio", "malloc", "null", "uring", ...
};

struct Geometry {
  uint32_t block_size = 512;           // bytes, 512 or 4096
  uint32_t physical_block_size = 512;  // bytes, a multiple of block_size
  uint32_t optimal_io_boundary = 0;    // blocks, 0: none
  uint64_t num_blocks = 0;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  Device(DeviceIdentity identity, const Geometry& geometry);
  virtual ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Any reactor.
  const std::string& name() const { return identity_.name; }
  const Uuid& uuid() const { return identity_.uuid; }
  const std::string& product_name() const { return identity_.product_name; }
  const std::string& driver_name() const { return identity_.driver_name; }
  uint32_t block_size() const { return geometry_.block_size; }
  uint32_t physical_block_size() const { return geometry_.physical_block_size; }
  uint32_t optimal_io_boundary() const { return geometry_.optimal_io_boundary; }
  uint64_t num_blocks() const { return num_blocks_.load(std::memory_order_acquire); }
  uint64_t size_bytes() const { return num_blocks() * block_size(); }
  // Natively or by emulation.
  bool supports(IoType type) const;
  // Whether writes may sit in a volatile cache until a flush.
  virtual bool has_volatile_cache() const = 0;
  // Opens a channel on the calling reactor.
  virtual runtime::Task<Result<std::unique_ptr<Channel>>> open_channel() = 0;

  // Primary reactor only from here.
  std::vector<std::string>& aliases() { return aliases_; }

  // One writer at a time: the first claim wins. Gives FAILED_PRECONDITION naming the holder otherwise.
  Result<> claim(std::string holder);
  void release_claim();
  const std::optional<std::string>& claimed_by() const { return claimed_by_; }

  void add_listener(DeviceListener& listener) { listeners_.push_back(listener); }
  // Tells all listeners; they may unlink themselves in the call.
  void announce_removal();
  void announce_media_error(uint64_t lba, uint64_t num_blocks);

  // Sums over all channels, closed ones included.
  struct Statistics {
    struct PerType {
      uint64_t operations = 0, bytes = 0, errors = 0, latency_total_ns = 0, latency_max_ns = 0, latency_min_ns = 0;
    };
    PerType read, write, unmap, flush, write_zeroes, other;
  };
  Statistics statistics() const;
  void reset_statistics();

  // Reads the size again where the driver can; announces a change.
  virtual runtime::Task<Result<>> rescan() = 0;
  // Called once by the registry after announce_removal(): stops background work. Memory goes with the last reference.
  virtual runtime::Task<> stop() = 0;

 protected:
  // Which types start() of this device's channels takes; the rest is emulated or refused.
  virtual bool supports_natively(IoType type) const = 0;
  // Stores the size and tells the listeners when it changed.
  void set_num_blocks(uint64_t num_blocks);

 private:
  friend class Channel;
  DeviceIdentity identity_;
  Geometry geometry_;
  std::atomic<uint64_t> num_blocks_;
  std::vector<std::string> aliases_;
  std::optional<std::string> claimed_by_;
  IntrusiveList<DeviceListener> listeners_;
};

}  // namespace cairn::block
