// I/O to a file device on one reactor.
//
// Reads and writes go straight to the file when their memory suits it (direct I/O asks for alignment), else through a
// buffer of the reactor's pool (or of the process: page_memory.h), 128 KiB at a time. A flush of the file serves all
// flush requests that came before it began; those that come while it runs wait for the next one. Writes with FUA are
// writes that then ask for a flush.
#pragma once

#include <map>
#include <memory>

#include "base/intrusive_list.h"
#include "block/channel.h"
#include "block/page_memory.h"
#include "runtime/file.h"

namespace cairn::block {

class FileDevice;

class FileChannel final : public Channel {
 public:
  FileChannel(std::shared_ptr<FileDevice> device, std::unique_ptr<runtime::File> file);

 protected:
  void start(Io& io) override;

 private:
  struct Operation;
  struct FlushOperation : runtime::FileOp {
    FileChannel* channel = nullptr;
  };

  FileDevice& file_device() const;
  bool suits_file(const Io& io) const;
  void start_transfer(Io& io);
  void start_range(Io& io, runtime::FileOp::Kind kind);
  void next_bounce(Operation& operation);
  std::byte* take_bounce(size_t size);
  void give_back_bounce(std::byte* bounce);
  void on_transfer(Operation& operation, int64_t result);
  void on_range(Operation& operation, int64_t result);
  void end(Operation& operation, nvme::Status status);
  void request_flush(Io& io);
  void start_flush();
  void on_flush(int64_t result);

  std::unique_ptr<runtime::File> file_;
  const uint64_t alignment_;
  std::map<std::byte*, PageMemory> own_bounces_;  // in use, that the pool did not have
  FlushOperation flush_;
  bool flushing_ = false;
  IntrusiveList<Io> flush_served_;   // by the flush that runs
  IntrusiveList<Io> flush_waiting_;  // for the next
};

}  // namespace cairn::block
