#include "embed/nexus_state.h"

#include <fmt/format.h>

#include "base/check.h"
#include "embed/runtime_state.h"
#include "runtime/task_waits.h"

namespace cairn::embed {

using block::IoType;
using runtime::Task;

struct NexusState::Operation final : block::Io {
  Operation() : message([this] { channel->submit(*this); }) {
    complete = [](block::Io& io) {
      auto& self = static_cast<Operation&>(io);
      self.owner->complete(self);
    };
  }
  NexusState* owner = nullptr;
  block::Channel* channel = nullptr;
  std::atomic<uint32_t> next_free{kNone};
  uint64_t offset = 0;
  iovec piece{};
  Nexus::Completion done;
  runtime::Message message;
};

namespace {

// Threads are spread over the reactors in the order of their first I/O.
size_t number_of_this_thread() {
  static std::atomic<size_t> next{0};
  static thread_local const size_t number = next.fetch_add(1, std::memory_order_relaxed);
  return number;
}

constexpr uint64_t free_list_head(uint64_t before, uint32_t index) {
  return ((before >> 32) + 1) << 32 | index;
}

Code code_of(nvme::Status status) {
  if (status.is(nvme::GenericStatus::kLbaOutOfRange)) return Code::kOutOfRange;
  if (status.is(nvme::GenericStatus::kCapacityExceeded)) return Code::kResourceExhausted;
  if (status.type() == nvme::StatusCodeType::kMedia) return Code::kDataLoss;
  return Code::kInternal;
}

}  // namespace

NexusState::NexusState(const NexusOptions& options, const Uuid& uuid)
    : name_(options.name),
      uuid_(uuid),
      uuid_text_(uuid.to_string()),
      has_random_uuid_(options.uuid.empty()),
      num_operations_(options.max_in_flight),
      operations_(std::make_unique<Operation[]>(options.max_in_flight)),
      free_(0) {
  for (uint32_t i = 0; i < num_operations_; ++i) {
    operations_[i].owner = this;
    operations_[i].next_free = i + 1 < num_operations_ ? i + 1 : kNone;
  }
}

NexusState::~NexusState() {
  CAIRN_CHECK(channels_.empty());
}

cairn::Error NexusState::closed_error(std::string_view name) {
  return {cairn::Code::kFailedPrecondition, fmt::format("nexus {} has been closed", name)};
}

Task<cairn::Result<>> NexusState::open_channels(std::shared_ptr<block::Device> device,
                                                std::vector<runtime::Reactor*> reactors) {
  size_bytes_ = device->size_bytes();
  block_size_ = device->block_size();
  for (runtime::Reactor* reactor : reactors) {
    auto channel = co_await runtime::call_on(*reactor, [&device] { return device->open_channel(); });
    if (!channel) co_return fail(std::move(channel.error()));
    channels_.push_back(std::move(*channel));
  }
  co_return cairn::Result<>{};
}

// A completion that is the last of its reactor has returned when this runs there.
Task<> NexusState::close_channels() {
  for (auto& channel : channels_) {
    co_await runtime::call_on(channel->reactor(), [&channel]() -> Task<> {
      channel.reset();
      co_return;
    });
  }
  channels_.clear();
}

void NexusState::start(IoType type, uint64_t offset, std::span<std::byte> memory, Nexus::Completion done) {
  CAIRN_CHECK(done != nullptr);  // nobody could be told
  auto refuse = [&done](const cairn::Error& error) { done(std::unexpected(to_public(error))); };
  if (auto checked = check(type, offset, memory); !checked) return refuse(checked.error());
  // One for the I/O, one for this thread: while it is in here the reactors must not end.
  if ((in_flight_.fetch_add(2, std::memory_order_acq_rel) & kClosed) != 0) {
    leave(2);
    return refuse(closed_error(name_));
  }
  Operation* const operation = take();
  if (operation == nullptr) {
    leave(2);
    return refuse(
        {cairn::Code::kResourceExhausted, fmt::format("{}: max_in_flight ({}) I/Os are under way",
                                                      describe(type, offset, memory.size()), num_operations_)});
  }
  operation->type = type;
  operation->offset = offset;
  operation->lba = offset / block_size_;
  operation->num_blocks = memory.size() / block_size_;
  operation->piece = {memory.data(), memory.size()};
  operation->data = {&operation->piece, memory.empty() ? 0u : 1u};
  operation->done = std::move(done);
  operation->channel = channels_[number_of_this_thread() % channels_.size()].get();
  operation->channel->reactor().post(operation->message);
  leave(1);
}

cairn::Result<> NexusState::check(IoType type, uint64_t offset, std::span<std::byte> memory) const {
  if (type == IoType::kFlush) return {};
  auto invalid = [&](std::string why) {
    return fail(cairn::Code::kInvalidArgument, describe(type, offset, memory.size()) + ": " + std::move(why));
  };
  if (memory.empty()) return invalid("no memory");
  if (offset % block_size_ != 0) return invalid(fmt::format("the offset is not a multiple of {}", block_size_));
  if (memory.size() % block_size_ != 0) return invalid(fmt::format("the size is not a multiple of {}", block_size_));
  if (memory.size() > Nexus::kMaxIoBytes) return invalid(fmt::format("larger than {} bytes", Nexus::kMaxIoBytes));
  if (reinterpret_cast<uintptr_t>(memory.data()) % block_size_ != 0) {
    return invalid(fmt::format("the memory at {} is not aligned to {} bytes", fmt::ptr(memory.data()), block_size_));
  }
  if (offset > size_bytes_ || memory.size() > size_bytes_ - offset) {
    return fail(cairn::Code::kOutOfRange,
                fmt::format("{}: it has {} bytes", describe(type, offset, memory.size()), size_bytes_));
  }
  return {};
}

NexusState::Operation* NexusState::take() {
  uint64_t head = free_.load(std::memory_order_acquire);
  for (;;) {
    const auto index = static_cast<uint32_t>(head);
    if (index == kNone) return nullptr;
    const uint32_t next = operations_[index].next_free.load(std::memory_order_relaxed);
    if (free_.compare_exchange_weak(head, free_list_head(head, next), std::memory_order_acquire)) {
      return &operations_[index];
    }
  }
}

void NexusState::give_back(Operation& operation) {
  const auto index = static_cast<uint32_t>(&operation - operations_.get());
  uint64_t head = free_.load(std::memory_order_relaxed);
  do {
    operation.next_free.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
  } while (!free_.compare_exchange_weak(head, free_list_head(head, index), std::memory_order_release,
                                        std::memory_order_relaxed));
}

void NexusState::complete(Operation& operation) {
  Result<> result;
  if (!operation.status.is_success()) result = std::unexpected(io_error(operation));
  Nexus::Completion done = std::move(operation.done);
  give_back(operation);  // first: `done` may start the next one
  done(std::move(result));
  done = nullptr;  // what it captured is gone before close() returns
  leave(1);
}

void NexusState::leave(unsigned times) {
  if (in_flight_.fetch_sub(times, std::memory_order_acq_rel) != (kClosed | times)) return;
  const std::lock_guard lock(drained_mutex_);
  drained_.notify_all();
}

bool NexusState::wait_until_drained(std::chrono::milliseconds limit) {
  std::unique_lock lock(drained_mutex_);
  return drained_.wait_for(lock, limit, [this] { return in_flight_.load(std::memory_order_acquire) == kClosed; });
}

void NexusState::wait_until_drained() {
  std::unique_lock lock(drained_mutex_);
  drained_.wait(lock, [this] { return in_flight_.load(std::memory_order_acquire) == kClosed; });
}

Error NexusState::io_error(const Operation& operation) const {
  if (closed() && operation.status.is(nvme::GenericStatus::kInternalError)) return to_public(closed_error(name_));
  return {.code = code_of(operation.status),
          .message = fmt::format("{}: {}", describe(operation.type, operation.offset, operation.piece.iov_len),
                                 operation.status.to_string())};
}

std::string NexusState::describe(IoType type, uint64_t offset, uint64_t size_bytes) const {
  if (type == IoType::kFlush) return fmt::format("flush of nexus {}", name_);
  return fmt::format("{} of {} bytes at {} of nexus {}", type == IoType::kRead ? "read" : "write", size_bytes, offset,
                     name_);
}

}  // namespace cairn::embed
