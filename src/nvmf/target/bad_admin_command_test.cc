// Admin and fabrics commands that are wrong, one after the other on one queue: what each gets, and that the queue works
// on. Prints the rows of "Bad input: admin and fabrics commands" in docs/testing.md.
#include "nvme/discovery.h"
#include "nvmf/target/target_test.h"

namespace cairn::nvmf::target {
namespace {

using nvme::Abort;
using nvme::CommandStatus;
using nvme::Dnr;
using nvme::FeatureSelect;
using nvme::GenericStatus;
using nvme::GetFeatures;
using nvme::GetLogPage;
using nvme::Identify;
using nvme::PropertyGet;
using nvme::PropertySet;
using nvme::SetFeatures;

const Status kInvalidOpcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
const Status kSglLength = Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes);
const Status kSglType = Status::generic(GenericStatus::kSglDescriptorTypeInvalid, Dnr::kYes);
const Status kInvalidLogPage = Status::command(CommandStatus::kInvalidLogPage, Dnr::kYes);

struct Row {
  std::string what;
  Sqe command;
  Status status;
  Bytes data = {};
};

template <typename Fields>
Sqe sqe(const Fields& fields, uint32_t size = 0, uint32_t nsid = 0) {
  return with_data(encoded(fields, nsid), size);
}

Sqe changed(Sqe command, void (*change)(Sqe&)) {
  change(command);
  return command;
}

Sqe opcode(uint8_t code) {
  Sqe command;
  command.opcode = code;
  return with_data(command);
}

Sqe fabrics(uint8_t type) {
  Sqe command;
  command.opcode = nvme::kFabricsOpcode;
  command.nsid = type;
  return with_data(command);
}

uint8_t sgl_identifier(nvme::SglType type, nvme::SglSubtype subtype) {
  return nvme::SglDescriptor::make_identifier(type, subtype);
}

std::vector<Row> rows(const Options& options) {
  const Sqe identify = sqe(Identify{.cns = 1}, 4096);
  const uint32_t too_many_dwords = options.max_io_size / 4 + 1;
  const auto fid = [](nvme::FeatureId id) { return static_cast<uint8_t>(id); };
  using enum nvme::FeatureId;
  nvme::HostBehavior behavior;
  behavior.acre = 2;
  std::vector<Row> all = {
      {"opcode 00h (Delete I/O Submission Queue)", opcode(0x00), kInvalidOpcode},
      {"opcode 0Dh (Namespace Management)", opcode(0x0d), kInvalidOpcode},
      {"opcode 10h (Firmware Commit)", opcode(0x10), kInvalidOpcode},
      {"opcode 80h (Format NVM)", opcode(0x80), kInvalidOpcode},
      {"opcode 84h (Sanitize)", opcode(0x84), kInvalidOpcode},
      {"vendor opcode C0h", opcode(0xc0), kInvalidOpcode},
      {"opcode FFh", opcode(0xff), kInvalidOpcode},
      {"PSDT 00b (PRP)", changed(identify, [](Sqe& c) { c.flags = 0; }), invalid_field()},
      {"PSDT 10b (metadata in an SGL)", changed(identify, [](Sqe& c) { c.flags = 0x80; }), invalid_field()},
      {"PSDT 11b", changed(identify, [](Sqe& c) { c.flags = 0xc0; }), invalid_field()},
      {"FUSE first", changed(identify, [](Sqe& c) { c.flags |= 1; }), invalid_field()},
      {"FUSE second", changed(identify, [](Sqe& c) { c.flags |= 2; }), invalid_field()},
      {"Identify, SGL of 4095 bytes", changed(identify, [](Sqe& c) { c.sgl.length = 4095; }), kSglLength},
      {"Identify, SGL of length 0", changed(identify, [](Sqe& c) { c.sgl.length = 0; }), kSglLength},
      {"Identify into the capsule", changed(identify, [](Sqe& c) { c.sgl = nvme::SglDescriptor::in_capsule(0, 4096); }),
       kSglType},
      {"Identify, SGL segment",
       changed(
           identify,
           [](Sqe& c) { c.sgl.identifier = sgl_identifier(nvme::SglType::kLastSegment, nvme::SglSubtype::kAddress); }),
       kSglType},
      {"Identify, keyed SGL", changed(identify, [](Sqe& c) { c.sgl = nvme::SglDescriptor::keyed(0, 4096, 1); }),
       kSglType},
      {"Identify, CNS 04h (NVM sets)", sqe(Identify{.cns = 0x04}, 4096), invalid_field()},
      {"Identify, CNS 10h (allocated namespaces)", sqe(Identify{.cns = 0x10}, 4096), invalid_field()},
      {"Identify, CNS 13h (controllers)", sqe(Identify{.cns = 0x13}, 4096), invalid_field()},
      {"Identify, CNS 16h (namespace granularity)", sqe(Identify{.cns = 0x16}, 4096), invalid_field()},
      {"Identify, CNS FFh", sqe(Identify{.cns = 0xff}, 4096), invalid_field()},
      {"Identify Namespace of NSID 0", sqe(Identify{.cns = 0}, 4096, 0), invalid_namespace()},
      {"Identify Namespace of NSID 2", sqe(Identify{.cns = 0}, 4096, 2), invalid_namespace()},
      {"Identify Namespace of NSID FFFFFFFFh", sqe(Identify{.cns = 0}, 4096, 0xffffffff), invalid_namespace()},
      {"Identify, active namespaces after FFFFFFFEh", sqe(Identify{.cns = 2}, 4096, 0xfffffffe), invalid_namespace()},
      {"Identify, descriptors of NSID 2", sqe(Identify{.cns = 3}, 4096, 2), invalid_namespace()},
      {"Identify, CNS 05h of the zoned command set", sqe(Identify{.cns = 5, .csi = 2}, 4096, 1), invalid_field()},
      {"Identify, CNS 06h of the key value command set", sqe(Identify{.cns = 6, .csi = 1}, 4096), invalid_field()},
      {"Identify, CNS 1Ch of another controller", sqe(Identify{.cns = 0x1c, .cntid = 99}, 4096), invalid_field()},
      {"Get Log Page 06h (self-test)", sqe(GetLogPage{.lid = 0x06, .num_dwords = 1}, 4), kInvalidLogPage},
      {"Get Log Page 0Ch (ANA), not reported", sqe(GetLogPage{.lid = 0x0c, .num_dwords = 1}, 4), kInvalidLogPage},
      {"Get Log Page 70h (discovery) of an I/O controller", sqe(GetLogPage{.lid = 0x70, .num_dwords = 1}, 4),
       kInvalidLogPage},
      {"Get Log Page FFh", sqe(GetLogPage{.lid = 0xff, .num_dwords = 1}, 4), kInvalidLogPage},
      {"Get Log Page, offset 2", sqe(GetLogPage{.lid = 1, .num_dwords = 1, .offset = 2}, 4), invalid_field()},
      {"Get Log Page, offset behind the end", sqe(GetLogPage{.lid = 2, .num_dwords = 1, .offset = 516}, 4),
       invalid_field()},
      {"Get Log Page, offset 2^64 - 4", sqe(GetLogPage{.lid = 2, .num_dwords = 1, .offset = ~uint64_t{3}}, 4),
       invalid_field()},
      {"Get Log Page by index", sqe(GetLogPage{.lid = 2, .num_dwords = 1, .index_offset = true}, 4), invalid_field()},
      {"Get Log Page, more dwords than the SGL has", sqe(GetLogPage{.lid = 2, .num_dwords = 2}, 4), kSglLength},
      {"Get Log Page of more than MDTS", sqe(GetLogPage{.lid = 2, .num_dwords = too_many_dwords}, too_many_dwords * 4),
       invalid_field()},
      {"Get Log Page, NUMD FFFFFFFFh", sqe(GetLogPage{.lid = 2, .num_dwords = 0xffffffff}, 0xfffffffc),
       invalid_field()},
      {"Get Log Page 02h of NSID 2", sqe(GetLogPage{.lid = 2, .num_dwords = 128}, 512, 2), invalid_namespace()},
      {"Get Log Page 05h of the zoned command set", sqe(GetLogPage{.lid = 5, .num_dwords = 1, .csi = 2}, 4),
       invalid_field()},
      {"Get Features 00h", sqe(GetFeatures{.fid = 0}), invalid_field()},
      {"Get Features 0Eh (timestamp)", sqe(GetFeatures{.fid = 0x0e}), invalid_field()},
      {"Get Features, SEL 4", sqe(GetFeatures{.fid = 1, .select = static_cast<FeatureSelect>(4)}), invalid_field()},
      {"Get Features 04h of sensor 1", sqe(GetFeatures{.fid = fid(kTemperatureThreshold), .cdw11 = 1u << 16}),
       invalid_field()},
      {"Get Features 81h with EXHID 0", sqe(GetFeatures{.fid = fid(kHostIdentifier)}, 8), invalid_field()},
      {"Get Features 81h, SGL of 8 bytes", sqe(GetFeatures{.fid = fid(kHostIdentifier), .cdw11 = 1}, 8), kSglLength},
      {"Get Features 82h of NSID FFFFFFFFh", sqe(GetFeatures{.fid = fid(kReservationNotificationMask)}, 0, 0xffffffff),
       invalid_field()},
      {"Get Features 82h of NSID 2", sqe(GetFeatures{.fid = fid(kReservationNotificationMask)}, 0, 2),
       invalid_namespace()},
      {"Get Features 83h without a ptpl file", sqe(GetFeatures{.fid = fid(kReservationPersistence)}, 0, 1),
       invalid_field()},
      {"Set Features 0Eh (timestamp)", sqe(SetFeatures{.fid = 0x0e}), invalid_field()},
      {"Set Features with SV", sqe(SetFeatures{.fid = 1, .save = true}),
       Status::command(CommandStatus::kFeatureNotSaveable, Dnr::kYes)},
      {"Set Features 01h of NSID 1", sqe(SetFeatures{.fid = 1}, 0, 1),
       Status::command(CommandStatus::kFeatureNotNamespaceSpecific, Dnr::kYes)},
      {"Set Features 02h, power state 1", sqe(SetFeatures{.fid = fid(kPowerManagement), .cdw11 = 1}), invalid_field()},
      {"Set Features 04h, THSEL 2", sqe(SetFeatures{.fid = fid(kTemperatureThreshold), .cdw11 = 2u << 20}),
       invalid_field()},
      {"Set Features 05h with DULBE", sqe(SetFeatures{.fid = fid(kErrorRecovery), .cdw11 = 1u << 16}), invalid_field()},
      {"Set Features 07h, FFFFh queues", sqe(SetFeatures{.fid = fid(kNumberOfQueues), .cdw11 = 0xffff}),
       invalid_field()},
      {"Set Features 08h", sqe(SetFeatures{.fid = fid(kInterruptCoalescing)}),
       Status::command(CommandStatus::kFeatureNotChangeable, Dnr::kYes)},
      {"Set Features 0Fh, KATO 0", sqe(SetFeatures{.fid = fid(kKeepAliveTimer)}),
       Status::generic(GenericStatus::kKeepAliveTimeoutInvalid, Dnr::kYes)},
      {"Set Features 16h, ACRE 2", sqe(SetFeatures{.fid = fid(kHostBehaviorSupport)}, 512), invalid_field(),
       bytes_from(behavior)},
      {"Set Features 16h, SGL of 511 bytes", sqe(SetFeatures{.fid = fid(kHostBehaviorSupport)}, 511), kSglLength,
       Bytes(511)},
      {"Set Features 19h, combination 1", sqe(SetFeatures{.fid = fid(kIoCommandSetProfile), .cdw11 = 1}),
       Status::command(CommandStatus::kIoCommandSetCombinationRejected, Dnr::kYes)},
      {"Set Features 81h (host identifier)", sqe(SetFeatures{.fid = fid(kHostIdentifier), .cdw11 = 1}),
       sequence_error()},
      {"Set Features 83h without a ptpl file", sqe(SetFeatures{.fid = fid(kReservationPersistence), .cdw11 = 1}, 0, 1),
       invalid_field()},
      {"fabrics type 05h (Authentication Send)", fabrics(0x05), kInvalidOpcode},
      {"fabrics type 08h (Disconnect)", fabrics(0x08), kInvalidOpcode},
      {"fabrics type 02h", fabrics(0x02), kInvalidOpcode},
      {"vendor fabrics type C0h", fabrics(0xc0), kInvalidOpcode},
      {"Connect on a connected queue", fabrics(0x01), sequence_error()},
      {"Property Get of CAP, 4 bytes", sqe(PropertyGet{.offset = 0x00}), invalid_field()},
      {"Property Get of CSTS, 8 bytes", sqe(PropertyGet{.eight_bytes = true, .offset = 0x1c}), invalid_field()},
      {"Property Get, size 2", changed(sqe(PropertyGet{.offset = 0x1c}), [](Sqe& c) { c.cdw10 = 2; }), invalid_field()},
      {"Property Get, offset 15h", sqe(PropertyGet{.offset = 0x15}), invalid_field()},
      {"Property Get of INTMS", sqe(PropertyGet{.offset = 0x0c}), invalid_field()},
      {"Property Get, offset 1000h", sqe(PropertyGet{.offset = 0x1000}), invalid_field()},
      {"Property Set of CAP", sqe(PropertySet{.eight_bytes = true, .offset = 0x00}), invalid_field()},
      {"Property Set of CSTS", sqe(PropertySet{.offset = 0x1c}), invalid_field()},
      {"Property Set of NSSR", sqe(PropertySet{.offset = 0x20, .value = 0x4e564d65}), invalid_field()},
      {"Property Set of CC, 8 bytes", sqe(PropertySet{.eight_bytes = true, .offset = 0x14}), invalid_field()},
  };
  return all;
}

TEST_F(TargetTest, BadAdminCommandsGetTheirStatusAndDoNoHarm) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    for (const Row& row : rows(options)) {
      const Answer answer = co_await admin.run_as_is(row.command, row.data);
      EXPECT_EQ(answer.status, row.status) << row.what << ": " << answer.status.to_string();
      print_refusal(row.what, answer, row.command.is_fabrics());
      expect_success(co_await admin.run(admin_command(nvme::AdminOpcode::kKeepAlive)));
    }
    const auto log = (co_await admin.log_page(nvme::LogPageId::kErrorInformation, 64)).as<nvme::ErrorInformation>();
    EXPECT_EQ(log.error_count, rows(options).size());
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
