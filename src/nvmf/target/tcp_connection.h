// One NVMe/TCP connection of the target (NVMe/TCP Transport 1.0): takes PDUs out of the byte stream, moves the data of
// commands and answers them. What commands mean is the queue pair's business.
//
// States: kInitializing (only ICReq) -> kOpen -> kTerminating (a termination request was sent; nothing is read any
// more) -> kClosed; disconnect() goes from any to kClosed by way of Stream::close. Lives on one reactor.
//
// A request's way: slot taken at its capsule -> QueuePair::begin -> buffers (tcp_buffers.cc) -> host data (capsule or
// one R2T for all of it) -> QueuePair::execute -> complete() -> slot free when its output was handed to the kernel.
// Limits: slots are twice the queue depth (answers still on their way hold one); a host that has more commands
// outstanding breaks the protocol.
#pragma once

#include <memory>
#include <vector>

#include "nvme/data_digest_reader.h"
#include "nvme/tcp_pdu_reader.h"
#include "nvmf/target/options.h"
#include "nvmf/target/queue_pair.h"
#include "nvmf/target/tcp_request.h"
#include "nvmf/target/transport.h"
#include "runtime/stream.h"
#include "runtime/timer.h"

namespace cairn::nvmf::target {

class TcpConnection final : public Connection, public runtime::StreamHandler, public ListLink<> {
 public:
  TcpConnection(Target& target, std::unique_ptr<runtime::Stream> stream);
  ~TcpConnection();  // after run()

  // Serves the connection to its end: returns when the stream is closed and no request is outstanding. A cancellation
  // disconnects.
  runtime::Task<> run();

  // Connection
  void complete(Request& request) override;
  void disconnect() override;
  void set_queue_depth(uint16_t entries) override;
  Request* find_request(uint16_t cid) override;
  bool abort_waiting(Request& request) override;
  const runtime::SocketAddress& local_address() const override { return stream_->local_address(); }
  const runtime::SocketAddress& peer_address() const override { return stream_->peer_address(); }

  // StreamHandler
  std::span<std::byte> receive_window() override;
  void on_window_filled(size_t size) override;
  void on_receive(std::span<const std::byte> data) override;
  void on_closed(const Error& reason) override;

 private:
  enum class State : uint8_t { kInitializing, kOpen, kTerminating, kClosed };
  // What the next bytes of the stream are.
  enum class Expect : uint8_t { kHeader, kData, kDataDigest };

  // tcp_receive.cc
  void take_header();
  void take_ic_req();
  void take_capsule();
  void take_h2c_data();
  void take_data(std::span<const std::byte> data);
  void end_of_pdu();
  void note_data(size_t size);
  std::span<std::byte> place_for_data();
  void host_data_complete(TcpRequest& request);
  void terminate(nvme::TermReqError error);

  // tcp_send.cc
  void send_r2t(TcpRequest& request);
  void send_answer(TcpRequest& request);
  void send(TcpRequest::Output& output, std::span<const iovec> pieces);
  void output_done(TcpRequest& request);

  // tcp_connection.cc
  TcpRequest* take_slot();
  void free_slot(TcpRequest& request);
  void grow_slots();
  template <typename Function>
  void for_each_slot(Function function) {
    for (auto& chunk : chunks_) {
      for (size_t i = 0; i < kSlotsPerChunk; ++i) function(chunk[i]);
    }
  }

  // tcp_buffers.cc
  void prepare_data(TcpRequest& request);
  void take_share(TcpRequest& request);
  bool share_left_for(const TcpRequest& request) const;
  void serve_share_waiters();
  void wait_for_host(TcpRequest& request);
  void end_if_withholding();
  void seek_buffers(TcpRequest& request);
  bool get_buffers(TcpRequest& request);
  void buffers_ready(TcpRequest& request);
  void take_buffers_at_once(TcpRequest& request);
  void go_on_with_buffers(TcpRequest& request);
  void attach_overflow(TcpRequest& request);
  void describe_buffers(TcpRequest& request);
  void release_data(TcpRequest& request);
  static size_t memory_for(size_t data_length);

  void execute(TcpRequest& request);
  void log_protocol_error(std::string_view what) const;

  static constexpr size_t kSlotsPerChunk = 16;
  // How long a host has to take a termination request before the connection is cut.
  static constexpr Duration kTerminationLinger = std::chrono::seconds(1);
  // So many connections at least it takes to use up a reactor's pool, whatever their hosts do.
  static constexpr size_t kConnectionsToFillPool = 4;
  // Payloads at least this large are received in place rather than copied out of the receive buffer.
  static constexpr size_t kMinWindow = 16384;

  Target& target_;
  std::unique_ptr<runtime::Stream> stream_;
  runtime::Reactor& reactor_;
  QueuePair queue_pair_;
  State state_ = State::kInitializing;
  runtime::Event closed_;
  runtime::Timer connect_timer_;

  // Slots
  std::vector<std::unique_ptr<TcpRequest[]>> chunks_;
  IntrusiveList<Request> free_slots_;
  size_t num_slots_ = 0;
  size_t max_slots_ = kSlotsPerChunk;

  // Data buffers
  size_t memory_share_;  // bytes of the reactor's pool for requests of this connection at most
  size_t memory_taken_ = 0;
  IntrusiveList<runtime::BufferPool::Waiter> share_waiters_;
  runtime::Timer patience_timer_;

  // Receiving
  nvme::ReceiveRules receive_rules_;
  nvme::PduHeaderReader reader_;
  Expect expect_ = Expect::kHeader;
  nvme::PduLayout layout_;
  TcpRequest* data_request_ = nullptr;  // whose data it is; nullptr: it is thrown away
  uint32_t data_left_ = 0;
  nvme::DataDigestReader digest_;

  // Sending
  nvme::SendRules send_rules_;
  uint16_t sq_head_ = 0;
  runtime::SendOp ic_resp_op_;
  std::array<std::byte, nvme::kMaxHeaderSize> ic_resp_{};
  iovec ic_resp_piece_{};
  runtime::SendOp term_req_op_;
  std::array<std::byte, nvme::kMaxTermReqSize> term_req_{};
  iovec term_req_piece_{};
};

}  // namespace cairn::nvmf::target
