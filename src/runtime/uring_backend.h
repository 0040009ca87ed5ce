// The kernel back-end on io_uring: one ring a reactor, all I/O of a round of the loop in one system call.
//
// Life of an operation: whoever starts it fills an entry of the ring's queue (next_sqe) with the address of a UringOp;
// the next poll() submits everything queued; the completion calls the UringOp from a poll(). An operation's memory
// lives until its completion, also when it was cancelled.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/blocking_pool.h"
#include "runtime/file_descriptor.h"
#include "runtime/kernel_stream.h"
#include "runtime/uring_receive_buffers.h"
#include "runtime/uring_ring.h"
#include "runtime/uring_scratch.h"

namespace cairn::runtime {

class UringAcceptor;
class UringStream;
struct HotTag;

class UringBackend final : public Backend {
 public:
  // UNIMPLEMENTED, PERMISSION_DENIED: io_uring cannot be used here. `pool` may be shared by several back-ends.
  static Result<std::unique_ptr<UringBackend>> create(const UringOptions& options, std::shared_ptr<BlockingPool> pool);
  ~UringBackend() override;

  std::string description() const override;
  TimePoint now() override;
  bool has_kernel_clock() const override { return true; }
  size_t poll(TimePoint wake_at) override;
  // The kernel completes direct writes in threads of the core that got the interrupt, often this one.
  bool polling_pays() const override { return file_changes_ == 0 || !hot_streams_.empty(); }
  void wake() override;

  Task<Result<std::unique_ptr<File>>> open_file(std::string path, FileOptions options) override;
  Task<Result<>> rename_file(std::string from, std::string to) override;
  Task<Result<>> remove_file(std::string path) override;
  Task<Result<>> make_directories(std::string path) override;

  Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, AcceptHandler accept) override;
  std::unique_ptr<Stream> adopt(std::unique_ptr<AcceptedStream> accepted) override;
  Task<Result<std::unique_ptr<Stream>>> connect(SocketAddress address) override;

  void use_buffer_region(std::span<std::byte> region) override;

  // For the parts of this back-end (streams, files, acceptors).
  UringRing& ring() { return *ring_; }
  UringScratch& scratch() { return scratch_; }
  UringReceiveBuffers* receive_buffers() {
    return receive_buffers_.get();
  }  // nullptr: receives poll first, see UringStream
  std::span<std::byte> scratch_buffer() { return scratch_buffer_; }  // for receives outside of the ring
  // Makes a stream hot (see UringStream) if there are not too many.
  bool add_hot(UringStream& stream);
  bool multishot_accept() const { return multishot_accept_; }
  // The index of the registered buffer that holds all of [data, data+size), or -1.
  int registered_buffer(const void* data, size_t size) const;
  // Before each operation on a file: hands what is queued to the kernel when it is much, compared with what the kernel
  // has. The kernel starts operations that come together only when it has seen the last of them.
  void keep_files_busy();
  // A queue entry for an operation on a file. Its completion goes to UringFile.
  io_uring_sqe& next_file_sqe(FileOp& op);
  // An operation that ended (its result is set) without the kernel: completed by the next poll().
  void complete_later(FileOp& op) { finished_files_.push_back(op); }
  // Asks the kernel to end an operation; its completion comes, with -ECANCELED if it was in time.
  void cancel(UringOp& op);
  void drop(UringAcceptor& acceptor);

 private:
  UringBackend(const UringOptions& options, std::unique_ptr<UringRing> ring, std::shared_ptr<BlockingPool> pool);
  void watch_wake_event();
  // Wakes `target` with a message from our ring to its ring. On the thread of this back-end.
  void wake_by_message(UringBackend& target);
  void write_wake_event();
  size_t service_streams();
  size_t complete_files();
  size_t receive_hot();
  void cool_down();

  struct BackendOp : UringOp {
    UringBackend* backend = nullptr;
  };

  std::unique_ptr<UringRing> ring_;
  UringScratch scratch_;
  std::shared_ptr<BlockingPool> pool_;
  std::unique_ptr<UringReceiveBuffers> receive_buffers_;
  std::vector<std::byte> scratch_buffer_;
  IntrusiveList<KernelStream> attention_;
  IntrusiveList<UringStream, HotTag> hot_streams_;
  unsigned max_hot_streams_;
  IntrusiveList<FileOp> finished_files_;
  size_t file_operations_ = 0;  // queued and in the kernel
  size_t file_changes_ = 0;     // those that change a file
  size_t queued_files_ = 0;     // operations queued since the ring's submission...
  uint64_t queued_since_ = 0;   // ...of that number
  std::vector<std::unique_ptr<UringAcceptor>> acceptors_;
  std::span<std::byte> registered_region_;
  bool register_buffers_;
  bool multishot_accept_;
  FileDescriptor wake_event_;
  bool wake_watched_ = false;
  std::atomic<bool> wake_pending_{false};
  BackendOp wake_op_;  // the eventfd was written
  bool ring_messages_;
  BackendOp message_op_;         // another ring woke us
  BackendOp message_failed_op_;  // runs on the thread of that other ring: its message to us was not delivered
};

}  // namespace cairn::runtime
