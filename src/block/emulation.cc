#include "block/emulation.h"

#include <algorithm>
#include <optional>

#include "base/abandonment.h"
#include "base/check.h"
#include "block/channel.h"
#include "block/data_pieces.h"
#include "block/device.h"
#include "block/page_memory.h"
#include "runtime/buffer_pool.h"
#include "runtime/reactor.h"

namespace cairn::block {

namespace {

using runtime::BufferPool;

// Read-only zeroes to write from, as often as wanted: never touched, so it costs no memory.
constexpr size_t kZeroBytes = size_t{128} << 10;
alignas(4096) const std::byte zeroes[kZeroBytes] = {};
constexpr size_t kZeroPieces = 8;

}  // namespace

// One emulated I/O at work: a small state machine over read and write steps.
//
//   kBegin --> kBuffer --> kChunk --> kCompareChunk --> kChunk ...            compare
//                            |  `---> kWriteChunk --> kChunkDone --> kChunk   copy (write-zeroes: without the read)
//                            |
//                            `------> kChunkDone (of the whole) --> end       compare-and-write, when all is equal
class Emulation::Job : public ListLink<> {
 public:
  explicit Job(Emulation& owner)
      : owner_(owner), channel_(owner.channel_), pool_(channel_.reactor().buffers()), step_(*this), turn_([this] {
          has_turn_ = true;
          stage_ = Stage::kBuffer;
          run();
        }) {}

  void work_on(Io& io) {
    begin(io);
    run();
  }

 private:
  enum class Stage : uint8_t { kBegin, kBuffer, kChunk, kCompareChunk, kWriteChunk, kChunkDone };

  struct Step : Io {
    explicit Step(Job& owner) : job(owner) {
      complete = [](Io& io) { static_cast<Step&>(io).job.on_step_complete(); };
    }
    Job& job;
  };

  void begin(Io& io) {
    parent_ = &io;
    stage_ = Stage::kBegin;
    done_blocks_ = 0;
  }

  // Runs until something has to be waited for. The job may be working on another I/O, or be gone, afterwards.
  void run() {
    for (;;) {
      const std::optional<Progress> progress = advance();
      if (!progress) return;
      if (!progress->ended) continue;
      Io& finished = *parent_;
      release_resources();
      Io* next = owner_.waiting_.pop_front();
      if (next == nullptr) {
        parent_ = nullptr;
        owner_.idle_.push_back(*this);
        channel_.conclude(finished, progress->status);  // the channel may be destroyed now, and the job with it
        return;
      }
      begin(*next);  // which keeps the channel alive
      channel_.conclude(finished, progress->status);
    }
  }

  struct Progress {
    bool ended;
    nvme::Status status;
  };
  static constexpr Progress kContinue{false, {}};
  static Progress end(nvme::Status status) { return {true, status}; }

  // Nothing: an event will call run() again.
  std::optional<Progress> advance() {
    switch (stage_) {
      case Stage::kBegin:
        stage_ = Stage::kBuffer;
        if (parent_->type == IoType::kCompareAndWrite) {
          if (!channel_.device_->compare_and_write_turns_.enter(turn_)) return std::nullopt;
          has_turn_ = true;
        }
        return kContinue;
      case Stage::kBuffer:
        get_buffer();
        return kContinue;
      case Stage::kChunk:
        return start_chunk();
      case Stage::kCompareChunk:
        if (!step_.status.is_success()) return end(step_.status);
        if (!equals_pieces(buffer_, parent_->data, done_blocks_ * block_size(), chunk_blocks_ * block_size())) {
          return end(nvme::Status::media(nvme::MediaStatus::kCompareFailure, nvme::Dnr::kYes));
        }
        done_blocks_ += chunk_blocks_;
        stage_ = Stage::kChunk;
        return kContinue;
      case Stage::kWriteChunk:
        if (!step_.status.is_success()) return end(step_.status);
        step_.type = IoType::kWrite;
        step_.fua = parent_->fua;
        step_.lba = parent_->lba + chunk_start();
        return issue(Stage::kChunkDone);
      case Stage::kChunkDone:
        if (!step_.status.is_success()) return end(step_.status);
        done_blocks_ += chunk_blocks_;
        stage_ = Stage::kChunk;
        return done_blocks_ == parent_->num_blocks ? end(nvme::Status::success()) : kContinue;
    }
    CAIRN_CHECK(!"a job has no such stage");
    return std::nullopt;
  }

  void get_buffer() {
    stage_ = Stage::kChunk;
    if (parent_->type == IoType::kWriteZeroes) return;
    const size_t size = std::min<uint64_t>(BufferPool::kMaxBufferSize, parent_->num_blocks * block_size());
    buffer_ = pool_.allocate(size);
    if (buffer_ == nullptr) {
      own_memory_ = allocate_pages(size);
      buffer_ = own_memory_.get();
    }
    buffer_blocks_ = size / block_size();
  }

  std::optional<Progress> start_chunk() {
    const uint64_t left = parent_->num_blocks - done_blocks_;
    switch (parent_->type) {
      case IoType::kWriteZeroes:
        chunk_blocks_ = std::min<uint64_t>(left, kZeroPieces * kZeroBytes / block_size());
        step_.type = IoType::kWrite;
        step_.fua = parent_->fua;
        step_.lba = parent_->lba + done_blocks_;
        use_zeroes();
        return issue(Stage::kChunkDone);
      case IoType::kCompare:
      case IoType::kCompareAndWrite:
        if (left == 0) return end_of_compare();
        chunk_blocks_ = std::min(left, buffer_blocks_);
        read_chunk(parent_->lba + done_blocks_);
        return issue(Stage::kCompareChunk);
      case IoType::kCopy:
        chunk_blocks_ = std::min(left, buffer_blocks_);
        read_chunk(parent_->source_lba + chunk_start());
        return issue(Stage::kWriteChunk);
      default:
        CAIRN_CHECK(!"only what possible() names is emulated");
        return std::nullopt;
    }
  }

  std::optional<Progress> end_of_compare() {
    if (parent_->type == IoType::kCompare) return end(nvme::Status::success());
    release_buffer();  // the write may make use of it
    step_.type = IoType::kWrite;
    step_.fua = parent_->fua;
    step_.lba = parent_->lba;
    step_.num_blocks = parent_->num_blocks;
    step_.data = parent_->write_data;
    chunk_blocks_ = parent_->num_blocks;
    done_blocks_ = 0;
    return issue(Stage::kChunkDone);
  }

  // Where the present chunk of a copy begins: from the end backwards when the target lies behind the source and
  // overlaps it.
  uint64_t chunk_start() const {
    const bool backwards =
        parent_->lba > parent_->source_lba && parent_->lba - parent_->source_lba < parent_->num_blocks;
    return backwards ? parent_->num_blocks - done_blocks_ - chunk_blocks_ : done_blocks_;
  }

  void read_chunk(uint64_t lba) {
    step_.type = IoType::kRead;
    step_.fua = false;
    step_.lba = lba;
    step_.num_blocks = chunk_blocks_;
    pieces_[0] = {buffer_, chunk_blocks_ * block_size()};
    step_.data = {pieces_.data(), 1};
  }

  void use_zeroes() {
    step_.num_blocks = chunk_blocks_;
    size_t left = chunk_blocks_ * block_size();
    size_t used = 0;
    while (left > 0) {
      const size_t length = std::min(left, kZeroBytes);
      pieces_[used++] = {const_cast<std::byte*>(zeroes), length};
      left -= length;
    }
    step_.data = {pieces_.data(), used};
  }

  std::optional<Progress> issue(Stage next) {
    stage_ = next;
    step_state_ = StepState::kStarting;
    channel_.start_step(step_);
    if (step_state_ == StepState::kComplete) return kContinue;
    step_state_ = StepState::kWaiting;
    return std::nullopt;
  }

  void on_step_complete() {
    const bool inside_issue = step_state_ == StepState::kStarting;
    step_state_ = StepState::kComplete;
    if (!inside_issue) run();
  }

  void release_resources() {
    release_buffer();
    if (std::exchange(has_turn_, false)) channel_.device_->compare_and_write_turns_.leave();
  }

  void release_buffer() {
    std::byte* const buffer = std::exchange(buffer_, nullptr);
    if (own_memory_ != nullptr) {
      own_memory_.reset();
    } else if (buffer != nullptr) {
      pool_.release(buffer);
    }
  }

  uint32_t block_size() const { return channel_.device_->block_size(); }

  Emulation& owner_;
  Channel& channel_;
  BufferPool& pool_;
  Step step_;
  TurnQueue::Waiter turn_;
  std::array<iovec, kZeroPieces> pieces_{};
  Io* parent_ = nullptr;
  std::byte* buffer_ = nullptr;
  PageMemory own_memory_;  // which buffer_ points to, when the pool had none
  uint64_t buffer_blocks_ = 0;
  uint64_t chunk_blocks_ = 0;
  uint64_t done_blocks_ = 0;
  Stage stage_ = Stage::kBegin;
  enum class StepState : uint8_t { kStarting, kWaiting, kComplete } step_state_ = StepState::kComplete;
  bool has_turn_ = false;
};

Emulation::Emulation(Channel& channel) : channel_(channel) {}

Emulation::~Emulation() {
  CAIRN_CHECK(waiting_.empty() || abandoning());
  while (idle_.pop_front() != nullptr) --num_jobs_;
  CAIRN_CHECK(num_jobs_ == 0 || abandoning());
}

bool Emulation::possible(IoType type, bool reads, bool writes) {
  switch (type) {
    case IoType::kCompare:
      return reads;
    case IoType::kWriteZeroes:
      return writes;
    case IoType::kCopy:
    case IoType::kCompareAndWrite:
      return reads && writes;
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kFlush:
    case IoType::kUnmap:
    case IoType::kReset:
      return false;
  }
  return false;
}

void Emulation::start(Io& io) {
  if (idle_.empty() && num_jobs_ < kMaxJobs) {
    jobs_[num_jobs_] = std::make_unique<Job>(*this);
    idle_.push_back(*jobs_[num_jobs_++]);
  }
  if (Job* job = idle_.pop_front()) {
    job->work_on(io);
  } else {
    waiting_.push_back(io);
  }
}

}  // namespace cairn::block
