#include "nvme/tcp_pdu.h"

#include <gtest/gtest.h>

#include <array>
#include <optional>
#include <ostream>
#include <vector>

#include "base/crc32c.h"

namespace cairn::nvme {

void PrintTo(const TermReqError& error, std::ostream* out) {
  *out << "FES " << static_cast<int>(error.fes) << ", FEI " << error.fei;
}

namespace {

constexpr TermReqError kSequence{FatalErrorStatus::kSequenceError, 0};
constexpr TermReqError kRange{FatalErrorStatus::kDataOutOfRange, 0};
constexpr TermReqError kLimit{FatalErrorStatus::kDataLimitExceeded, 0};
constexpr TermReqError field(uint32_t offset) {
  return {FatalErrorStatus::kInvalidHeaderField, offset};
}
constexpr TermReqError parameter(uint32_t offset) {
  return {FatalErrorStatus::kUnsupportedParameter, offset};
}

// The error, nothing when there is none (error() of a success must not be asked for).
template <typename T>
std::optional<TermReqError> refusal(const std::expected<T, TermReqError>& result) {
  if (result) return std::nullopt;
  return result.error();
}

constexpr uint8_t kH = kPduHeaderDigest, kD = kPduDataDigest, kL = kPduLast, kS = kPduSuccess;

// A connection past its initialization, as the receiving end sees it.
ReceiveRules controller(bool header_digest = false, bool data_digest = false, uint8_t cpda = 0) {
  return {.receiver = PduReceiver::kController,
          .initialized = true,
          .header_digest = header_digest,
          .data_digest = data_digest,
          .data_alignment = cpda,
          .max_capsule_data = 8192,
          .max_data = 131072};
}
ReceiveRules host(bool header_digest = false, bool data_digest = false, uint8_t hpda = 0) {
  return {.receiver = PduReceiver::kHost,
          .initialized = true,
          .header_digest = header_digest,
          .data_digest = data_digest,
          .data_alignment = hpda,
          .max_data = 1 << 20};
}
ReceiveRules fresh(PduReceiver receiver) {
  return {.receiver = receiver};
}

struct Good {
  const char* what;
  ReceiveRules rules;
  PduCommonHeader header;
  uint8_t data_offset;
  uint32_t data_size;
  bool header_digest;
  bool data_digest;
};

TEST(CommonHeader, Accepted) {
  using enum PduType;
  const Good rows[] = {
      {"ICReq", fresh(PduReceiver::kController), {kIcReq, 0, 128, 0, 128}, 128, 0, false, false},
      {"ICReq, reserved flags and PDO",
       fresh(PduReceiver::kController),
       {kIcReq, 0xff, 128, 9, 128},
       128,
       0,
       false,
       false},
      {"ICResp", fresh(PduReceiver::kHost), {kIcResp, 0, 128, 0, 128}, 128, 0, false, false},
      {"C2HTermReq instead of ICResp", fresh(PduReceiver::kHost), {kC2hTermReq, 0, 24, 0, 152}, 24, 128, false, false},
      {"H2CTermReq without data", controller(), {kH2cTermReq, 0, 24, 0, 24}, 24, 0, false, false},
      {"H2CTermReq has no digests", controller(true, true), {kH2cTermReq, 0, 24, 0, 96}, 24, 72, false, false},
      {"command without data", controller(), {kCapsuleCmd, 0, 72, 0, 72}, 72, 0, false, false},
      {"command without data, PDO set all the same", controller(), {kCapsuleCmd, 0, 72, 72, 72}, 72, 0, false, false},
      {"command without data, digests", controller(true, true), {kCapsuleCmd, kH, 72, 0, 76}, 76, 0, true, false},
      {"command without data, DDGSTF set all the same",
       controller(true, true),
       {kCapsuleCmd, kH | kD, 72, 0, 76},
       76,
       0,
       true,
       false},
      {"Connect of Linux", controller(), {kCapsuleCmd, 0, 72, 72, 72 + 1024}, 72, 1024, false, false},
      {"Connect of Linux, digests",
       controller(true, true),
       {kCapsuleCmd, kH | kD, 72, 76, 76 + 1024 + 4},
       76,
       1024,
       true,
       true},
      {"data digest only", controller(false, true), {kCapsuleCmd, kD, 72, 72, 72 + 512 + 4}, 72, 512, false, true},
      {"aligned to 128 bytes",
       controller(true, false, 31),
       {kCapsuleCmd, kH, 72, 128, 128 + 512},
       128,
       512,
       true,
       false},
      {"more padding than needed", controller(), {kCapsuleCmd, 0, 72, 252, 252 + 4}, 252, 4, false, false},
      {"largest capsule", controller(), {kCapsuleCmd, 0, 72, 72, 72 + 8192}, 72, 8192, false, false},
      {"reserved flags", controller(), {kCapsuleCmd, 0xf0 | kL | kS, 72, 0, 72}, 72, 0, false, false},
      {"H2CData", controller(), {kH2cData, kL, 24, 24, 24 + 4096}, 24, 4096, false, false},
      {"H2CData, digests",
       controller(true, true),
       {kH2cData, kH | kD, 24, 28, 28 + 131072 + 4},
       28,
       131072,
       true,
       true},
      {"CapsuleResp", host(), {kCapsuleResp, 0, 24, 0, 24}, 24, 0, false, false},
      {"CapsuleResp, digest", host(true, true), {kCapsuleResp, kH, 24, 0, 28}, 28, 0, true, false},
      {"C2HData with success", host(), {kC2hData, kL | kS, 24, 24, 24 + 512}, 24, 512, false, false},
      {"C2HData, digests, aligned to 32",
       host(true, true, 7),
       {kC2hData, kH | kD, 24, 32, 32 + 512 + 4},
       32,
       512,
       true,
       true},
      {"R2T", host(true, true), {kR2t, kH, 24, 0, 28}, 28, 0, true, false},
  };
  for (const Good& row : rows) {
    const auto layout = check_common_header(row.header, row.rules);
    ASSERT_TRUE(layout) << row.what << ": FES " << static_cast<int>(layout.error().fes) << " FEI "
                        << layout.error().fei;
    EXPECT_EQ(layout->type, row.header.type) << row.what;
    EXPECT_EQ(layout->header_size, row.header.hlen) << row.what;
    EXPECT_EQ(layout->data_offset, row.data_offset) << row.what;
    EXPECT_EQ(layout->data_size, row.data_size) << row.what;
    EXPECT_EQ(layout->header_digest, row.header_digest) << row.what;
    EXPECT_EQ(layout->data_digest, row.data_digest) << row.what;
    EXPECT_EQ(layout->total_size, row.header.plen) << row.what;
    EXPECT_EQ(layout->data_offset + layout->data_size + (layout->data_digest ? 4 : 0), layout->total_size) << row.what;
  }
}

struct Bad {
  const char* what;
  ReceiveRules rules;
  PduCommonHeader header;
  TermReqError error;
};

TEST(CommonHeader, Refused) {
  using enum PduType;
  constexpr auto kUnknown8 = static_cast<PduType>(0x08);
  constexpr auto kUnknown = static_cast<PduType>(0x47);
  const Bad rows[] = {
      // Sequence.
      {"command first", fresh(PduReceiver::kController), {kCapsuleCmd, 0, 72, 0, 72}, kSequence},
      {"H2CTermReq first", fresh(PduReceiver::kController), {kH2cTermReq, 0, 24, 0, 24}, kSequence},
      {"another protocol", fresh(PduReceiver::kController), {kUnknown, 'E', 'T', ' ', 0x2f}, kSequence},
      {"second ICReq", controller(), {kIcReq, 0, 128, 0, 128}, kSequence},
      {"response first", fresh(PduReceiver::kHost), {kCapsuleResp, 0, 24, 0, 24}, kSequence},
      {"second ICResp", host(), {kIcResp, 0, 128, 0, 128}, kSequence},
      // Type and direction.
      {"ICResp to the controller", controller(), {kIcResp, 0, 128, 0, 128}, field(0)},
      {"C2HTermReq to the controller", controller(), {kC2hTermReq, 0, 24, 0, 24}, field(0)},
      {"CapsuleResp to the controller", controller(), {kCapsuleResp, 0, 24, 0, 24}, field(0)},
      {"C2HData to the controller", controller(), {kC2hData, 0, 24, 24, 28}, field(0)},
      {"R2T to the controller", controller(), {kR2t, 0, 24, 0, 24}, field(0)},
      {"unknown type 8", controller(), {kUnknown8, 0, 24, 0, 24}, field(0)},
      {"unknown type 47h", controller(), {kUnknown, 0, 24, 0, 24}, field(0)},
      {"ICReq to the host", host(), {kIcReq, 0, 128, 0, 128}, field(0)},
      {"H2CTermReq to the host", host(), {kH2cTermReq, 0, 24, 0, 24}, field(0)},
      {"CapsuleCmd to the host", host(), {kCapsuleCmd, 0, 72, 0, 72}, field(0)},
      {"H2CData to the host", host(), {kH2cData, 0, 24, 24, 28}, field(0)},
      // Flags.
      {"HDGSTF without negotiation", controller(), {kCapsuleCmd, kH, 72, 0, 76}, field(1)},
      {"no HDGSTF in spite of it", controller(true), {kCapsuleCmd, 0, 72, 0, 76}, field(1)},
      {"DDGSTF without negotiation", controller(), {kCapsuleCmd, kD, 72, 72, 72 + 512 + 4}, field(1)},
      {"no DDGSTF in spite of it", controller(false, true), {kCapsuleCmd, 0, 72, 72, 72 + 512 + 4}, field(1)},
      {"H2CData: HDGSTF without negotiation", controller(), {kH2cData, kH, 24, 28, 28 + 512}, field(1)},
      {"H2CData: no DDGSTF", controller(true, true), {kH2cData, kH, 24, 28, 28 + 512 + 4}, field(1)},
      {"CapsuleResp: HDGSTF without negotiation", host(), {kCapsuleResp, kH, 24, 0, 28}, field(1)},
      {"C2HData: no DDGSTF", host(false, true), {kC2hData, 0, 24, 24, 24 + 512 + 4}, field(1)},
      {"C2HData: SUCCESS without LAST_PDU", host(), {kC2hData, kS, 24, 24, 24 + 512}, field(1)},
      {"R2T: no HDGSTF", host(true), {kR2t, 0, 24, 0, 28}, field(1)},
      // HLEN.
      {"ICReq: HLEN", fresh(PduReceiver::kController), {kIcReq, 0, 127, 0, 128}, field(2)},
      {"ICResp: HLEN", fresh(PduReceiver::kHost), {kIcResp, 0, 24, 0, 128}, field(2)},
      {"H2CTermReq: HLEN", controller(), {kH2cTermReq, 0, 25, 0, 30}, field(2)},
      {"C2HTermReq: HLEN", host(), {kC2hTermReq, 0, 0, 0, 30}, field(2)},
      {"CapsuleCmd: HLEN", controller(), {kCapsuleCmd, 0, 73, 76, 76 + 512}, field(2)},
      {"CapsuleCmd: HLEN 255", controller(), {kCapsuleCmd, 0, 255, 0, 72}, field(2)},
      {"CapsuleResp: HLEN", host(), {kCapsuleResp, 0, 72, 0, 24}, field(2)},
      {"H2CData: HLEN", controller(), {kH2cData, 0, 20, 24, 24 + 512}, field(2)},
      {"C2HData: HLEN", host(), {kC2hData, 0, 28, 28, 28 + 512}, field(2)},
      {"R2T: HLEN", host(), {kR2t, 0, 16, 0, 24}, field(2)},
      // PDO.
      {"data inside the header", controller(), {kCapsuleCmd, 0, 72, 68, 72 + 512}, field(3)},
      {"no PDO", controller(), {kCapsuleCmd, 0, 72, 0, 72 + 512}, field(3)},
      {"data over the header digest", controller(true), {kCapsuleCmd, kH, 72, 72, 76 + 512}, field(3)},
      {"PDO not of dwords", controller(), {kCapsuleCmd, 0, 72, 74, 74 + 512}, field(3)},
      {"PDO not by CPDA", controller(false, false, 3), {kCapsuleCmd, 0, 72, 72, 72 + 512}, field(3)},
      {"H2CData: PDO", controller(), {kH2cData, 0, 24, 20, 24 + 512}, field(3)},
      {"H2CData: PDO not by CPDA", controller(false, false, 31), {kH2cData, 0, 24, 24, 24 + 512}, field(3)},
      {"C2HData: PDO not by HPDA", host(true, false, 1), {kC2hData, kH, 24, 28, 28 + 512}, field(3)},
      // PLEN.
      {"ICReq: PLEN short", fresh(PduReceiver::kController), {kIcReq, 0, 128, 0, 127}, field(4)},
      {"ICReq: PLEN with a digest", fresh(PduReceiver::kController), {kIcReq, kH, 128, 0, 132}, field(4)},
      {"ICResp: PLEN", fresh(PduReceiver::kHost), {kIcResp, 0, 128, 0, 0}, field(4)},
      {"H2CTermReq: PLEN short", controller(), {kH2cTermReq, 0, 24, 0, 23}, field(4)},
      {"H2CTermReq: PLEN above 152", controller(), {kH2cTermReq, 0, 24, 0, 153}, field(4)},
      {"C2HTermReq: PLEN above 152", host(), {kC2hTermReq, 0, 24, 0, 0xffffffff}, field(4)},
      {"CapsuleCmd: PLEN short", controller(), {kCapsuleCmd, 0, 72, 0, 71}, field(4)},
      {"CapsuleCmd: PLEN 0", controller(), {kCapsuleCmd, 0, 72, 0, 0}, field(4)},
      {"CapsuleCmd: no room for HDGST", controller(true), {kCapsuleCmd, kH, 72, 0, 72}, field(4)},
      {"CapsuleCmd: ends in the padding", controller(), {kCapsuleCmd, 0, 72, 128, 128}, field(4)},
      {"CapsuleCmd: no room for DDGST", controller(false, true), {kCapsuleCmd, kD, 72, 72, 76}, field(4)},
      {"CapsuleResp: PLEN", host(), {kCapsuleResp, 0, 24, 0, 28}, field(4)},
      {"H2CData: no data", controller(), {kH2cData, 0, 24, 24, 24}, field(4)},
      {"H2CData: PLEN 0", controller(), {kH2cData, 0, 24, 24, 0}, field(4)},
      {"H2CData: digest only", controller(false, true), {kH2cData, kD, 24, 24, 28}, field(4)},
      {"C2HData: no data", host(), {kC2hData, kL, 24, 24, 24}, field(4)},
      {"R2T: PLEN", host(), {kR2t, 0, 24, 0, 25}, field(4)},
      // Limits.
      {"capsule data above the limit", controller(), {kCapsuleCmd, 0, 72, 72, 72 + 8193}, kLimit},
      {"the largest PLEN", controller(), {kCapsuleCmd, 0, 72, 72, 0xffffffff}, kLimit},
      {"H2CData above MAXH2CDATA", controller(), {kH2cData, 0, 24, 24, 24 + 131073}, kLimit},
      {"C2HData above all limits", host(), {kC2hData, 0, 24, 24, 0xffffffff}, kRange},
      // The first wrong field is the one named.
      {"flags and HLEN and PLEN", controller(), {kCapsuleCmd, kH, 71, 0, 0}, field(1)},
      {"HLEN and PDO and PLEN", controller(), {kH2cData, 0, 23, 1, 0}, field(2)},
      {"PDO and PLEN", controller(), {kH2cData, 0, 24, 1, 0}, field(3)},
  };
  for (const Bad& row : rows) {
    const auto layout = check_common_header(row.header, row.rules);
    ASSERT_FALSE(layout) << row.what;
    EXPECT_EQ(layout.error(), row.error) << row.what;
  }
}

TEST(IcReqCheck, Table) {
  EXPECT_TRUE(check_ic_req({.pfv = 0, .hpda = 0, .dgst = 3, .maxr2t = 0}));
  EXPECT_TRUE(check_ic_req({.hpda = 31, .maxr2t = 0xffffffff}));
  EXPECT_TRUE(check_ic_req({.dgst = 0xfc})) << "reserved bits";
  EXPECT_EQ(refusal(check_ic_req({.pfv = 1})), parameter(8));
  EXPECT_EQ(refusal(check_ic_req({.hpda = 32})), field(10));
  EXPECT_EQ(refusal(check_ic_req({.pfv = 0x100, .hpda = 255})), parameter(8));
}

TEST(IcRespCheck, Table) {
  EXPECT_TRUE(check_ic_resp({.cpda = 31, .dgst = 3, .maxh2cdata = 4096}, 3));
  EXPECT_TRUE(check_ic_resp({.dgst = 0, .maxh2cdata = 0xfffffffc}, 3)) << "requested, not enabled";
  EXPECT_EQ(refusal(check_ic_resp({.pfv = 1, .maxh2cdata = 4096}, 0)), parameter(8));
  EXPECT_EQ(refusal(check_ic_resp({.cpda = 32, .maxh2cdata = 4096}, 0)), field(10));
  EXPECT_EQ(refusal(check_ic_resp({.dgst = 2, .maxh2cdata = 4096}, 1)), field(11));
  EXPECT_EQ(refusal(check_ic_resp({.maxh2cdata = 4092}, 0)), field(12));
  EXPECT_EQ(refusal(check_ic_resp({.maxh2cdata = 4098}, 0)), field(12));
  EXPECT_EQ(refusal(check_ic_resp({.maxh2cdata = 0}, 0)), field(12));
}

TEST(H2cDataCheck, Table) {
  const DataWindow window{.cccid = 7, .ttag = 3, .next_offset = 4096, .remaining = 8192};
  const PduLayout part{.type = PduType::kH2cData, .data_size = 4096};
  const PduLayout last{.type = PduType::kH2cData, .flags = kL, .data_size = 8192};
  EXPECT_TRUE(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 4096}, part, window));
  EXPECT_TRUE(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 8192}, last, window));
  auto unmarked = last;
  unmarked.flags = 0;
  EXPECT_TRUE(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 8192}, unmarked, window));

  auto early = part;
  early.flags = kL;
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 4096}, early, window)), field(1));
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 8, .ttag = 3, .datao = 4096, .datal = 4096}, part, window)), field(8));
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 4, .datao = 4096, .datal = 4096}, part, window)), field(10));
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 4092}, part, window)), field(16));
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 0, .datal = 4096}, part, window)), kRange);
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 8192, .datal = 4096}, part, window)), kRange);
  const PduLayout beyond{.type = PduType::kH2cData, .data_size = 8196};
  EXPECT_EQ(refusal(check_h2c_data({.cccid = 7, .ttag = 3, .datao = 4096, .datal = 8196}, beyond, window)), kRange);
}

TEST(C2hDataCheck, Table) {
  const DataWindow window{.cccid = 7, .next_offset = 512, .remaining = 512};
  const PduLayout layout{.type = PduType::kC2hData, .flags = kL, .data_size = 512};
  EXPECT_TRUE(check_c2h_data({.cccid = 7, .datao = 512, .datal = 512}, layout, window));
  EXPECT_EQ(refusal(check_c2h_data({.cccid = 6, .datao = 512, .datal = 512}, layout, window)), field(8));
  EXPECT_EQ(refusal(check_c2h_data({.cccid = 7, .datao = 512, .datal = 511}, layout, window)), field(16));
  EXPECT_EQ(refusal(check_c2h_data({.cccid = 7, .datao = 0, .datal = 512}, layout, window)), kRange);
  const DataWindow less{.cccid = 7, .next_offset = 512, .remaining = 511};
  EXPECT_EQ(refusal(check_c2h_data({.cccid = 7, .datao = 512, .datal = 512}, layout, less)), kRange);
}

TEST(R2tCheck, Table) {
  const DataWindow window{.cccid = 7, .next_offset = 0, .remaining = 8192};
  EXPECT_TRUE(check_r2t({.cccid = 7, .r2to = 0, .r2tl = 8192}, window, 0, 0));
  EXPECT_TRUE(check_r2t({.cccid = 7, .r2to = 0, .r2tl = 4096}, window, 3, 3));
  EXPECT_EQ(refusal(check_r2t({.cccid = 1, .r2to = 0, .r2tl = 4096}, window, 0, 0)), field(8));
  EXPECT_EQ(refusal(check_r2t({.cccid = 7, .r2to = 0, .r2tl = 0}, window, 0, 0)), field(16));
  EXPECT_EQ(refusal(check_r2t({.cccid = 7, .r2to = 4, .r2tl = 4096}, window, 0, 0)), kRange);
  EXPECT_EQ(refusal(check_r2t({.cccid = 7, .r2to = 0, .r2tl = 8193}, window, 0, 0)), kRange);
  EXPECT_EQ(refusal(check_r2t({.cccid = 7, .r2to = 0, .r2tl = 4096}, window, 1, 0)),
            (TermReqError{FatalErrorStatus::kR2tLimitExceeded, 0}));
}

// ---- Encoders, against images written by hand ----

std::vector<uint8_t> written(size_t size, std::span<const std::byte> buffer) {
  std::vector<uint8_t> out(size);
  std::memcpy(out.data(), buffer.data(), size);
  return out;
}

class Encoder : public ::testing::Test {
 protected:
  Encoder() { buffer_.fill(std::byte{0xee}); }
  std::vector<uint8_t> bytes(size_t size) const { return written(size, buffer_); }
  std::array<std::byte, kMaxHeaderSize> buffer_;
};

TEST_F(Encoder, IcReq) {
  ASSERT_EQ(encode_ic_req(buffer_, 0, kDigestHeaderEnable | kDigestDataEnable, 0), 128u);
  std::vector<uint8_t> expected(128, 0);
  expected[2] = 128;
  expected[4] = 128;
  expected[11] = 3;
  EXPECT_EQ(bytes(128), expected);
}

TEST_F(Encoder, IcResp) {
  ASSERT_EQ(encode_ic_resp(buffer_, 1, kDigestDataEnable, 0x20000), 128u);
  std::vector<uint8_t> expected(128, 0);
  expected[0] = 1;
  expected[2] = 128;
  expected[4] = 128;
  expected[10] = 1;
  expected[11] = 2;
  expected[14] = 2;
  EXPECT_EQ(bytes(128), expected);
}

TEST_F(Encoder, R2tWithHeaderDigest) {
  ASSERT_EQ(encode_r2t(buffer_, 0x1234, 0x5678, 0x1000, 0x2000, {.header_digest = true, .data_digest = true}), 28u);
  const std::vector<uint8_t> expected = {9, 1, 24, 0,    28, 0, 0, 0, 0x34, 0x12, 0x78, 0x56, 0,    0x10,
                                         0, 0, 0,  0x20, 0,  0, 0, 0, 0,    0,    0x57, 0x9d, 0x8a, 0x21};
  EXPECT_EQ(bytes(28), expected);
}

TEST_F(Encoder, CapsuleResp) {
  Cqe cqe{.dw0 = 1, .sqhd = 2, .cid = 3};
  ASSERT_EQ(encode_capsule_resp(buffer_, cqe, {.data_digest = true, .data_alignment = 31}), 24u);
  const std::vector<uint8_t> expected = {5, 0, 24, 0, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0};
  EXPECT_EQ(bytes(24), expected);
}

TEST_F(Encoder, C2hDataPlain) {
  ASSERT_EQ(
      encode_c2h_data(buffer_, {.cccid = 9, .ttag = 5, .offset = 512, .size = 4096, .last = true, .success = true}, {}),
      24u);
  const std::vector<uint8_t> expected = {7, 0x0c, 24, 24, 0x18, 0x10, 0, 0, 9, 0, 0, 0,
                                         0, 2,    0,  0,  0,    0x10, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(bytes(24), expected);
}

TEST_F(Encoder, C2hDataAlignedWithDigests) {
  const SendRules rules{.header_digest = true, .data_digest = true, .data_alignment = 3};  // 16 bytes
  ASSERT_EQ(encode_c2h_data(buffer_, {.cccid = 9, .size = 512}, rules), 32u);
  const auto out = bytes(33);
  EXPECT_EQ(out[1], 3);     // both digests, not last
  EXPECT_EQ(out[3], 32);    // PDO
  EXPECT_EQ(out[4], 0x24);  // 32 + 512 + 4 = 224h
  EXPECT_EQ(out[5], 0x02);
  EXPECT_EQ(decode_digest(std::span(buffer_).subspan(24)), crc32c(std::span(buffer_).first(24)));
  for (size_t i = 28; i < 32; ++i) EXPECT_EQ(out[i], 0) << "padding";
  EXPECT_EQ(out[32], 0xee) << "nothing written beyond";
}

TEST_F(Encoder, H2cData) {
  ASSERT_EQ(encode_h2c_data(buffer_, {.cccid = 1, .ttag = 2, .offset = 3, .size = 4, .last = true}, {}), 24u);
  const std::vector<uint8_t> expected = {6, 4, 24, 24, 28, 0, 0, 0, 1, 0, 2, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_EQ(bytes(24), expected);
}

TEST_F(Encoder, CapsuleCmd) {
  Sqe sqe{.opcode = 2, .cid = 0x0102};
  ASSERT_EQ(encode_capsule_cmd(buffer_, sqe, 0, {.header_digest = true, .data_digest = true, .data_alignment = 31}),
            76u);
  auto out = bytes(76);
  EXPECT_EQ(std::vector<uint8_t>(out.begin(), out.begin() + 12),
            (std::vector<uint8_t>{4, 1, 72, 0, 76, 0, 0, 0, 2, 0, 2, 1}));
  ASSERT_EQ(encode_capsule_cmd(buffer_, sqe, 1024, {.header_digest = true, .data_digest = true, .data_alignment = 31}),
            128u);
  out = bytes(128);
  EXPECT_EQ(std::vector<uint8_t>(out.begin(), out.begin() + 8), (std::vector<uint8_t>{4, 3, 72, 128, 0x84, 4, 0, 0}));
}

TEST_F(Encoder, TermReq) {
  std::array<std::byte, kMaxTermReqSize> out;
  out.fill(std::byte{0xee});
  const std::array<std::byte, 8> offending{std::byte{4}, std::byte{0}, std::byte{73}};
  ASSERT_EQ(encode_term_req(out, PduReceiver::kController, {FatalErrorStatus::kInvalidHeaderField, 2}, offending), 32u);
  const std::vector<uint8_t> expected = {3, 0, 24, 0, 32, 0, 0, 0, 1, 0, 2,  0, 0, 0, 0, 0,
                                         0, 0, 0,  0, 0,  0, 0, 0, 4, 0, 73, 0, 0, 0, 0, 0};
  EXPECT_EQ(written(32, out), expected);

  const std::vector<std::byte> long_header(200, std::byte{0xab});
  ASSERT_EQ(encode_term_req(out, PduReceiver::kHost, {FatalErrorStatus::kHeaderDigestError, 0x12345678}, long_header),
            152u);
  EXPECT_EQ(out[0], std::byte{2});
  const auto pdu = load<TermReq>(out);
  EXPECT_EQ(pdu.fei(), 0x12345678u);
  EXPECT_EQ(pdu.common.plen, 152u);
}

// What one end writes the other accepts, whatever was negotiated.
TEST_F(Encoder, AcceptedByTheOtherEnd) {
  for (int digests = 0; digests < 4; ++digests) {
    for (uint8_t alignment = 0; alignment <= kMaxPduDataAlignment; ++alignment) {
      const bool header_digest = (digests & 1) != 0, data_digest = (digests & 2) != 0;
      const SendRules send{.header_digest = header_digest, .data_digest = data_digest, .data_alignment = alignment};
      const auto expect = [&](size_t size, const ReceiveRules& rules, uint32_t data_size) {
        const auto layout = check_common_header(load<PduCommonHeader>(buffer_), rules);
        ASSERT_TRUE(layout) << "alignment " << int{alignment} << ", digests " << digests;
        EXPECT_EQ(layout->data_offset, size);
        EXPECT_EQ(layout->data_size, data_size);
        EXPECT_LE(size, kMaxHeaderSize);
      };
      const auto to_controller = controller(header_digest, data_digest, alignment);
      const auto to_host = host(header_digest, data_digest, alignment);
      expect(encode_capsule_cmd(buffer_, {}, 0, send), to_controller, 0);
      expect(encode_capsule_cmd(buffer_, {}, 1024, send), to_controller, 1024);
      expect(encode_h2c_data(buffer_, {.size = 512}, send), to_controller, 512);
      expect(encode_c2h_data(buffer_, {.size = 512, .last = true}, send), to_host, 512);
      expect(encode_capsule_resp(buffer_, {}, send), to_host, 0);
      expect(encode_r2t(buffer_, 1, 2, 0, 512, send), to_host, 0);
    }
  }
}

TEST(Names, OfTypesAndErrors) {
  EXPECT_EQ(pdu_type_name(PduType::kR2t), "R2T");
  EXPECT_EQ(pdu_type_name(static_cast<PduType>(8)), "Unknown");
  EXPECT_EQ(fatal_error_name(5, PduReceiver::kController), "Data Transfer Limit Exceeded");
  EXPECT_EQ(fatal_error_name(5, PduReceiver::kHost), "R2T Limit Exceeded");
  EXPECT_EQ(fatal_error_name(7, PduReceiver::kHost), "Reserved");
}

}  // namespace
}  // namespace cairn::nvme
