#include "runtime/epoll_file.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace cairn::runtime {

void EpollFile::submit(FileOp& op) {
  operation_started();
  backend_.take_file_call().start(*this, op);
}

int64_t EpollFile::execute(const FileOp& op) const {
  if (op.kind == FileOp::Kind::kFlush) return ::fdatasync(descriptor()) == 0 ? 0 : -errno;
  if (op.length == 0) return 0;
  if (op.kind == FileOp::Kind::kRead || op.kind == FileOp::Kind::kWrite) return transfer(op);
  int result = 0;
  do {
    result = ::fallocate(descriptor(), fallocate_mode(op.kind), static_cast<off_t>(op.offset),
                         static_cast<off_t>(op.length));
  } while (result != 0 && errno == EINTR);
  if (result == 0) return 0;
  return is_unsupported(errno) ? -EOPNOTSUPP : -errno;
}

int64_t EpollFile::transfer(const FileOp& op) const {
  std::array<iovec, FileOp::kMaxPieces> pieces;
  uint64_t done = 0;
  while (done < op.length) {
    const size_t count = pieces_after(op, done, pieces);
    const auto offset = static_cast<off_t>(op.offset + done);
    const ssize_t result = op.kind == FileOp::Kind::kRead
                               ? ::preadv(descriptor(), pieces.data(), static_cast<int>(count), offset)
                               : ::pwritev(descriptor(), pieces.data(), static_cast<int>(count), offset);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) return -errno;
    done += static_cast<uint64_t>(result);
    if (transfer_has_ended(op, done, static_cast<size_t>(result))) break;
  }
  if (op.kind == FileOp::Kind::kWrite && done < op.length) return -EIO;
  return static_cast<int64_t>(done);
}

EpollFileCall::EpollFileCall(EpollBackend& backend, Reactor& home)
    : backend_(backend), job_([this] { result_ = file_->execute(*op_); }, home, [this] { complete(); }) {}

void EpollFileCall::start(EpollFile& file, FileOp& op) {
  file_ = &file;
  op_ = &op;
  file.pool().submit(job_);
}

void EpollFileCall::complete() {
  FileOp& op = *op_;
  const int64_t result = result_;
  file_->operation_ended();
  backend_.give_back(*this);
  op.complete(op, result);
}

}  // namespace cairn::runtime
