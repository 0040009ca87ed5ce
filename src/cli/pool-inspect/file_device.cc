#include "cli/pool-inspect/file_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace cairn::cli {
namespace {

Result<uint64_t> size_of(int fd, const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode)) return static_cast<uint64_t>(info.st_size);
  if (!S_ISBLK(info.st_mode)) {
    return fail(Code::kInvalidArgument, fmt::format("{} is neither a file nor a block device", path));
  }
  uint64_t size = 0;
  if (::ioctl(fd, BLKGETSIZE64, &size) != 0) return fail(Error::from_errno(errno, path));
  return size;
}

}  // namespace

Result<std::unique_ptr<FileDevice>> FileDevice::open(const std::string& path, Access access) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) return fail(Error::from_errno(errno, path));
  const bool writing = access == Access::kWrite;
  const int exclusive = writing && S_ISBLK(info.st_mode) ? O_EXCL : 0;
  runtime::FileDescriptor fd(::open(path.c_str(), (writing ? O_RDWR : O_RDONLY) | O_CLOEXEC | exclusive));
  if (!fd.valid()) return fail(Error::from_errno(errno, path));
  if (writing && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return fail(Error::from_errno(errno, path));
  auto size = size_of(fd.get(), info, path);
  if (!size) return fail(std::move(size.error()));
  return std::unique_ptr<FileDevice>(new FileDevice(std::move(fd), path, *size));
}

Result<> FileDevice::read(uint64_t offset, std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t count = ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail(Error::from_errno(errno, fmt::format("{}: read at byte {}", path_, offset)));
    if (count == 0) return fail(Code::kDataLoss, fmt::format("{} ends at byte {}", path_, offset));
    out = out.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<> FileDevice::write(uint64_t offset, std::span<const std::byte> from) {
  while (!from.empty()) {
    const ssize_t count = ::pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return fail(Error::from_errno(errno, fmt::format("{}: write at byte {}", path_, offset)));
    from = from.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Result<> FileDevice::flush() {
  if (::fsync(fd_.get()) != 0) return fail(Error::from_errno(errno, fmt::format("{}: flush", path_)));
  return {};
}

}  // namespace cairn::cli
