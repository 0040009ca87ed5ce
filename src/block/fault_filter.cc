#include "block/fault_filter.h"

#include "block/channel.h"
#include "block/device.h"
#include "runtime/reactor.h"

namespace cairn::block {

namespace {

void flip(std::span<std::byte> bytes) {
  for (std::byte& byte : bytes) byte = ~byte;
}

}  // namespace

std::shared_ptr<FaultInjection> FaultFilter::hit(const Io& io, FaultStage stage) {
  const auto faults = channel_.device().fault_injections();
  if (faults == nullptr) return nullptr;
  for (const auto& fault : *faults) {
    if (fault->hits(io, stage, channel_.is_nexus_child(), channel_.reactor().now())) return fault;
  }
  return nullptr;
}

bool FaultFilter::admit(Io& io) {
  const auto fault = hit(io, FaultStage::kSubmission);
  if (fault == nullptr) return true;
  switch (fault->method()) {
    case FaultMethod::kStatus:
      channel_.finish(io, fault->status());
      return false;
    case FaultMethod::kDamage:
      damage_write(io);
      return true;
    case FaultMethod::kDelay:
      delay(fault->delay(), [this, &io] {
        if (channel_.device().removed()) {
          channel_.finish(io, nvme::Status::generic(nvme::GenericStatus::kInvalidNamespaceOrFormat, nvme::Dnr::kYes));
        } else {
          channel_.proceed(io);
        }
      });
      return false;
  }
  return true;
}

bool FaultFilter::release(Io& io, nvme::Status& status) {
  if (const auto found = damaged_.find(&io); found != damaged_.end()) {
    io.data = found->second.original;
    damaged_.erase(found);
  }
  const auto fault = hit(io, FaultStage::kCompletion);
  if (fault == nullptr) return true;
  switch (fault->method()) {
    case FaultMethod::kStatus:
      status = fault->status();
      return true;
    case FaultMethod::kDamage:
      for (const iovec& piece : io.data) flip({static_cast<std::byte*>(piece.iov_base), piece.iov_len});
      return true;
    case FaultMethod::kDelay:
      delay(fault->delay(), [this, &io, status] { channel_.conclude_now(io, status); });
      return false;
  }
  return true;
}

void FaultFilter::damage_write(Io& io) {
  Damaged& damaged = damaged_[&io];
  for (const iovec& piece : io.data) {
    const auto* begin = static_cast<const std::byte*>(piece.iov_base);
    damaged.copy.insert(damaged.copy.end(), begin, begin + piece.iov_len);
  }
  flip(damaged.copy);
  damaged.piece = {damaged.copy.data(), damaged.copy.size()};
  damaged.original = io.data;
  io.data = {&damaged.piece, 1};
}

void FaultFilter::delay(Duration duration, std::function<void()> then) {
  Delay& delay = delays_.emplace_front(*this, std::move(then));
  delay.self = delays_.begin();
  channel_.reactor().arm(delay.timer, channel_.reactor().now() + duration);
}

void FaultFilter::expire(Delay& delay) {
  const auto then = std::move(delay.then);
  delays_.erase(delay.self);
  then();  // may destroy the channel, and this with it
}

}  // namespace cairn::block
