// A file or kernel block device of the io_uring back-end.
#pragma once

#include "runtime/kernel_file.h"
#include "runtime/uring_backend.h"

namespace cairn::runtime {

class UringFile final : public KernelFile {
 public:
  // The user data of an operation is its address with this bit set.
  static constexpr uint64_t kTag = 1;

  UringFile(UringBackend& backend, BlockingPool& pool, Opened opened)
      : KernelFile(pool, std::move(opened)), backend_(backend) {}

  void submit(FileOp& op) override;

  // From the ring: the kernel is done with (a part of) `op`.
  static void on_completion(FileOp& op, int result);
  // Calls op.complete with the result kept in it.
  static void complete(FileOp& op);

 private:
  void start(FileOp& op);
  void start_transfer(FileOp& op);
  void continue_or_complete(FileOp& op, int result);

  UringBackend& backend_;
};

}  // namespace cairn::runtime
