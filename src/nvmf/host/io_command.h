// A block::Io as NVMe commands: lives in the driver area of its Io.
//
// What is larger than one command may be goes piece by piece, one at a time. A compare-and-write is a fused pair of
// commands; both halves have ended before anything is decided.
#pragma once

#include <cstdint>

#include "base/duration.h"
#include "block/io.h"
#include "nvme/nvm_command.h"
#include "nvmf/host/command.h"
#include "nvmf/host/controller.h"

namespace cairn::nvmf::host {

class Lane;
class NvmeChannel;

class IoCommand final : public Command {
 public:
  // `timeout`, `prinfo`: of the connection.
  IoCommand(NvmeChannel& owner, block::Io& request, uint32_t timeout, uint8_t prinfo);
  ~IoCommand();

  // Describes the next piece: what build() and the data pointers say. False: nothing has to be asked of the controller.
  bool prepare(const NamespaceInfo& ns);
  // A piece has succeeded. True: that was all.
  bool advance();
  bool is_fused() const { return io.type == block::IoType::kCompareAndWrite; }
  Command& second();  // of a fused pair
  size_t num_commands() const { return is_fused() ? 2 : 1; }
  // Executed twice, with nothing of the same I/O in between, it has the outcome of being executed once.
  bool may_be_repeated() const { return !is_fused(); }
  // May be repeated while an earlier try is perhaps still being executed.
  bool changes_nothing() const {
    return io.type == block::IoType::kRead || io.type == block::IoType::kCompare || io.type == block::IoType::kFlush;
  }

  NvmeChannel& channel;
  block::Io& io;
  TimePoint troubled_since = kNever;  // when it first had to wait because of a connection
  uint8_t path = 0;                   // that it was last sent on
  uint8_t num_retries = 0;            // after errors that pass
  uint8_t commands_left = 0;          // of those sent, that have not come back
  bool lost = false;                  // one of them came back so

 private:
  struct Second : Command {
    IoCommand* owner = nullptr;
  };
  struct Range {
    iovec piece;
    union {
      nvme::DatasetRange unmap;
      nvme::CopyRange copy;
    };
  };
  static void build(const Command& command, nvme::Sqe& sqe);
  static void build_second(const Command& command, nvme::Sqe& sqe);
  static void came_back(Command& command);
  static void second_came_back(Command& command);
  Second& second_part() { return *std::launder(reinterpret_cast<Second*>(extra_)); }
  const Second& second_part() const { return *std::launder(reinterpret_cast<const Second*>(extra_)); }

  uint32_t nsid_ = 0;
  uint32_t num_blocks_ = 0;  // of this piece
  uint64_t done_ = 0;        // blocks
  bool flushing_ = false;    // the last step of an unmap with FUA
  bool deallocate_ = false;  // kWriteZeroes
  uint8_t prinfo_ = 0;
  alignas(8) std::byte extra_[std::max(sizeof(Second), sizeof(Range))];  // Second of a pair, Range of unmap and copy
};
static_assert(sizeof(IoCommand) <= block::Io::kDriverAreaSize);

}  // namespace cairn::nvmf::host
