#include "cli/casperf/job.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "runtime/reactor.h"

namespace cairn::cli {

using block::IoType;
using runtime::BufferPool;
using runtime::Task;

namespace {

// How many I/Os may start in one go: a device that completes in place must not keep the reactor from its timers.
constexpr uint32_t kMaxStartsPerRound = 256;

constexpr size_t kMaxPiece = BufferPool::kMaxBufferSize;

size_t pieces_per_io(uint64_t io_size) {
  return (io_size + kMaxPiece - 1) / kMaxPiece;
}

}  // namespace

struct Job::Operation : block::Io {
  Job* job = nullptr;
  uint64_t slot = 0;
  TimePoint start_due{};  // with a schedule
};

uint64_t JobResult::num_faults() const {
  uint64_t sum = 0;
  for (const uint64_t each : faults) sum += each;
  return sum;
}

Job::Job(const JobOptions& options)
    : options_(options),
      random_(options.seed),
      phase_timer_([this] {
        now_ = reactor_->now();
        if (counting_) {
          end_phase();
        } else {
          begin_counting();
        }
      }),
      start_timer_([this] {
        now_ = reactor_->now();
        pump();
      }),
      go_on_([this] {
        go_on_posted_ = false;
        now_ = reactor_->now();
        pump();
      }) {}

Job::~Job() {
  CAIRN_CHECK(channel_ == nullptr);
}

size_t Job::buffer_bytes(uint64_t io_size, uint32_t depth) {
  // Small buffers share blocks of the largest size; a block is not shared by two sizes.
  const uint64_t piece = std::min<uint64_t>(io_size, kMaxPiece);
  const uint64_t in_pool = piece <= 4096 ? 4096 : piece <= 16384 ? 16384 : kMaxPiece;
  return pieces_per_io(io_size) * depth * in_pool + kMaxPiece;
}

Task<Result<>> Job::open(block::Device& device) {
  reactor_ = &runtime::Reactor::current();
  auto channel = co_await device.open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  channel_ = std::move(*channel);
  block_size_ = device.block_size();
  blocks_per_io_ = static_cast<uint32_t>(options_.io_size / block_size_);

  const size_t per_io = pieces_per_io(options_.io_size);
  pieces_.resize(per_io * options_.depth);
  operations_ = std::vector<Operation>(options_.depth);
  for (size_t i = 0; i < operations_.size(); ++i) {
    Operation& operation = operations_[i];
    uint64_t left = options_.io_size;
    for (size_t piece = i * per_io; piece < (i + 1) * per_io; ++piece) {
      const uint64_t size = std::min<uint64_t>(left, kMaxPiece);
      std::byte* const memory = reactor_->buffers().allocate(size);
      if (memory == nullptr) {
        close();
        co_return fail(Code::kResourceExhausted, fmt::format("no memory for {} I/Os of {} bytes: lower --depth",
                                                             options_.depth, options_.io_size));
      }
      for (uint64_t at = 0; at < size; at += sizeof(uint64_t)) {
        const uint64_t word = random_.next();  // no device may profit from zeroes
        std::memcpy(memory + at, &word, sizeof word);
      }
      pieces_[piece] = {memory, size};
      left -= size;
    }
    operation.job = this;
    operation.data = {&pieces_[i * per_io], per_io};
    operation.complete = [](block::Io& io) {
      auto& self = static_cast<Operation&>(io);
      self.job->on_complete(self);
    };
    idle_.push_back(operation);
  }
  if (options_.verify) slots_.resize(options_.num_slots);
  co_return Result<>{};
}

void Job::close() {
  CAIRN_CHECK(in_flight_ == 0 && !go_on_posted_);
  while (idle_.pop_front() != nullptr) {
  }
  for (const iovec& piece : pieces_) {
    if (piece.iov_base != nullptr) reactor_->buffers().release(static_cast<std::byte*>(piece.iov_base));
  }
  pieces_.clear();
  operations_.clear();
  channel_.reset();
}

Task<> Job::fill() {
  co_await run({.read_percent = 0});
}

Task<> Job::check() {
  co_await run({.read_percent = 100});
}

Task<> Job::measure() {
  if (stopped_) co_return;
  now_ = reactor_->now();
  schedule_begin_ = now_ + options_.first_start;
  if (options_.warm_up.count() > 0) {
    reactor_->arm(phase_timer_, now_ + options_.warm_up);
  } else {
    begin_counting();
  }
  co_await run({.random = options_.workload.random,
                .read_percent = options_.workload.read_percent,
                .endless = true,
                .scheduled = options_.gap.count() > 0});
  phase_timer_.disarm();
  start_timer_.disarm();
}

void Job::stop() {
  stopped_ = true;
  now_ = reactor_->now();
  end_phase();
}

Task<> Job::run(const Phase& phase) {
  if (stopped_) co_return;
  phase_ = phase;
  ending_ = false;
  cursor_ = 0;
  started_ = 0;
  drained_.reset();
  now_ = reactor_->now();
  pump();
  // A cancelled job waits too: the device has its memory.
  co_await drained_.wait_uninterrupted();
}

void Job::begin_counting() {
  counting_ = true;
  counting_since_ = now_;
  started_ = 0;
  // What the schedule asks for from here on is part of the measurement; what is waiting is not.
  if (options_.time) reactor_->arm(phase_timer_, now_ + *options_.time);
}

void Job::end_counting(TimePoint now) {
  if (!counting_) return;
  counting_ = false;
  result_.elapsed = now - counting_since_;
  if (phase_.scheduled) {
    const Duration behind = now - due(scheduled_);  // what is due just now still had no chance
    if (behind.count() > 0) result_.not_started = static_cast<uint64_t>((behind - Duration(1)) / options_.gap) + 1;
  }
}

// No more starts. With `count` the measurement goes on until the last of them is complete.
void Job::end_phase() {
  ending_ = true;
  end_counting(now_);
  finish_if_drained();
}

void Job::finish_if_drained() {
  if (!ending_ || in_flight_ > 0 || go_on_posted_ || pumping_) return;
  end_counting(now_);
  start_timer_.disarm();
  drained_.set();
}

TimePoint Job::due(uint64_t number) const {
  return schedule_begin_ + Duration(static_cast<int64_t>(number) * options_.gap.count());
}

bool Job::may_start() {
  if (ending_) return false;
  const bool limited = !phase_.endless || (counting_ && options_.count.has_value());
  const uint64_t limit = phase_.endless ? options_.count.value_or(0) : options_.num_slots;
  if (limited && started_ >= limit) {
    ending_ = true;
    return false;
  }
  if (!phase_.scheduled) return true;
  const TimePoint next = due(scheduled_);
  if (next <= now_) return true;
  if (!start_timer_.armed()) reactor_->arm(start_timer_, next);
  return false;
}

void Job::pump() {
  if (pumping_) return;
  pumping_ = true;
  for (uint32_t starts = 0; !idle_.empty() && may_start(); ++starts) {
    if (starts == kMaxStartsPerRound) {
      if (!go_on_posted_) reactor_->post(go_on_);
      go_on_posted_ = true;
      break;
    }
    start(static_cast<Operation&>(*idle_.pop_front()));
  }
  pumping_ = false;
  finish_if_drained();
}

uint64_t Job::choose_slot() {
  uint64_t slot = phase_.random ? random_.below(options_.num_slots) : cursor_;
  if (options_.verify) {
    while ((slots_[slot] & kBusy) != 0) slot = slot + 1 < options_.num_slots ? slot + 1 : 0;
  }
  if (!phase_.random) cursor_ = slot + 1 < options_.num_slots ? slot + 1 : 0;
  return slot;
}

void Job::start(Operation& operation) {
  const bool read = phase_.read_percent == 100 || (phase_.read_percent > 0 && random_.below(100) < phase_.read_percent);
  operation.type = read ? IoType::kRead : IoType::kWrite;
  operation.slot = choose_slot();
  operation.lba = options_.first_lba + operation.slot * blocks_per_io_;
  operation.num_blocks = blocks_per_io_;
  if (phase_.scheduled) {
    operation.start_due = due(scheduled_++);
    if (counting_ && now_ - operation.start_due >= options_.gap) ++result_.late;
  }
  if (options_.verify) {
    uint32_t& slot = slots_[operation.slot];
    slot |= kBusy;
    if (!read) stamp(operation, (slot & kGenerationMask) + 1);
  }
  ++started_;
  ++in_flight_;
  channel_->submit(operation);
}

void Job::on_complete(Operation& operation) {
  now_ = operation.completed_at();
  --in_flight_;
  const bool success = operation.status.is_success();
  if (options_.verify) {
    uint32_t& slot = slots_[operation.slot];
    slot &= ~kBusy;
    if (operation.type == IoType::kWrite) {
      slot = ((slot & kGenerationMask) + 1) | (success ? 0 : kUncertain);
    } else if (success) {
      verify(operation);
    }
  }
  if (success) {
    count(operation);
  } else {
    note_error(operation);
  }
  idle_.push_back(operation);
  pump();
}

void Job::count(const Operation& operation) {
  if (!counting_) return;
  const TimePoint since = phase_.scheduled ? operation.start_due : operation.submitted_at();
  (operation.type == IoType::kRead ? result_.reads : result_.writes).add(now_ - since);
  live_ios_.store(live_ios_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void Job::note_error(const Operation& operation) {
  if (result_.errors++ == 0) {
    result_.first_error = fmt::format("{} of {} blocks at {}: {}", operation.type == IoType::kRead ? "read" : "write",
                                      operation.num_blocks, operation.lba, operation.status.to_string());
  }
  if (!options_.continue_on_error) {
    stopped_ = true;
    ending_ = true;
    end_counting(now_);
  }
}

void Job::stamp(Operation& operation, uint32_t generation) {
  uint64_t lba = operation.lba;
  for (const iovec& piece : operation.data) {
    auto* const memory = static_cast<std::byte*>(piece.iov_base);
    for (size_t at = 0; at < piece.iov_len; at += block_size_) {
      stamp_block({memory + at, block_size_}, {.run = options_.run, .lba = lba++, .generation = generation});
    }
  }
}

void Job::verify(const Operation& operation) {
  const uint32_t slot = slots_[operation.slot];
  const uint32_t generation = slot & kGenerationMask;
  if (generation == 0 || (slot & kUncertain) != 0) return;
  BlockStamp stamp{.run = options_.run, .lba = operation.lba, .generation = generation};
  for (const iovec& piece : operation.data) {
    const auto* const memory = static_cast<const std::byte*>(piece.iov_base);
    for (size_t at = 0; at < piece.iov_len; at += block_size_, ++stamp.lba) {
      const std::span<const std::byte> block(memory + at, block_size_);
      ++result_.blocks_checked;
      if (block_matches(block, stamp)) continue;
      const BlockDiagnosis diagnosis = diagnose_block(block, stamp);
      ++result_.faults[static_cast<size_t>(diagnosis.fault)];
      if (result_.fault_texts.size() < JobResult::kMaxFaultTexts) {
        result_.fault_texts.push_back(
            fmt::format("block {}: {}: {}", stamp.lba, block_fault_name(diagnosis.fault), diagnosis.text));
      }
    }
  }
}

}  // namespace cairn::cli
