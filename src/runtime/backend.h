// The seam between a reactor and its world: the kernel (uring_backend.h, epoll_backend.h) or the simulator (sim/).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/duration.h"
#include "runtime/file.h"
#include "runtime/stream.h"
#include "runtime/task.h"

namespace cairn::runtime {

// All calls on the reactor's thread unless said otherwise.
class Backend {
 public:
  virtual ~Backend() = default;

  // "io_uring", "epoll", "simulator"; with the features in use: "io_uring (defer_taskrun, buffer_ring)".
  virtual std::string description() const = 0;

  virtual TimePoint now() = 0;
  // Whether now() is the kernel's monotonic clock.
  virtual bool has_kernel_clock() const { return false; }
  // Starts what was queued and runs the completions that are there. With `wake_at` later than now and nothing to run,
  // waits until something completes, wake() is called or `wake_at` has come; TimePoint::min() never waits. Returns how
  // many completions ran. A call that waited runs none: the reactor begins a new round first, with the time of that
  // round.
  virtual size_t poll(TimePoint wake_at) = 0;
  // Whether it is worth to poll rather than to wait when nothing is there. False when what is awaited is done by
  // threads of the kernel that need this core.
  virtual bool polling_pays() const { return true; }
  // Any thread: ends a present or the next wait of poll().
  virtual void wake() = 0;

  virtual Task<Result<std::unique_ptr<File>>> open_file(std::string path, FileOptions options) = 0;
  // Atomically replaces `to`; durable when it returns.
  virtual Task<Result<>> rename_file(std::string from, std::string to) = 0;
  virtual Task<Result<>> remove_file(std::string path) = 0;       // NOT_FOUND when missing
  virtual Task<Result<>> make_directories(std::string path) = 0;  // like mkdir -p

  // `accept` runs on this reactor for every connection until the listener is destroyed.
  virtual Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, AcceptHandler accept) = 0;
  virtual std::unique_ptr<Stream> adopt(std::unique_ptr<AcceptedStream> accepted) = 0;
  virtual Task<Result<std::unique_ptr<Stream>>> connect(SocketAddress address) = 0;  // bound it with a Deadline

  // Memory for I/O was set aside at [region]: may be registered with the kernel.
  virtual void use_buffer_region(std::span<std::byte> region) = 0;
};

}  // namespace cairn::runtime
