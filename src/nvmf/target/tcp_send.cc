// The sending half of TcpConnection: R2T, data and responses.
#include "base/crc32c.h"
#include "nvmf/target/tcp_connection.h"

namespace cairn::nvmf::target {

void TcpConnection::send_r2t(TcpRequest& request) {
  const size_t size =
      nvme::encode_r2t(request.r2t_header, request.command.cid, request.index, 0, request.data_length, send_rules_);
  request.r2t_piece = {request.r2t_header.data(), size};
  send(request.r2t, {&request.r2t_piece, 1});
}

void TcpConnection::send(TcpRequest::Output& output, std::span<const iovec> pieces) {
  output.pieces = pieces;
  ++output.request->sends_in_flight;
  stream_->send(output);
}

void TcpConnection::output_done(TcpRequest& request) {
  CAIRN_CHECK(request.sends_in_flight > 0);
  if (--request.sends_in_flight > 0 || request.phase != TcpPhase::kSending) return;
  release_data(request);
  free_slot(request);
}

void TcpConnection::complete(Request& completed) {
  auto& request = static_cast<TcpRequest&>(completed);
  CAIRN_CHECK(request.phase == TcpPhase::kCore);
  request.phase = TcpPhase::kSending;
  request.state = RequestState::kCompleted;
  if (state_ == State::kOpen) {
    wait_for_host(request);
    send_answer(request);
  } else if (request.sends_in_flight == 0) {  // else output_done() frees it
    release_data(request);
    free_slot(request);
  }
}

// Data and completion in one output. A success without further information is told by the SUCCESS flag of the data PDU.
void TcpConnection::send_answer(TcpRequest& request) {
  request.completion.sqhd = sq_head_;
  request.completion.cid = request.command.cid;
  size_t count = 0;
  bool needs_response = true;
  if (request.completion.status().is_success() && request.transfer_length > 0) {
    needs_response = request.completion.dw0 != 0 || request.completion.dw1 != 0;
    const nvme::DataPdu data{
        .cccid = request.command.cid, .size = request.transfer_length, .last = true, .success = !needs_response};
    const size_t header_size = nvme::encode_c2h_data(request.data_header, data, send_rules_);
    request.answer_pieces[count++] = {request.data_header.data(), header_size};
    uint32_t crc = kCrc32cInit;
    size_t left = request.transfer_length;
    for (const iovec& piece : request.data()) {
      if (left == 0) break;
      const size_t size = std::min(left, piece.iov_len);
      request.answer_pieces[count++] = {piece.iov_base, size};
      if (send_rules_.data_digest) crc = crc32c_update(crc, {static_cast<const std::byte*>(piece.iov_base), size});
      left -= size;
    }
    CAIRN_CHECK(left == 0);
    if (send_rules_.data_digest) {
      nvme::encode_digest(request.data_digest, crc32c_finish(crc));
      request.answer_pieces[count++] = {request.data_digest.data(), request.data_digest.size()};
    }
  }
  if (needs_response) {
    const size_t size = nvme::encode_capsule_resp(request.response_header, request.completion, send_rules_);
    request.answer_pieces[count++] = {request.response_header.data(), size};
  }
  send(request.answer, {request.answer_pieces.data(), count});
}

}  // namespace cairn::nvmf::target
