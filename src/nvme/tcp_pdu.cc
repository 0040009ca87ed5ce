#include "nvme/tcp_pdu.h"

#include "base/crc32c.h"

namespace cairn::nvme {
namespace {

constexpr TermReqError invalid_field(size_t offset) {
  return {.fes = FatalErrorStatus::kInvalidHeaderField, .fei = static_cast<uint32_t>(offset)};
}
constexpr TermReqError unsupported(size_t offset) {
  return {.fes = FatalErrorStatus::kUnsupportedParameter, .fei = static_cast<uint32_t>(offset)};
}
constexpr TermReqError kSequence{.fes = FatalErrorStatus::kSequenceError};
constexpr TermReqError kOutOfRange{.fes = FatalErrorStatus::kDataOutOfRange};
constexpr TermReqError kLimit{.fes = FatalErrorStatus::kDataLimitExceeded};

constexpr size_t kTypeOffset = offsetof(PduCommonHeader, type);
constexpr size_t kFlagsOffset = offsetof(PduCommonHeader, flags);
constexpr size_t kHlenOffset = offsetof(PduCommonHeader, hlen);
constexpr size_t kPdoOffset = offsetof(PduCommonHeader, pdo);
constexpr size_t kPlenOffset = offsetof(PduCommonHeader, plen);

// What the kinds of PDU differ in.
enum class DataRule : uint8_t { kNever, kOptional, kRequired, kTermReq };
struct Kind {
  uint8_t header_size = 0;
  bool digests = true;  // subject to the negotiated digests
  DataRule data = DataRule::kNever;
};

constexpr Kind kind_of(PduType type) {
  switch (type) {
    case PduType::kIcReq:
    case PduType::kIcResp:
      return {.header_size = sizeof(IcReq), .digests = false};
    case PduType::kH2cTermReq:
    case PduType::kC2hTermReq:
      return {.header_size = sizeof(TermReq), .digests = false, .data = DataRule::kTermReq};
    case PduType::kCapsuleCmd:
      return {.header_size = sizeof(CapsuleCmd), .data = DataRule::kOptional};
    case PduType::kCapsuleResp:
      return {.header_size = sizeof(CapsuleResp)};
    case PduType::kH2cData:
    case PduType::kC2hData:
      return {.header_size = sizeof(H2cData), .data = DataRule::kRequired};
    case PduType::kR2t:
      return {.header_size = sizeof(R2t)};
  }
  return {};
}

constexpr bool fits_header_buffer() {
  for (uint8_t alignment = 0; alignment <= kMaxPduDataAlignment; ++alignment) {
    for (const size_t size : {sizeof(CapsuleCmd), sizeof(H2cData)}) {
      if (data_offset(static_cast<uint8_t>(size), true, alignment) > kMaxHeaderSize) return false;
      if (data_offset(static_cast<uint8_t>(size), false, alignment) > kMaxHeaderSize) return false;
    }
  }
  return sizeof(IcReq) <= kMaxHeaderSize;
}
static_assert(fits_header_buffer());

// Whether `receiver` ever gets PDUs of this type.
constexpr bool is_for(PduReceiver receiver, PduType type) {
  switch (type) {
    case PduType::kIcReq:
    case PduType::kH2cTermReq:
    case PduType::kCapsuleCmd:
    case PduType::kH2cData:
      return receiver == PduReceiver::kController;
    case PduType::kIcResp:
    case PduType::kC2hTermReq:
    case PduType::kCapsuleResp:
    case PduType::kC2hData:
    case PduType::kR2t:
      return receiver == PduReceiver::kHost;
  }
  return false;
}

// The first PDU initializes the connection, later ones do not. A controller may also refuse an ICReq with a C2HTermReq.
constexpr bool is_in_sequence(PduType type, const ReceiveRules& rules) {
  const PduType first = rules.receiver == PduReceiver::kController ? PduType::kIcReq : PduType::kIcResp;
  if (rules.initialized) return type != first;
  return type == first || (rules.receiver == PduReceiver::kHost && type == PduType::kC2hTermReq);
}

void finish_header(std::span<std::byte> out, size_t header_size, size_t offset, bool digest) {
  if (digest) store(out.subspan(header_size), crc32c(out.first(header_size)));
  std::ranges::fill(out.first(offset).subspan(header_size + (digest ? kPduDigestSize : 0)), std::byte{0});
}

// Encodes a PDU whose data (maybe none) follows. `flags` without the digest flags.
template <typename Pdu>
size_t encode(HeaderBuffer out, Pdu pdu, PduType type, uint8_t flags, uint32_t data_size, const SendRules& rules) {
  constexpr uint8_t kHeaderSize = sizeof(Pdu);
  CAIRN_CHECK(rules.data_alignment <= kMaxPduDataAlignment);
  const bool has_data = data_size > 0;
  const uint8_t offset = data_offset(kHeaderSize, rules.header_digest, has_data ? rules.data_alignment : 0);
  pdu.common.type = type;
  pdu.common.flags = flags;
  if (rules.header_digest) pdu.common.flags |= kPduHeaderDigest;
  if (has_data && rules.data_digest) pdu.common.flags |= kPduDataDigest;
  pdu.common.hlen = kHeaderSize;
  pdu.common.pdo = has_data ? offset : 0;
  pdu.common.plen = offset + data_size + (has_data && rules.data_digest ? static_cast<uint32_t>(kPduDigestSize) : 0);
  store(out, pdu);
  finish_header(out, kHeaderSize, offset, rules.header_digest);
  return offset;
}

}  // namespace

std::string_view pdu_type_name(PduType type) {
  switch (type) {
    case PduType::kIcReq:
      return "ICReq";
    case PduType::kIcResp:
      return "ICResp";
    case PduType::kH2cTermReq:
      return "H2CTermReq";
    case PduType::kC2hTermReq:
      return "C2HTermReq";
    case PduType::kCapsuleCmd:
      return "CapsuleCmd";
    case PduType::kCapsuleResp:
      return "CapsuleResp";
    case PduType::kH2cData:
      return "H2CData";
    case PduType::kC2hData:
      return "C2HData";
    case PduType::kR2t:
      return "R2T";
  }
  return "Unknown";
}

std::string_view fatal_error_name(uint16_t fes, PduReceiver found_by) {
  switch (fes) {
    case 0x01:
      return "Invalid PDU Header Field";
    case 0x02:
      return "PDU Sequence Error";
    case 0x03:
      return "Header Digest Error";
    case 0x04:
      return "Data Transfer Out of Range";
    case 0x05:
      return found_by == PduReceiver::kController ? "Data Transfer Limit Exceeded" : "R2T Limit Exceeded";
    case 0x06:
      return "Unsupported Parameter";
    default:
      return "Reserved";
  }
}

std::expected<PduLayout, TermReqError> check_common_header(const PduCommonHeader& header, const ReceiveRules& rules) {
  if (!is_in_sequence(header.type, rules)) return std::unexpected(kSequence);
  if (!is_for(rules.receiver, header.type)) return std::unexpected(invalid_field(kTypeOffset));

  const Kind kind = kind_of(header.type);
  const bool header_digest = kind.digests && rules.header_digest;
  const uint32_t header_end = kind.header_size + (header_digest ? static_cast<uint32_t>(kPduDigestSize) : 0);
  const bool has_data = kind.data == DataRule::kRequired || (kind.data != DataRule::kNever && header.plen > header_end);
  const bool data_digest = kind.digests && has_data && rules.data_digest;

  if (kind.digests) {
    if (((header.flags & kPduHeaderDigest) != 0) != header_digest) return std::unexpected(invalid_field(kFlagsOffset));
    if (has_data && ((header.flags & kPduDataDigest) != 0) != data_digest) {
      return std::unexpected(invalid_field(kFlagsOffset));
    }
    const bool success_without_last = (header.flags & (kPduSuccess | kPduLast)) == kPduSuccess;
    if (header.type == PduType::kC2hData && success_without_last) return std::unexpected(invalid_field(kFlagsOffset));
  }
  if (header.hlen != kind.header_size) return std::unexpected(invalid_field(kHlenOffset));

  PduLayout layout{.type = header.type,
                   .flags = header.flags,
                   .header_digest = header_digest,
                   .data_digest = data_digest,
                   .header_size = kind.header_size,
                   .data_offset = static_cast<uint8_t>(header_end),
                   .total_size = header.plen};
  if (!has_data) {
    if (header.plen != header_end) return std::unexpected(invalid_field(kPlenOffset));
    return layout;
  }
  if (kind.data == DataRule::kTermReq) {
    if (header.plen > kMaxTermReqSize) return std::unexpected(invalid_field(kPlenOffset));
    layout.data_size = header.plen - header_end;
    return layout;
  }

  const unsigned alignment = (rules.data_alignment + 1u) * 4;
  if (header.pdo < header_end || header.pdo % alignment != 0) return std::unexpected(invalid_field(kPdoOffset));
  const uint32_t around_data = header.pdo + (data_digest ? static_cast<uint32_t>(kPduDigestSize) : 0);
  if (header.plen <= around_data) return std::unexpected(invalid_field(kPlenOffset));
  layout.data_offset = header.pdo;
  layout.data_size = header.plen - around_data;
  const uint32_t limit = header.type == PduType::kCapsuleCmd ? rules.max_capsule_data : rules.max_data;
  if (layout.data_size > limit) {
    // A host has no limit of its own to name; more than it asked for is out of range.
    return std::unexpected(rules.receiver == PduReceiver::kController ? kLimit : kOutOfRange);
  }
  return layout;
}

std::expected<void, TermReqError> check_ic_req(const IcReq& pdu) {
  if (pdu.pfv != kPduFormatVersion1_0) return std::unexpected(unsupported(offsetof(IcReq, pfv)));
  if (pdu.hpda > kMaxPduDataAlignment) return std::unexpected(invalid_field(offsetof(IcReq, hpda)));
  return {};
}

std::expected<void, TermReqError> check_ic_resp(const IcResp& pdu, uint8_t requested_digests) {
  if (pdu.pfv != kPduFormatVersion1_0) return std::unexpected(unsupported(offsetof(IcResp, pfv)));
  if (pdu.cpda > kMaxPduDataAlignment) return std::unexpected(invalid_field(offsetof(IcResp, cpda)));
  const uint8_t enabled = pdu.dgst & (kDigestHeaderEnable | kDigestDataEnable);
  if ((enabled & ~requested_digests) != 0) return std::unexpected(invalid_field(offsetof(IcResp, dgst)));
  if (pdu.maxh2cdata < kMinMaxH2cData || pdu.maxh2cdata % 4 != 0) {
    return std::unexpected(invalid_field(offsetof(IcResp, maxh2cdata)));
  }
  return {};
}

std::expected<void, TermReqError> check_h2c_data(const H2cData& pdu, const PduLayout& layout,
                                                 const DataWindow& window) {
  if (layout.last() && pdu.datal < window.remaining) return std::unexpected(invalid_field(kFlagsOffset));
  if (pdu.cccid != window.cccid) return std::unexpected(invalid_field(offsetof(H2cData, cccid)));
  if (pdu.ttag != window.ttag) return std::unexpected(invalid_field(offsetof(H2cData, ttag)));
  if (pdu.datal != layout.data_size) return std::unexpected(invalid_field(offsetof(H2cData, datal)));
  if (pdu.datao != window.next_offset || pdu.datal > window.remaining) return std::unexpected(kOutOfRange);
  return {};
}

std::expected<void, TermReqError> check_c2h_data(const C2hData& pdu, const PduLayout& layout,
                                                 const DataWindow& window) {
  if (pdu.cccid != window.cccid) return std::unexpected(invalid_field(offsetof(C2hData, cccid)));
  if (pdu.datal != layout.data_size) return std::unexpected(invalid_field(offsetof(C2hData, datal)));
  if (pdu.datao != window.next_offset || pdu.datal > window.remaining) return std::unexpected(kOutOfRange);
  return {};
}

std::expected<void, TermReqError> check_r2t(const R2t& pdu, const DataWindow& window, uint32_t outstanding,
                                            uint32_t max_r2t) {
  if (pdu.cccid != window.cccid) return std::unexpected(invalid_field(offsetof(R2t, cccid)));
  if (pdu.r2tl == 0) return std::unexpected(invalid_field(offsetof(R2t, r2tl)));
  if (outstanding > max_r2t) return std::unexpected(TermReqError{.fes = FatalErrorStatus::kR2tLimitExceeded});
  if (pdu.r2to != window.next_offset || pdu.r2tl > window.remaining) return std::unexpected(kOutOfRange);
  return {};
}

size_t encode_ic_req(HeaderBuffer out, uint8_t hpda, uint8_t digests, uint32_t max_r2t) {
  return encode(out, IcReq{.pfv = kPduFormatVersion1_0, .hpda = hpda, .dgst = digests, .maxr2t = max_r2t},
                PduType::kIcReq, 0, 0, SendRules{});
}

size_t encode_ic_resp(HeaderBuffer out, uint8_t cpda, uint8_t digests, uint32_t max_h2c_data) {
  return encode(out, IcResp{.pfv = kPduFormatVersion1_0, .cpda = cpda, .dgst = digests, .maxh2cdata = max_h2c_data},
                PduType::kIcResp, 0, 0, SendRules{});
}

size_t encode_capsule_cmd(HeaderBuffer out, const Sqe& sqe, uint32_t data_size, const SendRules& rules) {
  return encode(out, CapsuleCmd{.sqe = sqe}, PduType::kCapsuleCmd, 0, data_size, rules);
}

size_t encode_capsule_resp(HeaderBuffer out, const Cqe& cqe, const SendRules& rules) {
  return encode(out, CapsuleResp{.cqe = cqe}, PduType::kCapsuleResp, 0, 0, rules);
}

size_t encode_h2c_data(HeaderBuffer out, const DataPdu& data, const SendRules& rules) {
  CAIRN_CHECK(data.size > 0);
  return encode(out, H2cData{.cccid = data.cccid, .ttag = data.ttag, .datao = data.offset, .datal = data.size},
                PduType::kH2cData, data.last ? kPduLast : 0, data.size, rules);
}

size_t encode_c2h_data(HeaderBuffer out, const DataPdu& data, const SendRules& rules) {
  CAIRN_CHECK(data.size > 0 && (data.last || !data.success));
  const auto flags = static_cast<uint8_t>((data.last ? kPduLast : 0) | (data.success ? kPduSuccess : 0));
  return encode(out, C2hData{.cccid = data.cccid, .datao = data.offset, .datal = data.size}, PduType::kC2hData, flags,
                data.size, rules);
}

size_t encode_r2t(HeaderBuffer out, uint16_t cccid, uint16_t ttag, uint32_t offset, uint32_t size,
                  const SendRules& rules) {
  return encode(out, R2t{.cccid = cccid, .ttag = ttag, .r2to = offset, .r2tl = size}, PduType::kR2t, 0, 0, rules);
}

size_t encode_term_req(std::span<std::byte, kMaxTermReqSize> out, PduReceiver sender, TermReqError error,
                       std::span<const std::byte> offending_header) {
  const auto data = offending_header.first(std::min(offending_header.size(), kMaxTermReqData));
  const TermReq pdu{.common = {.type = sender == PduReceiver::kController ? PduType::kC2hTermReq : PduType::kH2cTermReq,
                               .hlen = sizeof(TermReq),
                               .plen = static_cast<uint32_t>(sizeof(TermReq) + data.size())},
                    .fes = static_cast<uint16_t>(error.fes),
                    .fei_low = static_cast<uint16_t>(error.fei),
                    .fei_high = static_cast<uint16_t>(error.fei >> 16)};
  store(out, pdu);
  std::ranges::copy(data, out.subspan(sizeof(TermReq)).begin());
  return sizeof(TermReq) + data.size();
}

}  // namespace cairn::nvme
