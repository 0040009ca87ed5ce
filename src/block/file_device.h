// aio:///path and uring:///path: a file or a kernel block device as a disk.
//
// Both schemes are served by the runtime's files (io_uring where the kernel has it); they differ in their names and in
// what clients expect of them. A control file on the home reactor holds a block device exclusively and watches the
// size; each channel has its own file.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/duration.h"
#include "block/device.h"
#include "runtime/file.h"
#include "runtime/task_waits.h"

namespace cairn::block {

class Registry;

// aio: ?blk_size=N, uuid=U, rescan (reads the size of the device again if it exists). uring: ?blk_size=N, uuid=U.
void add_aio_scheme(Registry& registry);
void add_uring_scheme(Registry& registry);

class FileDevice final : public Device {
 public:
  // How often the size is looked at.
  static constexpr Duration kSizeCheckPeriod = std::chrono::seconds(1);

  // The name is the path. block_size 0: a block device's own, 512 for a file. Errors carry the cause as the system
  // gives it; EINVAL: a block size that is not 512 or 4096 or is smaller than the disk's, or less than one block of
  // space.
  static runtime::Task<Result<std::shared_ptr<FileDevice>>> open(DeviceIdentity identity, uint32_t block_size);

  FileDevice(DeviceIdentity identity, const Geometry& geometry, std::unique_ptr<runtime::File> control);
  ~FileDevice() override;

  bool has_volatile_cache() const override { return true; }
  runtime::Task<Result<>> rescan() override;
  runtime::Task<> stop() override;

 protected:
  bool supports_natively(IoType type) const override;
  runtime::Task<Result<std::unique_ptr<Channel>>> make_channel() override;

 private:
  friend class FileChannel;
  runtime::Task<> watch_size();

  const bool direct_;
  // What the file turned out to be able to do; any reactor.
  std::atomic<bool> can_unmap_;
  std::atomic<bool> can_write_zeroes_{true};
  std::unique_ptr<runtime::File> control_;
  runtime::TaskHandle size_watch_;
  runtime::Event size_watch_ended_;
};

}  // namespace cairn::block
