// A command on its way through a queue pair.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/intrusive_list.h"
#include "nvme/command.h"

namespace cairn::nvmf::host {

// Owned by the submitter and untouched by it until `complete` is called, always on the reactor of the queue pair.
// Reusable.
class Command : public ListLink<> {
 public:
  enum class Outcome : uint8_t {
    kAnswered,  // `status`, `dw0` and `dw1` are the controller's
    kLost,      // the connection ended first: the controller may or may not have executed it
  };

  // Writes opcode, NSID, FUSE and the command's dwords into an entry of zeroes; the queue pair adds CID, PSDT and SGL.
  void (*build)(const Command& command, nvme::Sqe& sqe) = nullptr;
  void (*complete)(Command& command) = nullptr;

  // The data: bytes [data_offset, data_offset + data_size) of these pieces. The array and the memory stay valid until
  // completion.
  std::span<const iovec> data;
  uint32_t data_offset = 0;
  uint32_t data_size = 0;
  nvme::DataDirection direction = nvme::DataDirection::kNone;
  bool accepts_less_data = false;  // a success may bring less than data_size bytes

  Outcome outcome = Outcome::kLost;
  bool timed_out = false;   // was to be aborted for that
  uint32_t timeout_ms = 0;  // 0: may take for ever
  nvme::Status status;
  uint32_t dw0 = 0;
  uint32_t dw1 = 0;
};

}  // namespace cairn::nvmf::host
