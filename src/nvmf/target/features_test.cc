// Get Features and Set Features.
#include "nvmf/target/target_test.h"
#include "runtime/backend.h"

namespace cairn::nvmf::target {
namespace {

using nvme::CommandStatus;
using nvme::Dnr;
using nvme::FeatureId;
using nvme::FeatureSelect;
using nvme::GenericStatus;

TEST_F(TargetTest, FeaturesKeepWhatIsSetAndKnowTheirDefaults) {
  struct Row {
    FeatureId id;
    uint32_t cdw11;     // set
    uint32_t expected;  // got afterwards
    uint32_t initial;
  };
  const Row table[] = {
      {FeatureId::kArbitration, 0xffffffff, 0xffffff07, 0},
      {FeatureId::kPowerManagement, 0x20, 0x20, 0},
      {FeatureId::kErrorRecovery, 0x1234, 0x1234, 0},
      {FeatureId::kWriteAtomicityNormal, 1, 1, 0},
      {FeatureId::kAsyncEventConfiguration, 0x1ff, 0x1ff, 1u << 8},
      {FeatureId::kKeepAliveTimer, 15'000, 20'000, 0},
      {FeatureId::kIoCommandSetProfile, 0, 0, 0},
      {FeatureId::kTemperatureThreshold, 300, 300, 0xffff},
  };
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    for (const Row& row : table) {
      const auto id = static_cast<unsigned>(row.id);
      EXPECT_EQ((co_await admin.get_feature(row.id)).dw0, row.initial) << id;
      expect_success(co_await admin.set_feature(row.id, row.cdw11));
      EXPECT_EQ((co_await admin.get_feature(row.id)).dw0, row.expected) << id;
      for (const auto select : {FeatureSelect::kDefault, FeatureSelect::kSaved}) {
        EXPECT_EQ((co_await admin.get_feature(row.id, 0, 0, select)).dw0, row.initial) << id;
      }
      EXPECT_EQ((co_await admin.get_feature(row.id, 0, 0, FeatureSelect::kSupportedCapabilities)).dw0, 4u) << id;
      // Set for the broadcast namespace is set for the controller; for one namespace it is not.
      expect_success(co_await admin.set_feature(row.id, row.cdw11, nvme::kBroadcastNsid));
      EXPECT_EQ((co_await admin.set_feature(row.id, row.cdw11, 1)).status,
                Status::command(CommandStatus::kFeatureNotNamespaceSpecific, Dnr::kYes));
    }
    // The under-temperature threshold is another value.
    const uint32_t under = nvme::TemperatureThreshold{.kelvin = 200, .kind = 1}.encode();
    expect_success(co_await admin.set_feature(FeatureId::kTemperatureThreshold, under));
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kTemperatureThreshold, 1u << 20)).dw0, 200u);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kTemperatureThreshold)).dw0, 300u);
  });
}

TEST_F(TargetTest, FeaturesThatThereAreNotAreInvalidFields) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    // 83h is there, but says that the namespace cannot.
    const std::set<unsigned> known = {0x01, 0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09,
                                      0x0a, 0x0b, 0x0f, 0x16, 0x19, 0x81, 0x82, 0x83};
    for (unsigned fid = 0; fid < 256; ++fid) {
      const auto id = static_cast<FeatureId>(fid);
      if (known.contains(fid)) continue;
      EXPECT_EQ((co_await admin.get_feature(id)).status, invalid_field()) << fid;
      EXPECT_EQ((co_await admin.set_feature(id, 0)).status, invalid_field()) << fid;
      EXPECT_EQ((co_await admin.get_feature(id, 0, 0, FeatureSelect::kSupportedCapabilities)).status, invalid_field());
    }
  });
}

TEST_F(TargetTest, SetFeaturesRefusesBadValues) {
  struct Bad {
    FeatureId id;
    uint32_t cdw11;
    Status status;
  };
  const auto not_changeable = Status::command(CommandStatus::kFeatureNotChangeable, Dnr::kYes);
  const Bad table[] = {
      {FeatureId::kPowerManagement, 1, invalid_field()},
      {FeatureId::kTemperatureThreshold, nvme::TemperatureThreshold{.sensor = 1}.encode(), invalid_field()},
      {FeatureId::kTemperatureThreshold, nvme::TemperatureThreshold{.kind = 2}.encode(), invalid_field()},
      {FeatureId::kErrorRecovery, 1u << 16, invalid_field()},
      {FeatureId::kNumberOfQueues, 0x0000ffff, invalid_field()},
      {FeatureId::kNumberOfQueues, 0xffff0000, invalid_field()},
      {FeatureId::kInterruptCoalescing, 0x101, not_changeable},
      {FeatureId::kInterruptVectorConfiguration, 0, not_changeable},
      {FeatureId::kKeepAliveTimer, 0, Status::generic(GenericStatus::kKeepAliveTimeoutInvalid, Dnr::kYes)},
      {FeatureId::kIoCommandSetProfile, 1, Status::command(CommandStatus::kIoCommandSetCombinationRejected, Dnr::kYes)},
      {FeatureId::kHostIdentifier, 1, sequence_error()},
  };
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    for (const Bad& bad : table) {
      const Answer answer = co_await admin.set_feature(bad.id, bad.cdw11);
      EXPECT_EQ(answer.status, bad.status) << static_cast<unsigned>(bad.id) << ": " << answer.status.to_string();
    }
    Sqe saved = encoded(nvme::SetFeatures{.fid = 0x01, .save = true});
    EXPECT_EQ((co_await admin.run(saved)).status, Status::command(CommandStatus::kFeatureNotSaveable, Dnr::kYes));
    for (unsigned select = 4; select < 8; ++select) {
      EXPECT_EQ((co_await admin.get_feature(FeatureId::kArbitration, 0, 0, static_cast<FeatureSelect>(select))).status,
                invalid_field());
    }
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kTemperatureThreshold, 1u << 16)).status, invalid_field());
  });
}

TEST_F(TargetTest, NumberOfQueuesIsWhatTheOptionsAllow) {
  options.max_queue_pairs = 17;
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    const uint32_t sixteen = 15u | 15u << 16;
    EXPECT_EQ((co_await admin.set_feature(FeatureId::kNumberOfQueues, 0)).dw0, sixteen);
    EXPECT_EQ((co_await admin.set_feature(FeatureId::kNumberOfQueues, 63u | 63u << 16)).dw0, sixteen);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kNumberOfQueues)).dw0, sixteen);
    TestQueue& last = queue();
    expect_success(co_await last.connect(kDiskNqn, {}, {.qid = 16, .cntlid = cntlid}));
    EXPECT_EQ((co_await admin.set_feature(FeatureId::kNumberOfQueues, 0)).status, sequence_error());
  });
}

TEST_F(TargetTest, HostIdentifierIsTheOneOfConnect) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const nvme::GetFeatures get{.fid = 0x81, .cdw11 = 1};
    const Answer answer = co_await admin.run(encoded(get), 16u);
    expect_success(answer);
    const HostId id = TestHost{}.id;
    EXPECT_TRUE(std::ranges::equal(answer.data, std::as_bytes(std::span(id))));
    const Answer short_one = co_await admin.run(encoded(nvme::GetFeatures{.fid = 0x81}), 8u);
    EXPECT_EQ(short_one.status, invalid_field());
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kHostIdentifier, 1, 0, FeatureSelect::kSupportedCapabilities)).dw0,
              0u);
  });
}

TEST_F(TargetTest, HostBehaviorTurnsRetryDelaysOn) {
  options.command_retry_delay = {1, 2, 3};
  subsystem_options.rewrite_status = [](Status status) {
    return status.is(GenericStatus::kLbaOutOfRange) ? status.with_retry_delay(2) : status;
  };
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    Sqe beyond = encoded(nvme::BlockRange{.slba = 1u << 20, .num_blocks = 1}, 1);
    beyond.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kRead);
    EXPECT_EQ((co_await io.run(beyond, 512u)).status.retry_delay(), 0);

    nvme::HostBehavior behavior;
    const Sqe set = encoded(nvme::SetFeatures{.fid = 0x16});
    for (uint8_t* field : {&behavior.acre, &behavior.etdas, &behavior.lbafee}) {
      *field = 2;
      EXPECT_EQ((co_await admin.run(set, bytes_from(behavior))).status, invalid_field());
      *field = 0;
    }
    behavior.acre = 1;
    expect_success(co_await admin.run(set, bytes_from(behavior)));
    const Answer got = co_await admin.run(encoded(nvme::GetFeatures{.fid = 0x16}), 512u);
    EXPECT_EQ(got.as<nvme::HostBehavior>().acre, 1);
    const nvme::GetFeatures get_default{.fid = 0x16, .select = FeatureSelect::kDefault};
    EXPECT_EQ((co_await admin.run(encoded(get_default), 512u)).as<nvme::HostBehavior>().acre, 0);
    EXPECT_EQ((co_await io.run(beyond, 512u)).status.retry_delay(), 2);  // the subsystem's word
    // What must not be retried has no delay.
    EXPECT_EQ((co_await admin.identify(nvme::Cns::kNamespace, 9)).status, invalid_namespace());
    const Answer small = co_await admin.run(set, Bytes(511));
    EXPECT_EQ(small.status, Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes));
  });
}

TEST_F(TargetTest, ReservationFeaturesBelongToANamespace) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    using enum FeatureId;
    expect_success(co_await admin.set_feature(kReservationNotificationMask, 0xff, 1));
    EXPECT_EQ((co_await admin.get_feature(kReservationNotificationMask, 0, 1)).dw0, 0xeu);
    expect_success(co_await admin.set_feature(kReservationNotificationMask, 2, nvme::kBroadcastNsid));
    EXPECT_EQ((co_await admin.get_feature(kReservationNotificationMask, 0, 1)).dw0, 2u);
    EXPECT_EQ((co_await admin.get_feature(kReservationNotificationMask, 0, 1, FeatureSelect::kDefault)).dw0, 0u);
    EXPECT_EQ(
        (co_await admin.get_feature(kReservationNotificationMask, 0, 1, FeatureSelect::kSupportedCapabilities)).dw0,
        6u);
    EXPECT_EQ((co_await admin.get_feature(kReservationNotificationMask, 0, nvme::kBroadcastNsid)).status,
              invalid_field());
    for (const uint32_t nsid : {0u, 2u}) {
      EXPECT_EQ((co_await admin.get_feature(kReservationNotificationMask, 0, nsid)).status, invalid_namespace());
      EXPECT_EQ((co_await admin.set_feature(kReservationNotificationMask, 0, nsid)).status, invalid_namespace());
    }
    // There is no file to keep reservations in.
    EXPECT_EQ((co_await admin.get_feature(kReservationPersistence, 0, 1)).status, invalid_field());
    EXPECT_FALSE((co_await admin.set_feature(kReservationPersistence, 1, 1)).status.is_success());
  });
}

TEST_F(TargetTest, ReservationPersistenceIsKeptInTheFile) {
  subsystem_options.ptpl_path = "/ptpl/disk0.json";
  run([&]() -> Task<> {
    EXPECT_TRUE(co_await primary().backend().make_directories("/ptpl"));
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const auto id = (co_await admin.identify(nvme::Cns::kNamespace, 1)).as<nvme::IdentifyNamespace>();
    EXPECT_EQ(id.rescap, 0xff);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kReservationPersistence, 0, 1)).dw0, 0u);
    expect_success(co_await admin.set_feature(FeatureId::kReservationPersistence, 1, 1));
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kReservationPersistence, 0, 1)).dw0, 1u);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kReservationPersistence, 0, 1, FeatureSelect::kDefault)).dw0, 0u);
    expect_success(co_await admin.set_feature(FeatureId::kReservationPersistence, 0, nvme::kBroadcastNsid));
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kReservationPersistence, 0, 1)).dw0, 0u);
  });
}

TEST_F(TargetTest, DiscoveryControllersHaveTwoFeatures) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiscovery);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kKeepAliveTimer)).dw0, 120'000u);
    EXPECT_EQ((co_await admin.get_feature(FeatureId::kAsyncEventConfiguration)).dw0, 1u << 31);
    expect_success(co_await admin.set_feature(FeatureId::kAsyncEventConfiguration, 0));
    for (const FeatureId id : {FeatureId::kArbitration, FeatureId::kNumberOfQueues, FeatureId::kVolatileWriteCache}) {
      EXPECT_EQ((co_await admin.get_feature(id)).status, invalid_field());
    }
    Sqe abort = encoded(nvme::Abort{});
    EXPECT_EQ((co_await admin.run(abort)).status, Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes));
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
