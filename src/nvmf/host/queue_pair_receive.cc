// The receiving half of QueuePair: from bytes to data and answers.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "nvmf/host/queue_pair.h"

namespace cairn::nvmf::host {

namespace {

// How long a controller has to take a termination request before the connection is cut.
constexpr Duration kTerminationLinger = std::chrono::seconds(1);
// Payloads at least this large are received in place rather than copied out of the receive buffer.
constexpr size_t kMinWindow = 16384;
// R2Ts outstanding for one command, 0's based.
constexpr uint32_t kMaxR2t = 0;

}  // namespace

void QueuePair::on_receive(std::span<const std::byte> data) {
  while (!data.empty() && state_ <= State::kOpen) {
    switch (expect_) {
      case Expect::kHeader: {
        if (!reading_header_) {
          if (const auto taken = take_header_at_once(data)) {
            data = data.subspan(*taken);
            break;
          }
          if (state_ > State::kOpen) return;
        }
        reading_header_ = true;
        const auto taken = reader_.feed(data, receive_rules_);
        if (!taken) {
          terminate(taken.error(), reader_.header(), "a malformed PDU");
          return;
        }
        data = data.subspan(*taken);
        if (reader_.done()) {
          layout_ = reader_.layout();
          const nvme::PduHeaderReader whole = reader_;
          reader_.reset();
          reading_header_ = false;
          take_header(whole.header());
        }
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
        if (digest_.done()) end_of_data();
        break;
    }
  }
}

// The usual case: the whole header lies in one piece. Gives its size with padding; nothing when it is for the reader.
std::optional<size_t> QueuePair::take_header_at_once(std::span<const std::byte> data) {
  if (receive_rules_.header_digest || data.size() < nvme::kCommonHeaderSize) return std::nullopt;
  const auto layout = nvme::check_common_header(nvme::load<nvme::PduCommonHeader>(data), receive_rules_);
  if (!layout || data.size() < layout->data_offset) return std::nullopt;
  layout_ = *layout;
  take_header(data.first(layout_.header_size));
  return layout_.data_offset;
}

std::span<std::byte> QueuePair::receive_window() {
  if (expect_ != Expect::kData || data_slot_ == nullptr || state_ != State::kOpen) return {};
  const auto place = place_for_data();
  const auto window = place.first(std::min<size_t>(place.size(), data_left_));
  return window.size() >= kMinWindow || in_window_ ? (in_window_ = true, window) : std::span<std::byte>{};
}

void QueuePair::on_window_filled(size_t size) {
  if (state_ != State::kOpen) return;
  const auto place = place_for_data();
  CAIRN_CHECK(size <= place.size() && size <= data_left_);
  if (layout_.data_digest) digest_.add_data(place.first(size));
  note_data(size);
}

// ---- Headers ----

void QueuePair::take_header(std::span<const std::byte> header) {
  data_left_ = layout_.data_size;
  data_slot_ = nullptr;
  switch (layout_.type) {
    case nvme::PduType::kCapsuleResp:
      take_response(header);
      return;
    case nvme::PduType::kC2hData:
      take_c2h_data(header);
      return;
    case nvme::PduType::kR2t:
      take_r2t(header);
      return;
    case nvme::PduType::kIcResp:
      take_ic_resp(header);
      return;
    case nvme::PduType::kC2hTermReq:
      take_term_req(header);
      return;
    default:
      CAIRN_CHECK(!"check_common_header lets through what a host receives only");
  }
}

void QueuePair::take_ic_resp(std::span<const std::byte> header) {
  const auto response = nvme::load<nvme::IcResp>(header);
  const uint8_t wanted = static_cast<uint8_t>((options_.header_digest ? nvme::kDigestHeaderEnable : 0) |
                                              (options_.data_digest ? nvme::kDigestDataEnable : 0));
  if (const auto checked = nvme::check_ic_resp(response, wanted); !checked) {
    terminate(checked.error(), header, "a wrong ICResp");
    return;
  }
  const uint8_t enabled = response.dgst & (nvme::kDigestHeaderEnable | nvme::kDigestDataEnable);
  if (enabled != wanted) {
    fail(Error(Code::kFailedPrecondition,
               fmt::format("the controller refuses {} digests",
                           (wanted & ~enabled & nvme::kDigestHeaderEnable) != 0 ? "header" : "data")));
    return;
  }
  send_rules_.header_digest = receive_rules_.header_digest = options_.header_digest;
  send_rules_.data_digest = receive_rules_.data_digest = options_.data_digest;
  send_rules_.data_alignment = response.cpda;
  receive_rules_.initialized = true;
  max_h2c_data_ = response.maxh2cdata;
  state_ = State::kOpen;
  initialized_.set();
}

void QueuePair::take_c2h_data(std::span<const std::byte> header) {
  const auto pdu = nvme::load<nvme::C2hData>(header);
  Slot* slot = find(pdu.cccid);
  if (slot == nullptr || slot->command->direction != nvme::DataDirection::kControllerToHost) {
    terminate({nvme::FatalErrorStatus::kInvalidHeaderField, offsetof(nvme::C2hData, cccid)}, header,
              "data for a command that is not outstanding or reads nothing");
    return;
  }
  const nvme::DataWindow window{
      .cccid = pdu.cccid, .next_offset = slot->transferred, .remaining = slot->command->data_size - slot->transferred};
  if (const auto checked = nvme::check_c2h_data(pdu, layout_, window); !checked) {
    terminate(checked.error(), header, "data that was not asked for");
    return;
  }
  data_slot_ = slot;
  digest_.reset();
  in_window_ = false;
  expect_ = Expect::kData;
}

void QueuePair::take_r2t(std::span<const std::byte> header) {
  const auto pdu = nvme::load<nvme::R2t>(header);
  Slot* slot = find(pdu.cccid);
  if (slot == nullptr || slot->command->direction != nvme::DataDirection::kHostToController) {
    terminate({nvme::FatalErrorStatus::kInvalidHeaderField, offsetof(nvme::R2t, cccid)}, header,
              "an R2T for a command that is not outstanding or writes nothing");
    return;
  }
  const nvme::DataWindow window{
      .cccid = pdu.cccid, .next_offset = slot->transferred, .remaining = slot->command->data_size - slot->transferred};
  const uint32_t outstanding = slot->r2t_left > 0 ? 1 : 0;
  if (const auto checked = nvme::check_r2t(pdu, window, outstanding, kMaxR2t); !checked) {
    terminate(checked.error(), header, "a wrong R2T");
    return;
  }
  slot->ttag = pdu.ttag;
  slot->r2t_offset = pdu.r2to;
  slot->r2t_left = pdu.r2tl;
  slot->transferred += pdu.r2tl;
  if (slot->sends_in_flight == 0) send_h2c_data(*slot);
}

void QueuePair::take_response(std::span<const std::byte> header) {
  const auto completion = nvme::load<nvme::CapsuleResp>(header).cqe;
  Slot* slot = find(completion.cid);
  if (slot == nullptr) {
    terminate(
        {nvme::FatalErrorStatus::kInvalidHeaderField, offsetof(nvme::CapsuleResp, cqe) + offsetof(nvme::Cqe, cid)},
        header, "an answer to a command that is not outstanding");
    return;
  }
  const Command& command = *slot->command;
  const bool short_data = command.direction == nvme::DataDirection::kControllerToHost &&
                          slot->transferred < command.data_size && !command.accepts_less_data;
  const bool to_controller = command.direction == nvme::DataDirection::kHostToController;
  const bool not_all_sent =
      to_controller && (slot->r2t_left > 0 || (slot->transferred < command.data_size && !command.accepts_less_data));
  if (completion.status().is_success() && not_all_sent) {
    fail(Error(Code::kDataLoss, fmt::format("the controller reports success before it has all {} bytes of a command",
                                            command.data_size)));
    return;
  }
  if (completion.status().is_success() && short_data) {
    fail(Error(Code::kDataLoss, fmt::format("the controller answered a read of {} bytes with {}", command.data_size,
                                            slot->transferred)));
    return;
  }
  answer(*slot, completion.status(), completion.dw0, completion.dw1);
}

void QueuePair::take_term_req(std::span<const std::byte> header) {
  const auto request = nvme::load<nvme::TermReq>(header);
  fail(Error(Code::kUnavailable, fmt::format("the controller terminates the connection: {} (FES {:#x}, FEI {:#x})",
                                             nvme::fatal_error_name(request.fes, nvme::PduReceiver::kController),
                                             request.fes, request.fei())));
}

// ---- Data ----

// The memory where the next byte goes, as far as it is contiguous.
std::span<std::byte> QueuePair::place_for_data() const {
  const iovec& piece = data_slot_->command->data[data_slot_->piece];
  return {static_cast<std::byte*>(piece.iov_base) + data_slot_->piece_offset, piece.iov_len - data_slot_->piece_offset};
}

void QueuePair::advance(Slot& slot, size_t size) {
  const auto pieces = slot.command->data;
  slot.piece_offset += size;
  while (slot.piece < pieces.size() && slot.piece_offset >= pieces[slot.piece].iov_len) {
    slot.piece_offset -= pieces[slot.piece].iov_len;
    ++slot.piece;
  }
}

void QueuePair::take_data(std::span<const std::byte> data) {
  if (layout_.data_digest) digest_.add_data(data);
  while (!data.empty()) {
    const auto place = place_for_data();
    const size_t size = std::min(data.size(), place.size());
    std::memcpy(place.data(), data.data(), size);
    data = data.subspan(size);
    note_data(size);
  }
}

void QueuePair::note_data(size_t size) {
  data_slot_->transferred += static_cast<uint32_t>(size);
  advance(*data_slot_, size);
  data_left_ -= static_cast<uint32_t>(size);
  if (data_left_ > 0) {
    in_window_ = in_window_ && data_slot_->piece_offset > 0;
    return;
  }
  if (layout_.data_digest) {
    expect_ = Expect::kDataDigest;
  } else {
    end_of_data();
  }
}

void QueuePair::end_of_data() {
  expect_ = Expect::kHeader;
  Slot& slot = *std::exchange(data_slot_, nullptr);
  // Not fatal (NVMe/TCP Transport 1.0, section 3.3.1.1): the command ends with an error.
  if (layout_.data_digest && !digest_.matches()) slot.damaged = true;
  if (!layout_.success()) return;
  if (slot.transferred < slot.command->data_size && !slot.command->accepts_less_data) {
    fail(Error(Code::kDataLoss, fmt::format("the controller answered a read of {} bytes with {}",
                                            slot.command->data_size, slot.transferred)));
    return;
  }
  answer(slot, nvme::Status::success(), 0, 0);
}

void QueuePair::terminate(nvme::TermReqError error, std::span<const std::byte> header, std::string_view what) {
  // A controller that terminates gets no termination request in turn, however malformed its own is.
  const bool is_term_req = !header.empty() && static_cast<nvme::PduType>(header.front()) == nvme::PduType::kC2hTermReq;
  std::string reason = fmt::format("the controller sent {}: {} (FES {:#x}, FEI {:#x})", what,
                                   nvme::fatal_error_name(static_cast<uint16_t>(error.fes), nvme::PduReceiver::kHost),
                                   static_cast<uint16_t>(error.fes), error.fei);
  if (is_term_req) {
    fail(Error(Code::kDataLoss, std::move(reason)));
    return;
  }
  if (state_ >= State::kClosing) return;
  state_ = State::kClosing;
  reason_ = Error(Code::kDataLoss, std::move(reason));
  // Only when nothing of ours is half on its way would the request be understood; the stream sends in order.
  const size_t size = nvme::encode_term_req(control_pdu_, nvme::PduReceiver::kHost, error, header);
  control_piece_ = {control_pdu_.data(), size};
  control_op_.pieces = {&control_piece_, 1};
  control_op_.complete = [](runtime::SendOp&, int) {};
  stream_->send(control_op_);
  stream_->close_after_send(kTerminationLinger);
}

}  // namespace cairn::nvmf::host
