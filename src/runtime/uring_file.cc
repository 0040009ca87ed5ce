#include "runtime/uring_file.h"

#include <cerrno>

namespace cairn::runtime {

namespace {

UringFile& file_of(FileOp& op) {
  return *static_cast<UringFile*>(FileOpState::backend(op));
}

bool is_transfer(const FileOp& op) {
  return op.kind == FileOp::Kind::kRead || op.kind == FileOp::Kind::kWrite;
}

}  // namespace

void UringFile::submit(FileOp& op) {
  FileOpState::backend(op) = this;
  FileOpState::result(op) = 0;
  operation_started();
  if (op.length == 0 && op.kind != FileOp::Kind::kFlush) return backend_.complete_later(op);
  start(op);
}

void UringFile::start(FileOp& op) {
  backend_.keep_files_busy();
  switch (op.kind) {
    case FileOp::Kind::kRead:
    case FileOp::Kind::kWrite:
      start_transfer(op);
      break;
    case FileOp::Kind::kFlush:
      io_uring_prep_fsync(&backend_.next_file_sqe(op), descriptor(), IORING_FSYNC_DATASYNC);
      break;
    case FileOp::Kind::kUnmap:
    case FileOp::Kind::kWriteZeroes:
      io_uring_prep_fallocate(&backend_.next_file_sqe(op), descriptor(), fallocate_mode(op.kind),
                              static_cast<off_t>(op.offset), static_cast<off_t>(op.length));
      break;
  }
}

void UringFile::start_transfer(FileOp& op) {
  const auto done = static_cast<uint64_t>(FileOpState::result(op));
  const uint64_t offset = op.offset + done;
  const bool read = op.kind == FileOp::Kind::kRead;
  const iovec* pieces = op.pieces.data();
  size_t count = op.pieces.size();
  if (done > 0) {
    count = pieces_after(op, done, backend_.scratch().iovecs());
    pieces = backend_.scratch().use(count);
  }
  io_uring_sqe& sqe = backend_.next_file_sqe(op);
  if (count > 1) {
    (read ? io_uring_prep_readv : io_uring_prep_writev)(&sqe, descriptor(), pieces, static_cast<unsigned>(count),
                                                        offset);
    return;
  }
  const auto size = static_cast<unsigned>(pieces->iov_len);
  if (const int index = backend_.registered_buffer(pieces->iov_base, size); index >= 0) {
    if (read) {
      io_uring_prep_read_fixed(&sqe, descriptor(), pieces->iov_base, size, offset, index);
    } else {
      io_uring_prep_write_fixed(&sqe, descriptor(), pieces->iov_base, size, offset, index);
    }
  } else if (read) {
    io_uring_prep_read(&sqe, descriptor(), pieces->iov_base, size, offset);
  } else {
    io_uring_prep_write(&sqe, descriptor(), pieces->iov_base, size, offset);
  }
}

void UringFile::on_completion(FileOp& op, int result) {
  file_of(op).continue_or_complete(op, result);
}

void UringFile::continue_or_complete(FileOp& op, int result) {
  if (result == -EINTR || result == -EAGAIN) return start(op);
  int64_t& progress = FileOpState::result(op);
  if (result < 0) {
    progress = is_unsupported(-result) && !is_transfer(op) ? -EOPNOTSUPP : result;
  } else if (is_transfer(op)) {
    progress += result;
    const auto done = static_cast<uint64_t>(progress);
    if (done < op.length && !transfer_has_ended(op, done, static_cast<size_t>(result))) return start(op);
    if (op.kind == FileOp::Kind::kWrite && done < op.length) progress = -EIO;
  }
  complete(op);
}

void UringFile::complete(FileOp& op) {
  file_of(op).operation_ended();
  op.complete(op, FileOpState::result(op));
}

}  // namespace cairn::runtime
