#include <gmock/gmock.h>

#include <cstdio>
#include <functional>

#include "nvme/feature.h"
#include "nvmf/target/io_test.h"

namespace cairn::nvmf::target {
namespace {

using block::IoType;
using nvme::CommandStatus;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::MediaStatus;
using nvme::NvmOpcode;
using nvme::PathStatus;
using nvme::Status;
using testing::ElementsAre;

constexpr Status kSuccess = Status::success();
constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
constexpr Status kInvalidOpcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
constexpr Status kInvalidNamespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
constexpr Status kLbaOutOfRange = Status::generic(GenericStatus::kLbaOutOfRange);
constexpr Status kSglLength = Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes);
constexpr Status kSizeLimit = Status::command(CommandStatus::kCommandSizeLimitExceeded, Dnr::kYes);
constexpr Status kMediaError = Status::media(MediaStatus::kUnrecoveredReadError);

class IoCommandTest : public IoTest {
 protected:
  std::vector<IoType> types() const {
    std::vector<IoType> all;
    for (const auto& record : device_->log) all.push_back(record.type);
    return all;
  }
  std::span<std::byte> on_disk(uint64_t lba, uint64_t num_blocks) {
    return std::span(device_->memory).subspan(lba * kBlockSize, num_blocks * kBlockSize);
  }
  bool disk_is(uint64_t lba, const std::vector<std::byte>& data) {
    return std::ranges::equal(on_disk(lba, data.size() / kBlockSize), data);
  }
};

// ---- What commands do ----

TEST_F(IoCommandTest, WriteThenRead) {
  build();
  Host& host = connect(1);
  const auto data = blocks(5, 1);
  const auto& written = finish(host, range_sqe(NvmOpcode::kWrite, 10, 5), data);
  EXPECT_EQ(written.status(), kSuccess);
  EXPECT_EQ(written.transfer_length, 0u);
  EXPECT_TRUE(disk_is(10, data));
  const auto& read = finish(host, range_sqe(NvmOpcode::kRead, 10, 5));
  EXPECT_EQ(read.status(), kSuccess);
  EXPECT_EQ(read.host_data, data);
  ASSERT_THAT(types(), ElementsAre(IoType::kWrite, IoType::kRead));
  EXPECT_EQ(device_->log[0].lba, 10u);
  EXPECT_EQ(device_->log[0].num_blocks, 5u);
  EXPECT_FALSE(device_->log[0].fua);
}

TEST_F(IoCommandTest, WholeDeviceAndLastBlock) {
  build();
  Host& host = connect(1);
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kRead, 0, kNumBlocks)).status(), kSuccess);
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kRead, kNumBlocks - 1, 1)).status(), kSuccess);
}

TEST_F(IoCommandTest, SglLongerThanTheData) {
  build();
  Host& host = connect(1);
  nvme::Sqe sqe = range_sqe(NvmOpcode::kRead, 0, 1);
  sqe.sgl.length = 4096;
  const auto& read = finish(host, sqe);
  EXPECT_EQ(read.status(), kSuccess);
  EXPECT_EQ(read.data_length, kBlockSize);
  EXPECT_EQ(read.transfer_length, kBlockSize);
}

TEST_F(IoCommandTest, ReadPassesTheUnwrittenFlags) {
  build();
  Host& host = connect(1);
  nvme::Sqe sqe = range_sqe(NvmOpcode::kRead, 0, 1);
  sqe.cdw12 |= 3u << 21;
  EXPECT_EQ(finish(host, sqe).status(), kSuccess);
  EXPECT_EQ(device_->log.at(0).read_flags, 3u << 21);
  // The same bits of a Write belong to its directive type.
  nvme::Sqe write = range_sqe(NvmOpcode::kWrite, 0, 1);
  write.cdw12 |= 3u << 21;
  EXPECT_EQ(finish(host, write, blocks(1, 1)).status(), kSuccess);
  EXPECT_EQ(device_->log.at(1).read_flags, 0u);
}

TEST_F(IoCommandTest, ForceUnitAccess) {
  build();
  Host& host = connect(1);
  finish(host, with_fua(range_sqe(NvmOpcode::kWrite, 0, 1)), blocks(1, 1));
  EXPECT_TRUE(device_->log.at(0).fua);
  device_->clear();
  finish(host, with_fua(range_sqe(NvmOpcode::kWriteZeroes, 0, 1)));
  EXPECT_TRUE(device_->log.at(0).fua);
  device_->clear();
  EXPECT_EQ(finish(host, with_fua(range_sqe(NvmOpcode::kRead, 0, 1))).status(), kSuccess);
  EXPECT_THAT(types(), ElementsAre(IoType::kFlush, IoType::kRead)) << "what is read is stable";
  device_->clear();
  EXPECT_EQ(finish(host, with_fua(range_sqe(NvmOpcode::kCompare, 0, 1)), std::vector(512, std::byte{0})).status(),
            kSuccess);
  EXPECT_THAT(types(), ElementsAre(IoType::kFlush, IoType::kCompare));
  device_->clear();
  device_->cache = false;
  finish(host, with_fua(range_sqe(NvmOpcode::kRead, 0, 1)));
  EXPECT_THAT(types(), ElementsAre(IoType::kRead));
  device_->clear();
  device_->cache = true;
  device_->fail_at = 0;
  device_->fail_status = Status::media(MediaStatus::kWriteFault);
  EXPECT_EQ(finish(host, with_fua(range_sqe(NvmOpcode::kRead, 0, 1))).status(), device_->fail_status);
  EXPECT_THAT(types(), ElementsAre(IoType::kFlush));
}

TEST_F(IoCommandTest, WriteThroughWhenTheHostDisablesTheCache) {
  build();
  Host& host = connect(1);
  const auto set_cache = [&](bool enabled) {
    nvme::Sqe sqe = command_sqe();
    nvme::SetFeatures{.fid = static_cast<uint8_t>(nvme::FeatureId::kVolatileWriteCache), .cdw11 = enabled}.encode(sqe);
    EXPECT_EQ(finish(*host.admin, sqe).status(), kSuccess);
  };
  set_cache(false);
  finish(host, range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  finish(host, range_sqe(NvmOpcode::kWriteZeroes, 0, 1));
  finish(host, copy_sqe(8, 1), bytes(std::vector{nvme::CopyRange{.slba = 0, .nlb = 0}}));
  for (const auto& record : device_->log) EXPECT_TRUE(record.fua);
  device_->clear();
  set_cache(true);
  finish(host, range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  EXPECT_FALSE(device_->log.at(0).fua);
}

TEST_F(IoCommandTest, Flush) {
  build();
  Host& host = connect(1);
  EXPECT_EQ(finish(host, io_sqe(NvmOpcode::kFlush)).status(), kSuccess);
  EXPECT_THAT(types(), ElementsAre(IoType::kFlush));
  nvme::Sqe everywhere = io_sqe(NvmOpcode::kFlush);
  everywhere.nsid = nvme::kBroadcastNsid;
  EXPECT_EQ(finish(host, everywhere).status(), kInvalidNamespace) << "VWC says so";
}

TEST_F(IoCommandTest, FlushOfADeviceWithoutOne) {
  build([](TestDevice& device) { device.unsupported = {IoType::kFlush}; });
  Host& host = connect(1);
  EXPECT_EQ(finish(host, io_sqe(NvmOpcode::kFlush)).status(), kSuccess);
  EXPECT_TRUE(device_->log.empty());
}

TEST_F(IoCommandTest, WriteZeroes) {
  build();
  Host& host = connect(1);
  finish(host, range_sqe(NvmOpcode::kWrite, 0, 4), blocks(4, 1));
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kWriteZeroes, 1, 2)).status(), kSuccess);
  EXPECT_TRUE(disk_is(1, std::vector(2 * 512, std::byte{0})));
  EXPECT_FALSE(disk_is(3, std::vector(512, std::byte{0})));
  EXPECT_FALSE(device_->log.at(1).may_deallocate);
  nvme::Sqe deallocate = range_sqe(NvmOpcode::kWriteZeroes, 0, kNumBlocks);
  deallocate.cdw12 |= 1u << 25;
  EXPECT_EQ(finish(host, deallocate).status(), kSuccess);
  EXPECT_TRUE(device_->log.at(2).may_deallocate);
}

TEST_F(IoCommandTest, WriteZeroesMayExceedTheTransferSize) {
  options_.max_io_size = 4096;
  build();
  Host& host = connect(1);
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kWriteZeroes, 0, kNumBlocks)).status(), kSuccess);
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kRead, 0, 8)).status(), kSuccess);
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kRead, 0, 9)).status(), kInvalidField);
}

TEST_F(IoCommandTest, Compare) {
  build();
  Host& host = connect(1);
  finish(host, range_sqe(NvmOpcode::kWrite, 3, 2), blocks(2, 9));
  EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kCompare, 3, 2), blocks(2, 9)).status(), kSuccess);
  auto other = blocks(2, 9);
  other.back() ^= std::byte{1};
  const auto& differs = finish(host, range_sqe(NvmOpcode::kCompare, 3, 2), other);
  EXPECT_EQ(differs.status(), Status::media(MediaStatus::kCompareFailure));
}

TEST_F(IoCommandTest, Deallocate) {
  build();
  Host& host = connect(1);
  finish(host, range_sqe(NvmOpcode::kWrite, 0, 8), blocks(8, 1));
  device_->clear();
  const std::vector<nvme::DatasetRange> ranges = {{.num_blocks = 0, .slba = 4},
                                                  {.num_blocks = 1, .slba = 0},
                                                  {.num_blocks = 0, .slba = 0},
                                                  {.num_blocks = 2, .slba = 6}};
  EXPECT_EQ(finish(host, deallocate_sqe(4), bytes(ranges)).status(), kSuccess);
  ASSERT_THAT(types(), ElementsAre(IoType::kUnmap, IoType::kUnmap));
  EXPECT_EQ(device_->log[0].lba, 0u);
  EXPECT_EQ(device_->log[1].lba, 6u);
  EXPECT_EQ(device_->log[1].num_blocks, 2u);
  EXPECT_EQ(finish(host, deallocate_sqe(1), bytes(std::vector<nvme::DatasetRange>{{}})).status(), kSuccess);
  EXPECT_EQ(device_->log.size(), 2u);
}

// Of a device that completes inside submit(), and of one that does so later.
TEST_F(IoCommandTest, Deallocate256Ranges) {
  build();
  Host& host = connect(1);
  std::vector<nvme::DatasetRange> ranges;
  for (uint64_t i = 0; i < 256; ++i) ranges.push_back({.num_blocks = 1, .slba = i * 4});
  EXPECT_EQ(finish(host, deallocate_sqe(256), bytes(ranges)).status(), kSuccess);
  EXPECT_EQ(device_->log.size(), 256u);
  device_->clear();
  device_->hold = true;
  Command& slow = host.io->send(deallocate_sqe(256), bytes(ranges));
  for (uint64_t i = 0; i < 256; ++i) {
    EXPECT_FALSE(slow.completed);
    ASSERT_EQ(device_->num_held(), 1u) << "one after the other";
    device_->release();
    EXPECT_EQ(device_->log.back().lba, i * 4);
  }
  EXPECT_EQ(slow.status(), kSuccess);
}

TEST_F(IoCommandTest, DeallocateStopsAtAnError) {
  build();
  Host& host = connect(1);
  std::vector<nvme::DatasetRange> ranges(5, {.num_blocks = 1});
  device_->fail_at = 2;
  device_->fail_status = Status::media(MediaStatus::kWriteFault);
  EXPECT_EQ(finish(host, deallocate_sqe(5), bytes(ranges)).status(), device_->fail_status);
  EXPECT_EQ(device_->log.size(), 3u);
}

TEST_F(IoCommandTest, DatasetHints) {
  build();
  Host& host = connect(1);
  nvme::Sqe sqe = deallocate_sqe(1);
  nvme::DatasetManagement{.num_ranges = 1, .integral_write = true, .integral_read = true}.encode(sqe);
  EXPECT_EQ(finish(host, sqe, bytes(std::vector<nvme::DatasetRange>{{.num_blocks = 1}})).status(), kSuccess);
  EXPECT_TRUE(device_->log.empty());
  const std::vector<nvme::DatasetRange> outside = {{.num_blocks = 1, .slba = kNumBlocks}};
  EXPECT_EQ(finish(host, sqe, bytes(outside)).status(), kLbaOutOfRange);
}

TEST_F(IoCommandTest, Copy) {
  build();
  Host& host = connect(1);
  const auto data = blocks(6, 4);
  finish(host, range_sqe(NvmOpcode::kWrite, 0, 6), data);
  device_->clear();
  const std::vector<nvme::CopyRange> ranges = {{.slba = 4, .nlb = 1}, {.slba = 0, .nlb = 0}, {.slba = 1, .nlb = 2}};
  const auto& copied = finish(host, copy_sqe(100, 3), bytes(ranges));
  EXPECT_EQ(copied.status(), kSuccess);
  EXPECT_EQ(copied.completion.dw0, 0u);
  EXPECT_TRUE(std::ranges::equal(on_disk(100, 2), on_disk(4, 2)));
  EXPECT_TRUE(std::ranges::equal(on_disk(102, 1), on_disk(0, 1)));
  EXPECT_TRUE(std::ranges::equal(on_disk(103, 3), on_disk(1, 3)));
  EXPECT_THAT(types(), ElementsAre(IoType::kCopy, IoType::kCopy, IoType::kCopy));
}

TEST_F(IoCommandTest, CopyTellsTheFirstRangeThatIsMissing) {
  for (const bool hold : {false, true}) {
    SCOPED_TRACE(hold);
    if (target_ == nullptr) build();
    Host& host = connect(hold ? 2 : 1);
    device_->clear();
    device_->hold = hold;
    device_->fail_at = 2;
    device_->fail_status = kMediaError;
    Command& copy = host.io->send(copy_sqe(100, 4), bytes(std::vector<nvme::CopyRange>(4)));
    while (device_->num_held() > 0) device_->release();
    EXPECT_EQ(copy.status(), kMediaError);
    EXPECT_EQ(copy.completion.dw0, 2u);
    EXPECT_EQ(device_->log.size(), 3u);
    device_->hold = false;
  }
}

TEST_F(IoCommandTest, CopyLimits) {
  build();
  Host& host = connect(1);
  // As many ranges as Identify allows; the device is too small for the other limits.
  EXPECT_EQ(finish(host, copy_sqe(512, kMaxCopyRanges), bytes(std::vector<nvme::CopyRange>(kMaxCopyRanges))).status(),
            kSuccess);
  EXPECT_EQ(device_->log.size(), kMaxCopyRanges);
}

TEST_F(IoCommandTest, CopyBlocksLimit) {
  static_assert(kMaxCopyRangeBlocks == 65535 && kMaxCopyBlocks == 1u << 18);
  build([](TestDevice& device) {
    device.memory.resize(0);
    device.resize(1u << 20);  // never written to: the limits come first, or the Io fails
  });
  Host& host = connect(1);
  device_->fail_at = 0;
  device_->fail_status = kMediaError;
  const auto status = [&](std::vector<uint16_t> nlbs) {
    std::vector<nvme::CopyRange> ranges;
    for (const uint16_t nlb : nlbs) ranges.push_back({.nlb = nlb});
    device_->log.clear();
    return finish(host, copy_sqe(1u << 19, static_cast<uint32_t>(ranges.size())), bytes(ranges)).status();
  };
  EXPECT_EQ(status({65534}), kMediaError) << "MSSRL is allowed";
  EXPECT_EQ(status({65535}), kSizeLimit) << "one more is not";
  EXPECT_EQ(status({65534, 65534, 65534, 65534, 3}), kMediaError) << "MCL is allowed";
  EXPECT_EQ(status({65534, 65534, 65534, 65534, 4}), kSizeLimit) << "one more is not";
}

TEST_F(IoCommandTest, DeviceErrorsArePassedOn) {
  build();
  Host& host = connect(1);
  for (const Status status : {kMediaError, Status::generic(GenericStatus::kInternalError),
                              Status::generic(GenericStatus::kCapacityExceeded), Status::vendor(28)}) {
    device_->clear();
    device_->fail_at = 0;
    device_->fail_status = status;
    const auto& failed = finish(host, range_sqe(NvmOpcode::kRead, 0, 1));
    EXPECT_EQ(failed.status(), status);
    EXPECT_EQ(failed.transfer_length, 0u) << "no data of a failed command";
  }
}

TEST_F(IoCommandTest, ManyAtATime) {
  build();
  Host& host = connect(1);
  device_->hold = true;
  std::vector<Command*> reads;
  for (uint32_t i = 0; i < 30; ++i) reads.push_back(&host.io->send(range_sqe(NvmOpcode::kRead, i, 1)));
  EXPECT_EQ(device_->num_held(), 30u);
  EXPECT_EQ(host.io->queue_pair().outstanding(), 30u);
  while (device_->num_held() > 0) device_->release();
  for (Command* read : reads) EXPECT_EQ(read->status(), kSuccess);
  EXPECT_EQ(host.io->queue_pair().outstanding(), 0u);
}

TEST_F(IoCommandTest, ReservationReportReachesTheHost) {
  build();
  Host& host = connect(7);
  EXPECT_EQ(register_key(host).status(), kSuccess);
  nvme::Sqe sqe = io_sqe(NvmOpcode::kReservationReport, 128);
  nvme::ReservationReport{.size_bytes = 128, .extended = true}.encode(sqe);
  const auto& report = finish(host, sqe);
  EXPECT_EQ(report.status(), kSuccess);
  ASSERT_EQ(report.host_data.size(), 128u);
  EXPECT_EQ(report.host_data[5], std::byte{1});        // registrants
  EXPECT_EQ(report.host_data[64 + 8], std::byte{7});   // key
  EXPECT_EQ(report.host_data[64 + 31], std::byte{7});  // host identifier
}

// ---- Closing ----

TEST_F(IoCommandTest, ConnectionEndsWhileIoExecutes) {
  build();
  Host& host = connect(1);
  device_->hold = true;
  Command& executing = host.io->send(range_sqe(NvmOpcode::kRead, 0, 1));
  Command& waiting = host.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  {
    const runtime::Reactor::Scope scope(host.io->reactor());
    host.io->disconnect();
  }
  settle();
  EXPECT_EQ(waiting.status(), Status::generic(GenericStatus::kAbortedSqDeletion));
  EXPECT_FALSE(host.io->closed()) << "the device still has its memory";
  device_->release();
  settle();
  EXPECT_TRUE(executing.completed);
  EXPECT_TRUE(host.io->closed());
}

// ---- Bad input ----

struct BadCommand {
  const char* what;
  std::function<nvme::Sqe()> command;
  std::vector<std::byte> data;
  Status status;
};

class BadCommandTest : public IoCommandTest {
 protected:
  // Every command is refused with the given status and reaches no device; the queue works on. Prints a row of
  // docs/testing.md for each.
  void expect_refused(Host& host, const std::vector<BadCommand>& rows) {
    for (const BadCommand& row : rows) {
      SCOPED_TRACE(row.what);
      device_->clear();
      const auto& refused = finish(host, row.command(), row.data);
      EXPECT_EQ(refused.status().to_string(), row.status.to_string());
      EXPECT_EQ(refused.transfer_length, 0u);
      EXPECT_TRUE(device_->log.empty());
      std::printf("| %s | %s |\n", row.what, refused.status().to_string().c_str());
    }
    EXPECT_EQ(finish(host, range_sqe(NvmOpcode::kRead, 0, 1)).status(), kSuccess);
  }
  template <typename Change>
  static std::function<nvme::Sqe()> changed(nvme::Sqe sqe, Change change) {
    return [sqe, change]() mutable {
      change(sqe);
      return sqe;
    };
  }
  static std::function<nvme::Sqe()> plain(const nvme::Sqe& sqe) {
    return [sqe] { return sqe; };
  }
};

TEST_F(BadCommandTest, Table) {
  options_.max_io_size = 65536;
  build();
  Host& host = connect(1);
  const auto read = [](uint64_t slba, uint32_t count) { return range_sqe(NvmOpcode::kRead, slba, count); };
  const auto opcode = [](uint8_t value) {
    nvme::Sqe sqe = io_sqe(NvmOpcode::kFlush);
    sqe.opcode = value;
    return sqe;
  };
  const auto dataset = [](uint64_t slba, uint32_t count) {
    return bytes(std::vector<nvme::DatasetRange>{{.num_blocks = 1}, {.num_blocks = count, .slba = slba}});
  };
  const auto source = [](uint64_t slba, uint16_t nlb) {
    return bytes(std::vector<nvme::CopyRange>{{.slba = slba, .nlb = nlb}});
  };
  const auto key = [] { return std::vector(16, std::byte{1}); };
  const Status sgl_type = Status::generic(GenericStatus::kSglDescriptorTypeInvalid, Dnr::kYes);
  const Status missing = Status::generic(GenericStatus::kAbortedMissingFused);
  expect_refused(
      host,
      {
          {"NSID 0", changed(read(0, 1), [](auto& sqe) { sqe.nsid = 0; }), {}, kInvalidNamespace},
          {"NSID 2", changed(read(0, 1), [](auto& sqe) { sqe.nsid = 2; }), {}, kInvalidNamespace},
          {"Read of NSID FFFFFFFFh", changed(read(0, 1), [](auto& sqe) { sqe.nsid = ~0u; }), {}, kInvalidNamespace},
          {"Flush of NSID FFFFFFFFh (VWC: unsupported)",
           changed(io_sqe(NvmOpcode::kFlush), [](auto& sqe) { sqe.nsid = ~0u; }),
           {},
           kInvalidNamespace},
          {"opcode 03h", plain(opcode(0x03)), {}, kInvalidOpcode},
          {"Write Uncorrectable", plain(opcode(0x04)), {}, kInvalidOpcode},
          {"Verify", plain(opcode(0x0c)), {}, kInvalidOpcode},
          {"vendor opcode 80h", plain(opcode(0x80)), {}, kInvalidOpcode},
          {"vendor opcode FFh", plain(opcode(0xff)), {}, kInvalidOpcode},
          {"an admin opcode (Identify) on an I/O queue", plain(opcode(0x06)), {}, kInvalidOpcode},
          {"fabrics Property Get on an I/O queue",
           [] {
             nvme::Sqe sqe = command_sqe();
             nvme::PropertyGet{}.encode(sqe);
             return sqe;
           },
           {},
           kInvalidOpcode},
          {"fabrics Connect on a connected queue",
           [] {
             nvme::Sqe sqe = command_sqe(1024);
             nvme::Connect{.qid = 1, .sqsize = 31}.encode(sqe);
             return sqe;
           },
           {},
           Status::generic(GenericStatus::kCommandSequenceError, Dnr::kYes)},
          {"PSDT 00b (PRP) with data", changed(read(0, 1), [](auto& sqe) { sqe.flags = 0; }), {}, kInvalidField},
          {"PSDT 11b", changed(io_sqe(NvmOpcode::kFlush), [](auto& sqe) { sqe.flags = 0xc0; }), {}, kInvalidField},
          {"FUSE 11b", changed(read(0, 1), [](auto& sqe) { sqe.flags |= 3; }), {}, kInvalidField},
          {"FUSE second without a first",
           changed(range_sqe(NvmOpcode::kWrite, 0, 1), [](auto& sqe) { sqe.flags |= 2; }), blocks(1, 1), missing},
          {"FUSE first, Read", changed(read(0, 1), [](auto& sqe) { sqe.flags |= 1; }), {}, kInvalidField},
          {"SGL shorter than the blocks",
           changed(read(0, 2), [](auto& sqe) { sqe.sgl.length = 1023; }),
           {},
           kSglLength},
          {"SGL of length 0", changed(read(0, 1), [](auto& sqe) { sqe.sgl.length = 0; }), {}, kSglLength},
          {"Write, SGL shorter than the blocks",
           changed(range_sqe(NvmOpcode::kWrite, 0, 2), [](auto& sqe) { sqe.sgl.length = 512; }), blocks(2, 1),
           kSglLength},
          {"Read into the capsule",
           changed(read(0, 1), [](auto& sqe) { sqe.sgl = nvme::SglDescriptor::in_capsule(0, 512); }),
           {},
           sgl_type},
          {"SGL data block with an address",
           changed(read(0, 1), [](auto& sqe) { sqe.sgl = {.address = 4096, .length = 512, .identifier = 0x00}; }),
           {},
           sgl_type},
          {"SGL bit bucket", changed(read(0, 1), [](auto& sqe) { sqe.sgl.identifier = 0x10; }), {}, sgl_type},
          {"SGL segment", changed(read(0, 1), [](auto& sqe) { sqe.sgl.identifier = 0x20; }), {}, sgl_type},
          {"SGL keyed data block", changed(read(0, 1), [](auto& sqe) { sqe.sgl.identifier = 0x40; }), {}, sgl_type},
          {"Read of more than MDTS", plain(read(0, 129)), {}, kInvalidField},
          {"Write of more than MDTS", plain(range_sqe(NvmOpcode::kWrite, 0, 65536)), {}, kInvalidField},
          {"Compare of more than MDTS", plain(range_sqe(NvmOpcode::kCompare, 0, 129)), {}, kInvalidField},
          {"Read behind the end", plain(read(kNumBlocks, 1)), {}, kLbaOutOfRange},
          {"Read across the end", plain(read(kNumBlocks - 1, 2)), {}, kLbaOutOfRange},
          {"Read at the largest LBA", plain(read(UINT64_MAX, 1)), {}, kLbaOutOfRange},
          {"Read whose end wraps", plain(read(UINT64_MAX - 1, 8)), {}, kLbaOutOfRange},
          {"Write behind the end", plain(range_sqe(NvmOpcode::kWrite, kNumBlocks, 1)), blocks(1, 1), kLbaOutOfRange},
          {"Compare behind the end", plain(range_sqe(NvmOpcode::kCompare, kNumBlocks, 1)), blocks(1, 1),
           kLbaOutOfRange},
          {"Write Zeroes across the end", plain(range_sqe(NvmOpcode::kWriteZeroes, 1, 65536)), {}, kLbaOutOfRange},
          {"Dataset Management, a range across the end", plain(deallocate_sqe(2)), dataset(kNumBlocks - 1, 2),
           kLbaOutOfRange},
          {"Dataset Management, a range that wraps", plain(deallocate_sqe(2)), dataset(UINT64_MAX, 2), kLbaOutOfRange},
          {"Dataset Management, a range of FFFFFFFFh blocks", plain(deallocate_sqe(2)), dataset(0, UINT32_MAX),
           kLbaOutOfRange},
          {"Dataset Management, SGL shorter than the ranges",
           changed(deallocate_sqe(2), [](auto& sqe) { sqe.sgl.length = 31; }), dataset(0, 1), kSglLength},
          {"Copy of descriptor format 1", changed(copy_sqe(0, 1), [](auto& sqe) { sqe.cdw12 |= 1u << 8; }),
           source(0, 0), kInvalidField},
          {"Copy of more ranges than MSRC", plain(copy_sqe(0, kMaxCopyRanges + 1)), {}, kSizeLimit},
          {"Copy of a range of more blocks than MSSRL", plain(copy_sqe(0, 1)), source(0, 65535), kSizeLimit},
          {"Copy from behind the end", plain(copy_sqe(0, 1)), source(kNumBlocks, 0), kLbaOutOfRange},
          {"Copy from a range that wraps", plain(copy_sqe(0, 1)), source(UINT64_MAX, 1), kLbaOutOfRange},
          {"Copy to behind the end", plain(copy_sqe(kNumBlocks - 1, 1)), source(0, 1), kLbaOutOfRange},
          {"Copy to a range that wraps", plain(copy_sqe(UINT64_MAX, 1)), source(0, 1), kLbaOutOfRange},
          {"Copy, SGL shorter than the ranges", changed(copy_sqe(0, 2), [](auto& sqe) { sqe.sgl.length = 63; }),
           source(0, 0), kSglLength},
          {"Reservation Register with 15 bytes", changed(io_sqe(NvmOpcode::kReservationRegister, 15), [](auto&) {}),
           key(), kInvalidField},
          {"Reservation Register of key 0", plain(io_sqe(NvmOpcode::kReservationRegister, 16)),
           std::vector(16, std::byte{0}), kInvalidField},
          {"Reservation Register, action 3",
           changed(io_sqe(NvmOpcode::kReservationRegister, 16), [](auto& sqe) { sqe.cdw10 = 3; }), key(),
           kInvalidField},
          {"Reservation Register, CPTPL 01b",
           changed(io_sqe(NvmOpcode::kReservationRegister, 16), [](auto& sqe) { sqe.cdw10 = 1u << 30; }), key(),
           kInvalidField},
          {"Reservation Acquire, not registered",
           changed(io_sqe(NvmOpcode::kReservationAcquire, 16), [](auto& sqe) { sqe.cdw10 = 1u << 8; }), key(),
           Status::generic(GenericStatus::kReservationConflict)},
          {"Reservation Acquire, type 0", plain(io_sqe(NvmOpcode::kReservationAcquire, 16)), key(), kInvalidField},
          {"Reservation Acquire, IEKEY",
           changed(io_sqe(NvmOpcode::kReservationAcquire, 16), [](auto& sqe) { sqe.cdw10 = 1u << 8 | 1u << 3; }), key(),
           kInvalidField},
          {"Reservation Release with 7 bytes", plain(io_sqe(NvmOpcode::kReservationRelease, 7)), key(), kInvalidField},
          {"Reservation Release, not registered", plain(io_sqe(NvmOpcode::kReservationRelease, 8)), key(),
           Status::generic(GenericStatus::kReservationConflict)},
          {"Reservation Report, EDS 0",
           changed(io_sqe(NvmOpcode::kReservationReport, 64), [](auto& sqe) { sqe.cdw10 = 15; }),
           {},
           Status::generic(GenericStatus::kHostIdInconsistentFormat, Dnr::kYes)},
          {"Reservation Report of more than MDTS",
           changed(io_sqe(NvmOpcode::kReservationReport, 64),
                   [](auto& sqe) {
                     sqe.cdw10 = UINT32_MAX;
                     sqe.cdw11 = 1;
                   }),
           {},
           kInvalidField},
      });
}

TEST_F(BadCommandTest, WhatTheDeviceLacks) {
  build([](TestDevice& device) {
    device.unsupported = {IoType::kWrite,   IoType::kUnmap,           IoType::kWriteZeroes,
                          IoType::kCompare, IoType::kCompareAndWrite, IoType::kCopy};
  });
  Host& host = connect(1);
  expect_refused(
      host,
      {{"Write to a device that cannot be written", plain(range_sqe(NvmOpcode::kWrite, 0, 1)), blocks(1, 1),
        kInvalidOpcode},
       {"Deallocate on a device without it", plain(deallocate_sqe(1)), std::vector(16, std::byte{0}), kInvalidOpcode},
       {"Write Zeroes on a device without it", plain(range_sqe(NvmOpcode::kWriteZeroes, 0, 1)), {}, kInvalidOpcode},
       {"Copy on a device without it", plain(copy_sqe(0, 1)), std::vector(32, std::byte{0}), kInvalidOpcode}});
}

TEST_F(BadCommandTest, PrpMarkIsHarmlessWithoutData) {
  build();
  Host& host = connect(1);
  nvme::Sqe sqe = io_sqe(NvmOpcode::kFlush);
  sqe.flags = 0;
  EXPECT_EQ(finish(host, sqe).status(), kSuccess);
}

}  // namespace
}  // namespace cairn::nvmf::target
