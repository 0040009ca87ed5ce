#include "nvmf/host/queue_pair.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/abandonment.h"
#include "base/check.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::nvmf::host {

using runtime::Task;

namespace {

constexpr unsigned kIndexBits = 10;
constexpr uint16_t kIndexMask = (1u << kIndexBits) - 1;
static_assert(QueuePair::kMaxEntries <= 1u << kIndexBits);

}  // namespace

// ---- Life ----

Task<Result<std::unique_ptr<QueuePair>>> QueuePair::open(runtime::SocketAddress address, Options options,
                                                         Owner& owner) {
  auto stream = co_await runtime::Reactor::current().backend().connect(address);
  if (!stream) co_return cairn::fail(std::move(stream.error()));
  auto queue = std::make_unique<QueuePair>(std::move(*stream), options, owner);
  queue->send_ic_req();
  const auto initialized = co_await queue->initialized_.wait();
  if (initialized && queue->state_ == State::kOpen) co_return std::move(queue);
  if (!initialized) queue->fail(initialized.error());
  static_cast<void>(co_await queue->closed_.wait_uninterrupted());
  co_return cairn::fail(*queue->reason_);
}

QueuePair::QueuePair(std::unique_ptr<runtime::Stream> stream, const Options& options, Owner& owner)
    : stream_(std::move(stream)),
      reactor_(runtime::Reactor::current()),
      owner_(owner),
      options_(options),
      timer_([this] { check_timeouts(); }),
      slots_(options.entries - 1u) {
  CAIRN_CHECK(options.entries >= 2 && options.entries <= kMaxEntries);
  receive_rules_.receiver = nvme::PduReceiver::kHost;
  free_slots_.reserve(slots_.size());
  for (size_t i = slots_.size(); i-- > 0;) {
    Slot& slot = slots_[i];
    slot.queue = this;
    slot.index = slot.cid = static_cast<uint16_t>(i);
    for (Output& output : slot.outputs) {
      output.slot = &slot;
      output.complete = [](runtime::SendOp& op, int result) {
        Slot& sent = *static_cast<Output&>(op).slot;
        sent.queue->output_done(sent, result);
      };
    }
    free_slots_.push_back(slot.index);
  }
  stream_->start(*this);
}

QueuePair::~QueuePair() {
  CAIRN_CHECK(state_ == State::kClosed || abandoning());
}

void QueuePair::fail(Error reason) {
  if (state_ >= State::kClosing) return;
  state_ = State::kClosing;
  reason_ = std::move(reason);
  // Commands that come back as lost are sent elsewhere: nothing of them may trickle in at the controller later.
  const bool losing = std::ranges::any_of(
      slots_, [](const Slot& slot) { return slot.command != nullptr && slot.command->timeout_ms != 0; });
  if (losing) {
    stream_->reset();
  } else {
    stream_->close();
  }
}

Task<> QueuePair::close() {
  fail(Error(Code::kCancelled, "disconnected"));
  static_cast<void>(co_await closed_.wait_uninterrupted());
}

void QueuePair::on_closed(const Error& reason) {
  if (state_ < State::kClosing) reason_ = reason;
  state_ = State::kClosed;
  timer_.disarm();
  stream_.reset();
  for (Slot& slot : slots_) {
    if (slot.command != nullptr) release(slot, slot.answered ? Command::Outcome::kAnswered : Command::Outcome::kLost);
  }
  initialized_.set();
  room_.pulse();
  owner_.on_closed(*this, *reason_);
  closed_.set();
}

// ---- Commands ----

void QueuePair::submit(Command& command) {
  if (state_ != State::kOpen) {
    command.outcome = Command::Outcome::kLost;
    command.complete(command);
    return;
  }
  CAIRN_CHECK(!free_slots_.empty());
  Slot& slot = slots_[free_slots_.back()];
  free_slots_.pop_back();
  slot.command = &command;
  slot.cid = static_cast<uint16_t>(slot.cid + (1u << kIndexBits));
  slot.answered = slot.damaged = slot.timeout_told = false;
  slot.started_at = reactor_.round_time();
  slot.transferred = 0;
  slot.r2t_left = 0;
  command.timed_out = false;
  if (!timer_.armed()) reactor_.arm(timer_, reactor_.round_time() + kTimeoutResolution);
  send_capsule(slot);
}

QueuePair::Slot* QueuePair::find(uint16_t cid) {
  const uint16_t index = cid & kIndexMask;
  if (index >= slots_.size()) return nullptr;
  Slot& slot = slots_[index];
  return slot.command != nullptr && slot.cid == cid && !slot.answered ? &slot : nullptr;
}

void QueuePair::answer(Slot& slot, nvme::Status status, uint32_t dw0, uint32_t dw1) {
  Command& command = *slot.command;
  if (slot.damaged && status.is_success())
    status = nvme::Status::generic(nvme::GenericStatus::kTransientTransportError);
  command.status = status;
  command.dw0 = dw0;
  command.dw1 = dw1;
  slot.answered = true;
  if (slot.sends_in_flight == 0) release(slot, Command::Outcome::kAnswered);
}

void QueuePair::release(Slot& slot, Command::Outcome outcome) {
  Command& command = *std::exchange(slot.command, nullptr);
  command.outcome = outcome;
  free_slots_.push_back(slot.index);
  if (num_waiting_tasks_ > 0) room_.pulse();
  command.complete(command);
}

void QueuePair::check_timeouts() {
  if (state_ != State::kOpen || outstanding() == 0) return;
  const TimePoint now = reactor_.now();
  for (Slot& slot : slots_) {
    if (slot.command == nullptr || slot.answered || slot.command->timeout_ms == 0) continue;
    const Duration timeout = std::chrono::milliseconds(slot.command->timeout_ms);
    const Duration age = now - slot.started_at;
    if (age < timeout) continue;
    const bool first = !slot.timeout_told;
    slot.timeout_told = slot.command->timed_out = true;
    if (first ? !owner_.on_timeout(*this, slot.cid) : age >= timeout + timeout / 2) {
      fail(Error(Code::kDeadlineExceeded,
                 fmt::format("a command was not answered within {} ms",
                             std::chrono::duration_cast<std::chrono::milliseconds>(age).count())));
      return;
    }
  }
  reactor_.arm(timer_, now + kTimeoutResolution);
}

// ---- Commands of tasks ----

struct QueuePair::TaskCommand : Command {
  nvme::Sqe sqe;
  iovec piece{};
};

class QueuePair::RunAwaiter final : public runtime::Suspension, private TaskCommand {
 public:
  RunAwaiter(QueuePair& queue, const nvme::Sqe& entry, iovec memory, nvme::DataDirection towards, Duration timeout)
      : queue_(queue) {
    sqe = entry;
    piece = memory;
    data = {&piece, 1};
    data_size = static_cast<uint32_t>(memory.iov_len);
    direction = towards;
    accepts_less_data = true;
    timeout_ms = static_cast<uint32_t>(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count());
    build = [](const Command& command, nvme::Sqe& out) { out = static_cast<const TaskCommand&>(command).sqe; };
    complete = [](Command& command) { static_cast<RunAwaiter&>(command).finish(); };
  }
  bool await_ready() const { return false; }
  template <typename Promise>
  void await_suspend(std::coroutine_handle<Promise> task) {
    begin(task);
    queue_.submit(*this);
  }
  Result<Answer> await_resume() const {
    if (outcome == Outcome::kLost) return cairn::fail(Error(Code::kUnavailable, "the connection was lost"));
    return Answer{status, dw0, dw1};
  }

 private:
  void on_cancel() override {}
  QueuePair& queue_;
};

Task<Result<QueuePair::Answer>> QueuePair::run_command(nvme::Sqe sqe, iovec memory, nvme::DataDirection direction,
                                                       Duration timeout) {
  while (state_ == State::kOpen && free_slots_.empty()) {
    ++num_waiting_tasks_;
    const auto waited = co_await room_.wait();
    --num_waiting_tasks_;
    if (!waited) co_return cairn::fail(waited.error());
  }
  co_return co_await RunAwaiter(*this, sqe, memory, direction, timeout);
}

Task<Result<QueuePair::Answer>> QueuePair::run(nvme::Sqe sqe, Duration timeout) {
  return run_command(sqe, {}, nvme::DataDirection::kNone, timeout);
}

Task<Result<QueuePair::Answer>> QueuePair::run_sending(nvme::Sqe sqe, std::span<const std::byte> data,
                                                       Duration timeout) {
  return run_command(sqe, {const_cast<std::byte*>(data.data()), data.size()}, nvme::DataDirection::kHostToController,
                     timeout);
}

Task<Result<QueuePair::Answer>> QueuePair::run_receiving(nvme::Sqe sqe, std::span<std::byte> data, Duration timeout) {
  return run_command(sqe, {data.data(), data.size()}, nvme::DataDirection::kControllerToHost, timeout);
}

Task<Result<uint16_t>> QueuePair::connect(const nvme::Connect& command, const nvme::ConnectData& data,
                                          Duration timeout) {
  nvme::Sqe sqe;
  command.encode(sqe);
  const auto answer = co_await run_sending(sqe, nvme::bytes_of(data), timeout);
  if (!answer) co_return cairn::fail(reason_ ? *reason_ : answer.error());
  if (!answer->status.is_success()) {
    std::string why(nvme::status_name(answer->status, true));
    if (answer->status.is(nvme::FabricsStatus::kInvalidParameters)) {
      const auto refusal = nvme::ConnectRefusal::decode(answer->dw0);
      why += fmt::format(", byte {} of the {}", refusal.offset, refusal.in_data ? "data" : "command");
    }
    const bool forbidden = answer->status.is(nvme::FabricsStatus::kInvalidHost);
    co_return cairn::fail(Error(forbidden ? Code::kPermissionDenied : Code::kUnavailable,
                                fmt::format("Connect of queue {} was refused: {}", command.qid, why)));
  }
  const auto accept = nvme::ConnectAccept::decode(answer->dw0);
  if (accept.authentication_required || accept.secure_channel_required) {
    co_return cairn::fail(
        Error(Code::kPermissionDenied, "the controller asks for authentication, which this host lacks"));
  }
  co_return accept.cntlid;
}

}  // namespace cairn::nvmf::host
