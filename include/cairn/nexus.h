// A nexus: one block device in front of several children that hold the same data.
//
// Threads. All functions may be called from any thread of the application, at the same time too. read(), write() and
// flush() never wait; the others do, and take turns with all of the same runtime. A completion runs on one of the
// runtime's threads, so it must be short, must not wait and must not throw: what it may call of this library is
// read(), write() and flush(); everything else is refused there with FAILED_PRECONDITION.
//
// Order. I/Os that are under way at the same time are in no order, as with any disk: to have one after the other, start
// it when the other has completed. A write that has completed is on all healthy children, and is seen by every read
// that is started afterwards. It is on stable storage when a flush that was started afterwards has completed.
#pragma once

#include <cairn/error.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cairn::embed {

class NexusState;
class RuntimeState;

struct NexusOptions {
  std::string name = {};
  // The device has a block less, as the original's; or what fits when a child has not 5 MiB more than that.
  uint64_t size_bytes = 0;
  // URIs of 1 to 32 children: aio:///path, uring:///path, malloc:///name?size_mb=N, nvmf://host:port/nqn,
  // bdev:///name (docs/block-devices.md).
  std::vector<std::string> children = {};
  // The same volume has the same UUID whenever it is opened: children know by it what they have missed. Those that are
  // files or local disks need a uuid= in their URIs then, always the same, and so do those that are added. Empty: a
  // random one, for children that hold nothing worth keeping, or for one that never gets a second.
  std::string uuid = {};
  uint32_t max_in_flight = 512;  // I/Os, 1 to 65535
};

struct ChildInfo {
  std::string uri;
  std::string state;     // "open", "closed", "faulted", "faulted (I/O error)", ...
  bool healthy = false;  // it has every write that has completed
  bool rebuilding = false;
};

struct NexusInfo {
  std::string state;  // "online"; "degraded": not all children are healthy; "faulted": none is; "shutdown", ...
  std::vector<ChildInfo> children;
};

class [[gnu::visibility("default")]] Nexus {
 public:
  static constexpr size_t kMaxIoBytes = size_t{1} << 20;
  using Completion = std::move_only_function<void(Result<>)>;

  Nexus() = default;  // closed
  Nexus(Nexus&&) noexcept;
  Nexus& operator=(Nexus&&) noexcept;
  ~Nexus();  // close(); what that cannot do is done at the end of the runtime

  const std::string& name() const;
  const std::string& uuid() const;
  uint64_t size_bytes() const;
  uint32_t block_size() const;  // bytes

  // Start an I/O. `offset` and the size of the memory are multiples of block_size(), the memory begins at such an
  // address (that of a Buffer does) and belongs to the I/O until `done` is called. Exactly one call of `done`, which
  // must not be empty, with
  //   INVALID_ARGUMENT     offset, size or address
  //   OUT_OF_RANGE         beyond the end
  //   RESOURCE_EXHAUSTED   max_in_flight are under way; or a child has no space left and no other one could help
  //   FAILED_PRECONDITION  the nexus has been closed, or is being closed and could not do it in time
  //   DATA_LOSS            no healthy child could read it
  //   INTERNAL             another error of the last child; the nexus has shut itself down, as when another host has
  //                        reserved a child
  // Of these, those that the nexus can tell at once come inside the call, on the calling thread. When a child fails the
  // nexus goes on with the others, and the I/O is none the wiser. While no child can be reached I/O waits for one,
  // until the nexus is closed.
  void read(uint64_t offset, std::span<std::byte> into, Completion done);
  void write(uint64_t offset, std::span<const std::byte> from, Completion done);
  void flush(Completion done);

  // The same with a future, which may be waited for on any thread of the application.
  std::future<Result<>> read(uint64_t offset, std::span<std::byte> into);
  std::future<Result<>> write(uint64_t offset, std::span<const std::byte> from);
  std::future<Result<>> flush();

  Result<NexusInfo> info() const;
  // Adds a child, or takes back one that had failed; it is rebuilt in the background: of one that was away only
  // what it has missed is copied.
  //   INVALID_ARGUMENT     add_child: the URI, its device, no uuid= where one is needed (NexusOptions::uuid)
  //   ALREADY_EXISTS       add_child: it is one
  //   NOT_FOUND            online_child: it is none
  //   INTERNAL             online_child: it cannot be opened
  Result<> add_child(const std::string& uri);
  Result<> online_child(const std::string& uri);
  // FAILED_PRECONDITION: the last healthy one.
  Result<> remove_child(const std::string& uri);

  // Refuses new I/O, waits for what is under way (10 s; what hangs then fails), marks the children as cleanly closed
  // and lets go of them. When it returns, all completions have run, but for those of calls that have not returned yet
  // and refuse. Again: nothing to do.
  Result<> close();

 private:
  friend class Runtime;
  Nexus(std::shared_ptr<RuntimeState> runtime, std::shared_ptr<NexusState> state);

  std::shared_ptr<RuntimeState> runtime_;
  std::shared_ptr<NexusState> state_;
};

}  // namespace cairn::embed
