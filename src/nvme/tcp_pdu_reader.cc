#include "nvme/tcp_pdu_reader.h"

#include "base/crc32c.h"

namespace cairn::nvme {

size_t PduHeaderReader::wanted() const {
  switch (state_) {
    case State::kCommonHeader:
      return kCommonHeaderSize - filled_;
    case State::kRest:
      return layout_.header_size + (layout_.header_digest ? kPduDigestSize : 0) - filled_;
    case State::kPadding:
      return layout_.data_offset - filled_;
    case State::kDone:
    case State::kFailed:
      return 0;
  }
  return 0;
}

std::span<const std::byte> PduHeaderReader::header() const {
  const size_t limit = layout_.header_size != 0 ? layout_.header_size : kCommonHeaderSize;
  return std::span(buffer_).first(std::min<size_t>(filled_, limit));
}

std::expected<size_t, TermReqError> PduHeaderReader::feed(std::span<const std::byte> bytes, const ReceiveRules& rules) {
  if (state_ == State::kFailed) return std::unexpected(error_);
  size_t consumed = 0;
  while (state_ != State::kDone) {
    const size_t taken = std::min(wanted(), bytes.size() - consumed);
    if (state_ != State::kPadding && taken > 0) std::memcpy(buffer_.data() + filled_, bytes.data() + consumed, taken);
    filled_ += static_cast<uint16_t>(taken);
    consumed += taken;
    if (wanted() > 0) break;
    if (const auto error = advance(rules)) {
      state_ = State::kFailed;
      error_ = *error;
      return std::unexpected(error_);
    }
  }
  return consumed;
}

std::optional<TermReqError> PduHeaderReader::advance(const ReceiveRules& rules) {
  if (state_ == State::kCommonHeader) {
    const auto layout = check_common_header(load<PduCommonHeader>(buffer_), rules);
    if (!layout) return layout.error();
    layout_ = *layout;
    state_ = State::kRest;
  } else if (state_ == State::kRest) {
    if (layout_.header_digest) {
      const auto bytes = std::span<const std::byte>(buffer_);
      const uint32_t received = decode_digest(bytes.subspan(layout_.header_size));
      if (received != crc32c(bytes.first(layout_.header_size))) {
        return TermReqError{.fes = FatalErrorStatus::kHeaderDigestError, .fei = received};
      }
    }
    state_ = State::kPadding;
  } else {
    state_ = State::kDone;
  }
  return std::nullopt;
}

}  // namespace cairn::nvme
