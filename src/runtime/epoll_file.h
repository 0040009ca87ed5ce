// A file of the epoll back-end: every operation is a call on the blocking pool.
#pragma once

#include "runtime/epoll_backend.h"
#include "runtime/kernel_file.h"

namespace cairn::runtime {

class EpollFile final : public KernelFile {
 public:
  EpollFile(EpollBackend& backend, BlockingPool& pool, Opened opened)
      : KernelFile(pool, std::move(opened)), backend_(backend) {}

  void submit(FileOp& op) override;

 private:
  friend class EpollFileCall;
  // On the pool. Result of the operation.
  int64_t execute(const FileOp& op) const;
  int64_t transfer(const FileOp& op) const;

  EpollBackend& backend_;
};

// One operation on its way through the pool.
class EpollFileCall {
 public:
  EpollFileCall(EpollBackend& backend, Reactor& home);
  void start(EpollFile& file, FileOp& op);

 private:
  void complete();

  EpollBackend& backend_;
  EpollFile* file_ = nullptr;
  FileOp* op_ = nullptr;
  int64_t result_ = 0;
  BlockingPool::Job job_;
};

}  // namespace cairn::runtime
