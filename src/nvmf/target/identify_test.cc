// Identify: every field that is not zero, the lists, and what is refused.
#include "nvmf/target/target_test.h"

namespace cairn::nvmf::target {
namespace {

using nvme::Cns;
using nvme::IdentifyController;
using nvme::IdentifyNamespace;
using std::chrono::seconds;

constexpr uint32_t kDiskBlocks = 32768;
constexpr Uuid kBootId({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});

// The structure without the fields that a test has looked at: all zero.
template <typename T>
bool is_zero(const T& structure) {
  return std::ranges::all_of(nvme::bytes_of(structure), [](std::byte b) { return b == std::byte{0}; });
}

TEST_F(TargetTest, IdentifyControllerTellsOptionsAndSubsystem) {
  options.max_queue_depth = 256;
  options.max_io_size = 128u << 10;
  options.in_capsule_data_size = 4096;
  options.max_async_events = 8;
  options.command_retry_delay = {1, 20, 300};
  options.keep_alive_granularity = seconds(5);
  options.firmware_revision = "1.2";
  options.boot_id = kBootId;
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    IdentifyController id = (co_await admin.identify(Cns::kController)).as<IdentifyController>();
    EXPECT_EQ(id.vid, 0x8086);
    EXPECT_EQ(id.ssvid, 0x8086);
    // "DCS" and the beginning of: printf '%s' <uuid, hexadecimal> | xxd -r -p | sha256sum
    EXPECT_EQ(nvme::get_ascii(id.sn), "DCSAE3B1973D0FC3ECE5");
    EXPECT_EQ(nvme::get_ascii(id.mn), "Mayastor NVMe controller");
    EXPECT_EQ(std::string_view(id.fr, 8), "1.2     ");
    EXPECT_EQ(id.rab, 6);
    EXPECT_EQ(id.ieee[0], 0xe4);
    EXPECT_EQ(id.ieee[1], 0xd2);
    EXPECT_EQ(id.ieee[2], 0x5c);
    EXPECT_EQ(id.cmic, 0x03);
    EXPECT_EQ(id.mdts, 5);
    EXPECT_EQ(id.cntlid, cntlid);
    EXPECT_EQ(id.ver, 0x20000u);
    EXPECT_EQ(id.oaes, 1u << 8);
    EXPECT_EQ(id.ctratt, 1u << 0);
    EXPECT_EQ(id.cntrltype, nvme::ControllerType::kIo);
    EXPECT_EQ(id.crdt[0], 1);
    EXPECT_EQ(id.crdt[1], 20);
    EXPECT_EQ(id.crdt[2], 300);
    EXPECT_EQ(id.acl, 3);
    EXPECT_EQ(id.aerl, 7);
    EXPECT_EQ(id.frmw, 0x03);
    EXPECT_EQ(id.lpa, 0x27);
    EXPECT_EQ(id.elpe, 63);
    EXPECT_EQ(id.kas, 50);
    EXPECT_EQ(id.sqes, 0x66);
    EXPECT_EQ(id.cqes, 0x44);
    EXPECT_EQ(id.maxcmd, 256);
    EXPECT_EQ(id.nn, 1u);
    EXPECT_EQ(id.oncs, 0x013d);  // compare, DSM, write zeroes, save/select, reservations, copy
    EXPECT_EQ(id.fuses, 1);
    EXPECT_EQ(id.vwc, 0x05);  // present, also for a device without a cache; flush to all namespaces unsupported
    EXPECT_EQ(id.ocfs, 1);
    EXPECT_EQ(id.sgls, 1u | 1u << 18 | 1u << 20 | 1u << 21);
    EXPECT_EQ(nvme::get_c_string(id.subnqn), kDiskNqn);
    EXPECT_EQ(id.ioccsz, 260u);
    EXPECT_EQ(id.iorcsz, 1u);
    EXPECT_EQ(id.msdbd, 1);
    // ANA is not reported.
    EXPECT_EQ(id.anacap, 0);
    EXPECT_EQ(id.anagrpmax, 0u);
    for (auto* field : {&id.vid, &id.ssvid, &id.cntlid, &id.kas, &id.maxcmd, &id.oncs, &id.fuses, &id.ocfs}) *field = 0;
    for (auto* field : {&id.ver, &id.oaes, &id.ctratt, &id.nn, &id.sgls, &id.ioccsz, &id.iorcsz}) *field = 0;
    for (auto* field : {&id.rab, &id.cmic, &id.mdts, &id.acl, &id.aerl, &id.frmw, &id.lpa, &id.elpe, &id.sqes, &id.cqes,
                        &id.vwc, &id.msdbd, &id.ieee[0], &id.ieee[1], &id.ieee[2]}) {
      *field = 0;
    }
    std::ranges::fill(id.sn, 0);
    std::ranges::fill(id.mn, 0);
    std::ranges::fill(id.fr, 0);
    std::ranges::fill(id.crdt, 0);
    EXPECT_EQ(nvme::get_c_string(id.vendor3072), IdentifyController::kPredecessorsEnd);
    std::ranges::fill(id.subnqn, 0);
    std::ranges::fill(id.vendor3072, 0);
    EXPECT_EQ(Uuid(std::to_array(id.boot_id)), kBootId);
    std::ranges::fill(id.boot_id, 0);
    id.cntrltype = {};
    EXPECT_TRUE(is_zero(id));
  });
}

TEST_F(TargetTest, IdentifyTellsAnaWhenReported) {
  subsystem_options.ana_reporting = true;
  subsystem_options.serial_number = "SERIAL";
  subsystem_options.model_number = "Model";
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const auto id = (co_await admin.identify(Cns::kController)).as<IdentifyController>();
    EXPECT_EQ(nvme::get_ascii(id.sn), "SERIAL");
    EXPECT_EQ(nvme::get_ascii(id.mn), "Model");
    EXPECT_EQ(id.cmic, 0x0b);
    EXPECT_EQ(id.oaes, 1u << 8 | 1u << 11);
    EXPECT_EQ(id.anatt, 10);
    EXPECT_EQ(id.anacap, 0x5f);
    EXPECT_EQ(id.anagrpmax, 1u);
    EXPECT_EQ(id.nanagrpid, 1u);
    EXPECT_EQ(id.mnan, 1u);
    auto space = (co_await admin.identify(Cns::kNamespace, 1)).as<IdentifyNamespace>();
    EXPECT_EQ(space.anagrpid, 1u);
    EXPECT_EQ(space.nuse, kDiskBlocks);
    co_await subsystem().find_namespace(1)->set_ana_state(AnaState::kInaccessible);
    space = (co_await admin.identify(Cns::kNamespace, 1)).as<IdentifyNamespace>();
    EXPECT_EQ(space.nsze, kDiskBlocks);
    EXPECT_EQ(space.nuse, 0u);
    const auto independent =
        (co_await admin.identify(Cns::kIndependentNamespace, 1)).as<nvme::IdentifyIndependentNamespace>();
    EXPECT_EQ(independent.anagrpid, 1u);
  });
}

TEST_F(TargetTest, IdentifyNamespaceTellsTheDevice) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    IdentifyNamespace id = (co_await admin.identify(Cns::kNamespace, 1)).as<IdentifyNamespace>();
    EXPECT_EQ(id.nsze, kDiskBlocks);
    EXPECT_EQ(id.ncap, kDiskBlocks);
    EXPECT_EQ(id.nuse, kDiskBlocks);
    EXPECT_EQ(id.nlbaf, 0);
    EXPECT_EQ(id.flbas, 0);
    EXPECT_EQ(id.lbaf[0].lbads, 9);
    EXPECT_EQ(id.nmic, 1);
    EXPECT_EQ(id.rescap, 0xfe);
    EXPECT_EQ(id.dlfeat, 0x09);
    EXPECT_EQ(id.nvmcap, (nvme::Uint128{.low = 16u << 20}));
    EXPECT_EQ(id.mssrl, 65535);
    EXPECT_EQ(id.mcl, 1u << 18);
    EXPECT_EQ(id.msrc, 127);
    const auto uuid = *Uuid::parse(kDiskUuid);
    EXPECT_TRUE(std::ranges::equal(id.nguid, uuid.bytes()));
    const auto physical = registry().find("disk0")->physical_block_size() / 512;
    EXPECT_EQ(id.npwg, physical - 1);
    EXPECT_EQ(id.nsfeat & IdentifyNamespace::kNsfeatOptimalPerformance, IdentifyNamespace::kNsfeatOptimalPerformance);
    EXPECT_EQ((id.nsfeat & IdentifyNamespace::kNsfeatAtomicBoundaries) != 0, physical > 1);

    // The descriptors and the structures of the NVM command set.
    const Answer list = co_await admin.identify(Cns::kNamespaceDescriptorList, 1);
    for (const auto type : {nvme::NamespaceIdType::kNguid, nvme::NamespaceIdType::kUuid}) {
      const auto found = nvme::find_namespace_id(list.data, type);
      EXPECT_TRUE(found && std::ranges::equal(*found, std::as_bytes(std::span(uuid.bytes()))));
    }
    const auto csi = nvme::find_namespace_id(list.data, nvme::NamespaceIdType::kCommandSet);
    EXPECT_TRUE(csi && (*csi)[0] == std::byte{0});
    EXPECT_FALSE(nvme::find_namespace_id(list.data, nvme::NamespaceIdType::kEui64));
    EXPECT_TRUE(is_zero((co_await admin.identify(Cns::kCommandSetNamespace, 1)).as<nvme::IdentifyNvmNamespace>()));
    auto nvm = (co_await admin.identify(Cns::kCommandSetController)).as<nvme::IdentifyNvmController>();
    EXPECT_EQ(nvm.wzsl, 13);  // 65536 blocks of 512 bytes
    nvm.wzsl = 0;
    EXPECT_TRUE(is_zero(nvm));
    auto independent =
        (co_await admin.identify(Cns::kIndependentNamespace, 1)).as<nvme::IdentifyIndependentNamespace>();
    EXPECT_EQ(independent.nmic, 1);
    EXPECT_EQ(independent.rescap, 0xfe);
    EXPECT_EQ(independent.nstat, 1);
  });
}

TEST_F(TargetTest, IdentifyLists) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    for (const Cns cns : {Cns::kActiveNamespaceList, Cns::kCommandSetActiveNamespaceList}) {
      auto list = (co_await admin.identify(cns, 0)).as<nvme::NamespaceList>();
      EXPECT_EQ(list.nsid[0], 1u);
      EXPECT_EQ(list.nsid[1], 0u);
      list = (co_await admin.identify(cns, 1)).as<nvme::NamespaceList>();
      EXPECT_EQ(list.nsid[0], 0u);
    }
    for (const uint16_t asked : {uint16_t{0xffff}, cntlid}) {
      const nvme::Identify command{.cns = 0x1c, .cntid = asked};
      const Answer answer = co_await admin.run(encoded(command), 4096u);
      const auto combinations = answer.as<nvme::CommandSetCombinations>();
      EXPECT_EQ(combinations.vector[0], 1u);
      EXPECT_EQ(combinations.vector[1], 0u);
    }
    const Answer foreign = co_await admin.run(encoded(nvme::Identify{.cns = 0x1c, .cntid = 99}), 4096u);
    EXPECT_EQ(foreign.status, invalid_field());
  });
}

TEST_F(TargetTest, IdentifyRefusesWhatThereIsNot) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const std::set<unsigned> known = {0, 1, 2, 3, 5, 6, 7, 8, 0x1c};
    for (unsigned cns = 0; cns < 256; ++cns) {
      if (known.contains(cns)) continue;
      EXPECT_EQ((co_await admin.identify(static_cast<Cns>(cns), 1)).status, invalid_field()) << cns;
    }
    for (const uint32_t nsid : {0u, 2u, 0xfffffffeu, 0xffffffffu}) {
      for (const Cns cns :
           {Cns::kNamespace, Cns::kNamespaceDescriptorList, Cns::kCommandSetNamespace, Cns::kIndependentNamespace}) {
        EXPECT_EQ((co_await admin.identify(cns, nsid)).status, invalid_namespace()) << nsid;
      }
    }
    for (const uint32_t nsid : {0xfffffffeu, 0xffffffffu}) {
      EXPECT_EQ((co_await admin.identify(Cns::kActiveNamespaceList, nsid)).status, invalid_namespace());
    }
    for (const Cns cns : {Cns::kCommandSetNamespace, Cns::kCommandSetController, Cns::kCommandSetActiveNamespaceList}) {
      EXPECT_EQ((co_await admin.identify(cns, 1, 2)).status, invalid_field());  // zoned
    }
    const Answer small = co_await admin.run(encoded(nvme::Identify{.cns = 1}), 4095u);
    EXPECT_EQ(small.status, Status::generic(nvme::GenericStatus::kDataSglLengthInvalid, nvme::Dnr::kYes));
    const Answer large = co_await admin.run(encoded(nvme::Identify{.cns = 1}), 8192u);
    expect_success(large);
    EXPECT_EQ(large.data.size(), 4096u);
    Sqe in_capsule = with_data(encoded(nvme::Identify{.cns = 1}), 4096);
    in_capsule.sgl = nvme::SglDescriptor::in_capsule(0, 4096);
    EXPECT_EQ((co_await admin.run_as_is(in_capsule)).status,
              Status::generic(nvme::GenericStatus::kSglDescriptorTypeInvalid, nvme::Dnr::kYes));
  });
}

TEST_F(TargetTest, InactiveNamespacesReadAsZeroes) {
  run([&]() -> Task<> {
    EXPECT_TRUE(target().add_subsystem({.nqn = kDiskNqn + "-empty"}));
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn + "-empty");
    EXPECT_TRUE(is_zero((co_await admin.identify(Cns::kNamespace, 1)).as<IdentifyNamespace>()));
    EXPECT_TRUE(is_zero((co_await admin.identify(Cns::kActiveNamespaceList, 0)).as<nvme::NamespaceList>()));
    EXPECT_EQ((co_await admin.identify(Cns::kNamespaceDescriptorList, 1)).status, invalid_namespace());
    const auto id = (co_await admin.identify(Cns::kController)).as<IdentifyController>();
    // Of the name.
    EXPECT_EQ(nvme::get_ascii(id.sn), "DCS7D6C3556D13939595");
  });
}

TEST_F(TargetTest, IdentifyDiscoveryController) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiscovery);
    const auto id = (co_await admin.identify(Cns::kController)).as<IdentifyController>();
    EXPECT_EQ(id.cntrltype, nvme::ControllerType::kDiscovery);
    EXPECT_EQ(nvme::get_c_string(id.subnqn), kDiscovery);
    EXPECT_EQ(nvme::get_ascii(id.sn), "00000000000000000000");
    EXPECT_EQ(id.oaes, 1u << 31);
    EXPECT_EQ(id.nn, 0u);
    EXPECT_EQ(id.oncs, 0u);
    EXPECT_EQ(id.lpa, 0x24);
    EXPECT_EQ(id.ver, 0x20000u);
    EXPECT_NE(id.sgls, 0u);
    for (const Cns cns : {Cns::kNamespace, Cns::kActiveNamespaceList, Cns::kNamespaceDescriptorList,
                          Cns::kCommandSetController, Cns::kCommandSetCombinations}) {
      EXPECT_EQ((co_await admin.identify(cns, 1)).status, invalid_field());
    }
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
