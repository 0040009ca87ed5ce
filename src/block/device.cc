#include "block/device.h"

#include <fmt/format.h>

#include "base/check.h"
#include "block/emulation.h"
#include "runtime/reactor.h"

namespace cairn::block {

Device::Device(DeviceIdentity identity, const Geometry& geometry)
    : identity_(std::move(identity)),
      geometry_(geometry),
      home_(runtime::Reactor::current()),
      num_blocks_(geometry.num_blocks),
      media_errors_message_([this] { deliver_media_errors(); }) {
  CAIRN_CHECK(geometry.block_size == 512 || geometry.block_size == 4096);
  CAIRN_CHECK(geometry.physical_block_size % geometry.block_size == 0);
  media_errors_.reserve(kMaxPendingMediaErrors);
}

Device::~Device() = default;

bool Device::supports(IoType type) const {
  return supports_natively(type) ||
         Emulation::possible(type, supports_natively(IoType::kRead), supports_natively(IoType::kWrite));
}

runtime::Task<Result<std::unique_ptr<Channel>>> Device::open_channel() {
  const auto self = shared_from_this();
  auto gone = [&] { return fail(Code::kUnavailable, fmt::format("bdev '{}' is being removed", name())); };
  if (removed()) co_return gone();
  auto channel = co_await make_channel();
  if (channel && removed()) co_return gone();
  co_return std::move(channel);
}

Result<> Device::claim(std::string holder) {
  if (claimed_by_) {
    return fail(Code::kFailedPrecondition, fmt::format("bdev '{}' is already claimed by '{}'", name(), *claimed_by_));
  }
  claimed_by_ = std::move(holder);
  return {};
}

void Device::release_claim() {
  CAIRN_CHECK(claimed_by_.has_value());
  claimed_by_.reset();
}

template <typename Call>
void Device::for_each_listener(Call call) {
  // Listeners may unlink themselves or others from wherever they are linked at the moment.
  IntrusiveList<DeviceListener> pending;
  pending.splice_back(listeners_);
  while (DeviceListener* listener = pending.pop_front()) {
    listeners_.push_back(*listener);
    call(*listener);
  }
}

void Device::announce_removal() {
  if ((gate_.fetch_or(kRemoved, std::memory_order_acq_rel) & kRemoved) != 0) return;
  for_each_listener([this](DeviceListener& listener) { listener.on_removed(*this); });
}

void Device::announce_media_error(uint64_t lba, uint64_t num_blocks) {
  for_each_listener([&](DeviceListener& listener) { listener.on_media_error(*this, lba, num_blocks); });
}

void Device::announce_alias_removal(const std::string& alias) {
  for_each_listener([&](DeviceListener& listener) { listener.on_alias_removed(*this, alias); });
}

void Device::set_unreachable(bool unreachable) {
  if (unreachable_.exchange(unreachable, std::memory_order_relaxed) == unreachable || !unreachable) return;
  for_each_listener([this](DeviceListener& listener) { listener.on_unreachable(*this); });
}

void Device::set_num_blocks(uint64_t num_blocks) {
  if (num_blocks_.exchange(num_blocks, std::memory_order_acq_rel) == num_blocks) return;
  for_each_listener([this](DeviceListener& listener) { listener.on_resized(*this); });
}

std::shared_ptr<const FaultInjectionList> Device::fault_injections() const {
  const std::lock_guard lock(fault_injections_mutex_);
  return fault_injections_;
}

void Device::set_fault_injections(FaultInjectionList faults) {
  const std::lock_guard lock(fault_injections_mutex_);
  if (faults.empty()) {
    fault_injections_ = nullptr;
    gate_.fetch_and(static_cast<uint8_t>(~kFaulty), std::memory_order_acq_rel);
  } else {
    fault_injections_ = std::make_shared<const FaultInjectionList>(std::move(faults));
    gate_.fetch_or(kFaulty, std::memory_order_acq_rel);
  }
}

void Device::report_media_error(uint64_t lba, uint64_t num_blocks) {
  const std::lock_guard lock(media_errors_mutex_);
  if (media_errors_.size() == kMaxPendingMediaErrors) return;
  media_errors_.push_back({lba, num_blocks});
  if (media_errors_self_ != nullptr) return;
  media_errors_self_ = shared_from_this();
  home_.post(media_errors_message_);
}

void Device::deliver_media_errors() {
  std::shared_ptr<Device> self;
  std::vector<MediaError> errors;
  errors.reserve(kMaxPendingMediaErrors);
  {
    const std::lock_guard lock(media_errors_mutex_);
    self = std::move(media_errors_self_);
    errors.swap(media_errors_);
  }
  for (const MediaError& error : errors) announce_media_error(error.lba, error.num_blocks);
}

}  // namespace cairn::block
