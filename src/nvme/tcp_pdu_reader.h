// Takes NVMe/TCP PDU headers out of a byte stream that arrives in any pieces. Pure: no I/O, no allocation; both ends
// use it.
//
//   empty --8 bytes--> common header judged --HLEN and HDGST--> header whole, digest right --padding--> done
//   --reset()--> empty any of these --error--> failed (feed() repeats the error until reset())
//
// The data and its digest are not the reader's: when it is done the stream stands at the first byte of data,
// layout().data_size of which follow, then 4 bytes of DDGST when layout().data_digest. Then reset() for the next PDU.
#pragma once

#include <array>
#include <cstddef>
#include <expected>
#include <optional>
#include <span>

#include "nvme/tcp_pdu.h"

namespace cairn::nvme {

class PduHeaderReader {
 public:
  // Consumes bytes up to the end of header, digest and padding; returns how many. Everything of `bytes` unless it gets
  // done. `rules` may change between PDUs only.
  std::expected<size_t, TermReqError> feed(std::span<const std::byte> bytes, const ReceiveRules& rules);

  bool done() const { return state_ == State::kDone; }
  // At least this many bytes are missing until done(); 0 when done. Reading exactly that much never takes data.
  size_t wanted() const;

  // Valid when done().
  const PduLayout& layout() const { return layout_; }
  // The header without digest: whole when done(), after an error what had come until then, as encode_term_req() wants
  // it.
  std::span<const std::byte> header() const;
  // The header as the structure of its kind (layout().type). Only when done().
  template <typename Pdu>
  Pdu as() const {
    CAIRN_CHECK(done() && sizeof(Pdu) == layout_.header_size);
    return load<Pdu>(header());
  }

  void reset() { *this = PduHeaderReader(); }

 private:
  enum class State : uint8_t { kCommonHeader, kRest, kPadding, kDone, kFailed };

  // What to do when everything wanted has come: the next state, or an error.
  std::optional<TermReqError> advance(const ReceiveRules& rules);

  State state_ = State::kCommonHeader;
  uint16_t filled_ = 0;  // bytes of the PDU taken, padding included
  PduLayout layout_;
  TermReqError error_;
  std::array<std::byte, kMaxHeaderSize> buffer_;  // header and digest; the padding is not kept
};

}  // namespace cairn::nvme
