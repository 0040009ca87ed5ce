#include "block/channel.h"

#include <algorithm>
#include <utility>

#include "base/abandonment.h"
#include "base/check.h"
#include "block/device.h"
#include "block/emulation.h"
#include "block/fault_filter.h"
#include "runtime/reactor.h"

namespace cairn::block {

namespace {

constexpr bool is_in_range(uint64_t lba, uint64_t num_blocks, uint64_t device_blocks) {
  return lba <= device_blocks && num_blocks <= device_blocks - lba;
}

constexpr bool has_no_range(IoType type) {
  return type == IoType::kFlush || type == IoType::kReset;
}

nvme::Status refused(nvme::GenericStatus code) {
  return nvme::Status::generic(code, nvme::Dnr::kYes);
}

// A stack of devices takes an I/O, and gives it back, within one chain of calls: the clock is read once for all of
// them. What happens in between (a step that was done in place) ends the chain.
enum class Passage : uint8_t { kNone, kTaken, kGivenBack };
struct Chain {
  Passage passage = Passage::kNone;
  TimePoint time{};
};
thread_local Chain chain;

TimePoint time_of(Passage passage, runtime::Reactor& reactor) {
  if (chain.passage != passage) chain = {passage, reactor.measured_now()};
  return chain.time;
}

bool is_media_error(nvme::Status status) {
  return status.is(nvme::MediaStatus::kUnrecoveredReadError) || status.is(nvme::MediaStatus::kWriteFault);
}

}  // namespace

Channel::Channel(std::shared_ptr<Device> device) : device_(std::move(device)), reactor_(runtime::Reactor::current()) {
  device_->statistics_.open(statistics_);
}

Channel::~Channel() {
  CAIRN_CHECK(in_flight_ == 0 || abandoning());
  device_->statistics_.close(statistics_);
}

nvme::Status Channel::check(const Io& io) const {
  if (has_no_range(io.type)) return nvme::Status::success();
  if (io.num_blocks == 0 || io.data.size() > Io::kMaxPieces || io.write_data.size() > Io::kMaxPieces) {
    return refused(nvme::GenericStatus::kInvalidField);
  }
  const uint64_t device_blocks = device_->num_blocks();
  if (!is_in_range(io.lba, io.num_blocks, device_blocks) ||
      (io.type == IoType::kCopy && !is_in_range(io.source_lba, io.num_blocks, device_blocks))) {
    return refused(nvme::GenericStatus::kLbaOutOfRange);
  }
  return nvme::Status::success();
}

void Channel::submit(Io& io) {
  io.submitted_at_ = time_of(Passage::kTaken, reactor_);
  io.part_ = Io::Part::kWhole;
  ++in_flight_;
  const uint8_t gate = device_->gate_.load(std::memory_order_acquire);
  if (gate == 0 || admit(io, gate)) proceed(io);
  chain.passage = Passage::kNone;
}

// Of a device that was removed or has faults injected: whether the I/O may go on now.
bool Channel::admit(Io& io, uint8_t gate) {
  if ((gate & Device::kRemoved) != 0) {
    finish(io, refused(nvme::GenericStatus::kInvalidNamespaceOrFormat));
    return false;
  }
  io.part_ = Io::Part::kWatched;
  if (faults_ == nullptr) faults_ = std::make_unique<FaultFilter>(*this);
  return faults_->admit(io);
}

void Channel::proceed(Io& io) {
  if (const nvme::Status status = check(io); !status.is_success()) {
    finish(io, status);
  } else if (device_->supports_natively(io.type)) {
    start(io);
  } else {
    emulate(io);
  }
}

void Channel::emulate(Io& io) {
  CAIRN_CHECK(io.part_ != Io::Part::kStep);
  if (!Emulation::possible(io.type, device_->supports_natively(IoType::kRead),
                           device_->supports_natively(IoType::kWrite))) {
    finish(io, refused(nvme::GenericStatus::kInvalidOpcode));
    return;
  }
  if (emulation_ == nullptr) emulation_ = std::make_unique<Emulation>(*this);
  emulation_->start(io);
}

void Channel::pass_on(Io& io, Channel& base, uint64_t lba, uint8_t mark, void (*came_back)(Io& io)) {
  io.passed_on_ = {.by = this, .complete = io.complete, .lba = io.lba, .mark = mark};
  io.lba = lba;
  io.complete = came_back;
  // As submit() does, but for what has been seen to already: the time, the pieces.
  ++base.in_flight_;
  Device& device = *base.device_;
  const uint8_t gate = device.gate_.load(std::memory_order_acquire);
  if (gate == 0 && is_in_range(lba, io.num_blocks, device.num_blocks()) && device.supports_natively(io.type))
      [[likely]] {
    base.start(io);
  } else if (gate == 0 || base.admit(io, gate)) {
    base.proceed(io);
  }
}

Channel::TakenBack Channel::take_back(Io& io) {
  Io::PassedOn& passed_on = io.passed_on_;
  Channel* const by = std::exchange(passed_on.by, nullptr);
  CAIRN_CHECK(by != nullptr);
  io.lba = passed_on.lba;
  io.complete = passed_on.complete;
  io.part_ = Io::Part::kWhole;  // faults of the other device may have been watched for
  return {*by, passed_on.mark};
}

void Channel::start_step(Io& step) {
  step.part_ = Io::Part::kStep;
  start(step);
}

void Channel::finish(Io& io, nvme::Status status) {
  if (is_media_error(status) && !has_no_range(io.type)) device_->report_media_error(io.lba, io.num_blocks);
  conclude(io, status);
}

void Channel::conclude(Io& io, nvme::Status status) {
  if (io.part_ == Io::Part::kWatched && !faults_->release(io, status)) return;
  conclude_now(io, status);
}

void Channel::conclude_now(Io& io, nvme::Status status) {
  io.status = status;
  if (io.part_ != Io::Part::kStep) {
    const uint64_t bytes = has_no_range(io.type) ? 0 : io.num_blocks * device_->block_size();
    io.completed_at_ = std::max(time_of(Passage::kGivenBack, reactor_), io.submitted_at_);
    statistics_.count(io.type, bytes, io.completed_at_ - io.submitted_at_, status.is_success(),
                      device_->statistics_.epoch());
    --in_flight_;
  }
  io.complete(io);  // may destroy the channel
  chain.passage = Passage::kNone;
}

}  // namespace cairn::block
