// The receiving half of TcpConnection: from bytes to commands and their data.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "nvmf/target/target.h"
#include "nvmf/target/tcp_connection.h"

namespace cairn::nvmf::target {

void TcpConnection::on_receive(std::span<const std::byte> data) {
  while (!data.empty() && (state_ == State::kInitializing || state_ == State::kOpen)) {
    switch (expect_) {
      case Expect::kHeader: {
        const auto taken = reader_.feed(data, receive_rules_);
        if (!taken) {
          // A host that terminates gets no termination request in turn, however malformed its own is.
          if (static_cast<nvme::PduType>(reader_.header().front()) == nvme::PduType::kH2cTermReq) {
            log_protocol_error("the host terminates, by a malformed request");
            disconnect();
          } else {
            terminate(taken.error());
          }
          return;
        }
        data = data.subspan(*taken);
        if (reader_.done()) take_header();
        break;
      }
      case Expect::kData: {
        const auto part = data.first(std::min<size_t>(data.size(), data_left_));
        data = data.subspan(part.size());
        take_data(part);
        break;
      }
      case Expect::kDataDigest:
        data = data.subspan(digest_.feed(data));
        if (digest_.done()) end_of_pdu();
        break;
    }
  }
}

std::span<std::byte> TcpConnection::receive_window() {
  if (expect_ != Expect::kData || data_request_ == nullptr || state_ != State::kOpen) return {};
  const auto place = place_for_data();
  const auto window = place.first(std::min<size_t>(place.size(), data_left_));
  return window.size() >= kMinWindow ? window : std::span<std::byte>{};
}

void TcpConnection::on_window_filled(size_t size) {
  if (state_ != State::kOpen) return;
  if (layout_.data_digest) digest_.add_data(place_for_data().first(size));
  note_data(size);
}

// ---- Headers ----

void TcpConnection::take_header() {
  layout_ = reader_.layout();
  data_left_ = layout_.data_size;
  data_request_ = nullptr;
  digest_.reset();
  switch (layout_.type) {
    case nvme::PduType::kIcReq:
      take_ic_req();
      break;
    case nvme::PduType::kCapsuleCmd:
      take_capsule();
      break;
    case nvme::PduType::kH2cData:
      take_h2c_data();
      break;
    case nvme::PduType::kH2cTermReq: {
      const auto request = reader_.as<nvme::TermReq>();
      log_protocol_error(fmt::format("the host terminates: {} (FES {:#x}, FEI {:#x})",
                                     nvme::fatal_error_name(request.fes, nvme::PduReceiver::kHost), request.fes,
                                     request.fei()));
      disconnect();
      return;
    }
    default:
      CAIRN_CHECK(!"check_common_header lets through what a controller receives only");
  }
  if (state_ != State::kOpen) return;
  reader_.reset();
  expect_ = data_left_ > 0 ? Expect::kData : Expect::kHeader;
}

void TcpConnection::take_ic_req() {
  const auto request = reader_.as<nvme::IcReq>();
  if (const auto checked = nvme::check_ic_req(request); !checked) {
    terminate(checked.error());
    return;
  }
  const uint8_t digests = request.dgst & (nvme::kDigestHeaderEnable | nvme::kDigestDataEnable);
  send_rules_.header_digest = receive_rules_.header_digest = (digests & nvme::kDigestHeaderEnable) != 0;
  send_rules_.data_digest = receive_rules_.data_digest = (digests & nvme::kDigestDataEnable) != 0;
  send_rules_.data_alignment = request.hpda;
  receive_rules_.initialized = true;
  const size_t size = nvme::encode_ic_resp(ic_resp_, receive_rules_.data_alignment, digests, receive_rules_.max_data);
  state_ = State::kOpen;
  ic_resp_piece_ = {ic_resp_.data(), size};
  ic_resp_op_.pieces = {&ic_resp_piece_, 1};
  ic_resp_op_.complete = [](runtime::SendOp&, int) {};
  stream_->send(ic_resp_op_);
}

void TcpConnection::take_capsule() {
  TcpRequest* slot = take_slot();
  if (slot == nullptr) {
    log_protocol_error("more commands outstanding than the submission queue has entries");
    terminate({nvme::FatalErrorStatus::kSequenceError, 0});
    return;
  }
  TcpRequest& request = *slot;
  request.command = reader_.as<nvme::CapsuleCmd>().sqe;
  request.completion = {};
  request.direction = nvme::DataDirection::kNone;
  request.data_length = request.transfer_length = request.received = 0;
  request.in_place = request.abort_requested = request.host_data_damaged = false;
  request.fused_partner = nullptr;
  request.set_data({});
  const nvme::SglDescriptor& sgl = request.command.sgl;
  request.host_data_in_capsule = sgl.is(nvme::SglType::kDataBlock, nvme::SglSubtype::kOffset);
  if (queue_pair_.queue_depth() > 0) sq_head_ = static_cast<uint16_t>((sq_head_ + 1) % queue_pair_.queue_depth());

  request.state = RequestState::kReceived;
  request.phase = TcpPhase::kCore;
  queue_pair_.begin(request);
  if (request.state != RequestState::kPrepared) return;
  if (state_ != State::kOpen) {
    queue_pair_.finish(request, nvme::Status::generic(nvme::GenericStatus::kAbortedSqDeletion));
    return;
  }

  if (request.direction == nvme::DataDirection::kHostToController && request.data_length > 0) {
    const bool by_r2t = sgl.is(nvme::SglType::kTransportDataBlock, nvme::SglSubtype::kTransport);
    if (request.host_data_in_capsule ? sgl.address != 0 : !by_r2t) {
      const auto wrong = request.host_data_in_capsule ? nvme::GenericStatus::kSglOffsetInvalid
                                                      : nvme::GenericStatus::kSglDescriptorTypeInvalid;
      queue_pair_.finish(request, nvme::Status::generic(wrong, nvme::Dnr::kYes));
      return;
    }
    if (request.host_data_in_capsule && layout_.data_size < request.data_length) {
      queue_pair_.finish(request, nvme::Status::generic(nvme::GenericStatus::kDataSglLengthInvalid, nvme::Dnr::kYes));
      return;
    }
    if (request.host_data_in_capsule) data_request_ = &request;
  }
  prepare_data(request);
}

void TcpConnection::take_h2c_data() {
  const auto pdu = reader_.as<nvme::H2cData>();
  TcpRequest* request =
      pdu.ttag < num_slots_ ? &chunks_[pdu.ttag / kSlotsPerChunk][pdu.ttag % kSlotsPerChunk] : nullptr;
  if (request == nullptr || request->phase != TcpPhase::kHostData || request->host_data_in_capsule) {
    terminate({nvme::FatalErrorStatus::kInvalidHeaderField, offsetof(nvme::H2cData, ttag)});
    return;
  }
  const nvme::DataWindow window{.cccid = request->command.cid,
                                .ttag = pdu.ttag,
                                .next_offset = request->received,
                                .remaining = request->data_length - request->received};
  if (const auto checked = nvme::check_h2c_data(pdu, layout_, window); !checked) {
    terminate(checked.error());
    return;
  }
  data_request_ = request;
}

// ---- Data ----

// The memory where the next byte of the present PDU's data goes, as far as it is contiguous. Empty: behind what the
// command wants.
std::span<std::byte> TcpConnection::place_for_data() {
  const TcpRequest& request = *data_request_;
  size_t offset = request.received;
  for (const iovec& piece : request.data()) {
    if (offset < piece.iov_len) return {static_cast<std::byte*>(piece.iov_base) + offset, piece.iov_len - offset};
    offset -= piece.iov_len;
  }
  return {};
}

void TcpConnection::take_data(std::span<const std::byte> data) {
  if (layout_.data_digest) digest_.add_data(data);
  while (!data.empty()) {
    size_t size = data.size();
    if (data_request_ != nullptr) {
      if (const auto place = place_for_data(); !place.empty()) {
        size = std::min(size, place.size());
        std::memcpy(place.data(), data.data(), size);
      }
    }
    data = data.subspan(size);
    note_data(size);
  }
}

void TcpConnection::note_data(size_t size) {
  if (data_request_ != nullptr) {
    // A capsule may carry more than its command wants: the rest is counted for the PDU only.
    data_request_->received +=
        static_cast<uint32_t>(std::min<size_t>(size, data_request_->data_length - data_request_->received));
  }
  data_left_ -= static_cast<uint32_t>(size);
  if (data_left_ == 0) {
    if (layout_.data_digest) {
      expect_ = Expect::kDataDigest;
    } else {
      end_of_pdu();
    }
  }
}

void TcpConnection::end_of_pdu() {
  expect_ = Expect::kHeader;
  TcpRequest* request = std::exchange(data_request_, nullptr);
  const bool damaged = layout_.data_digest && !digest_.matches();
  if (request == nullptr) return;
  // Not fatal (NVMe/TCP Transport 1.0, section 3.3.1.1): the command ends with an error when all of its data came.
  if (damaged) request->host_data_damaged = true;
  if (request->received == request->data_length) host_data_complete(*request);
}

void TcpConnection::host_data_complete(TcpRequest& request) {
  if (request.host_data_damaged || request.abort_requested) {
    request.phase = TcpPhase::kCore;
    queue_pair_.finish(request,
                       nvme::Status::generic(request.abort_requested ? nvme::GenericStatus::kAbortRequested
                                                                     : nvme::GenericStatus::kTransientTransportError));
    return;
  }
  execute(request);
}

void TcpConnection::terminate(nvme::TermReqError error) {
  log_protocol_error(
      fmt::format("protocol error: {} (FES {:#x}, FEI {:#x}); terminating",
                  nvme::fatal_error_name(static_cast<uint16_t>(error.fes), nvme::PduReceiver::kController),
                  static_cast<uint16_t>(error.fes), error.fei));
  state_ = State::kTerminating;
  const size_t size = nvme::encode_term_req(term_req_, nvme::PduReceiver::kController, error, reader_.header());
  term_req_piece_ = {term_req_.data(), size};
  term_req_op_.pieces = {&term_req_piece_, 1};
  term_req_op_.complete = [](runtime::SendOp&, int) {};
  stream_->send(term_req_op_);
  stream_->close_after_send(kTerminationLinger);
}

}  // namespace cairn::nvmf::target
