// PDU headers: whatever the stream, however it is cut, both ends come to a layout that fits or to an error that can be
// reported. The first three bytes choose the connection, see seeds/pdu_header_fuzz.txt.
#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "nvme/tcp_pdu_reader.h"

namespace cairn::nvme {
namespace {

struct Outcome {
  PduHeaderReader reader;
  size_t consumed = 0;
  bool failed = false;
  TermReqError error;
};

Outcome read_header(std::span<const std::byte> stream, size_t piece, const ReceiveRules& rules) {
  Outcome outcome;
  while (outcome.consumed < stream.size() && !outcome.reader.done()) {
    const auto rest = stream.subspan(outcome.consumed);
    const size_t wanted = outcome.reader.wanted();
    const auto result = outcome.reader.feed(rest.first(std::min(piece, rest.size())), rules);
    if (!result) {
      outcome.failed = true;
      outcome.error = result.error();
      return outcome;
    }
    CAIRN_CHECK(*result > 0 && wanted > 0);
    outcome.consumed += *result;
  }
  return outcome;
}

void check_layout(const Outcome& outcome, const ReceiveRules& rules) {
  const PduLayout& layout = outcome.reader.layout();
  CAIRN_CHECK(outcome.consumed == layout.data_offset);
  CAIRN_CHECK(outcome.reader.header().size() == layout.header_size);
  CAIRN_CHECK(uint64_t{layout.data_offset} + layout.data_size + (layout.data_digest ? kPduDigestSize : 0) ==
              layout.total_size);
  CAIRN_CHECK(!layout.header_digest || rules.header_digest);
  CAIRN_CHECK(!layout.data_digest || (rules.data_digest && layout.data_size > 0));
  CAIRN_CHECK(layout.type != PduType::kCapsuleCmd || layout.data_size <= rules.max_capsule_data);
  CAIRN_CHECK(layout.type != PduType::kH2cData || layout.data_size <= rules.max_data);
}

// The termination request for an error is one that the other end understands.
void check_error(const Outcome& outcome, const ReceiveRules& rules) {
  const auto fes = static_cast<uint16_t>(outcome.error.fes);
  CAIRN_CHECK(fes >= 1 && fes <= 6);
  CAIRN_CHECK(outcome.error.fes != FatalErrorStatus::kInvalidHeaderField || outcome.error.fei < kMaxHeaderSize);
  std::array<std::byte, kMaxTermReqSize> pdu;
  const size_t size = encode_term_req(pdu, rules.receiver, outcome.error, outcome.reader.header());
  const bool to_host = rules.receiver == PduReceiver::kController;
  const ReceiveRules other{.receiver = to_host ? PduReceiver::kHost : PduReceiver::kController, .initialized = true};
  const auto layout = check_common_header(load<PduCommonHeader>(pdu), other);
  CAIRN_CHECK(layout && layout->total_size == size);
  CAIRN_CHECK(load<TermReq>(pdu).fei() == outcome.error.fei);
}

void check_fatal(const std::expected<void, TermReqError>& result) {
  if (!result) CAIRN_CHECK(result.error().fes != FatalErrorStatus{} && result.error().fei < kMaxHeaderSize);
}

// The checks of each kind, and that what we would write in its place reads back as the same.
void check_kind(const PduHeaderReader& reader, const ReceiveRules& rules) {
  const PduLayout& layout = reader.layout();
  const SendRules send{rules.header_digest, rules.data_digest, rules.data_alignment};
  std::array<std::byte, kMaxHeaderSize> again;
  switch (layout.type) {
    case PduType::kIcReq:
      return check_fatal(check_ic_req(reader.as<IcReq>()));
    case PduType::kIcResp:
      return check_fatal(check_ic_resp(reader.as<IcResp>(), 0));
    case PduType::kH2cTermReq:
    case PduType::kC2hTermReq:
      return;
    case PduType::kCapsuleCmd:
      encode_capsule_cmd(again, reader.as<CapsuleCmd>().sqe, layout.data_size, send);
      break;
    case PduType::kCapsuleResp:
      encode_capsule_resp(again, reader.as<CapsuleResp>().cqe, send);
      break;
    case PduType::kH2cData: {
      const auto pdu = reader.as<H2cData>();
      const DataWindow window{
          .cccid = pdu.cccid, .ttag = pdu.ttag, .next_offset = pdu.datao, .remaining = layout.data_size};
      const auto result = check_h2c_data(pdu, layout, window);
      check_fatal(result);
      CAIRN_CHECK(result.has_value() == (pdu.datal == layout.data_size));
      encode_h2c_data(again, {pdu.cccid, pdu.ttag, pdu.datao, layout.data_size, layout.last(), false}, send);
      break;
    }
    case PduType::kC2hData: {
      const auto pdu = reader.as<C2hData>();
      check_fatal(
          check_c2h_data(pdu, layout, {.cccid = pdu.cccid, .next_offset = pdu.datao, .remaining = layout.data_size}));
      encode_c2h_data(again, {pdu.cccid, 0, pdu.datao, layout.data_size, layout.last(), layout.success()}, send);
      break;
    }
    case PduType::kR2t: {
      const auto pdu = reader.as<R2t>();
      check_fatal(check_r2t(pdu, {.cccid = pdu.cccid, .next_offset = pdu.r2to, .remaining = pdu.r2tl}, 0, 0));
      encode_r2t(again, pdu.cccid, pdu.ttag, pdu.r2to, pdu.r2tl, send);
      break;
    }
  }
  PduHeaderReader second;
  CAIRN_CHECK(second.feed(again, rules) && second.done());
  CAIRN_CHECK(second.layout().type == layout.type && second.layout().data_size == layout.data_size);
}

// Random bytes never have a right digest; this gives the PDU at the start of `stream` one, so that what lies behind is
// reached.
void repair_header_digest(std::span<std::byte> stream) {
  if (stream.size() < kCommonHeaderSize) return;
  const size_t header_size = load<PduCommonHeader>(stream).hlen;
  if (stream.size() < header_size + kPduDigestSize) return;
  store(stream.subspan(header_size), crc32c(stream.first(header_size)));
}

void run(std::span<const std::byte> input) {
  if (input.size() < 3) return;
  const auto flags = std::to_integer<uint8_t>(input[0]);
  const ReceiveRules rules{.receiver = (flags & 1) != 0 ? PduReceiver::kHost : PduReceiver::kController,
                           .initialized = (flags & 2) != 0,
                           .header_digest = (flags & 4) != 0,
                           .data_digest = (flags & 8) != 0,
                           .data_alignment = static_cast<uint8_t>(std::to_integer<uint8_t>(input[1]) % 32),
                           .max_data = 131072};
  const size_t piece = std::max<size_t>(std::to_integer<uint8_t>(input[2]), 1);
  std::vector<std::byte> bytes(input.begin() + 3, input.end());
  std::span<std::byte> stream(bytes);
  while (!stream.empty()) {
    if ((flags & 16) != 0 && rules.header_digest) repair_header_digest(stream);
    const Outcome whole = read_header(stream, stream.size(), rules);
    const Outcome pieces = read_header(stream, piece, rules);
    CAIRN_CHECK(whole.failed == pieces.failed && whole.error == pieces.error);
    CAIRN_CHECK(whole.reader.done() == pieces.reader.done());
    CAIRN_CHECK(std::ranges::equal(whole.reader.header(), pieces.reader.header()));
    if (whole.failed) return check_error(whole, rules);
    CAIRN_CHECK(whole.consumed == pieces.consumed);
    if (!whole.reader.done()) return;
    check_layout(whole, rules);
    check_kind(whole.reader, rules);
    if (stream.size() <= whole.reader.layout().total_size) return;
    stream = stream.subspan(whole.reader.layout().total_size);
  }
}

}  // namespace
}  // namespace cairn::nvme

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  cairn::nvme::run(std::as_bytes(std::span(data, size)));
  return 0;
}
