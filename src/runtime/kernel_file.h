// What the kernel back-ends share about files: opening, inspecting, and the calls on names. All of it runs on the
// blocking pool.
#pragma once

#include <cstdint>
#include <string>

#include "runtime/blocking_pool.h"
#include "runtime/file.h"
#include "runtime/file_descriptor.h"

namespace cairn::runtime {

// A file without its data path, which the back-end adds.
class KernelFile : public File {
 public:
  const FileInfo& info() const final { return info_; }
  Task<Result<FileInfo>> refresh() final;
  Task<Result<>> resize(uint64_t size_bytes) final;
  ~KernelFile() override;

 protected:
  struct Opened {
    FileDescriptor descriptor;
    FileInfo info;
  };
  KernelFile(BlockingPool& pool, Opened opened)
      : pool_(pool), descriptor_(std::move(opened.descriptor)), info_(opened.info) {}

  int descriptor() const { return descriptor_.get(); }
  BlockingPool& pool() { return pool_; }
  // Operations in flight keep the file alive by contract; counted to check it.
  void operation_started() { ++operations_; }
  void operation_ended() { --operations_; }
  // Whether a read or write ends short of its length, with `done` bytes in all of which the last call brought `last`.
  bool transfer_has_ended(const FileOp& op, uint64_t done, size_t last) const {
    // Direct I/O stops inside a block only at the end of the file, and could not go on from there.
    return last == 0 || (info_.direct && (op.offset + done) % info_.memory_alignment != 0);
  }

 public:
  static Task<Result<Opened>> open(BlockingPool& pool, std::string path, FileOptions options);

 private:
  BlockingPool& pool_;
  FileDescriptor descriptor_;
  FileInfo info_;
  size_t operations_ = 0;
};

Task<Result<>> rename_kernel_file(BlockingPool& pool, std::string from, std::string to);
Task<Result<>> remove_kernel_file(BlockingPool& pool, std::string path);
Task<Result<>> make_kernel_directories(BlockingPool& pool, std::string path);

// The mode with which fallocate(2) does kUnmap or kWriteZeroes, for files and block devices alike. On a device the
// kernel turns the first into a discard that is known to leave zeroes (or refuses), the second into the device's own
// write-zeroes or plain writes.
int fallocate_mode(FileOp::Kind kind);
// The pieces of `op` after its first `skip` bytes; `into` holds at least as many as the operation has. Returns how
// many.
size_t pieces_after(const FileOp& op, uint64_t skip, std::span<iovec> into);
// Error of a system call that means "this file cannot do that at all".
bool is_unsupported(int error);

}  // namespace cairn::runtime
