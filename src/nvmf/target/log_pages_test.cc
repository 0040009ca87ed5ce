// Get Log Page, asynchronous events and Abort.
#include "nvme/discovery.h"
#include "nvme/reservation.h"
#include "nvmf/target/target_test.h"

namespace cairn::nvmf::target {
namespace {

using nvme::AsyncEvent;
using nvme::CommandStatus;
using nvme::Dnr;
using nvme::FeatureId;
using nvme::GenericStatus;
using nvme::LogPageId;
using std::chrono::hours;

Sqe event_request() {
  return with_data(admin_command(nvme::AdminOpcode::kAsyncEventRequest));
}

TEST_F(TargetTest, LogPagesThatThereAreNotAndBadWindowsAreRefused) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const std::map<unsigned, uint32_t> sizes = {{0x00, 1024}, {0x01, 4096}, {0x02, 512},  {0x03, 512},
                                                {0x04, 4096}, {0x05, 4096}, {0x12, 1024}, {0x80, 64}};
    const auto supported = (co_await admin.log_page(LogPageId::kSupportedLogPages, 1024)).as<nvme::SupportedLogPages>();
    for (unsigned lid = 0; lid < 256; ++lid) {
      const auto page = static_cast<LogPageId>(lid);
      const auto size = sizes.find(lid);
      EXPECT_EQ(supported.lid[lid], size != sizes.end() ? 1u : 0u) << lid;
      if (size == sizes.end()) {
        EXPECT_EQ((co_await admin.log_page(page, 64)).status,
                  Status::command(CommandStatus::kInvalidLogPage, Dnr::kYes))
            << lid;
        continue;
      }
      expect_success(co_await admin.log_page(page, 4));
      const Answer whole = co_await admin.log_page(page, size->second);
      EXPECT_EQ(whole.data.size(), size->second);
      // Beyond the end: zeroes; from behind the end: refused; from an odd place, by index: refused.
      const Answer tail = co_await admin.log_page(page, 64, size->second - 32);
      expect_success(tail);
      EXPECT_TRUE(std::ranges::all_of(std::span(tail.data).subspan(32), [](auto b) { return b == std::byte{0}; }));
      expect_success(co_await admin.log_page(page, 4, size->second));
      EXPECT_EQ((co_await admin.log_page(page, 4, size->second + 4)).status, invalid_field());
      EXPECT_EQ((co_await admin.log_page(page, 4, 2)).status, invalid_field());
      EXPECT_EQ((co_await admin.log_page(page, 4, uint64_t{1} << 63)).status, invalid_field());
      const nvme::GetLogPage indexed{
          .lid = static_cast<uint8_t>(lid), .num_dwords = 1, .offset = 0, .index_offset = true};
      EXPECT_EQ((co_await admin.run(encoded(indexed), 4u)).status, invalid_field());
    }
    // More than one command may move, and more than the SGL has room for.
    const nvme::GetLogPage huge{.lid = 1, .num_dwords = (options.max_io_size / 4) + 1};
    EXPECT_EQ((co_await admin.run(encoded(huge), options.max_io_size + 4)).status, invalid_field());
    const nvme::GetLogPage all_ones{.lid = 1, .num_dwords = 0xffffffff};
    EXPECT_EQ((co_await admin.run(encoded(all_ones), 4096u)).status, invalid_field());
    const nvme::GetLogPage two{.lid = 1, .num_dwords = 2};
    EXPECT_EQ((co_await admin.run(encoded(two), 4u)).status,
              Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes));
    EXPECT_EQ((co_await admin.log_page(LogPageId::kHealth, 512, 0, false, 2)).status, invalid_namespace());
    expect_success(co_await admin.log_page(LogPageId::kHealth, 512, 0, false, 1));
    const nvme::GetLogPage zoned{.lid = 5, .num_dwords = 1024, .csi = 2};
    EXPECT_EQ((co_await admin.run(encoded(zoned), 4096u)).status, invalid_field());
  });
}

TEST_F(TargetTest, ErrorLogHasTheLastFailuresOfAllQueues) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 3, .cntlid = cntlid}));
    auto log = (co_await admin.log_page(LogPageId::kErrorInformation, 64)).as<nvme::ErrorInformation>();
    EXPECT_EQ(log.error_count, 0u);

    Sqe read = with_data(encoded(nvme::BlockRange{.slba = 1u << 20, .num_blocks = 1}, 1), 512);
    read.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kRead);
    read.sgl = nvme::SglDescriptor::transport(512);
    EXPECT_FALSE((co_await io.run_as_is(read)).status.is_success());
    const Answer bad = co_await admin.identify(nvme::Cns::kNamespace, 5);
    const auto both = co_await admin.log_page(LogPageId::kErrorInformation, 192);
    const auto newest = nvme::load<nvme::ErrorInformation>(both.data);
    EXPECT_EQ(newest.error_count, 2u);
    EXPECT_EQ(newest.sqid, 0);
    EXPECT_EQ(Status::from_wire(newest.status_field), bad.status);
    EXPECT_EQ(newest.nsid, 5u);
    EXPECT_EQ(newest.parameter_error_location, 0xffff);
    EXPECT_EQ(newest.trtype, 3);
    const auto older = nvme::load<nvme::ErrorInformation>(std::span(both.data).subspan(64));
    EXPECT_EQ(older.error_count, 1u);
    EXPECT_EQ(older.sqid, 3);
    EXPECT_EQ(older.cid, 2);  // the second command of its connection
    EXPECT_EQ(older.lba, 1u << 20);
    EXPECT_TRUE(Status::from_wire(older.status_field).is(GenericStatus::kLbaOutOfRange));
    EXPECT_EQ(nvme::load<nvme::ErrorInformation>(std::span(both.data).subspan(128)).error_count, 0u);

    for (int i = 0; i < 100; ++i) co_await admin.identify(nvme::Cns::kNamespace, 5);
    const auto full = co_await admin.log_page(LogPageId::kErrorInformation, 4096);
    for (unsigned i = 0; i < 64; ++i) {
      EXPECT_EQ(nvme::load<nvme::ErrorInformation>(std::span(full.data).subspan(i * 64)).error_count, 102u - i);
    }
    const auto health = (co_await admin.log_page(LogPageId::kHealth, 512)).as<nvme::HealthInformation>();
    EXPECT_EQ(health.error_log_entries.low, 102u);
  });
}

TEST_F(TargetTest, HealthLogCountsWhatTheDeviceDid) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    auto health = (co_await admin.log_page(LogPageId::kHealth, 512)).as<nvme::HealthInformation>();
    EXPECT_EQ(health.available_spare, 100);
    EXPECT_EQ(health.critical_warning, 0);
    EXPECT_EQ(health.host_write_commands.low, 0u);
    EXPECT_EQ(health.power_on_hours.low, 0u);
    // 1001 blocks: two units of a thousand, begun ones counted.
    Sqe write = encoded(nvme::BlockRange{.slba = 0, .num_blocks = 1001}, 1);
    write.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kWrite);
    expect_success(co_await io.run(write, Bytes(1001 * 512)));
    Sqe read = encoded(nvme::BlockRange{.slba = 0, .num_blocks = 1}, 1);
    read.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kRead);
    expect_success(co_await io.run(read, 512u));
    expect_success(co_await io.run(read, 512u));
    co_await pass(hours(3));
    health = (co_await admin.log_page(LogPageId::kHealth, 512)).as<nvme::HealthInformation>();
    EXPECT_EQ(health.host_write_commands.low, 1u);
    EXPECT_EQ(health.data_units_written.low, 2u);
    EXPECT_EQ(health.host_read_commands.low, 2u);
    EXPECT_EQ(health.data_units_read.low, 1u);
    EXPECT_EQ(health.power_on_hours.low, 3u);
    EXPECT_EQ(health.media_errors.low, 0u);
  });
}

TEST_F(TargetTest, FixedPages) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const auto firmware = (co_await admin.log_page(LogPageId::kFirmwareSlot, 512)).as<nvme::FirmwareSlotInformation>();
    EXPECT_EQ(firmware.afi, 1);
    EXPECT_EQ(std::string_view(firmware.frs[0], 8), "1.0.0   ");
    EXPECT_EQ(firmware.frs[1][0], 0);
    const auto effects = (co_await admin.log_page(LogPageId::kCommandsSupportedAndEffects, 4096))
                             .as<nvme::CommandsSupportedAndEffects>();
    const std::set<unsigned> admin_known = {0x02, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x18};
    const std::map<unsigned, uint32_t> io_known = {{0x00, 1}, {0x01, 3}, {0x02, 1}, {0x05, 1}, {0x08, 3}, {0x09, 3},
                                                   {0x0d, 1}, {0x0e, 1}, {0x11, 1}, {0x15, 1}, {0x19, 3}};
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
      EXPECT_EQ(effects.admin[opcode], admin_known.contains(opcode) ? 1u : 0u) << opcode;
      const auto io = io_known.find(opcode);
      EXPECT_EQ(effects.io[opcode], io == io_known.end() ? 0u : io->second) << opcode;
    }
    const auto features = (co_await admin.log_page(LogPageId::kFeatureIdentifiersSupportedAndEffects, 1024))
                              .as<nvme::FeaturesSupportedAndEffects>();
    EXPECT_EQ(features.fid[0x01], 1u | 1u << 21);
    EXPECT_EQ(features.fid[0x82], 1u | 1u << 20);
    EXPECT_EQ(features.fid[0x06], 1u | 1u << 21);
    EXPECT_EQ(features.fid[0x0e], 0u);
  });
}

TEST_F(TargetTest, AnaLogFollowsTheState) {
  subsystem_options.ana_reporting = true;
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    TestCommand* const event = co_await admin.submit(event_request());
    for (const AnaState state : {AnaState::kOptimized, AnaState::kNonOptimized, AnaState::kInaccessible}) {
      co_await subsystem().find_namespace(1)->set_ana_state(state);
      const Answer log = co_await admin.log_page(LogPageId::kAna, 52);
      const auto header = nvme::load<nvme::AnaLogHeader>(log.data);
      const auto group = nvme::load<nvme::AnaGroupDescriptor>(std::span(log.data).subspan(16));
      EXPECT_EQ(header.num_groups, 1);
      EXPECT_EQ(header.chgcnt, static_cast<uint64_t>(state) - 1);
      EXPECT_EQ(group.anagrpid, 1u);
      EXPECT_EQ(group.num_nsids, 1u);
      EXPECT_EQ(static_cast<uint8_t>(group.state), static_cast<uint8_t>(state));
      EXPECT_EQ(nvme::load<uint32_t>(std::span(log.data).subspan(48)), 1u);
    }
    EXPECT_EQ((co_await admin.answer(event)).dw0, AsyncEvent::ana_changed().encode());
    const nvme::GetLogPage groups_only{.lid = 0x0c, .lsp = 1, .num_dwords = 12};
    const Answer log = co_await admin.run(encoded(groups_only), 48u);
    EXPECT_EQ(nvme::load<nvme::AnaGroupDescriptor>(std::span(log.data).subspan(16)).num_nsids, 0u);
    EXPECT_EQ((co_await admin.log_page(LogPageId::kAna, 4, 56)).status, invalid_field());
  });
}

TEST_F(TargetTest, ResizeIsAnnouncedOnceUntilTheListIsRead) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    const auto resize = [&](int megabytes) -> Task<> {
      co_await make_device("malloc:///disk0?size_mb=" + std::to_string(megabytes) +
                           "&blk_size=512&resize&uuid=" + std::string(kDiskUuid));
    };
    const auto changed = [&](bool retain) -> Task<uint32_t> {
      const Answer log = co_await admin.log_page(LogPageId::kChangedNamespaceList, 4096, 0, retain);
      co_return log.as<nvme::ChangedNamespaceList>().nsid[0];
    };
    // Nobody asked yet: the event waits.
    co_await resize(32);
    const Answer first = co_await admin.run_as_is(event_request());
    EXPECT_EQ(first.dw0, AsyncEvent::namespace_changed().encode());
    EXPECT_EQ((co_await admin.identify(nvme::Cns::kNamespace, 1)).as<nvme::IdentifyNamespace>().nsze, 65536u);

    // No second event before the list was read, and reading with RAE is not reading.
    TestCommand* const second_event = co_await admin.submit(event_request());
    co_await resize(48);
    EXPECT_EQ(co_await changed(true), 1u);
    co_await resize(64);
    co_await pass(std::chrono::seconds(1));
    EXPECT_FALSE(second_event->done.is_set());
    EXPECT_EQ(co_await changed(false), 1u);
    EXPECT_EQ(co_await changed(false), 0u);
    co_await resize(80);
    EXPECT_EQ((co_await admin.answer(second_event)).dw0, AsyncEvent::namespace_changed().encode());

    // Masked.
    expect_success(co_await admin.set_feature(FeatureId::kAsyncEventConfiguration, 0));
    EXPECT_EQ(co_await changed(false), 1u);
    TestCommand* const masked = co_await admin.submit(event_request());
    co_await resize(96);
    co_await pass(std::chrono::seconds(1));
    EXPECT_FALSE(masked->done.is_set());
    EXPECT_EQ(co_await changed(false), 1u);
  });
}

TEST_F(TargetTest, RemovalOfTheDeviceRemovesTheNamespace) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    TestCommand* const event = co_await admin.submit(event_request());
    EXPECT_TRUE(co_await registry().destroy_by_name("disk0"));
    EXPECT_EQ((co_await admin.answer(event)).dw0, AsyncEvent::namespace_changed().encode());
    Sqe read = encoded(nvme::BlockRange{.slba = 0, .num_blocks = 1}, 1);
    read.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kRead);
    EXPECT_EQ((co_await io.run(read, 512u)).status, invalid_namespace());
    const auto list = (co_await admin.identify(nvme::Cns::kActiveNamespaceList, 0)).as<nvme::NamespaceList>();
    EXPECT_EQ(list.nsid[0], 0u);
    // Another one may come, and the connection has it at once.
    const auto added = co_await subsystem().add_namespace(co_await make_device(disk_uri()));
    EXPECT_TRUE(added);
    expect_success(co_await io.run(read, 512u));
  });
}

TEST_F(TargetTest, AsyncEventRequestsAreLimitedAndCanBeAborted) {
  options.max_async_events = 2;
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiskNqn);
    TestCommand* const first = co_await admin.submit(event_request());
    TestCommand* const other = co_await admin.submit(event_request());
    const Answer third = co_await admin.run_as_is(event_request());
    EXPECT_EQ(third.status, Status::command(CommandStatus::kAsyncEventRequestLimitExceeded, Dnr::kYes));
    const nvme::Abort abort{.sqid = 0, .cid = first->command.cid};
    Answer answer = co_await admin.run(encoded(abort));
    expect_success(answer);
    EXPECT_EQ(answer.dw0, 0u);
    EXPECT_EQ((co_await admin.answer(first)).status, Status::generic(GenericStatus::kAbortRequested));
    answer = co_await admin.run(encoded(abort));
    expect_success(answer);
    EXPECT_EQ(answer.dw0, 1u);
    EXPECT_FALSE(other->done.is_set());
    TestCommand* const replacement = co_await admin.submit(event_request());
    co_await pass(std::chrono::seconds(1));
    EXPECT_FALSE(replacement->done.is_set());
  });
}

TEST_F(TargetTest, AnEventRequestThatMeetsTheEndOfItsControllerIsAnswered) {
  run([&]() -> Task<> {
    TestQueue& admin = queue(second());
    co_await admin.start(kDiskNqn);
    TestCommand* const late = co_await admin.submit(event_request());
    subsystem().set_allowed_hosts(false, {});  // the request is on its way to the primary reactor
    EXPECT_EQ((co_await admin.answer(late)).status, Status::generic(GenericStatus::kAbortedSqDeletion));
    co_await admin.closed();
  });
}

TEST_F(TargetTest, AbortEndsWhatWaitsForItsData) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    TestQueue& io = queue(second());
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 2, .cntlid = cntlid}));
    Sqe write = encoded(nvme::BlockRange{.slba = 0, .num_blocks = 8}, 1);
    write.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kWrite);
    TestCommand* const held = co_await io.submit(with_data(write, 4096), Bytes(4096), true);
    // Wrong queue, unknown queue, unknown command.
    for (const nvme::Abort& wrong :
         {nvme::Abort{.sqid = 0, .cid = held->command.cid}, nvme::Abort{.sqid = 7, .cid = held->command.cid},
          nvme::Abort{.sqid = 2, .cid = 0xfff0}}) {
      const Answer answer = co_await admin.run(encoded(wrong));
      expect_success(answer);
      EXPECT_EQ(answer.dw0, 1u);
    }
    const Answer answer = co_await admin.run(encoded(nvme::Abort{.sqid = 2, .cid = held->command.cid}));
    expect_success(answer);
    EXPECT_EQ(answer.dw0, 0u);
    EXPECT_EQ((co_await io.answer(held)).status, Status::generic(GenericStatus::kAbortRequested));

    // A first half that waits for its second.
    Sqe compare = with_data(encoded(nvme::BlockRange{.slba = 0, .num_blocks = 1}, 1), 0);
    compare.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kCompare);
    compare.set_flags(nvme::Fuse::kFirst, nvme::Psdt::kSglMptrAddress);
    compare.sgl = nvme::SglDescriptor::in_capsule(0, 512);
    TestCommand* const half = co_await io.submit(compare, Bytes(512));
    EXPECT_EQ((co_await admin.run(encoded(nvme::Abort{.sqid = 2, .cid = half->command.cid}))).dw0, 0u);
    EXPECT_EQ((co_await io.answer(half)).status, Status::generic(GenericStatus::kAbortRequested));
    // And one whose connection ends.
    TestCommand* const orphan = co_await io.submit(compare, Bytes(512));
    co_await io.close();
    EXPECT_EQ((co_await io.answer(orphan)).status, Status::generic(GenericStatus::kAbortedSqDeletion));
  });
}

TEST_F(TargetTest, ReservationNoticesReachTheOtherHost) {
  run([&]() -> Task<> {
    const TestHost other{.nqn = "nqn.2014-08.org.example:other", .id = {9}};
    TestQueue& admin = queue();
    TestQueue& io = queue(second());
    TestQueue& other_admin = queue();
    TestQueue& other_io = queue();
    const uint16_t cntlid = co_await admin.start(kDiskNqn);
    expect_success(co_await io.connect(kDiskNqn, {}, {.qid = 1, .cntlid = cntlid}));
    const uint16_t other_cntlid = co_await other_admin.start(kDiskNqn, other);
    expect_success(co_await other_io.connect(kDiskNqn, other, {.qid = 1, .cntlid = other_cntlid}));
    TestCommand* const event = co_await admin.submit(event_request());

    const Sqe join = encoded(nvme::ReservationRegister{}, 1);
    expect_success(co_await io.run(join, bytes_from(nvme::ReservationRegisterData{.nrkey = 1})));
    expect_success(co_await other_io.run(join, bytes_from(nvme::ReservationRegisterData{.nrkey = 2})));
    const nvme::ReservationAcquire take{.type = nvme::ReservationType::kWriteExclusive};
    expect_success(co_await io.run(encoded(take, 1), bytes_from(nvme::ReservationAcquireData{.crkey = 1})));
    Sqe write = encoded(nvme::BlockRange{.slba = 0, .num_blocks = 1}, 1);
    write.opcode = static_cast<uint8_t>(nvme::NvmOpcode::kWrite);
    EXPECT_EQ((co_await other_io.run(write, Bytes(512))).status, Status::generic(GenericStatus::kReservationConflict));
    expect_success(co_await io.run(write, Bytes(512)));

    const nvme::ReservationAcquire preempt{.action = nvme::AcquireAction::kPreemptAndAbort,
                                           .type = nvme::ReservationType::kWriteExclusive};
    expect_success(
        co_await other_io.run(encoded(preempt, 1), bytes_from(nvme::ReservationAcquireData{.crkey = 2, .prkey = 1})));
    EXPECT_EQ((co_await io.run(write, Bytes(512))).status, Status::generic(GenericStatus::kReservationConflict));
    expect_success(co_await other_io.run(write, Bytes(512)));
    EXPECT_EQ((co_await admin.answer(event)).dw0, AsyncEvent::reservation_log_available().encode());
    auto notice =
        (co_await admin.log_page(LogPageId::kReservationNotification, 64)).as<nvme::ReservationNotification>();
    EXPECT_EQ(notice.log_page_count, 1u);
    EXPECT_EQ(notice.type, nvme::ReservationNotificationType::kRegistrationPreempted);
    EXPECT_EQ(notice.nsid, 1u);
    notice = (co_await admin.log_page(LogPageId::kReservationNotification, 64)).as<nvme::ReservationNotification>();
    EXPECT_EQ(notice.log_page_count, 0u);
    EXPECT_EQ(notice.type, nvme::ReservationNotificationType::kEmpty);

    const Answer report =
        co_await io.run(encoded(nvme::ReservationReport{.size_bytes = 128, .extended = true}, 1), 128u);
    expect_success(report);
    const auto header = nvme::load<nvme::ReservationStatusHeaderExtended>(report.data);
    EXPECT_EQ(header.base.rtype, nvme::ReservationType::kWriteExclusive);
  });
}

// ---- Discovery ----

struct Discovered {
  nvme::DiscoveryLogHeader header;
  std::vector<nvme::DiscoveryLogEntry> entries;
};

Task<Discovered> discover(TestQueue& admin) {
  Discovered found;
  found.header = (co_await admin.log_page(LogPageId::kDiscovery, 1024)).as<nvme::DiscoveryLogHeader>();
  for (uint64_t i = 0; i < found.header.numrec; ++i) {
    const Answer entry = co_await admin.log_page(LogPageId::kDiscovery, 1024, (i + 1) * 1024);
    found.entries.push_back(entry.as<nvme::DiscoveryLogEntry>());
  }
  co_return found;
}

TEST_F(TargetTest, DiscoveryLogHasWhatTheHostMayUse) {
  run([&]() -> Task<> {
    const auto v4 = *runtime::SocketAddress::ip("10.0.0.1", 8420);
    const auto v6 = *runtime::SocketAddress::ip("fd00::1", 8420);
    target().advertise(v4);
    target().advertise(v6);
    EXPECT_TRUE(target().add_subsystem(
        {.nqn = kDiskNqn + "-private", .allow_any_host = false, .allowed_hosts = {"nqn.2014-08.org.example:b"}}));
    TestQueue& stranger = queue();
    TestQueue& friendly = queue(second());
    co_await stranger.start(kDiscovery);
    co_await friendly.start(kDiscovery, {.nqn = "nqn.2014-08.org.example:b"});
    const Discovered few = co_await discover(stranger);
    EXPECT_EQ(few.header.numrec, 2u);
    EXPECT_EQ(few.header.recfmt, 0);
    EXPECT_EQ(few.header.genctr, target().discovery_generation());
    if (few.entries.size() == 2) {
      const nvme::DiscoveryLogEntry& entry = few.entries[0];
      EXPECT_EQ(entry.trtype, nvme::TransportType::kTcp);
      EXPECT_EQ(entry.adrfam, nvme::AddressFamily::kIpv4);
      EXPECT_EQ(entry.subtype, nvme::SubsystemType::kNvm);
      EXPECT_EQ(entry.treq, 2);
      EXPECT_EQ(entry.portid, 0);
      EXPECT_EQ(entry.cntlid, 0xffff);
      EXPECT_EQ(entry.asqsz, 128);
      EXPECT_EQ(nvme::get_c_string(entry.trsvcid), "8420");
      EXPECT_EQ(nvme::get_c_string(entry.subnqn), kDiskNqn);
      EXPECT_EQ(nvme::get_c_string(entry.traddr), "10.0.0.1");
      EXPECT_EQ(few.entries[1].adrfam, nvme::AddressFamily::kIpv6);
      EXPECT_EQ(few.entries[1].portid, 1);
      EXPECT_EQ(nvme::get_c_string(few.entries[1].traddr), "fd00::1");
    }
    const Discovered more = co_await discover(friendly);
    EXPECT_EQ(more.header.numrec, 4u);

    // Any window is the same bytes.
    const Answer whole = co_await friendly.log_page(LogPageId::kDiscovery, 5 * 1024);
    for (const uint64_t offset : {4u, 1000u, 1020u, 1024u, 4096u, 5116u}) {
      const auto size = static_cast<uint32_t>(std::min<uint64_t>(2048, 5 * 1024 - offset));
      const Answer part = co_await friendly.log_page(LogPageId::kDiscovery, size, offset);
      EXPECT_TRUE(std::ranges::equal(part.data, std::span(whole.data).subspan(offset, size))) << offset;
    }
    const Answer behind = co_await friendly.log_page(LogPageId::kDiscovery, 8, 5 * 1024);
    expect_success(behind);
    EXPECT_EQ((co_await friendly.log_page(LogPageId::kDiscovery, 8, 5 * 1024 + 4)).status, invalid_field());
    EXPECT_EQ((co_await friendly.log_page(LogPageId::kHealth, 512)).status,
              Status::command(CommandStatus::kInvalidLogPage, Dnr::kYes));
  });
}

TEST_F(TargetTest, ListenersOnAnyAddressAreShownAsTheHostReachedThem) {
  run([&]() -> Task<> {
    target().advertise(*runtime::SocketAddress::ip("0.0.0.0", 8420));
    target().advertise(*runtime::SocketAddress::ip("::", 8420));
    TestQueue& by_v4 = queue(*runtime::SocketAddress::ip("10.0.0.1", 8420));
    TestQueue& by_v6 = queue(*runtime::SocketAddress::ip("fd00::1", 8420));
    co_await by_v4.start(kDiscovery);
    co_await by_v6.start(kDiscovery);
    const Discovered v4 = co_await discover(by_v4);
    EXPECT_EQ(v4.entries.size(), 1u);
    if (!v4.entries.empty()) EXPECT_EQ(nvme::get_c_string(v4.entries[0].traddr), "10.0.0.1");
    const Discovered v6 = co_await discover(by_v6);
    EXPECT_EQ(v6.entries.size(), 1u);
    if (!v6.entries.empty()) EXPECT_EQ(nvme::get_c_string(v6.entries[0].traddr), "fd00::1");
  });
}

TEST_F(TargetTest, DiscoveryHostsAreToldOfChanges) {
  run([&]() -> Task<> {
    TestQueue& admin = queue();
    co_await admin.start(kDiscovery);
    const uint64_t before = (co_await discover(admin)).header.genctr;
    TestCommand* event = co_await admin.submit(event_request());
    EXPECT_TRUE(target().add_subsystem({.nqn = kDiskNqn + "-2"}));
    EXPECT_EQ((co_await admin.answer(event)).dw0, AsyncEvent::discovery_log_changed().encode());
    EXPECT_GT((co_await discover(admin)).header.genctr, before);
    event = co_await admin.submit(event_request());
    EXPECT_TRUE(co_await target().remove_subsystem(kDiskNqn + "-2"));
    EXPECT_EQ((co_await admin.answer(event)).dw0, AsyncEvent::discovery_log_changed().encode());
    // No I/O queues here.
    TestQueue& io = queue();
    const Answer refused = co_await io.connect(kDiscovery, {}, {.qid = 1, .cntlid = 1});
    EXPECT_EQ(refused.status, Status::fabrics(nvme::FabricsStatus::kInvalidParameters));
    EXPECT_EQ(refused.dw0, 42u);
    // A host that asked for no keep-alive is given up after two minutes of silence.
    co_await pass(std::chrono::seconds(121));
    EXPECT_TRUE(admin.connection().closing());
  });
}

}  // namespace
}  // namespace cairn::nvmf::target
