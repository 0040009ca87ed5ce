#include "runtime/kernel_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace cairn::runtime {

namespace {

// The direct-I/O alignment of a file (statx STATX_DIOALIGN, Linux 6.1), as in linux/stat.h.
constexpr unsigned kStatxDioAlign = 0x2000;
struct StatxWithDioAlign {
  uint32_t mask;
  uint32_t unused1[37];
  uint32_t dio_memory_align;  // offset 152
  uint32_t dio_offset_align;
  uint64_t unused2[12];
};
static_assert(sizeof(StatxWithDioAlign) == 256);
static_assert(offsetof(StatxWithDioAlign, dio_memory_align) == 152);

uint32_t direct_alignment(int fd, uint32_t otherwise) {
  StatxWithDioAlign status{};
  if (::statx(fd, "", AT_EMPTY_PATH, kStatxDioAlign, reinterpret_cast<struct statx*>(&status)) == 0 &&
      (status.mask & kStatxDioAlign) != 0 && status.dio_offset_align != 0) {
    return std::max(status.dio_memory_align, status.dio_offset_align);
  }
  return otherwise;
}

Result<FileInfo> inspect(int fd, const std::string& path) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(Error::from_errno(errno, fmt::format("stat {}", path)));
  FileInfo info;
  info.direct = (::fcntl(fd, F_GETFL) & O_DIRECT) != 0;
  if (S_ISBLK(status.st_mode)) {
    info.is_block_device = true;
    int block_size = 0;
    if (::ioctl(fd, BLKGETSIZE64, &info.size_bytes) != 0 || ::ioctl(fd, BLKSSZGET, &block_size) != 0) {
      return fail(Error::from_errno(errno, fmt::format("read the size of {}", path)));
    }
    info.logical_block_size = static_cast<uint32_t>(block_size);
    info.can_unmap = true;
  } else {
    info.size_bytes = static_cast<uint64_t>(status.st_size);
    info.can_unmap = S_ISREG(status.st_mode);
  }
  if (info.direct) {
    const auto fallback = info.is_block_device ? info.logical_block_size : static_cast<uint32_t>(status.st_blksize);
    info.memory_alignment = direct_alignment(fd, fallback);
  }
  return info;
}

// Makes a change of a directory's entries durable.
Result<> sync_directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || ::fsync(fd.get()) != 0) {
    return fail(Error::from_errno(errno, fmt::format("sync directory {}", directory)));
  }
  return {};
}

Result<FileDescriptor> open_descriptor(const std::string& path, const FileOptions& options) {
  CAIRN_CHECK(!(options.exclusive && options.truncate));  // it would be empty before it is known whose it is
  int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
  if (options.create) flags |= O_CREAT;
  if (options.truncate) flags |= O_TRUNC;
  if (options.direct) flags |= O_DIRECT;
  struct stat status{};
  // O_EXCL means "not in use" only for block devices; on a file it would mean "create".
  if (options.exclusive && ::stat(path.c_str(), &status) == 0 && S_ISBLK(status.st_mode)) flags |= O_EXCL;
  FileDescriptor fd(::open(path.c_str(), flags, 0600));
  if (!fd.valid() && errno == EINVAL && options.direct)
    fd = FileDescriptor(::open(path.c_str(), flags & ~O_DIRECT, 0600));
  if (!fd.valid()) return fail(Error::from_errno(errno, fmt::format("open {}", path)));
  // Two processes that take each other's file for their own would destroy it. A file system without locks has to do
  // without.
  if (options.exclusive && ::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode) &&
      ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return fail(Error::from_errno(EBUSY, fmt::format("open {}", path)));
  }
  return fd;
}

}  // namespace

KernelFile::~KernelFile() {
  CAIRN_CHECK(operations_ == 0);
}

Task<Result<KernelFile::Opened>> KernelFile::open(BlockingPool& pool, std::string path, FileOptions options) {
  co_return co_await BlockingCall(pool, [&path, &options]() -> Result<Opened> {
    auto fd = open_descriptor(path, options);
    if (!fd) return fail(std::move(fd.error()));
    auto info = inspect(fd->get(), path);
    if (!info) return fail(std::move(info.error()));
    return Opened{std::move(*fd), *info};
  });
}

Task<Result<FileInfo>> KernelFile::refresh() {
  auto info = co_await BlockingCall(pool_, [fd = descriptor_.get()] { return inspect(fd, "an open file"); });
  if (info) info_ = *info;
  co_return info;
}

Task<Result<>> KernelFile::resize(uint64_t size_bytes) {
  const int error = co_await BlockingCall(pool_, [fd = descriptor_.get(), size_bytes] {
    return ::ftruncate(fd, static_cast<off_t>(size_bytes)) == 0 ? 0 : errno;
  });
  if (error != 0) co_return fail(Error::from_errno(error, "resize"));
  info_.size_bytes = size_bytes;
  co_return Result<>{};
}

Task<Result<>> rename_kernel_file(BlockingPool& pool, std::string from, std::string to) {
  co_return co_await BlockingCall(pool, [&from, &to]() -> Result<> {
    if (::rename(from.c_str(), to.c_str()) != 0) {
      return fail(Error::from_errno(errno, fmt::format("rename {} to {}", from, to)));
    }
    return sync_directory_of(to);
  });
}

Task<Result<>> remove_kernel_file(BlockingPool& pool, std::string path) {
  co_return co_await BlockingCall(pool, [&path]() -> Result<> {
    if (::unlink(path.c_str()) != 0) return fail(Error::from_errno(errno, fmt::format("remove {}", path)));
    return {};
  });
}

Task<Result<>> make_kernel_directories(BlockingPool& pool, std::string path) {
  co_return co_await BlockingCall(pool, [&path]() -> Result<> {
    for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
      const std::string part = path.substr(0, end);
      struct stat status{};
      if (::mkdir(part.c_str(), 0755) != 0 &&
          (errno != EEXIST || ::stat(part.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))) {
        const int error = errno == EEXIST ? ENOTDIR : errno;
        return fail(Error::from_errno(error, fmt::format("make directory {}", part)));
      }
      if (end == std::string::npos) return {};
    }
  });
}

int fallocate_mode(FileOp::Kind kind) {
  return FALLOC_FL_KEEP_SIZE | (kind == FileOp::Kind::kUnmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

size_t pieces_after(const FileOp& op, uint64_t skip, std::span<iovec> into) {
  size_t count = 0;
  for (const iovec& piece : op.pieces) {
    if (skip >= piece.iov_len) {
      skip -= piece.iov_len;
      continue;
    }
    into[count++] = {static_cast<std::byte*>(piece.iov_base) + skip, piece.iov_len - skip};
    skip = 0;
  }
  return count;
}

bool is_unsupported(int error) {
  return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV;
}

}  // namespace cairn::runtime
