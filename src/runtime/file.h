// Files and kernel block devices, as seen by the device drivers and by whoever keeps state in files. Implemented by each back-end.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/error.h"
#include "base/intrusive_list.h"
#include "runtime/task.h"

namespace cairn::runtime {

struct FileInfo {
  uint64_t size_bytes = 0;
  bool is_block_device = false;
  uint32_t logical_block_size = 512;  // of a block device; 512 for a file
  bool direct = false;                // opened with O_DIRECT
  uint32_t memory_alignment = 1;      // of buffers and offsets when direct
  bool can_unmap = false;             // unmap is worth trying
};

struct FileOptions {
  bool read_only = false;
  bool create = false;  // when missing, mode 0600
  bool truncate = false;
  bool direct = false;     // O_DIRECT where the file system has it, silently buffered where not (FileInfo::direct tells)
  bool exclusive = false;  // EBUSY when the kernel uses the block device (mounted, md, ...), or somebody has it so
};

// One asynchronous operation. Owned by the submitter, untouched by it until `complete` is called, which happens on the same reactor and never
// inside submit().
class FileOp : public ListLink<> {
 public:
  enum class Kind : uint8_t {
    kRead,         // into `pieces`; ends early only at the end of the file
    kWrite,        // from `pieces`
    kFlush,        // all completed writes reach stable storage (fdatasync)
    kUnmap,        // [offset, offset+length) may lose its content and then reads as zeroes (punch hole, discard)
    kWriteZeroes,  // [offset, offset+length) reads as zeroes, space stays allocated where the file system can
  };
  static constexpr unsigned kMaxPieces = 40;

  Kind kind = Kind::kRead;
  uint64_t offset = 0;             // bytes
  uint64_t length = 0;             // bytes; the sum of the pieces for reads and writes
  std::span<const iovec> pieces;   // array and memory stay valid until completion
  // Result: bytes for reads and writes, 0 for the others; negative -errno. -EOPNOTSUPP when the file cannot do this kind.
  void (*complete)(FileOp& op, int64_t result) = nullptr;

 private:
  friend class FileOpState;
  int64_t result_ = 0;  // for back-ends: between completion and callback, or progress of a short transfer
  void* backend_ = nullptr;
};

// What back-ends may touch of an operation.
class FileOpState {
 public:
  static int64_t& result(FileOp& op) { return op.result_; }
  static void*& backend(FileOp& op) { return op.backend_; }
};

class File {
 public:
  // Closes. No operation may be in flight.
  virtual ~File() = default;

  virtual void submit(FileOp& op) = 0;
  // As it was when opened or last refreshed.
  virtual const FileInfo& info() const = 0;
  // Reads size again (a file grew, a device was resized).
  virtual Task<Result<FileInfo>> refresh() = 0;
  virtual Task<Result<>> resize(uint64_t size_bytes) = 0;

  // For control paths: whole-buffer forms of submit(). read gives the bytes read (less than asked only at the end of the file).
  Task<Result<size_t>> read(uint64_t offset, std::span<std::byte> into);
  Task<Result<>> write(uint64_t offset, std::span<const std::byte> from);
  Task<Result<>> flush();
};

}  // namespace cairn::runtime
