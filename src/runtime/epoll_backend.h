// The kernel back-end for kernels without (usable) io_uring: sockets by epoll, files by the blocking pool.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.h"
#include "runtime/blocking_pool.h"
#include "runtime/file_descriptor.h"
#include "runtime/kernel_stream.h"

namespace cairn::runtime {

class EpollAcceptor;
class EpollFileCall;

// Something registered with epoll, edge-triggered. on_events() only takes notes: callbacks run from service().
class EpollSource {
 public:
  virtual void on_events(uint32_t events) = 0;

 protected:
  ~EpollSource() = default;
};

class EpollBackend final : public Backend {
 public:
  static Result<std::unique_ptr<EpollBackend>> create(std::shared_ptr<BlockingPool> pool);
  ~EpollBackend() override;

  std::string description() const override { return "epoll"; }
  TimePoint now() override;
  bool has_kernel_clock() const override { return true; }
  size_t poll(TimePoint wake_at) override;
  void wake() override;

  Task<Result<std::unique_ptr<File>>> open_file(std::string path, FileOptions options) override;
  Task<Result<>> rename_file(std::string from, std::string to) override;
  Task<Result<>> remove_file(std::string path) override;
  Task<Result<>> make_directories(std::string path) override;

  Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, AcceptHandler accept) override;
  std::unique_ptr<Stream> adopt(std::unique_ptr<AcceptedStream> accepted) override;
  Task<Result<std::unique_ptr<Stream>>> connect(SocketAddress address) override;

  void use_buffer_region(std::span<std::byte>) override {}

  // For the parts of this back-end.
  void watch(int fd, uint32_t events, EpollSource& source);
  void unwatch(int fd);
  std::span<std::byte> scratch_buffer() { return scratch_buffer_; }
  std::span<iovec> iovecs() { return iovecs_; }
  IntrusiveList<EpollAcceptor>& ready_acceptors() { return ready_acceptors_; }
  // A call on the blocking pool for one file operation; recycled.
  EpollFileCall& take_file_call();
  void give_back(EpollFileCall& call);

 private:
  explicit EpollBackend(std::shared_ptr<BlockingPool> pool);
  void collect(Duration timeout);
  size_t service();

  struct WakeSource final : EpollSource {
    std::atomic<bool> pending{false};
    void on_events(uint32_t) override { pending.exchange(false); }
  };

  std::shared_ptr<BlockingPool> pool_;
  FileDescriptor epoll_;
  FileDescriptor wake_event_;
  WakeSource wake_source_;
  std::vector<epoll_event> events_;
  IntrusiveList<KernelStream> attention_;
  IntrusiveList<EpollAcceptor> ready_acceptors_;
  std::vector<std::unique_ptr<EpollFileCall>> idle_file_calls_;
  std::vector<std::byte> scratch_buffer_;
  std::vector<iovec> iovecs_;
};

}  // namespace cairn::runtime
