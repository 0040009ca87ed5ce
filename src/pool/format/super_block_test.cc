#include "pool/format/super_block.h"

#include <gtest/gtest.h>

#include "nvme/wire.h"
#include "pool/format/layout.h"

namespace cairn::pool::format {
namespace {

using Kind = SuperBlockFault::Kind;

constexpr uint64_t kDevice = 100u << 20;

SuperBlock example() {
  return make_super_block(plan_layout({.device_bytes = kDevice}).value());
}

Page encoded(const SuperBlock& super) {
  Page page;
  encode_super_block(super, page.span());
  return page;
}

template <typename T>
void patch(Page& page, size_t offset, T value) {
  nvme::store(std::span(page.bytes).subspan(offset), value);
}

Kind fault_of(Page page, uint64_t device = kDevice) {
  const auto decoded = decode_super_block(page.view(), device);
  EXPECT_FALSE(decoded);
  return decoded.error().kind;
}

// The same with a correct CRC.
Kind sealed_fault_of(Page page, uint64_t device = kDevice) {
  seal(page.span());
  return fault_of(page, device);
}

TEST(SuperBlock, RoundTrip) {
  SuperBlock super = example();
  super.clean = true;
  super.super_blob = blob_id_of(0);
  EXPECT_EQ(decode_super_block(encoded(super).view(), kDevice).value(), super);
  EXPECT_TRUE(super.masks_valid());
}

TEST(SuperBlock, BytesOfEveryField) {
  SuperBlock super = example();
  super.clean = true;
  super.super_blob = 0x100000003;
  const Page page = encoded(super);
  const auto u32 = [&](size_t at) { return nvme::load<uint32_t>(std::span(page.bytes).subspan(at)); };
  const auto u64 = [&](size_t at) { return nvme::load<uint64_t>(std::span(page.bytes).subspan(at)); };
  const auto text = [&](size_t at, size_t size) {
    return std::string(reinterpret_cast<const char*>(page.bytes.data()) + at, size);
  };
  EXPECT_EQ(text(0, 8), "SPDKBLOB");
  EXPECT_EQ(u32(8), 3u);
  EXPECT_EQ(u32(12), 4096u);
  EXPECT_EQ(u32(16), 1u);
  EXPECT_EQ(u64(20), 0x100000003u);
  EXPECT_EQ(u32(28), 4u << 20);
  EXPECT_EQ(u32(32), 1u);
  EXPECT_EQ(u32(36), 1u);
  EXPECT_EQ(u32(40), 2u);
  EXPECT_EQ(u32(44), 1u);
  EXPECT_EQ(u32(48), 4u);
  EXPECT_EQ(u32(52), 25u);
  EXPECT_EQ(text(56, 16), std::string("LVOLSTORE\0\0\0\0\0\0\0", 16));
  EXPECT_EQ(u32(72), 3u);
  EXPECT_EQ(u32(76), 1u);
  EXPECT_EQ(u64(80), kDevice);
  EXPECT_EQ(u32(88), 512u);
  for (size_t i = 92; i < 4092; ++i) ASSERT_EQ(page.bytes[i], std::byte{0});
  EXPECT_TRUE(crc_matches(page.view()));
}

TEST(SuperBlock, OldVersionsGetTheirMeaning) {
  for (const uint32_t version : {1u, 2u}) {
    SuperBlock super = example();
    super.version = version;
    super.clean = true;
    super.used_blobid_mask = {};
    super.size = 0;
    super.io_unit_size = 0;
    const auto decoded = decode_super_block(encoded(super).view(), kDevice + 4096);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(decoded->size, kDevice + 4096);
    EXPECT_EQ(decoded->io_unit_size, 4096u);
    EXPECT_FALSE(decoded->masks_valid());
  }
}

TEST(SuperBlock, KeepsReservedBytes) {
  Page page = encoded(example());
  page.bytes[4000] = std::byte{0x5a};
  encode_super_block(example(), page.span());
  EXPECT_EQ(page.bytes[4000], std::byte{0x5a});
  EXPECT_TRUE(decode_super_block(page.view(), kDevice));
}

TEST(SuperBlock, SaysWhatIsWrong) {
  EXPECT_EQ(fault_of(Page{}), Kind::kNoSignature);
  Page page = encoded(example());
  page.bytes[0] = std::byte{'s'};
  EXPECT_EQ(sealed_fault_of(page), Kind::kNoSignature);

  page = encoded(example());
  patch<uint32_t>(page, 8, 4);
  EXPECT_EQ(fault_of(page), Kind::kVersion);
  patch<uint32_t>(page, 8, 0);
  EXPECT_EQ(fault_of(page), Kind::kVersion);

  page = encoded(example());
  page.bytes[3000] = std::byte{1};
  EXPECT_EQ(fault_of(page), Kind::kChecksum);

  page = encoded(example());
  page.bytes[56] = std::byte{'X'};
  EXPECT_EQ(sealed_fault_of(page), Kind::kForeignType);

  EXPECT_EQ(fault_of(encoded(example()), kDevice - 1), Kind::kShrunkDevice);
  EXPECT_TRUE(decode_super_block(encoded(example()).view(), kDevice + 1));
}

TEST(SuperBlock, RefusesNumbersThatDoNotFit) {
  struct Case {
    size_t offset;
    uint32_t value;
  };
  const Case cases[] = {
      {12, 512},       // length
      {28, 0},         // cluster_size
      {28, 4097},      //
      {28, 1u << 30},  // larger than the device
      {32, 0},         // used_page_mask over the super block
      {32, 4},         // ... over the metadata
      {36, 0},         // ... without a page
      {40, 1},         // masks overlap
      {44, 0},         //
      {48, 3},         // md_start inside the masks
      {52, 0},         // md_len
      {52, 32728},     // metadata larger than the device
      {72, 2},         // masks overlap
      {76, 2},         // used_blobid_mask reaches into the metadata
      {88, 520},       // io_unit_size
      {88, 8192},      //
      {92, 8192},      // page size of a newer writer
      {24, 2},         // super_blob: not a blob id
      {20, 25},        // ... outside the metadata (with the next case's upper half)
  };
  for (const Case& c : cases) {
    SuperBlock super = example();
    super.super_blob = blob_id_of(0);
    Page page = encoded(super);
    patch(page, c.offset, c.value);
    const Kind kind = sealed_fault_of(page);
    EXPECT_EQ(kind, c.offset == 92 ? Kind::kVersion : Kind::kLayout) << "offset " << c.offset << " value " << c.value;
  }
}

TEST(SuperBlock, ErrorsKeepDamageApartFromAbsence) {
  EXPECT_EQ((SuperBlockFault{Kind::kNoSignature, ""}).to_error().code(), Code::kNotFound);
  for (const Kind kind : {Kind::kChecksum, Kind::kShrunkDevice, Kind::kLayout}) {
    EXPECT_EQ((SuperBlockFault{kind, ""}).to_error().code(), Code::kDataLoss);
  }
  for (const Kind kind : {Kind::kVersion, Kind::kForeignType}) {
    EXPECT_EQ((SuperBlockFault{kind, ""}).to_error().code(), Code::kFailedPrecondition);
  }
}

}  // namespace
}  // namespace cairn::pool::format
