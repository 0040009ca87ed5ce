// The block-device interface: everything that stores or transforms blocks implements it, everything that exports blocks
// takes it.
//
// A Device lives on its home, the reactor it was made on (the primary one): there it is claimed, resized and destroyed.
// I/O goes through a Channel, one per reactor and user. The device outlives its channels (they hold a reference); after
// a removal every new I/O of a channel that is still open is refused.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/intrusive_list.h"
#include "base/uuid.h"
#include "block/channel.h"
#include "block/fault_injection.h"
#include "block/io.h"
#include "block/statistics.h"
#include "block/turn_queue.h"
#include "runtime/message.h"
#include "runtime/task.h"

namespace cairn::block {

// What a device tells those who use it, on its home reactor. A listener may unlink itself in any of these calls, and
// must do so in on_removed at the latest.
class DeviceListener : public ListLink<> {
 public:
  virtual void on_resized(Device& device) { (void)device; }
  // The device is going away: close every channel, then drop the reference. Until then the removal waits.
  virtual void on_removed(Device& device) { (void)device; }
  // Blocks could not be read or written. Reports that come faster than they are delivered are thinned out.
  virtual void on_media_error(Device& device, uint64_t lba, uint64_t num_blocks) {
    (void)device, (void)lba, (void)num_blocks;
  }
  // A device on another node: its node has refused every connection for a while. I/O waits on; Device::unreachable()
  // tells until when.
  virtual void on_unreachable(Device& device) { (void)device; }
  // The device stays, but who made it through this bdev:/// or loopback:/// URI has destroyed that URI.
  virtual void on_alias_removed(Device& device, const std::string& alias) { (void)device, (void)alias; }

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
  bool removed() const { return (gate_.load(std::memory_order_acquire) & kRemoved) != 0; }
  // A device on another node that refuses connections at present, for longer than a restart of an engine takes.
  bool unreachable() const { return unreachable_.load(std::memory_order_relaxed); }
  runtime::Reactor& home() const { return home_; }
  // Natively or by emulation. May change with time (a nexus gets another child, a file system turns out to lack a
  // call).
  bool supports(IoType type) const;
  // Whether it is a way to blocks of another process: its UUID is theirs, and a device here may have the same one. The
  // registry does not find it by UUID.
  virtual bool is_remote() const { return false; }
  // Whether writes may sit in a volatile cache until a flush.
  virtual bool has_volatile_cache() const = 0;
  // The memory that holds these blocks, for readers that can do without a copy (a socket); empty when the device has
  // none or the range does not lie in one piece. Valid as long as a channel is open, also across a resize. Not atomic
  // with writes: who reads while a block is written may see part of both.
  virtual std::span<const std::byte> readable_memory(uint64_t lba, uint64_t num_blocks) {
    (void)lba, (void)num_blocks;
    return {};
  }
  // Opens a channel on the calling reactor. UNAVAILABLE when the device was removed, or the driver's error.
  runtime::Task<Result<std::unique_ptr<Channel>>> open_channel();

  // Sums over all channels, closed ones included.
  using Statistics = IoStatistics;
  Statistics statistics() const { return statistics_.sum(); }
  void reset_statistics() { statistics_.reset(); }

  // The faults that are injected into its I/O; nullptr: none. Set by the registry.
  std::shared_ptr<const FaultInjectionList> fault_injections() const;

  // Home reactor only from here.

  // Other names, the URIs it was made with among them. Changed through the registry, which finds devices by them.
  const std::vector<std::string>& aliases() const { return aliases_; }

  // One writer at a time: the first claim wins. Gives FAILED_PRECONDITION naming the holder otherwise.
  Result<> claim(std::string holder);
  void release_claim();
  const std::optional<std::string>& claimed_by() const { return claimed_by_; }

  void add_listener(DeviceListener& listener) { listeners_.push_back(listener); }
  // Refuses new I/O and channels, and tells all listeners. Once; repetitions do nothing.
  void announce_removal();
  void announce_media_error(uint64_t lba, uint64_t num_blocks);
  void announce_alias_removal(const std::string& alias);
  // Tells the listeners when it begins.
  void set_unreachable(bool unreachable);

  // Reads the size again where the driver can; announces a change.
  virtual runtime::Task<Result<>> rescan() = 0;
  // Called once by the registry after announce_removal(), when the last channel and reference outside are gone: stops
  // background work. The object goes soon after.
  virtual runtime::Task<> stop() = 0;

 protected:
  // Any reactor. Which types start() of this device's channels takes; the rest is emulated or refused.
  virtual bool supports_natively(IoType type) const = 0;
  virtual runtime::Task<Result<std::unique_ptr<Channel>>> make_channel() = 0;
  // Home reactor. Stores the size and tells the listeners when it changed.
  void set_num_blocks(uint64_t num_blocks);

 private:
  friend class Channel;
  friend class Emulation;
  friend class Registry;
  static constexpr size_t kMaxPendingMediaErrors = 16;
  // What new I/O has to look at, in one load.
  static constexpr uint8_t kRemoved = 1;
  static constexpr uint8_t kFaulty = 2;
  struct MediaError {
    uint64_t lba, num_blocks;
  };
  template <typename Call>
  void for_each_listener(Call call);
  // Any reactor: leads to announce_media_error() at home.
  void report_media_error(uint64_t lba, uint64_t num_blocks);
  void deliver_media_errors();
  void set_fault_injections(FaultInjectionList faults);

  DeviceIdentity identity_;
  Geometry geometry_;
  runtime::Reactor& home_;
  std::atomic<uint64_t> num_blocks_;
  std::atomic<uint8_t> gate_{0};
  std::atomic<bool> unreachable_{false};
  std::vector<std::string> aliases_;
  std::optional<std::string> claimed_by_;
  IntrusiveList<DeviceListener> listeners_;
  StatisticsLedger statistics_;
  TurnQueue compare_and_write_turns_;

  std::mutex media_errors_mutex_;
  std::vector<MediaError> media_errors_;       // at most kMaxPendingMediaErrors
  std::shared_ptr<Device> media_errors_self_;  // keeps the device while the message is on its way
  runtime::Message media_errors_message_;

  mutable std::mutex fault_injections_mutex_;
  std::shared_ptr<const FaultInjectionList> fault_injections_;
};

}  // namespace cairn::block
