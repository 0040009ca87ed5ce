// A command on its way through the target: received by a transport, executed by the core, answered by the transport.
//
// States (owner in brackets):
//   Free (transport) -> Received (transport -> QueuePair::begin) -> Prepared: length and direction known (transport
//   gets buffers, then the host's data) -> Executing (QueuePair::execute; core) -> Completed (Connection::complete;
//   transport sends data and response) -> Free. begin() may go straight to Completed when the command is refused before
//   any data is moved.
// A request lives on its queue pair's reactor. Admin, fabrics and reservation commands are lent to the primary reactor
// while they execute.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <span>

#include "base/check.h"
#include "base/intrusive_list.h"
#include "block/io.h"
#include "nvme/command.h"

namespace cairn::nvmf::target {

class NamespaceView;
class QueuePair;

enum class RequestState : uint8_t { kFree, kReceived, kPrepared, kExecuting, kCompleted };

class Request : public ListLink<> {
 public:
  static constexpr size_t kMaxPieces = 10;

  nvme::Sqe command{};     // as received
  nvme::Cqe completion{};  // filled by finish(); SQHD is the transport's

  // Set by begin(): what the transport has to move. The SGL of the command was checked against it.
  nvme::DataDirection direction = nvme::DataDirection::kNone;
  uint32_t data_length = 0;  // bytes the host offers or accepts
  uint32_t transfer_length =
      0;  // bytes to send to the host on success (<= data_length); set by the core before finish()

  // Memory for data_length bytes: the transport's buffers, or the device's own memory (`in_place`) for reads that need
  // no copy.
  std::span<const iovec> data() const { return {pieces_.data(), num_pieces_}; }
  void set_data(std::span<const iovec> pieces) {
    CAIRN_CHECK(pieces.size() <= kMaxPieces);
    num_pieces_ = pieces.size();
    for (size_t i = 0; i < pieces.size(); ++i) pieces_[i] = pieces[i];
  }
  // Copies between the data pieces and flat memory, for commands with small payloads. `offset + size` <= data_length.
  void copy_to_data(size_t offset, std::span<const std::byte> from);
  void copy_from_data(size_t offset, std::span<std::byte> into) const;

  RequestState state = RequestState::kFree;
  bool in_place = false;
  bool abort_requested = false;  // by the host's Abort while data was awaited; the transport completes it
  QueuePair* queue_pair = nullptr;

  // The core's own (io_command.cc, fused_command.cc, namespace_view.cc); reset by begin().
  NamespaceView* view = nullptr;  // executes in it, entered in access_epoch
  uint32_t access_epoch = 0;
  uint32_t step = 0;                 // Dataset Management and Copy: the range that is being worked on
  bool submitting = false;           // within the device's submit()
  bool io_done = false;              // the device completed the Io within submit()
  Request* fused_partner = nullptr;  // the other half of a compare-and-write, both set
  bool fused_ready = false;          // has its data and waits in the core for the other half
  nvme::Status fused_abort;          // not success: what it ends with as soon as the transport hands it over
  struct DeviceIo final : block::Io {
    explicit DeviceIo(Request& owner) : request(owner) {}
    Request& request;
  };
  DeviceIo io{*this};

 private:
  std::array<iovec, kMaxPieces> pieces_{};
  size_t num_pieces_ = 0;
};

}  // namespace cairn::nvmf::target
