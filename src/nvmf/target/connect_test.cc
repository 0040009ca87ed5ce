// Connect, the properties, the controller's states.
#include "nvme/nqn.h"
#include "nvmf/target/target_test.h"

namespace cairn::nvmf::target {
namespace {

using nvme::CommandStatus;
using nvme::Dnr;
using nvme::FabricsStatus;
using nvme::GenericStatus;
using nvme::Property;
using std::chrono::milliseconds;
using std::chrono::seconds;

Status invalid_parameters() {
  return Status::fabrics(FabricsStatus::kInvalidParameters);
}
uint32_t in_data(uint16_t offset) {
  return offset | 1u << 16;
}

struct BadConnect {
  std::string what;
  std::function<void(Sqe&, nvme::ConnectData&)> damage;
  Status status;
  uint32_t dw0 = 0;
};

TEST_F(TargetTest, AdminConnectIsRefusedFieldByField) {
  options.max_admin_queue_depth = 32;
  subsystem_options.allow_any_host = false;
  subsystem_options.allowed_hosts = {TestHost{}.nqn};
  const std::vector<BadConnect> table = {
      {"record format 1", [](Sqe& c, auto&) { c.cdw10 |= 1; },
       Status::fabrics(FabricsStatus::kIncompatibleFormat, Dnr::kYes)},
      {"subsystem NQN not terminated", [](Sqe&, auto& d) { std::ranges::fill(d.subnqn, 'n'); }, invalid_parameters(),
       in_data(256)},
      {"subsystem NQN empty", [](Sqe&, auto& d) { d.subnqn[0] = 0; }, invalid_parameters(), in_data(256)},
      {"subsystem unknown", [](Sqe&, auto& d) { d.subnqn[10] ^= 1; }, invalid_parameters(), in_data(256)},
      {"host NQN not terminated", [](Sqe&, auto& d) { std::ranges::fill(d.hostnqn, 'n'); }, invalid_parameters(),
       in_data(512)},
      {"host NQN of 224 bytes", [](Sqe&, auto& d) { std::fill_n(d.hostnqn, 224, 'n'); }, invalid_parameters(),
       in_data(512)},
      {"host NQN with a line break", [](Sqe&, auto& d) { d.hostnqn[40] = '\n'; }, invalid_parameters(), in_data(512)},
      {"host not allowed", [](Sqe&, auto& d) { d.hostnqn[40] ^= 1; }, Status::fabrics(FabricsStatus::kInvalidHost)},
      {"queue of one entry", [](Sqe& c, auto&) { c.cdw11 = 0; }, invalid_parameters(), 44},
      {"queue larger than allowed", [](Sqe& c, auto&) { c.cdw11 = 32; }, invalid_parameters(), 44},
      {"static controller", [](Sqe&, auto& d) { d.cntlid = 1; }, invalid_parameters(), in_data(16)},
      {"any static controller", [](Sqe&, auto& d) { d.cntlid = 0xfffe; }, invalid_parameters(), in_data(16)},
      {"data of 1023 bytes", [](Sqe& c, auto&) { c.sgl.length = 1023; },
       Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes)},
      {"PRP", [](Sqe& c, auto&) { c.flags = 0; }, invalid_field()},
      {"fused", [](Sqe& c, auto&) { c.flags |= 1; }, invalid_field()},
      {"data in a segment list",
       [](Sqe& c, auto&) {
         c.sgl.identifier = nvme::SglDescriptor::make_identifier(nvme::SglType::kSegment, nvme::SglSubtype::kAddress);
       },
       Status::generic(GenericStatus::kSglDescriptorTypeInvalid, Dnr::kYes)},
  };
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    for (const BadConnect& bad : table) {
      nvme::ConnectData data = TestQueue::connect_data(kDiskNqn, {}, nvme::kDynamicControllerId);
      Sqe command = with_data(encoded(nvme::Connect{.sqsize = 31}), sizeof(data));
      bad.damage(command, data);
      const Answer answer = co_await admin.run_as_is(command, bytes_from(data));
      EXPECT_EQ(answer.status, bad.status) << bad.what << ": " << answer.status.to_string();
      EXPECT_EQ(answer.dw0, bad.dw0) << bad.what;
      print_refusal("Connect, admin queue: " + bad.what, answer, true);
    }
    EXPECT_TRUE(subsystem().controllers().empty());
    // The connection is as good as before.
    const Answer good = co_await admin.connect(kDiskNqn);
    expect_success(good);
    EXPECT_EQ(good.dw0, 1u);
    EXPECT_EQ(admin.connection().queue_depth(), 32);
    const Answer again = co_await admin.connect(kDiskNqn);
    EXPECT_EQ(again.status, sequence_error());
  });
}

TEST_F(TargetTest, IoConnectIsRefusedFieldByField) {
  options.max_queue_pairs = 5;
  options.max_queue_depth = 64;
  const std::vector<BadConnect> table = {
      {"controller unknown", [](Sqe&, auto& d) { d.cntlid = 77; }, invalid_parameters(), in_data(16)},
      {"dynamic controller", [](Sqe&, auto& d) { d.cntlid = 0xffff; }, invalid_parameters(), in_data(16)},
      {"another host NQN", [](Sqe&, auto& d) { d.hostnqn[40] ^= 1; }, invalid_parameters(), in_data(512)},
      {"another host identifier", [](Sqe&, auto& d) { d.hostid[3] ^= 1; }, invalid_parameters(), in_data(0)},
      {"queue of one entry", [](Sqe& c, auto&) { c.cdw11 = 0; }, invalid_parameters(), 44},
      {"queue larger than allowed", [](Sqe& c, auto&) { c.cdw11 = 64; }, invalid_parameters(), 44},
      {"queue identifier too high", [](Sqe& c, auto&) { c.cdw10 = 5u << 16; },
       Status::command(CommandStatus::kInvalidQueueIdentifier)},
  };
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    TestQueue& io = queue(second());
    const Answer connected = co_await admin.connect(kDiskNqn);
    const auto cntlid = static_cast<uint16_t>(connected.dw0);
    const TestQueue::ConnectOptions wanted{.qid = 4, .sqsize = 63, .cntlid = cntlid};
    // Not before the controller is enabled, and with the right entry sizes.
    for (const nvme::ControllerConfiguration& config :
         {nvme::ControllerConfiguration{}, nvme::ControllerConfiguration{.en = true, .iosqes = 5, .iocqes = 4},
          nvme::ControllerConfiguration{.en = true, .iosqes = 6, .iocqes = 5}}) {
      expect_success(co_await admin.property_set(Property::kCc, config.encode()));
      const Answer early = co_await io.connect(kDiskNqn, {}, wanted);
      EXPECT_EQ(early.status, invalid_parameters());
      EXPECT_EQ(early.dw0, 42u);
    }
    expect_success(co_await admin.property_set(Property::kCc, 0));
    co_await admin.enable();
    for (const BadConnect& bad : table) {
      nvme::ConnectData data = TestQueue::connect_data(kDiskNqn, {}, cntlid);
      Sqe command = with_data(encoded(nvme::Connect{.qid = 4, .sqsize = 63}), sizeof(data));
      bad.damage(command, data);
      const Answer answer = co_await io.run_as_is(command, bytes_from(data));
      EXPECT_EQ(answer.status, bad.status) << bad.what << ": " << answer.status.to_string();
      EXPECT_EQ(answer.dw0, bad.dw0) << bad.what;
      print_refusal("Connect, I/O queue: " + bad.what, answer, true);
    }
    const Answer good = co_await io.connect(kDiskNqn, {}, wanted);
    expect_success(good);
    EXPECT_EQ(good.dw0, cntlid);
    EXPECT_EQ(io.connection().queue_depth(), 64);
    TestQueue& twin = queue();
    const Answer duplicate = co_await twin.connect(kDiskNqn, {}, wanted);
    EXPECT_EQ(duplicate.status, Status::command(CommandStatus::kInvalidQueueIdentifier, Dnr::kYes));
    // A host that is faster than the end of its old connection waits for it.
    auto closing = io.close();
    primary().spawn("close", std::move(closing));
    expect_success(co_await twin.connect(kDiskNqn, {}, wanted));
  });
}

TEST_F(TargetTest, ASecondConnectDoesNotDisturbTheFirst) {
  run([&]() -> Task<> {
    TestQueue& admin = queue(second());
    const auto data = bytes_from(TestQueue::connect_data(kDiskNqn, {}, nvme::kDynamicControllerId));
    const Sqe connect = with_data(encoded(nvme::Connect{.sqsize = 31}), 1024);
    TestCommand* const first = co_await admin.submit(connect, data, true);  // its data is awaited
    EXPECT_EQ((co_await admin.run_as_is(connect, data)).status, sequence_error());
    const Answer early = co_await admin.property_get(Property::kCap);
    EXPECT_EQ(early.status, sequence_error());
    co_await admin.deliver(first);
    const Answer other = co_await admin.run_as_is(connect, data);
    EXPECT_EQ(other.status, sequence_error());
    expect_success(co_await admin.answer(first));
    expect_success(co_await admin.property_get(Property::kCap));
    EXPECT_EQ(subsystem().controllers().size(), 1u);

    // A connection that ends while its Connect is being worked on leaves nothing behind.
    TestQueue& hasty = queue(second());
    TestCommand* const last = co_await hasty.submit(connect, data);
    co_await hasty.close();
    EXPECT_TRUE(last->completed);
    EXPECT_EQ(subsystem().controllers().size(), 1u);
  });
}

TEST_F(TargetTest, OnlyConnectIsTakenBeforeConnect) {
  run([&]() -> Task<> {
    TestQueue& fresh = queue();
    for (const Sqe& command :
         {encoded(nvme::PropertyGet{.eight_bytes = true}), admin_command(nvme::AdminOpcode::kKeepAlive),
          encoded(nvme::Identify{.cns = 1}), encoded(nvme::BlockRange{.num_blocks = 1}, 1)}) {
      const Answer answer = co_await fresh.run(command, 4096u);
      EXPECT_EQ(answer.status, sequence_error());
    }
    // Connected but not enabled: fabrics commands only.
    expect_success(co_await fresh.connect(kDiskNqn));
    for (const Sqe& command : {admin_command(nvme::AdminOpcode::kKeepAlive), encoded(nvme::Identify{.cns = 1}),
                               admin_command(nvme::AdminOpcode::kAsyncEventRequest)}) {
      const Answer answer = co_await fresh.run(command, 4096u);
      EXPECT_EQ(answer.status, sequence_error());
    }
    expect_success(co_await fresh.property_get(Property::kCap));
  });
}

TEST_F(TargetTest, CommandsThatDoNotExistAreInvalidOpcodes) {
  const Status invalid_opcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    const std::set<uint8_t> known = {0x02, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x18, 0x7f};
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
      if (known.contains(static_cast<uint8_t>(opcode))) continue;
      Sqe command;
      command.opcode = static_cast<uint8_t>(opcode);
      const Answer answer = co_await admin.run(command, 4096u);
      EXPECT_EQ(answer.status, invalid_opcode) << opcode;
    }
    for (unsigned type = 0; type < 256; ++type) {
      Sqe command;
      command.opcode = nvme::kFabricsOpcode;
      command.nsid = type;
      const bool property = type == 0 || type == 4;
      if (!property && type != 1) {
        const Answer answer = co_await admin.run_as_is(with_data(command));
        EXPECT_EQ(answer.status, invalid_opcode) << type;
      }
      // The I/O queue knows no fabrics command but Connect, which came already.
      const Answer answer = co_await io.run_as_is(with_data(command));
      EXPECT_EQ(answer.status, type == 1 ? sequence_error() : invalid_opcode) << type;
    }
  });
}

TEST_F(TargetTest, PropertiesHaveTheirSizesAndValues) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    expect_success(co_await admin.connect(kDiskNqn));
    const Answer cap = co_await admin.property_get(Property::kCap);
    const auto capabilities = nvme::ControllerCapabilities::decode(cap.value64());
    EXPECT_EQ(capabilities.mqes, 127);
    EXPECT_TRUE(capabilities.cqr);
    EXPECT_EQ(capabilities.to, 30);
    EXPECT_EQ(capabilities.css, 0x41);
    EXPECT_EQ(capabilities.mpsmin, 0);
    EXPECT_EQ(capabilities.mpsmax, 0);
    EXPECT_EQ(capabilities.crms, 1);
    EXPECT_EQ((co_await admin.property_get(Property::kVs)).dw0, 0x20000u);
    EXPECT_EQ((co_await admin.property_get(Property::kCc)).dw0, 0u);
    EXPECT_EQ((co_await admin.property_get(Property::kCsts)).dw0, 0u);
    EXPECT_EQ((co_await admin.property_get(Property::kCrto)).dw0, 30u);
    EXPECT_EQ((co_await admin.property_get(Property::kNssr)).dw0, 0u);
    EXPECT_EQ((co_await admin.property_get(Property::kAqa)).dw0, 0u);
    EXPECT_EQ((co_await admin.property_get(Property::kAsq)).value64(), 0u);

    struct Bad {
      uint32_t size_bits, offset;
    };
    for (const Bad bad :
         {Bad{0, 0x00}, Bad{1, 0x08}, Bad{1, 0x14}, Bad{1, 0x1c}, Bad{2, 0x1c}, Bad{7, 0x00}, Bad{0, 0x04},
          Bad{0, 0x0c}, Bad{0, 0x10}, Bad{0, 0x18}, Bad{0, 0x15}, Bad{0, 0x38}, Bad{0, 0x1000}, Bad{1, 0xfffffff8}}) {
      Sqe get = encoded(nvme::PropertyGet{.offset = bad.offset});
      get.cdw10 = bad.size_bits;
      const Answer answer = co_await admin.run(get);
      EXPECT_EQ(answer.status, invalid_field()) << bad.size_bits << " " << bad.offset;
    }
    for (const Bad bad : {Bad{1, 0x14}, Bad{2, 0x14}, Bad{1, 0x00}, Bad{0, 0x08}, Bad{0, 0x1c}, Bad{0, 0x20},
                          Bad{0, 0x24}, Bad{1, 0x28}, Bad{0, 0x68}, Bad{0, 0x1000}}) {
      Sqe set = encoded(nvme::PropertySet{.offset = bad.offset, .value = 0});
      set.cdw10 = bad.size_bits;
      const Answer answer = co_await admin.run(set);
      EXPECT_EQ(answer.status, invalid_field()) << bad.size_bits << " " << bad.offset;
    }
    // A configuration that there is not.
    for (const nvme::ControllerConfiguration& config :
         {nvme::ControllerConfiguration{.en = true, .css = 1}, nvme::ControllerConfiguration{.en = true, .css = 7},
          nvme::ControllerConfiguration{.en = true, .mps = 1}, nvme::ControllerConfiguration{.en = true, .ams = 1}}) {
      const Answer answer = co_await admin.property_set(Property::kCc, config.encode());
      EXPECT_EQ(answer.status, invalid_field());
      EXPECT_FALSE((co_await admin.controller_status()).rdy);
    }
    co_await admin.enable();
    EXPECT_TRUE((co_await admin.controller_status()).rdy);
    EXPECT_EQ((co_await admin.property_get(Property::kCc)).dw0, TestQueue::enabled_configuration().encode());
  });
}

TEST_F(TargetTest, ResetDisconnectsIoQueuesAndForgetsSettings) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn, {}, 20'000);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    expect_success(co_await admin.set_feature(nvme::FeatureId::kArbitration, 3));
    TestCommand* const event = co_await admin.submit(with_data(admin_command(nvme::AdminOpcode::kAsyncEventRequest)));

    expect_success(co_await admin.property_set(Property::kCc, 0));
    EXPECT_EQ((co_await admin.answer(event)).status, Status::generic(GenericStatus::kAbortedSqDeletion));
    co_await io.closed();
    while ((co_await admin.controller_status()).rdy) co_await pass(milliseconds(1));
    const Answer early = co_await admin.run(admin_command(nvme::AdminOpcode::kKeepAlive));
    EXPECT_EQ(early.status, sequence_error());

    co_await admin.enable();
    EXPECT_EQ((co_await admin.get_feature(nvme::FeatureId::kArbitration)).dw0, 0u);
    EXPECT_EQ((co_await admin.get_feature(nvme::FeatureId::kKeepAliveTimer)).dw0, 20'000u);
    TestQueue& later = queue(second());
    expect_success(co_await later.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
  });
}

TEST_F(TargetTest, EnablingDuringAResetTakesEffectAfterIt) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    expect_success(co_await admin.property_set(Property::kCc, 0));
    co_await admin.enable();
    co_await io.closed();
    co_await pass(milliseconds(1));
    EXPECT_TRUE((co_await admin.controller_status()).rdy);
    expect_success(co_await admin.run(admin_command(nvme::AdminOpcode::kKeepAlive)));
  });
}

TEST_F(TargetTest, ShutdownCompletesAndEndsWithTheNextEnable) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    auto config = TestQueue::enabled_configuration();
    config.shn = nvme::ShutdownNotification::kNormal;
    expect_success(co_await admin.property_set(Property::kCc, config.encode()));
    EXPECT_EQ((co_await admin.controller_status()).shst, nvme::ShutdownStatus::kComplete);
    expect_success(co_await admin.property_set(Property::kCc, 0));
    co_await admin.enable();
    EXPECT_EQ((co_await admin.controller_status()).shst, nvme::ShutdownStatus::kNormalOperation);
    // A host that shuts down and stays is dropped like one that never enables.
    expect_success(co_await admin.property_set(Property::kCc, config.encode()));
    co_await pass(options.association_timeout + seconds(1));
    EXPECT_TRUE(admin.connection().closing());
  });
}

TEST_F(TargetTest, ControllerThatIsNotEnabledIsDropped) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    expect_success(co_await admin.connect(kDiskNqn));
    co_await pass(options.association_timeout - seconds(1));
    EXPECT_FALSE(admin.connection().closing());
    co_await pass(seconds(2));
    EXPECT_TRUE(admin.connection().closing());
    EXPECT_TRUE(subsystem().controllers().empty());
  });
}

TEST_F(TargetTest, KeepAliveKeepsAliveAndItsAbsenceEndsTheController) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn, {}, 5000);  // rounded up to 10 s
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    EXPECT_EQ((co_await admin.get_feature(nvme::FeatureId::kKeepAliveTimer)).dw0, 10'000u);
    for (int i = 0; i < 10; ++i) {
      co_await pass(seconds(9));
      expect_success(co_await admin.run(admin_command(nvme::AdminOpcode::kKeepAlive)));
    }
    // A longer time, set on the way.
    expect_success(co_await admin.set_feature(nvme::FeatureId::kKeepAliveTimer, 20'001));
    co_await pass(seconds(29));
    EXPECT_FALSE(admin.connection().closing());
    TestCommand* const event = co_await admin.submit(with_data(admin_command(nvme::AdminOpcode::kAsyncEventRequest)));
    co_await pass(seconds(2));
    EXPECT_TRUE(admin.connection().closing());
    EXPECT_TRUE(io.connection().closing());
    EXPECT_EQ((co_await admin.answer(event)).status, Status::generic(GenericStatus::kAbortedSqDeletion));
    co_await io.closed();
    co_await admin.closed();
    EXPECT_TRUE(subsystem().controllers().empty());
  });
}

TEST_F(TargetTest, LossOfTheAdminQueueEndsTheControllerLossOfAnIoQueueDoesNot) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& first = queue(second());
    TestQueue& other = queue();
    expect_success(co_await first.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    expect_success(co_await other.connect(kDiskNqn, {}, {.qid = 2, .cntlid = cntlid}));
    co_await first.close();
    expect_success(co_await admin.run(admin_command(nvme::AdminOpcode::kKeepAlive)));
    EXPECT_FALSE(other.connection().closing());
    co_await admin.close();
    co_await other.closed();
    EXPECT_TRUE(subsystem().controllers().empty());
  });
}

TEST_F(TargetTest, ControllerIdentifiersComeInTurnAndRunOut) {
  subsystem_options.min_cntlid = 10;
  subsystem_options.max_cntlid = 12;
  run([&]() -> Task<> {
    std::vector<TestQueue*> hosts;
    for (uint32_t expected : {10u, 11u, 12u}) {
      hosts.push_back(&queue());
      EXPECT_EQ((co_await hosts.back()->connect(kDiskNqn)).dw0, expected);
    }
    TestQueue& refused = queue();
    EXPECT_EQ((co_await refused.connect(kDiskNqn)).status, Status::fabrics(FabricsStatus::kControllerBusy));
    co_await hosts[1]->close();
    EXPECT_EQ((co_await refused.connect(kDiskNqn)).dw0, 11u);
  });
}

TEST_F(TargetTest, HostsAreDisconnectedWhenTheyAreNoLongerAllowed) {
  run([&]() -> Task<> {
    const TestHost a{.nqn = "nqn.2014-08.org.example:a"}, b{.nqn = "nqn.2014-08.org.example:b"};
    TestQueue& host_a = queue();
    TestQueue& host_b = queue(second());
    co_await host_a.start(kDiskNqn, a);
    co_await host_b.start(kDiskNqn, b);
    subsystem().set_allowed_hosts(false, {a.nqn});
    co_await host_b.closed();
    EXPECT_FALSE(host_a.connection().closing());
    TestQueue& again = queue();
    EXPECT_EQ((co_await again.connect(kDiskNqn, b)).status, Status::fabrics(FabricsStatus::kInvalidHost));
    subsystem().set_allowed_hosts(true, {});
    expect_success(co_await again.connect(kDiskNqn, b));
  });
}

TEST_F(TargetTest, RemovingASubsystemDisconnectsItsHostsAndFreesTheDevice) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    const auto device = registry().find("disk0");
    EXPECT_EQ(device->claimed_by(), "NVMe-oF Target");
    EXPECT_TRUE(co_await target().remove_subsystem(kDiskNqn));
    EXPECT_TRUE(admin.connection().closing() && io.connection().closing());
    EXPECT_FALSE(device->claimed_by());
    EXPECT_EQ(target().find_subsystem(kDiskNqn), nullptr);
    const auto again = co_await target().remove_subsystem(kDiskNqn);
    EXPECT_EQ(again.error().code(), Code::kNotFound);
    TestQueue& late = queue();
    EXPECT_EQ((co_await late.connect(kDiskNqn)).status, invalid_parameters());
  });
}

TEST_F(TargetTest, SubsystemsAreCheckedWhenAdded) {
  run([&]() -> Task<> {
    const std::pair<SubsystemOptions, Code> bad[] = {
        {{.nqn = "disk"}, Code::kInvalidArgument},
        {{.nqn = "nqn.2019-05.io.openebs:" + std::string(220, 'x')}, Code::kInvalidArgument},
        {{.nqn = kDiskNqn}, Code::kAlreadyExists},
        {{.nqn = kDiscovery}, Code::kAlreadyExists},
        {{.nqn = kDiskNqn + "1", .serial_number = std::string(21, 's')}, Code::kInvalidArgument},
        {{.nqn = kDiskNqn + "1", .model_number = "m\n"}, Code::kInvalidArgument},
        {{.nqn = kDiskNqn + "1", .min_cntlid = 0}, Code::kInvalidArgument},
        {{.nqn = kDiskNqn + "1", .min_cntlid = 3, .max_cntlid = 2}, Code::kInvalidArgument},
        {{.nqn = kDiskNqn + "1", .max_cntlid = 0xfff0}, Code::kInvalidArgument},
    };
    for (const auto& [wanted, code] : bad) {
      const auto added = target().add_subsystem(wanted);
      EXPECT_FALSE(added);
      if (!added) EXPECT_EQ(added.error().code(), code) << wanted.nqn;
    }
    // A device serves one subsystem.
    auto added = target().add_subsystem({.nqn = kDiskNqn + "1"});
    const auto claimed = co_await (*added)->add_namespace(registry().find("disk0"));
    EXPECT_EQ(claimed.error().code(), Code::kFailedPrecondition);
  });
}

TEST(TargetOptions, AreChecked) {
  EXPECT_TRUE(check_options({}));
  for (const Options& bad :
       {Options{.max_queue_depth = 1}, Options{.max_queue_depth = 1025}, Options{.max_admin_queue_depth = 1},
        Options{.max_queue_pairs = 1}, Options{.max_io_size = 5000}, Options{.max_io_size = 2048},
        Options{.max_io_size = 2u << 20}, Options{.in_capsule_data_size = 100}, Options{.max_async_events = 0},
        Options{.firmware_revision = "123456789"}, Options{.keep_alive_granularity = milliseconds(150)}}) {
    EXPECT_FALSE(check_options(bad));
  }
}

}  // namespace
}  // namespace cairn::nvmf::target
