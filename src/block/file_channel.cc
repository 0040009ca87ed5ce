#include "block/file_channel.h"

#include <algorithm>

#include "base/check.h"
#include "base/seeded_bug.h"
#include "block/data_pieces.h"
#include "block/errno_status.h"
#include "block/file_device.h"
#include "runtime/buffer_pool.h"
#include "runtime/reactor.h"

namespace cairn::block {

using runtime::BufferPool;
using runtime::FileOp;

// Lives in the driver area of its Io.
struct FileChannel::Operation : FileOp {
  Operation(FileChannel& owner, Io& request) : channel(owner), io(request) {}

  FileChannel& channel;
  Io& io;
  std::byte* bounce = nullptr;
  uint64_t bounced = 0;  // bytes of the Io that are done
  iovec bounce_piece{};
};

FileChannel::FileChannel(std::shared_ptr<FileDevice> device, std::unique_ptr<runtime::File> file)
    : Channel(std::move(device)),
      file_(std::move(file)),
      alignment_(file_->info().direct ? file_->info().memory_alignment : 1) {
  flush_.kind = FileOp::Kind::kFlush;
  flush_.channel = this;
  flush_.complete = [](FileOp& op, int64_t result) { static_cast<FlushOperation&>(op).channel->on_flush(result); };
}

FileDevice& FileChannel::file_device() const {
  return static_cast<FileDevice&>(device());
}

void FileChannel::start(Io& io) {
  switch (io.type) {
    case IoType::kRead:
    case IoType::kWrite:
      start_transfer(io);
      break;
    case IoType::kFlush:
      request_flush(io);
      break;
    case IoType::kUnmap:
      start_range(io, FileOp::Kind::kUnmap);
      break;
    case IoType::kWriteZeroes: {
      const bool punch = io.may_deallocate && file_device().can_unmap_.load(std::memory_order_relaxed);
      start_range(io, punch ? FileOp::Kind::kUnmap : FileOp::Kind::kWriteZeroes);
      break;
    }
    case IoType::kReset:
      finish(io, nvme::Status::success());  // the kernel ends what was started
      break;
    case IoType::kCompare:
    case IoType::kCompareAndWrite:
    case IoType::kCopy:
      CAIRN_CHECK(!"emulated");
  }
}

bool FileChannel::suits_file(const Io& io) const {
  if (alignment_ == 1) return true;
  uint64_t bits = 0;
  for (const iovec& piece : io.data) bits |= reinterpret_cast<uintptr_t>(piece.iov_base) | piece.iov_len;
  return bits % alignment_ == 0;
}

void FileChannel::start_transfer(Io& io) {
  auto& operation = DriverArea::construct<Operation>(io, *this, io);
  operation.kind = io.type == IoType::kRead ? FileOp::Kind::kRead : FileOp::Kind::kWrite;
  operation.complete = [](FileOp& op, int64_t result) {
    auto& self = static_cast<Operation&>(op);
    self.channel.on_transfer(self, result);
  };
  if (!suits_file(io)) {
    next_bounce(operation);
    return;
  }
  operation.offset = io.lba * device().block_size();
  operation.length = io.num_blocks * device().block_size();
  operation.pieces = io.data;
  file_->submit(operation);
}

void FileChannel::next_bounce(Operation& operation) {
  Io& io = operation.io;
  const uint64_t total = io.num_blocks * device().block_size();
  if (operation.bounce == nullptr)
    operation.bounce = take_bounce(std::min<uint64_t>(total, BufferPool::kMaxBufferSize));
  operation.length = std::min<uint64_t>(total - operation.bounced, BufferPool::kMaxBufferSize);
  operation.offset = io.lba * device().block_size() + operation.bounced;
  operation.bounce_piece = {operation.bounce, operation.length};
  operation.pieces = {&operation.bounce_piece, 1};
  if (io.type == IoType::kWrite) copy_from_pieces(operation.bounce, io.data, operation.bounced, operation.length);
  file_->submit(operation);
}

std::byte* FileChannel::take_bounce(size_t size) {
  if (std::byte* bounce = reactor().buffers().allocate(size)) return bounce;
  PageMemory own = allocate_pages(size);
  std::byte* const bounce = own.get();
  own_bounces_.emplace(bounce, std::move(own));
  return bounce;
}

void FileChannel::give_back_bounce(std::byte* bounce) {
  if (own_bounces_.erase(bounce) == 0) reactor().buffers().release(bounce);
}

void FileChannel::on_transfer(Operation& operation, int64_t result) {
  Io& io = operation.io;
  if (result < 0) {
    end(operation, status_of_errno(static_cast<int>(-result), io.type));
    return;
  }
  if (static_cast<uint64_t>(result) != operation.length) {
    // The file ends earlier than when its size was read: these blocks are gone.
    end(operation, status_of_errno(EIO, io.type));
    return;
  }
  if (operation.bounce != nullptr) {
    if (io.type == IoType::kRead) copy_to_pieces(io.data, operation.bounced, operation.bounce, operation.length);
    operation.bounced += operation.length;
    if (operation.bounced < io.num_blocks * device().block_size()) {
      next_bounce(operation);
      return;
    }
  }
  end(operation, nvme::Status::success());
}

void FileChannel::start_range(Io& io, FileOp::Kind kind) {
  auto& operation = DriverArea::construct<Operation>(io, *this, io);
  operation.kind = kind;
  operation.offset = io.lba * device().block_size();
  operation.length = io.num_blocks * device().block_size();
  operation.complete = [](FileOp& op, int64_t result) {
    auto& self = static_cast<Operation&>(op);
    self.channel.on_range(self, result);
  };
  file_->submit(operation);
}

void FileChannel::on_range(Operation& operation, int64_t result) {
  Io& io = operation.io;
  if (result != -EOPNOTSUPP) {
    end(operation, result < 0 ? status_of_errno(static_cast<int>(-result), io.type) : nvme::Status::success());
    return;
  }
  const bool punched = operation.kind == FileOp::Kind::kUnmap;
  (punched ? file_device().can_unmap_ : file_device().can_write_zeroes_).store(false, std::memory_order_relaxed);
  if (io.type == IoType::kUnmap) {
    end(operation, status_of_errno(EOPNOTSUPP, io.type));
    return;
  }
  DriverArea::destroy<Operation>(io);
  if (punched) {
    start_range(io, FileOp::Kind::kWriteZeroes);
  } else {
    emulate(io);
  }
}

void FileChannel::end(Operation& operation, nvme::Status status) {
  Io& io = operation.io;
  std::byte* bounce = operation.bounce;
  DriverArea::destroy<Operation>(io);
  if (bounce != nullptr) give_back_bounce(bounce);
  if (status.is_success() && io.fua && io.type != IoType::kRead && !seeded(SeededBug::kIgnoreFua)) {
    request_flush(io);
  } else {
    finish(io, status);
  }
}

void FileChannel::request_flush(Io& io) {
  flush_waiting_.push_back(io);
  if (!flushing_) start_flush();
}

void FileChannel::start_flush() {
  flushing_ = true;
  flush_served_.splice_back(flush_waiting_);
  file_->submit(flush_);
}

void FileChannel::on_flush(int64_t result) {
  IntrusiveList<Io> served;
  served.splice_back(flush_served_);
  flushing_ = false;
  if (!flush_waiting_.empty()) start_flush();
  // The last of them may destroy the channel.
  while (Io* io = served.pop_front()) {
    finish(*io, result < 0 ? status_of_errno(static_cast<int>(-result), io->type) : nvme::Status::success());
  }
}

}  // namespace cairn::block
