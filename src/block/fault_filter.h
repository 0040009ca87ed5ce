// What injected faults do to the I/O of one channel. Made when the first one meets a fault; costs nothing before.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "block/fault_injection.h"
#include "runtime/timer.h"

namespace cairn::block {

class Channel;

// On the channel's reactor.
class FaultFilter {
 public:
  explicit FaultFilter(Channel& channel) : channel_(channel) {}

  // Whether the I/O may be started now. Otherwise it has ended, or is started later.
  bool admit(Io& io);
  // Whether the I/O may end now, with `status`. Otherwise it ends later.
  bool release(Io& io, nvme::Status& status);

 private:
  struct Delay {
    Delay(FaultFilter& filter, std::function<void()> its_then)
        : then(std::move(its_then)), timer([this, &filter] { filter.expire(*this); }) {}
    std::function<void()> then;
    runtime::Timer timer;
    std::list<Delay>::iterator self;
  };
  // A write whose payload is a damaged copy: what it was.
  struct Damaged {
    std::vector<std::byte> copy;
    iovec piece{};
    std::span<const iovec> original;
  };

  std::shared_ptr<FaultInjection> hit(const Io& io, FaultStage stage);
  void damage_write(Io& io);
  void delay(Duration duration, std::function<void()> then);
  void expire(Delay& delay);

  Channel& channel_;
  std::unordered_map<const Io*, Damaged> damaged_;
  std::list<Delay> delays_;
};

}  // namespace cairn::block
