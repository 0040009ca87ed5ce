// NVMe/TCP PDUs (NVMe/TCP Transport 1.0, section 3.6): structures, rules for what may be received, encoders of headers.
//
// A PDU: header (HLEN bytes), HDGST (4, when negotiated), padding up to PDO, data, DDGST (4, when negotiated and there
// is data). Reading: PduHeaderReader (tcp_pdu_reader.h) or check_common_header() on the first 8 bytes; then the check_…
// of the PDU's kind. Errors are what a termination request carries. An end that finds one sends encode_term_req() and
// closes; an end that receives H2CTermReq or C2HTermReq, well formed or not, only closes.
//
// Bits, bytes and PDO that a PDU's kind reserves are ignored, as the specification asks of receivers. When several
// fields are wrong, the one that comes first in the header is named, except that PDUs out of sequence are judged before
// anything else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string_view>

#include "nvme/command.h"
#include "nvme/wire.h"

namespace cairn::nvme {

enum class PduType : uint8_t {
  kIcReq = 0x00,
  kIcResp = 0x01,
  kH2cTermReq = 0x02,
  kC2hTermReq = 0x03,
  kCapsuleCmd = 0x04,
  kCapsuleResp = 0x05,
  kH2cData = 0x06,
  kC2hData = 0x07,
  kR2t = 0x09,
};
std::string_view pdu_type_name(PduType type);  // "ICReq"; "Unknown"

// Flags of the common header.
inline constexpr uint8_t kPduHeaderDigest = 1u << 0;  // HDGSTF
inline constexpr uint8_t kPduDataDigest = 1u << 1;    // DDGSTF
inline constexpr uint8_t kPduLast = 1u << 2;          // LAST_PDU: H2CData, C2HData
inline constexpr uint8_t kPduSuccess = 1u << 3;       // SUCCESS: C2HData, no response capsule follows

inline constexpr size_t kPduDigestSize = 4;
inline constexpr size_t kCommonHeaderSize = 8;
inline constexpr uint16_t kPduFormatVersion1_0 = 0;  // PFV
inline constexpr uint8_t kMaxPduDataAlignment = 31;  // HPDA, CPDA: 0's based dwords, 128 bytes
inline constexpr uint32_t kMinMaxH2cData = 4096;     // MAXH2CDATA
inline constexpr size_t kMaxTermReqData = 128;
inline constexpr size_t kMaxTermReqSize = 24 + kMaxTermReqData;
inline constexpr uint32_t kAdminCapsuleData =
    8192;  // in-capsule data that fabrics and admin commands may have on NVMe/TCP

struct PduCommonHeader {
  PduType type{};
  uint8_t flags = 0;
  uint8_t hlen = 0;
  uint8_t pdo = 0;
  uint32_t plen = 0;
};
static_assert(kIsWire<PduCommonHeader> && sizeof(PduCommonHeader) == kCommonHeaderSize);
static_assert(offsetof(PduCommonHeader, flags) == 1 && offsetof(PduCommonHeader, hlen) == 2);
static_assert(offsetof(PduCommonHeader, pdo) == 3 && offsetof(PduCommonHeader, plen) == 4);

inline constexpr uint8_t kDigestHeaderEnable = 1u << 0;  // DGST of ICReq and ICResp
inline constexpr uint8_t kDigestDataEnable = 1u << 1;

struct IcReq {
  PduCommonHeader common{};
  uint16_t pfv = 0;
  uint8_t hpda = 0;
  uint8_t dgst = 0;
  uint32_t maxr2t = 0;  // 0's based: R2Ts outstanding for one command
  uint8_t reserved16[112] = {};
};
static_assert(kIsWire<IcReq> && sizeof(IcReq) == 128);
static_assert(offsetof(IcReq, pfv) == 8 && offsetof(IcReq, hpda) == 10 && offsetof(IcReq, dgst) == 11 &&
              offsetof(IcReq, maxr2t) == 12);

struct IcResp {
  PduCommonHeader common{};
  uint16_t pfv = 0;
  uint8_t cpda = 0;
  uint8_t dgst = 0;
  uint32_t maxh2cdata = 0;  // bytes of data in one H2CData
  uint8_t reserved16[112] = {};
};
static_assert(kIsWire<IcResp> && sizeof(IcResp) == 128);
static_assert(offsetof(IcResp, pfv) == 8 && offsetof(IcResp, cpda) == 10 && offsetof(IcResp, dgst) == 11 &&
              offsetof(IcResp, maxh2cdata) == 12);

enum class FatalErrorStatus : uint16_t {
  kInvalidHeaderField = 0x01,  // FEI: offset of the field in the PDU
  kSequenceError = 0x02,
  kHeaderDigestError = 0x03,  // FEI: the digest received
  kDataOutOfRange = 0x04,
  kDataLimitExceeded = 0x05,     // sent by a controller
  kR2tLimitExceeded = 0x05,      // sent by a host
  kUnsupportedParameter = 0x06,  // FEI: offset of the parameter in the PDU
};

// H2CTermReq and C2HTermReq; the header of the PDU in error follows as data.
struct TermReq {
  PduCommonHeader common{};
  uint16_t fes = 0;
  uint16_t fei_low = 0;
  uint16_t fei_high = 0;
  uint8_t reserved14[10] = {};

  constexpr uint32_t fei() const { return fei_low | uint32_t{fei_high} << 16; }
};
static_assert(kIsWire<TermReq> && sizeof(TermReq) == 24);
static_assert(offsetof(TermReq, fes) == 8 && offsetof(TermReq, fei_low) == 10);

struct CapsuleCmd {
  PduCommonHeader common{};
  Sqe sqe{};
};
static_assert(kIsWire<CapsuleCmd> && sizeof(CapsuleCmd) == 72 && offsetof(CapsuleCmd, sqe) == 8);

struct CapsuleResp {
  PduCommonHeader common{};
  Cqe cqe{};
};
static_assert(kIsWire<CapsuleResp> && sizeof(CapsuleResp) == 24 && offsetof(CapsuleResp, cqe) == 8);

struct H2cData {
  PduCommonHeader common{};
  uint16_t cccid = 0;
  uint16_t ttag = 0;
  uint32_t datao = 0;
  uint32_t datal = 0;
  uint8_t reserved20[4] = {};
};
static_assert(kIsWire<H2cData> && sizeof(H2cData) == 24);
static_assert(offsetof(H2cData, cccid) == 8 && offsetof(H2cData, ttag) == 10 && offsetof(H2cData, datao) == 12 &&
              offsetof(H2cData, datal) == 16);

struct C2hData {
  PduCommonHeader common{};
  uint16_t cccid = 0;
  uint8_t reserved10[2] = {};
  uint32_t datao = 0;
  uint32_t datal = 0;
  uint8_t reserved20[4] = {};
};
static_assert(kIsWire<C2hData> && sizeof(C2hData) == 24);
static_assert(offsetof(C2hData, cccid) == 8 && offsetof(C2hData, datao) == 12 && offsetof(C2hData, datal) == 16);

struct R2t {
  PduCommonHeader common{};
  uint16_t cccid = 0;
  uint16_t ttag = 0;
  uint32_t r2to = 0;
  uint32_t r2tl = 0;
  uint8_t reserved20[4] = {};
};
static_assert(kIsWire<R2t> && sizeof(R2t) == 24);
static_assert(offsetof(R2t, cccid) == 8 && offsetof(R2t, ttag) == 10 && offsetof(R2t, r2to) == 12 &&
              offsetof(R2t, r2tl) == 16);

// ---- Receiving ----

enum class PduReceiver : uint8_t { kController, kHost };

// What the receiving end knows of its connection. Changes once, when the ICReq (controller) or ICResp (host) has been
// dealt with.
struct ReceiveRules {
  PduReceiver receiver = PduReceiver::kController;
  bool initialized = false;
  bool header_digest = false;
  bool data_digest = false;
  uint8_t data_alignment = 0;                     // the CPDA or HPDA that this end sent
  uint32_t max_capsule_data = kAdminCapsuleData;  // controller: bytes of data in a CapsuleCmd
  uint32_t max_data = 0xffffffff;                 // controller: MAXH2CDATA; host: bytes of data in a C2HData
};

// The content of a termination request.
struct TermReqError {
  FatalErrorStatus fes{};
  uint32_t fei = 0;
  friend constexpr bool operator==(const TermReqError&, const TermReqError&) = default;
};
// "Data Transfer Limit Exceeded"; `found_by` tells the two meanings of 05h apart.
std::string_view fatal_error_name(uint16_t fes, PduReceiver found_by);

// Where the parts of a PDU lie. data_offset + data_size + (data_digest ? 4 : 0) == total_size.
struct PduLayout {
  PduType type{};
  uint8_t flags = 0;
  bool header_digest = false;  // 4 bytes after the header
  bool data_digest = false;    // 4 bytes after the data
  uint8_t header_size = 0;     // HLEN
  uint8_t data_offset = 0;     // PDO; without data: where the PDU ends
  uint32_t data_size = 0;
  uint32_t total_size = 0;  // PLEN

  constexpr bool last() const { return (flags & kPduLast) != 0; }
  constexpr bool success() const { return (flags & kPduSuccess) != 0; }
};

// Judges a PDU by its first 8 bytes: sequence, direction, flags, HLEN, PDO, PLEN, size limits.
std::expected<PduLayout, TermReqError> check_common_header(const PduCommonHeader& header, const ReceiveRules& rules);

// ICReq: PFV and HPDA.
std::expected<void, TermReqError> check_ic_req(const IcReq& pdu);

// ICResp: PFV, CPDA, MAXH2CDATA, no digest that `requested_digests` (DGST of our ICReq) lacks. One that was requested
// but not enabled is no error of the PDU; whether to go on without is the host's choice.
std::expected<void, TermReqError> check_ic_resp(const IcResp& pdu, uint8_t requested_digests);

// The data that one H2CData or C2HData may still bring for a command: [next_offset, next_offset + remaining).
struct DataWindow {
  uint16_t cccid = 0;
  uint16_t ttag = 0;  // H2CData only
  uint32_t next_offset = 0;
  uint32_t remaining = 0;
};
// The transfer is found by TTAG (CCCID on a host); when there is none the error is {kInvalidHeaderField, offset of that
// field}. LAST_PDU before the window is full is refused (the rest would never come); its absence at the end is not.
std::expected<void, TermReqError> check_h2c_data(const H2cData& pdu, const PduLayout& layout, const DataWindow& window);
std::expected<void, TermReqError> check_c2h_data(const C2hData& pdu, const PduLayout& layout, const DataWindow& window);

// R2T: `outstanding` are the command's R2Ts not yet answered in full, `max_r2t` the 0's based MAXR2T of our ICReq.
std::expected<void, TermReqError> check_r2t(const R2t& pdu, const DataWindow& window, uint32_t outstanding,
                                            uint32_t max_r2t);

// ---- Sending ----

// What the sending end has to keep to.
struct SendRules {
  bool header_digest = false;
  bool data_digest = false;
  uint8_t data_alignment = 0;  // the HPDA or CPDA that the other end sent
};

// PDO: end of header and digest, rounded up to the alignment (0's based dwords).
constexpr uint8_t data_offset(uint8_t header_size, bool header_digest, uint8_t data_alignment) {
  const unsigned unit = (data_alignment + 1u) * 4;
  const unsigned end = header_size + (header_digest ? kPduDigestSize : 0);
  return static_cast<uint8_t>((end + unit - 1) / unit * unit);
}

// The largest of what the encoders write before the data, TermReq apart: a command with HDGST, 76 bytes, aligned to
// units of 72.
inline constexpr size_t kMaxHeaderSize = 144;
using HeaderBuffer = std::span<std::byte, kMaxHeaderSize>;

// Each writes header, HDGST and padding, returns their size. Data, if any, follows, then encode_digest(crc32c(data))
// when the rules have data digests.
size_t encode_ic_req(HeaderBuffer out, uint8_t hpda, uint8_t digests, uint32_t max_r2t);
size_t encode_ic_resp(HeaderBuffer out, uint8_t cpda, uint8_t digests, uint32_t max_h2c_data);
size_t encode_capsule_cmd(HeaderBuffer out, const Sqe& sqe, uint32_t data_size, const SendRules& rules);
size_t encode_capsule_resp(HeaderBuffer out, const Cqe& cqe, const SendRules& rules);

struct DataPdu {
  uint16_t cccid = 0;
  uint16_t ttag = 0;  // H2CData only
  uint32_t offset = 0;
  uint32_t size = 0;  // at least 1
  bool last = false;
  bool success = false;  // C2HData only, with last
};
size_t encode_h2c_data(HeaderBuffer out, const DataPdu& data, const SendRules& rules);
size_t encode_c2h_data(HeaderBuffer out, const DataPdu& data, const SendRules& rules);
size_t encode_r2t(HeaderBuffer out, uint16_t cccid, uint16_t ttag, uint32_t offset, uint32_t size,
                  const SendRules& rules);

// The whole termination request that `sender` sends, with (at most 128 bytes of) the header that it found wrong.
// Returns its size.
size_t encode_term_req(std::span<std::byte, kMaxTermReqSize> out, PduReceiver sender, TermReqError error,
                       std::span<const std::byte> offending_header);

inline void encode_digest(std::span<std::byte, kPduDigestSize> out, uint32_t crc) {
  store(out, crc);
}
inline uint32_t decode_digest(std::span<const std::byte> bytes) {
  return load<uint32_t>(bytes);
}

}  // namespace cairn::nvme
