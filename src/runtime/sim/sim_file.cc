#include "runtime/sim/sim_file.h"

#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "runtime/sim/delay.h"
#include "runtime/sim/sim_backend.h"

namespace cairn::runtime::sim {

SimFile::SimFile(SimBackend& backend, std::string path, std::shared_ptr<Inode> inode, const FileOptions& options)
    : backend_(backend), path_(std::move(path)), inode_(std::move(inode)), read_only_(options.read_only) {
  const DiskOptions& disk = inode_->disk.options();
  info_.is_block_device = inode_->type == Inode::Type::kBlockDevice;
  info_.logical_block_size = inode_->logical_block_size;
  info_.direct = options.direct && disk.supports_direct;
  if (info_.direct) info_.memory_alignment = info_.is_block_device ? inode_->logical_block_size : disk.direct_alignment;
  info_.can_unmap = disk.can_unmap;
  info_.size_bytes = inode_->store.size();
}

SimFile::~SimFile() {
  CAIRN_CHECK(in_flight_ == 0 || abandoning());
}

// -errno with which the kernel would refuse the operation, or 0.
int SimFile::refusal(const FileOp& op) const {
  const bool transfer = op.kind == FileOp::Kind::kRead || op.kind == FileOp::Kind::kWrite;
  const bool ranged = op.kind != FileOp::Kind::kFlush;
  if (read_only_ && ranged && op.kind != FileOp::Kind::kRead) return -EBADF;
  if (op.kind == FileOp::Kind::kUnmap && !info_.can_unmap) return -EOPNOTSUPP;
  if (transfer && info_.direct) {
    const uint64_t mask = info_.memory_alignment - 1;
    if (((op.offset | op.length) & mask) != 0) return -EINVAL;
    for (const iovec& piece : op.pieces) {
      if (((reinterpret_cast<uintptr_t>(piece.iov_base) | piece.iov_len) & mask) != 0) return -EINVAL;
    }
  }
  if (!transfer && ranged) {
    if (op.length == 0) return -EINVAL;
    if (info_.is_block_device) {
      if (((op.offset | op.length) & (info_.logical_block_size - 1)) != 0) return -EINVAL;
      if (op.offset + op.length > inode_->store.size()) return -EINVAL;
    }
  }
  return 0;
}

void SimFile::submit(FileOp& op) {
  if (op.kind == FileOp::Kind::kRead || op.kind == FileOp::Kind::kWrite) {
    CAIRN_CHECK(op.pieces.size() <= FileOp::kMaxPieces);
    uint64_t sum = 0;
    for (const iovec& piece : op.pieces) sum += piece.iov_len;
    CAIRN_CHECK(sum == op.length);
  }
  ++in_flight_;
  FileOpState::backend(op) = this;
  if (const int error = refusal(op)) {
    backend_.complete(op, error);
  } else {
    backend_.node().files().submit(backend_, inode_, path_, op);
  }
}

Task<Result<FileInfo>> SimFile::refresh() {
  co_await Delay(backend_, backend_.node().files().metadata_latency(inode_->disk));
  info_.size_bytes = inode_->store.size();
  co_return info_;
}

Task<Result<>> SimFile::resize(uint64_t size_bytes) {
  co_await Delay(backend_, backend_.node().files().metadata_latency(inode_->disk));
  if (read_only_) co_return fail(Error::from_errno(EINVAL, path_ + ": resize of a file opened read-only"));
  const int error = backend_.node().files().resize(*inode_, path_, size_bytes);
  if (error != 0) co_return fail(Error::from_errno(-error, path_ + ": resize"));
  info_.size_bytes = size_bytes;
  co_return Result<>{};
}

}  // namespace cairn::runtime::sim
