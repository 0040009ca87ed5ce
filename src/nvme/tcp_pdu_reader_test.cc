#include "nvme/tcp_pdu_reader.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::nvme {
namespace {

const ReceiveRules kRules{
    .receiver = PduReceiver::kController, .initialized = true, .header_digest = true, .data_alignment = 31};

// A command capsule with HDGST, padded to 128 bytes, and its 16 bytes of data (DDh).
std::vector<std::byte> capsule() {
  std::array<std::byte, kMaxHeaderSize> header;
  const size_t size =
      encode_capsule_cmd(header, Sqe{.opcode = 1, .cid = 0x4321}, 16, {.header_digest = true, .data_alignment = 31});
  std::vector<std::byte> out(header.begin(), header.begin() + static_cast<ptrdiff_t>(size));
  out.insert(out.end(), 16, std::byte{0xdd});
  return out;
}

TEST(PduHeaderReader, AnyPieces) {
  const auto stream = capsule();
  for (size_t piece = 1; piece <= stream.size(); ++piece) {
    PduHeaderReader reader;
    size_t at = 0;
    while (!reader.done()) {
      const auto part = std::span(stream).subspan(at, std::min(piece, stream.size() - at));
      EXPECT_GT(reader.wanted(), 0u);
      const auto consumed = reader.feed(part, kRules);
      ASSERT_TRUE(consumed) << "piece " << piece << " at " << at;
      if (!reader.done()) EXPECT_EQ(*consumed, part.size());
      at += *consumed;
    }
    EXPECT_EQ(at, 128u) << "stands at the data";
    EXPECT_EQ(reader.wanted(), 0u);
    EXPECT_EQ(reader.layout().data_size, 16u);
    EXPECT_EQ(reader.header().size(), 72u);
    EXPECT_EQ(reader.as<CapsuleCmd>().sqe.cid, 0x4321);
  }
}

TEST(PduHeaderReader, WantedNeverReachesIntoTheData) {
  const auto stream = capsule();
  PduHeaderReader reader;
  size_t at = 0;
  std::vector<size_t> steps;
  while (!reader.done()) {
    const size_t wanted = reader.wanted();
    steps.push_back(wanted);
    ASSERT_EQ(reader.feed(std::span(stream).subspan(at, wanted), kRules), wanted);
    at += wanted;
  }
  EXPECT_EQ(steps, (std::vector<size_t>{8, 68, 52}));
}

TEST(PduHeaderReader, ConsecutivePdus) {
  auto stream = capsule();
  stream.resize(128);  // the header only
  stream.insert(stream.end(), stream.begin(), stream.begin() + 128);
  PduHeaderReader reader;
  ASSERT_EQ(reader.feed(stream, kRules), 128u);
  ASSERT_TRUE(reader.done());
  EXPECT_EQ(reader.feed(stream, kRules), 0u) << "done takes nothing";
  reader.reset();
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.wanted(), 8u);
  ASSERT_EQ(reader.feed(std::span(stream).subspan(128), kRules), 128u);
  EXPECT_TRUE(reader.done());
}

TEST(PduHeaderReader, HeaderDigestErrorCarriesTheDigestReceived) {
  auto stream = capsule();
  stream[20] ^= std::byte{1};
  const uint32_t received = decode_digest(std::span(stream).subspan(72));
  PduHeaderReader reader;
  const auto result = reader.feed(stream, kRules);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), (TermReqError{FatalErrorStatus::kHeaderDigestError, received}));
  EXPECT_EQ(reader.header().size(), 72u);
  EXPECT_EQ(reader.header()[20], stream[20]);
  EXPECT_FALSE(reader.done());
  EXPECT_EQ(reader.feed(capsule(), kRules), std::unexpected(result.error())) << "stays failed";
  reader.reset();
  EXPECT_TRUE(reader.feed(capsule(), kRules));
}

TEST(PduHeaderReader, BadCommonHeaderIsRefusedAtItsEighthByte) {
  const std::array<std::byte, 8> bad{std::byte{0x04}, std::byte{1}, std::byte{71}, std::byte{0}, std::byte{76}};
  PduHeaderReader reader;
  ASSERT_EQ(reader.feed(std::span(bad).first(7), kRules), 7u);
  const auto result = reader.feed(std::span(bad).last(1), kRules);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error(), (TermReqError{FatalErrorStatus::kInvalidHeaderField, 2}));
  EXPECT_EQ(reader.header().size(), 8u) << "what the termination request quotes";
}

TEST(PduHeaderReader, InitializationHasNoDigest) {
  std::array<std::byte, kMaxHeaderSize> pdu;
  encode_ic_req(pdu, 0, 3, 0);
  PduHeaderReader reader;
  ASSERT_EQ(reader.feed(pdu, ReceiveRules{}), 128u);
  ASSERT_TRUE(reader.done());
  EXPECT_EQ(reader.as<IcReq>().dgst, 3);
  EXPECT_EQ(reader.layout().data_size, 0u);
}

}  // namespace
}  // namespace cairn::nvme
