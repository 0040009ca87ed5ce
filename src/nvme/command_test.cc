#include "nvme/command.h"

#include <gtest/gtest.h>

#include <array>

#include "nvme/admin_command.h"
#include "nvme/async_event.h"
#include "nvme/fabrics.h"
#include "nvme/nvm_command.h"
#include "nvme/reservation.h"

namespace cairn::nvme {
namespace {

template <size_t N>
std::array<std::byte, N> image(const uint8_t (&bytes)[N]) {
  std::array<std::byte, N> out;
  std::memcpy(out.data(), bytes, N);
  return out;
}

template <typename T>
void expect_bytes(const T& value, std::span<const std::byte> expected) {
  const auto bytes = bytes_of(value);
  ASSERT_EQ(bytes.size(), expected.size());
  for (size_t i = 0; i < bytes.size(); ++i) EXPECT_EQ(bytes[i], expected[i]) << "byte " << i;
}

// Write of 16 blocks at LBA 1_0000_0002h, FUA, first of a fused pair, data in the capsule.
constexpr uint8_t kWriteImage[64] = {
    0x01, 0x41, 0x34, 0x12, 0x07, 0x00, 0x00, 0x00,  // opcode, FUSE 1 and PSDT 1, CID, NSID
    0,    0,    0,    0,    0,    0,    0,    0,     //
    0,    0,    0,    0,    0,    0,    0,    0,     // MPTR
    0,    0,    0,    0,    0,    0,    0,    0,     // SGL address (offset)
    0x00, 0x20, 0,    0,    0,    0,    0,    0x01,  // length 8192, type 0 subtype 1
    0x02, 0,    0,    0,    0x01, 0,    0,    0,     // SLBA
    0x0f, 0x00, 0x00, 0x40, 0,    0,    0,    0,     // NLB 15, FUA bit 30
    0,    0,    0,    0,    0,    0,    0,    0,
};

TEST(Command, WriteImageIsReadAndWritten) {
  const auto sqe = load<Sqe>(image(kWriteImage));
  EXPECT_EQ(sqe.nvm_opcode(), NvmOpcode::kWrite);
  EXPECT_EQ(sqe.fuse(), Fuse::kFirst);
  EXPECT_EQ(sqe.psdt(), Psdt::kSglMptrAddress);
  EXPECT_EQ(sqe.cid, 0x1234);
  EXPECT_EQ(sqe.nsid, 7u);
  EXPECT_TRUE(sqe.sgl.is(SglType::kDataBlock, SglSubtype::kOffset));
  EXPECT_EQ(sqe.sgl.length, 8192u);
  EXPECT_EQ(BlockRange::decode(sqe).slba, 0x100000002u);
  EXPECT_EQ(BlockRange::decode(sqe).num_blocks, 16u);
  EXPECT_TRUE(BlockFlags::decode(sqe).force_unit_access);
  EXPECT_FALSE(BlockFlags::decode(sqe).limited_retry);

  Sqe made{.opcode = static_cast<uint8_t>(NvmOpcode::kWrite),
           .cid = 0x1234,
           .nsid = 7,
           .sgl = SglDescriptor::in_capsule(0, 8192)};
  made.set_flags(Fuse::kFirst, Psdt::kSglMptrAddress);
  BlockFlags{.force_unit_access = true}.encode(made);
  BlockRange{.slba = 0x100000002, .num_blocks = 16}.encode(made);
  expect_bytes(made, image(kWriteImage));
}

TEST(Command, CompletionImage) {
  constexpr uint8_t kImage[16] = {0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0, 0x05, 0x00, 0x00, 0x00, 0xcd, 0xab, 0x04, 0x80};
  Cqe cqe{.dw0 = 0x12345678, .sqhd = 5, .cid = 0xabcd};
  cqe.set_status(Status::generic(GenericStatus::kInvalidField, Dnr::kYes));
  expect_bytes(cqe, image(kImage));
  EXPECT_EQ(load<Cqe>(image(kImage)).status(), Status::generic(GenericStatus::kInvalidField, Dnr::kYes));
  cqe.set_value64(0x1122334455667788);
  EXPECT_EQ(cqe.dw0, 0x55667788u);
  EXPECT_EQ(cqe.value64(), 0x1122334455667788u);
}

TEST(Command, DirectionsOfOpcodes) {
  EXPECT_EQ(data_direction(static_cast<uint8_t>(NvmOpcode::kFlush)), DataDirection::kNone);
  EXPECT_EQ(data_direction(static_cast<uint8_t>(NvmOpcode::kWrite)), DataDirection::kHostToController);
  EXPECT_EQ(data_direction(static_cast<uint8_t>(NvmOpcode::kRead)), DataDirection::kControllerToHost);
  EXPECT_EQ(data_direction(static_cast<uint8_t>(NvmOpcode::kWriteZeroes)), DataDirection::kNone);
  EXPECT_EQ(data_direction(static_cast<uint8_t>(NvmOpcode::kCopy)), DataDirection::kHostToController);
  EXPECT_EQ(data_direction(FabricsType::kConnect), DataDirection::kHostToController);
  EXPECT_EQ(data_direction(FabricsType::kPropertyGet), DataDirection::kNone);
  EXPECT_EQ(data_direction(FabricsType::kPropertySet), DataDirection::kNone);
  EXPECT_EQ(data_direction(FabricsType::kAuthenticationReceive), DataDirection::kControllerToHost);
}

TEST(Command, Names) {
  EXPECT_EQ(nvm_opcode_name(0x11), "Reservation Acquire");
  EXPECT_EQ(admin_opcode_name(0x0c), "Asynchronous Event Request");
  EXPECT_EQ(admin_opcode_name(0xc1), "Unknown");
  EXPECT_EQ(nvm_opcode_name(0x03), "Unknown");
}

TEST(Sgl, Descriptors) {
  expect_bytes(SglDescriptor::transport(0x11223344),
               image({0, 0, 0, 0, 0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0, 0, 0, 0x5a}));
  const auto keyed = SglDescriptor::keyed(0x1000, 0x020304, 0xaabbccdd);
  expect_bytes(keyed, image({0, 0x10, 0, 0, 0, 0, 0, 0, 0x04, 0x03, 0x02, 0xdd, 0xcc, 0xbb, 0xaa, 0x40}));
  EXPECT_EQ(keyed.keyed_length(), 0x020304u);
  EXPECT_EQ(keyed.key(), 0xaabbccddu);
}

TEST(NvmCommand, BlockFieldsAtTheirLimits) {
  Sqe sqe;
  BlockRange{.slba = ~uint64_t{0}, .num_blocks = 65536}.encode(sqe);
  EXPECT_EQ(sqe.cdw12, 0xffffu);
  EXPECT_EQ(BlockRange::decode(sqe).num_blocks, 65536u);
  EXPECT_EQ(BlockRange::decode(sqe).slba, ~uint64_t{0});

  BlockFlags{.deallocate = true}.encode(sqe);
  EXPECT_EQ(sqe.cdw12, 0x0200ffffu) << "DEAC is bit 25 and the range is kept";
  sqe.cdw12 = 0x80000000;
  EXPECT_TRUE(BlockFlags::decode(sqe).limited_retry);
  sqe.cdw12 = 0x3c000000;
  EXPECT_EQ(BlockFlags::decode(sqe).prinfo, 0xf);
  sqe.cdw12 = 0x01100000;
  EXPECT_TRUE(BlockFlags::decode(sqe).storage_tag_check);
  EXPECT_EQ(BlockFlags::decode(sqe).directive_type, 1);
}

TEST(NvmCommand, DatasetManagement) {
  Sqe sqe;
  DatasetManagement{.num_ranges = 256, .deallocate = true}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 255u);
  EXPECT_EQ(sqe.cdw11, 4u);
  EXPECT_EQ(DatasetManagement::decode(sqe).num_ranges, 256u);
  sqe.cdw11 = 3;
  EXPECT_FALSE(DatasetManagement::decode(sqe).deallocate);
  EXPECT_TRUE(DatasetManagement::decode(sqe).integral_read);
  EXPECT_TRUE(DatasetManagement::decode(sqe).integral_write);
  expect_bytes(DatasetRange{.context_attributes = 0, .num_blocks = 8, .slba = 0x0102030405060708},
               image({0, 0, 0, 0, 8, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1}));
}

TEST(NvmCommand, Copy) {
  const Copy copy{.destination = 0x500000001,
                  .num_ranges = 3,
                  .format = 1,
                  .prinfo_read = 2,
                  .prinfo_write = 4,
                  .force_unit_access = true};
  Sqe sqe;
  copy.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 1u);
  EXPECT_EQ(sqe.cdw11, 5u);
  EXPECT_EQ(sqe.cdw12, 0x50002102u);  // FUA 30, PRINFOW 29:26, PRINFOR 15:12, format 11:8, NR 7:0
  const auto back = Copy::decode(sqe);
  EXPECT_EQ(back.destination, copy.destination);
  EXPECT_EQ(back.num_ranges, 3u);
  EXPECT_EQ(back.format, 1);
  EXPECT_EQ(back.prinfo_read, 2);
  EXPECT_EQ(back.prinfo_write, 4);
  EXPECT_TRUE(back.force_unit_access);
  EXPECT_EQ(CopyRange{.nlb = 0xffff}.num_blocks(), 65536u);
}

TEST(AdminCommand, GetLogPage) {
  const GetLogPage get{.lid = 0x0c,
                       .lsp = 1,
                       .retain_event = true,
                       .num_dwords = 0x20001,
                       .lsi = 9,
                       .offset = 0x100000004,
                       .uuid_index = 3,
                       .csi = 2};
  Sqe sqe;
  get.encode(sqe);
  EXPECT_EQ(sqe.opcode, 0x02);
  EXPECT_EQ(sqe.cdw10, 0x0000810cu);
  EXPECT_EQ(sqe.cdw11, 0x00090002u);
  EXPECT_EQ(sqe.cdw12, 4u);
  EXPECT_EQ(sqe.cdw13, 1u);
  EXPECT_EQ(sqe.cdw14, 0x02000003u);
  const auto back = GetLogPage::decode(sqe);
  EXPECT_EQ(back.size_bytes(), 0x80004u);
  EXPECT_EQ(back.offset, get.offset);
  EXPECT_EQ(back.lid, 0x0c);
  EXPECT_EQ(back.lsp, 1);
  EXPECT_EQ(back.lsi, 9);
  EXPECT_TRUE(back.retain_event);

  sqe.cdw10 = 0xffff0001;
  sqe.cdw11 = 0x0000ffff;
  EXPECT_EQ(GetLogPage::decode(sqe).num_dwords, 0xffffffffu) << "does not wrap to 0";
}

TEST(AdminCommand, IdentifyFeaturesAbort) {
  Sqe sqe;
  Identify{.cns = 0x06, .cntid = 5, .csi = 2, .uuid_index = 1}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 0x00050006u);
  EXPECT_EQ(sqe.cdw11, 0x02000000u);
  EXPECT_EQ(Identify::decode(sqe).csi, 2);
  EXPECT_EQ(Identify::decode(sqe).cntid, 5);

  SetFeatures{.fid = 0x0b, .save = true, .cdw11 = 0x100}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 0x8000000bu);
  EXPECT_TRUE(SetFeatures::decode(sqe).save);
  GetFeatures{.fid = 0x07, .select = FeatureSelect::kSupportedCapabilities}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 0x307u);
  EXPECT_EQ(GetFeatures::decode(sqe).select, FeatureSelect::kSupportedCapabilities);

  Abort{.sqid = 2, .cid = 0xbeef}.encode(sqe);
  EXPECT_EQ(sqe.opcode, 0x08);
  EXPECT_EQ(sqe.cdw10, 0xbeef0002u);
  EXPECT_EQ(Abort::decode(sqe).cid, 0xbeef);
}

TEST(Fabrics, ConnectImage) {
  Sqe sqe{.cid = 1, .sgl = SglDescriptor::in_capsule(0, 1024)};
  sqe.set_flags(Fuse::kNormal, Psdt::kSglMptrAddress);
  Connect{.qid = 2, .sqsize = 127, .attributes = Connect::kDisableSqFlowControl, .keep_alive_timeout_ms = 5000}.encode(
      sqe);
  constexpr uint8_t kImage[64] = {
      0x7f, 0x40, 1, 0, 0x01, 0, 0, 0,     //
      0,    0,    0, 0, 0,    0, 0, 0,     //
      0,    0,    0, 0, 0,    0, 0, 0,     //
      0,    0,    0, 0, 0,    0, 0, 0,     //
      0x00, 0x04, 0, 0, 0,    0, 0, 0x01,  //
      0,    0,    2, 0, 0x7f, 0, 4, 0,     // RECFMT, QID, SQSIZE, CATTR
      0x88, 0x13, 0, 0, 0,    0, 0, 0,     // KATO
      0,    0,    0, 0, 0,    0, 0, 0,
  };
  expect_bytes(sqe, image(kImage));
  EXPECT_TRUE(sqe.is_fabrics());
  EXPECT_EQ(fabrics_type(sqe), FabricsType::kConnect);
  const auto connect = Connect::decode(load<Sqe>(image(kImage)));
  EXPECT_EQ(connect.qid, 2);
  EXPECT_EQ(connect.sqsize, 127);
  EXPECT_EQ(connect.attributes, 4);
  EXPECT_EQ(connect.keep_alive_timeout_ms, 5000u);
}

TEST(Fabrics, ConnectResults) {
  EXPECT_EQ((ConnectRefusal{.offset = 256, .in_data = true}.encode()), 0x00010100u);
  EXPECT_EQ(ConnectRefusal::decode(0x0001002c).offset, Connect::kSqsizeOffset);
  EXPECT_EQ((ConnectAccept{.cntlid = 7, .authentication_required = true}.encode()), 0x00020007u);
  EXPECT_TRUE(ConnectAccept::decode(0x00040007).secure_channel_required);
}

TEST(Fabrics, Properties) {
  Sqe sqe;
  PropertySet{.offset = 0x14, .value = 0x460001}.encode(sqe);
  EXPECT_EQ(fabrics_type(sqe), FabricsType::kPropertySet);
  EXPECT_EQ(sqe.cdw10, 0u);
  EXPECT_EQ(sqe.cdw11, 0x14u);
  EXPECT_EQ(sqe.cdw12, 0x460001u);
  sqe.cdw13 = 5;
  EXPECT_EQ(PropertySet::decode(sqe).value, 0x460001u) << "the upper half does not count when four bytes are set";
  sqe.cdw10 = 1;
  EXPECT_EQ(PropertySet::decode(sqe).value, 0x500460001u);
  sqe.cdw10 = 2;
  EXPECT_TRUE(PropertySet::decode(sqe).size_is_reserved);
  EXPECT_TRUE(PropertyGet::decode(sqe).size_is_reserved);
  PropertyGet{.eight_bytes = true, .offset = 0}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 1u);
  EXPECT_EQ(sqe.nsid, 4u);
}

TEST(Fabrics, Authentication) {
  const Sqe sqe{.cdw10 = 0xe9010100, .cdw11 = 512};
  EXPECT_EQ(Authentication::decode(sqe).security_protocol, Authentication::kNvmeProtocol);
  EXPECT_EQ(Authentication::decode(sqe).spsp0, 1);
  EXPECT_EQ(Authentication::decode(sqe).length, 512u);
}

TEST(Reservation, Commands) {
  Sqe sqe;
  ReservationRegister{.action = RegisterAction::kReplace, .ignore_existing_key = true, .change_ptpl = ChangePtpl::kSet}
      .encode(sqe);
  EXPECT_EQ(sqe.opcode, 0x0d);
  EXPECT_EQ(sqe.cdw10, 0xc000000au);
  EXPECT_EQ(ReservationRegister::decode(sqe).change_ptpl, ChangePtpl::kSet);
  ReservationAcquire{.action = AcquireAction::kPreempt, .type = ReservationType::kExclusiveAccessAllRegistrants}.encode(
      sqe);
  EXPECT_EQ(sqe.opcode, 0x11);
  EXPECT_EQ(sqe.cdw10, 0x601u);
  EXPECT_EQ(ReservationAcquire::decode(sqe).type, ReservationType::kExclusiveAccessAllRegistrants);
  ReservationRelease{.action = ReleaseAction::kClear, .type = ReservationType::kWriteExclusive}.encode(sqe);
  EXPECT_EQ(sqe.opcode, 0x15);
  EXPECT_EQ(sqe.cdw10, 0x101u);
  EXPECT_EQ(ReservationRelease::decode(sqe).action, ReleaseAction::kClear);
  ReservationReport{.size_bytes = 4096, .extended = true}.encode(sqe);
  EXPECT_EQ(sqe.cdw10, 1023u);
  EXPECT_EQ(ReservationReport::decode(sqe).size_bytes, 4096u);
  EXPECT_TRUE(ReservationReport::decode(sqe).extended);
  sqe.cdw10 = 0xffffffff;
  EXPECT_EQ(ReservationReport::decode(sqe).size_bytes, uint64_t{4} << 32);
}

TEST(Reservation, StatusImages) {
  const ReservationStatusHeader header{
      .gen = 3, .rtype = ReservationType::kWriteExclusive, .num_registrants = 0x0102, .ptpls = 1};
  expect_bytes(header, image({3, 0, 0, 0, 1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}));
  const Registrant registrant{.cntlid = 0xffff, .rcsts = kRegistrantHoldsReservation, .hostid = 0x11, .rkey = 0x22};
  expect_bytes(registrant, image({0xff, 0xff, 1, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(is_valid(ReservationType::kNone));
  EXPECT_FALSE(is_valid(static_cast<ReservationType>(7)));
  EXPECT_TRUE(is_valid(ReservationType::kExclusiveAccess));
}

TEST(AsyncEvent, Encodings) {
  EXPECT_EQ(AsyncEvent::namespace_changed().encode(), 0x00040002u);
  EXPECT_EQ(AsyncEvent::ana_changed().encode(), 0x000c0302u);
  EXPECT_EQ(AsyncEvent::discovery_log_changed().encode(), 0x0070f002u);
  EXPECT_EQ(AsyncEvent::reservation_log_available().encode(), 0x00800006u);
  EXPECT_EQ(AsyncEvent::decode(0x000c0302).log_page, 0x0c);
  EXPECT_EQ(AsyncEvent::decode(0x000c0302).type, AsyncEventType::kNotice);
}

}  // namespace
}  // namespace cairn::nvme
