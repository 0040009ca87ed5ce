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
class FaultFilter;

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
  // It is a nexus's channel to its child: for faults that are injected there only.
  void mark_nexus_child() { nexus_child_ = true; }
  bool is_nexus_child() const { return nexus_child_; }

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

  // For a driver that only finds other blocks: `io` itself goes on to `base`, a channel of another device, as an I/O
  // there at `lba`. Inside start() only, and where may_pass_on(io). When it is done, `came_back` is called instead of
  // the submitter's completion; it must call take_back(io) first, and finish(io, io.status) last.
  static bool may_pass_on(const Io& io) { return io.part_ == Io::Part::kWhole && io.passed_on_.by == nullptr; }
  void pass_on(Io& io, Channel& base, uint64_t lba, uint8_t mark, void (*came_back)(Io& io));
  struct TakenBack {
    Channel& channel;  // whose pass_on() it was
    uint8_t mark;      // given to that
  };
  static TakenBack take_back(Io& io);

 private:
  friend class Emulation;
  friend class FaultFilter;
  bool admit(Io& io, uint8_t gate);
  void proceed(Io& io);
  nvme::Status check(const Io& io) const;
  void start_step(Io& step);  // an I/O of the emulation: read or write
  void conclude(Io& io, nvme::Status status);
  void conclude_now(Io& io, nvme::Status status);

  std::shared_ptr<Device> device_;
  runtime::Reactor& reactor_;
  uint32_t in_flight_ = 0;
  bool nexus_child_ = false;
  std::unique_ptr<Emulation> emulation_;
  std::unique_ptr<FaultFilter> faults_;  // from the first I/O on that met injected faults
  ChannelStatistics statistics_;
};

}  // namespace cairn::block
