// A user's way to a device on one reactor.
#pragma once

#include <cstdint>
#include <memory>

#include "block/io.h"
#include "block/statistics.h"

namespace cairn::runtime {
class Reactor;
}

namespace cairn::block {

class Device;
class Emulation;

// Made by Device::open_channel() on the reactor that uses it, used and destroyed there. Keeps the device alive.
class Channel {
 public:
  explicit Channel(std::shared_ptr<Device> device);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel();  // no I/O in flight; may be called from the completion of the last one

  Device& device() const { return *device_; }
  runtime::Reactor& reactor() const { return reactor_; }
  uint32_t in_flight() const { return in_flight_; }

  // Checks the request, counts it and starts it. A type the driver lacks but the block layer can make from others
  // (compare, write-zeroes, copy, compare-and-write) is emulated (emulation.h). Refusals complete inside the call, all
  // with "do not retry":
  //   Invalid Namespace or Format  the device was removed
  //   Invalid Command Opcode       neither the driver nor the emulation has the type
  //   Invalid Field in Command     no blocks, or more than 40 pieces
  //   LBA Out of Range             also for the source of a copy
  void submit(Io& io);

 protected:
  // The driver's part. `io` is valid and in range when it was submitted (the device may shrink at any time). Must lead
  // to finish(io, status), in place or later. Only of types that the device supports natively.
  virtual void start(Io& io) = 0;
  void finish(Io& io, nvme::Status status);
  // For a driver that learns in start() or later that it cannot do `io` itself after all (the file system has no such
  // call).
  void emulate(Io& io);

 private:
  friend class Emulation;
  nvme::Status check(const Io& io) const;
  void start_step(Io& step);  // an I/O of the emulation: read or write
  void conclude(Io& io, nvme::Status status);

  std::shared_ptr<Device> device_;
  runtime::Reactor& reactor_;
  uint32_t in_flight_ = 0;
  std::unique_ptr<Emulation> emulation_;
  ChannelStatistics statistics_;
};

}  // namespace cairn::block
