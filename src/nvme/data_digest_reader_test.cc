#include "nvme/data_digest_reader.h"

#include <gtest/gtest.h>

#include <vector>

namespace cairn::nvme {
namespace {

// Data with its digest (iSCSI, RFC 7143, appendix A.4: 32 bytes of ones), and two bytes of what follows.
std::vector<std::byte> ones() {
  std::vector<std::byte> stream(32, std::byte{0xff});
  for (const unsigned byte : {0x43, 0xab, 0xa8, 0x62, 0xee, 0xee}) stream.push_back(std::byte(byte));
  return stream;
}

TEST(DataDigestReader, AnyPieces) {
  const auto stream = ones();
  DataDigestReader reader;
  for (size_t piece = 1; piece <= 32; ++piece) {
    reader.reset();
    for (size_t at = 0; at < 32; at += piece) {
      reader.add_data(std::span(stream).subspan(at, std::min(piece, 32 - at)));
    }
    size_t at = 32;
    while (!reader.done()) {
      ASSERT_LT(at, 36u);
      const auto part = std::span(stream).subspan(at, std::min(piece, stream.size() - at));
      const size_t consumed = reader.feed(part);
      if (!reader.done()) EXPECT_EQ(consumed, part.size());
      at += consumed;
    }
    EXPECT_EQ(at, 36u) << "stands at the next header";
    EXPECT_EQ(reader.feed(std::span(stream).subspan(at)), 0u) << "done takes nothing";
    EXPECT_TRUE(reader.matches()) << "piece " << piece;
  }
}

TEST(DataDigestReader, OneBitIsWrong) {
  for (size_t bit = 0; bit < 36 * 8; ++bit) {
    auto stream = ones();
    stream[bit / 8] ^= std::byte{1} << bit % 8;
    DataDigestReader reader;
    reader.add_data(std::span(stream).first(32));
    ASSERT_EQ(reader.feed(std::span(stream).subspan(32)), 4u);
    EXPECT_FALSE(reader.matches()) << "bit " << bit;
  }
}

TEST(DataDigestReader, ResetForgetsDataAndDigest) {
  const auto stream = ones();
  DataDigestReader reader;
  reader.add_data(std::span(stream).first(7));
  reader.feed(std::span(stream).first(3));
  reader.reset();
  EXPECT_FALSE(reader.done());
  reader.add_data(std::span(stream).first(32));
  ASSERT_EQ(reader.feed(std::span(stream).subspan(32)), 4u);
  EXPECT_TRUE(reader.matches());
}

}  // namespace
}  // namespace cairn::nvme
