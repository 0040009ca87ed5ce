// A request slot of a TCP connection: the command, its data buffers and what is needed to answer it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "nvme/tcp_pdu.h"
#include "nvmf/target/request.h"
#include "runtime/buffer_pool.h"
#include "runtime/stream.h"

namespace cairn::nvmf::target {

class TcpConnection;

// Where a slot is, seen from the transport. kBuffers and kHostData are both RequestState::kPrepared for the core.
enum class TcpPhase : uint8_t {
  kFree,
  kBuffers,   // waits for memory: its connection's share, then the reactor's pool
  kHostData,  // waits for the host's data, in the capsule or by R2T
  kCore,      // begin() or execute() has it
  kSending,   // the answer is on its way
};

struct TcpRequest final : Request {
  static constexpr size_t kMaxBuffers = 8;  // of BufferPool::kMaxBufferSize: 1 MiB
  static_assert(kMaxBuffers <= kMaxPieces);

  struct Output : runtime::SendOp {
    TcpRequest* request = nullptr;
  };
  struct BufferWaiter : runtime::BufferPool::Waiter {
    TcpRequest* request = nullptr;
  };

  TcpConnection* connection = nullptr;
  uint16_t index = 0;  // in the connection: the transfer tag (TTAG) of its R2T
  TcpPhase phase = TcpPhase::kFree;
  bool host_data_in_capsule = false;
  bool host_data_damaged = false;  // its data digest was wrong
  uint8_t sends_in_flight = 0;     // the slot is free again when its outputs are done
  uint32_t received = 0;           // bytes of the host's data that have arrived

  std::array<std::byte*, kMaxBuffers> buffers{};  // of the reactor's pool; all but a lone one are kMaxBufferSize
  uint8_t num_buffers = 0;
  std::unique_ptr<std::byte[]> overflow;  // for data that could not wait when the pool was used up
  size_t memory_taken = 0;                // bytes of the connection's share of the pool
  BufferWaiter waiter;                    // in the connection's list or the pool's
  TimePoint host_since{};                 // memory waits for the host since then (kHostData, kSending)

  Output answer;  // C2HData and CapsuleResp
  Output r2t;
  std::array<std::byte, nvme::kMaxHeaderSize> data_header;
  std::array<std::byte, nvme::kMaxHeaderSize> response_header;
  std::array<std::byte, nvme::kMaxHeaderSize> r2t_header;
  std::array<std::byte, nvme::kPduDigestSize> data_digest;
  std::array<iovec, kMaxPieces + 3> answer_pieces;
  iovec r2t_piece{};
};

}  // namespace cairn::nvmf::target
