// A file or block device of this machine, for the checker.
#pragma once

#include <memory>
#include <string>

#include "pool/check/device_reader.h"
#include "runtime/file_descriptor.h"

namespace cairn::cli {

class FileDevice final : public pool::check::DeviceWriter {
 public:
  enum class Access : uint8_t {
    kRead,
    kWrite,  // a block device exclusively: fails while somebody has it open that way or it is mounted
  };
  // Errors as of the system calls.
  static Result<std::unique_ptr<FileDevice>> open(const std::string& path, Access access);

  uint64_t size_bytes() const override { return size_; }
  Result<> read(uint64_t offset, std::span<std::byte> out) override;
  Result<> write(uint64_t offset, std::span<const std::byte> from) override;
  Result<> flush() override;

 private:
  FileDevice(runtime::FileDescriptor fd, std::string path, uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}
  runtime::FileDescriptor fd_;
  std::string path_;
  uint64_t size_;
};

}  // namespace cairn::cli
