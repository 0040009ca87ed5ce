#include <gmock/gmock.h>

#include <cstdio>
#include <functional>

#include "nvmf/target/io_test.h"

namespace cairn::nvmf::target {
namespace {

using block::IoType;
using nvme::Dnr;
using nvme::Fuse;
using nvme::GenericStatus;
using nvme::MediaStatus;
using nvme::NvmOpcode;
using nvme::Status;

constexpr Status kSuccess = Status::success();
constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, Dnr::kYes);
constexpr Status kFailedFused = Status::generic(GenericStatus::kAbortedFailedFused);
constexpr Status kMissingFused = Status::generic(GenericStatus::kAbortedMissingFused);
constexpr Status kCompareFailure = Status::media(MediaStatus::kCompareFailure);
constexpr Status kLbaOutOfRange = Status::generic(GenericStatus::kLbaOutOfRange);

class FusedCommandTest : public IoTest {
 protected:
  static nvme::Sqe first(uint64_t slba = 5, uint32_t count = 1) {
    return with_fuse(range_sqe(NvmOpcode::kCompare, slba, count), Fuse::kFirst);
  }
  static nvme::Sqe second(uint64_t slba = 5, uint32_t count = 1) {
    return with_fuse(range_sqe(NvmOpcode::kWrite, slba, count), Fuse::kSecond);
  }
  static nvme::Sqe read() { return range_sqe(NvmOpcode::kRead, 0, 1); }

  void SetUp() override {
    build();
    host_ = &connect(1);
    finish(*host_, range_sqe(NvmOpcode::kWrite, 0, 16), std::vector(16 * 512, std::byte{0}));
    device_->clear();
  }
  Command& receive(const nvme::Sqe& sqe, const std::vector<std::byte>& data = {}) {
    return host_->io->receive(sqe, data);
  }
  void deliver(Command& command) { host_->io->deliver(command); }
  Command& send(const nvme::Sqe& sqe, const std::vector<std::byte>& data = {}) { return host_->io->send(sqe, data); }
  bool written(const std::vector<std::byte>& data, uint64_t lba = 5) {
    return std::equal(data.begin(), data.end(), device_->memory.begin() + static_cast<ptrdiff_t>(lba * kBlockSize));
  }

  const std::vector<std::byte> zeroes_ = std::vector(512, std::byte{0});
  const std::vector<std::byte> old_ = std::vector(512, std::byte{0x33});
  const std::vector<std::byte> new_ = blocks(1, 9);
  Host* host_ = nullptr;
};

// The data of the halves in all orders: both capsules first or not, the first half's data first or not.
TEST_F(FusedCommandTest, DataInAnyOrder) {
  struct Row {
    const char* what;
    std::function<std::pair<Command*, Command*>()> run;
  };
  const std::vector<Row> rows = {
      {"in capsules",
       [this] {
         Command& compare = send(first(), zeroes_);
         Command& write = send(second(), new_);
         return std::pair(&compare, &write);
       }},
      {"the compare's, then the write's",
       [this] {
         Command& compare = receive(first(), zeroes_);
         Command& write = receive(second(), new_);
         deliver(compare);
         EXPECT_TRUE(device_->log.empty());
         deliver(write);
         return std::pair(&compare, &write);
       }},
      {"the write's, then the compare's",
       [this] {
         Command& compare = receive(first(), zeroes_);
         Command& write = receive(second(), new_);
         deliver(write);
         EXPECT_TRUE(device_->log.empty());
         deliver(compare);
         return std::pair(&compare, &write);
       }},
      {"the compare's in its capsule, the write's later",
       [this] {
         Command& compare = send(first(), zeroes_);
         Command& write = receive(second(), new_);
         EXPECT_TRUE(device_->log.empty());
         deliver(write);
         return std::pair(&compare, &write);
       }},
      {"the write's in its capsule, the compare's later",
       [this] {
         Command& compare = receive(first(), zeroes_);
         Command& write = send(second(), new_);
         EXPECT_TRUE(device_->log.empty());
         deliver(compare);
         return std::pair(&compare, &write);
       }},
  };
  for (const Row& row : rows) {
    for (const bool hold : {false, true}) {
      SCOPED_TRACE(testing::Message() << row.what << (hold ? ", later" : ", at once"));
      std::fill(device_->memory.begin(), device_->memory.end(), std::byte{0});
      device_->clear();
      device_->hold = hold;
      const auto [compare, write] = row.run();
      if (hold) {
        EXPECT_FALSE(compare->completed);
        EXPECT_FALSE(write->completed);
        ASSERT_EQ(device_->num_held(), 1u);
        device_->release();
      }
      EXPECT_EQ(compare->status(), kSuccess);
      EXPECT_EQ(write->status(), kSuccess);
      EXPECT_LT(compare->completion_order, write->completion_order);
      EXPECT_TRUE(written(new_));
      ASSERT_EQ(device_->log.size(), 1u);
      EXPECT_EQ(device_->log[0].type, IoType::kCompareAndWrite);
    }
  }
}

TEST_F(FusedCommandTest, Differs) {
  Command& compare = send(first(), old_);
  Command& write = send(second(), new_);
  EXPECT_EQ(compare.status(), kCompareFailure);
  EXPECT_EQ(write.status(), kFailedFused);
  EXPECT_TRUE(written(zeroes_));
}

TEST_F(FusedCommandTest, DeviceErrors) {
  struct Row {
    Status device, compare, write;
  };
  const Status write_fault = Status::media(MediaStatus::kWriteFault);
  const Status no_space = Status::generic(GenericStatus::kCapacityExceeded);
  const Status read_error = Status::media(MediaStatus::kUnrecoveredReadError);
  const Status internal = Status::generic(GenericStatus::kInternalError);
  for (const Row& row : {Row{write_fault, kSuccess, write_fault}, Row{no_space, kSuccess, no_space},
                         Row{read_error, read_error, kFailedFused}, Row{internal, internal, kFailedFused}}) {
    SCOPED_TRACE(row.device.to_string());
    device_->clear();
    device_->fail_at = 0;
    device_->fail_status = row.device;
    Command& compare = send(first(), zeroes_);
    Command& write = send(second(), new_);
    EXPECT_EQ(compare.status(), row.compare);
    EXPECT_EQ(write.status(), row.write);
    EXPECT_LT(compare.completion_order, write.completion_order);
  }
}

TEST_F(FusedCommandTest, ForceUnitAccess) {
  send(first(), zeroes_);
  send(with_fua(second()), new_);
  EXPECT_TRUE(device_->log.at(0).fua);
}

// What arrives where a pair should, and what its commands end with. Prints the rows of docs/testing.md.
TEST_F(FusedCommandTest, WrongSequences) {
  struct Step {
    nvme::Sqe sqe;
    std::vector<std::byte> data;
    Status status;
  };
  struct Row {
    const char* what;
    std::vector<Step> steps;
    bool still_first = false;  // ends with a first half that waits
  };
  nvme::Sqe second_read = with_fuse(read(), Fuse::kSecond);
  nvme::Sqe first_write = with_fuse(range_sqe(NvmOpcode::kWrite, 5, 1), Fuse::kFirst);
  nvme::Sqe reserved = with_fuse(read(), Fuse::kReserved);
  nvme::Sqe short_second = second();
  short_second.sgl.length = 511;
  nvme::Sqe short_first = first();
  short_first.sgl.length = 511;
  nvme::Sqe other_namespace = second();
  other_namespace.nsid = 2;
  nvme::Sqe unknown = read();
  unknown.opcode = 0x85;
  nvme::Sqe property = command_sqe();
  nvme::PropertyGet{}.encode(property);
  const Status no_namespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);
  const Status no_opcode = Status::generic(GenericStatus::kInvalidOpcode, Dnr::kYes);
  const Status sgl_length = Status::generic(GenericStatus::kDataSglLengthInvalid, Dnr::kYes);
  const std::vector<Row> rows = {
      {"second without first", {{second(), new_, kMissingFused}}},
      {"first, then Read", {{first(), zeroes_, kMissingFused}, {read(), {}, kSuccess}}},
      {"first, then Read, then second",
       {{first(), zeroes_, kMissingFused}, {read(), {}, kSuccess}, {second(), new_, kMissingFused}}},
      {"first, first, second",
       {{first(), zeroes_, kMissingFused}, {first(), zeroes_, kSuccess}, {second(), new_, kSuccess}}},
      {"first, then a command that is refused", {{first(), zeroes_, kMissingFused}, {unknown, {}, no_opcode}}},
      {"first, then a fabrics command", {{first(), zeroes_, kMissingFused}, {property, {}, no_opcode}}},
      {"first, then FUSE 11b", {{first(), zeroes_, kMissingFused}, {reserved, {}, kInvalidField}}},
      {"first, then second that is a Read", {{first(), zeroes_, kMissingFused}, {second_read, {}, kInvalidField}}},
      {"first that is a Write, then second", {{first_write, new_, kInvalidField}, {second(), new_, kFailedFused}}},
      {"first that is a Write, then Read, then second",
       {{first_write, new_, kInvalidField}, {read(), {}, kSuccess}, {second(), new_, kMissingFused}}},
      {"first behind the end, then second",
       {{first(kNumBlocks), zeroes_, kLbaOutOfRange}, {second(kNumBlocks), new_, kFailedFused}}},
      {"first whose SGL is too short, then second",
       {{short_first, zeroes_, sgl_length}, {second(), new_, kFailedFused}}},
      {"first, then second behind the end",
       {{first(), zeroes_, kFailedFused}, {second(kNumBlocks), new_, kLbaOutOfRange}}},
      {"first, then second whose SGL is too short",
       {{first(), zeroes_, kFailedFused}, {short_second, new_, sgl_length}}},
      {"first, then second of another namespace",
       {{first(), zeroes_, kFailedFused}, {other_namespace, new_, no_namespace}}},
      {"first, then second of another LBA", {{first(5), zeroes_, kInvalidField}, {second(6), new_, kInvalidField}}},
      {"first, then second of another length",
       {{first(5, 1), zeroes_, kInvalidField}, {second(5, 2), blocks(2, 1), kInvalidField}}},
  };
  // The data with the capsule, or only after all capsules have arrived.
  for (const bool later : {false, true}) {
    for (const Row& row : rows) {
      SCOPED_TRACE(testing::Message() << row.what << (later ? ", data later" : ", data in capsule"));
      std::fill(device_->memory.begin(), device_->memory.end(), std::byte{0});
      std::vector<Command*> commands;
      for (const Step& step : row.steps) {
        commands.push_back(later ? &receive(step.sqe, step.data) : &send(step.sqe, step.data));
      }
      for (Command* command : commands) {
        if (!command->completed && !command->delivered) deliver(*command);
      }
      std::string outcomes;
      for (size_t i = 0; i < commands.size(); ++i) {
        ASSERT_TRUE(commands[i]->completed) << i;
        EXPECT_EQ(commands[i]->status().to_string(), row.steps[i].status.to_string()) << i;
        outcomes += (i > 0 ? "; " : "") + commands[i]->status().to_string();
      }
      if (!later) std::printf("| Fused: %s | %s |\n", row.what, outcomes.c_str());
    }
  }
}

// ---- Halves that end by themselves ----

const Status kAborted = Status::generic(GenericStatus::kAbortRequested);
const Status kDigestError = Status::generic(GenericStatus::kTransientTransportError);

TEST_F(FusedCommandTest, TransportGivesTheFirstUp) {
  for (const bool second_ready : {false, true}) {
    Command& compare = receive(first(), zeroes_);
    Command& write = receive(second(), new_);
    if (second_ready) deliver(write);
    host_->io->give_up(compare, kDigestError);
    EXPECT_EQ(compare.status(), kDigestError);
    if (!second_ready) {
      EXPECT_FALSE(write.completed) << "the transport has it";
      deliver(write);
    }
    EXPECT_EQ(write.status(), kFailedFused);
  }
  EXPECT_TRUE(device_->log.empty());
}

TEST_F(FusedCommandTest, TransportGivesTheFirstUpBeforeTheSecondArrives) {
  Command& compare = receive(first(), zeroes_);
  host_->io->give_up(compare, kDigestError);
  Command& write = receive(second(), new_);
  EXPECT_EQ(write.status(), kFailedFused);
  Command& next = send(read());
  EXPECT_EQ(next.status(), kSuccess);
}

TEST_F(FusedCommandTest, TransportGivesTheSecondUp) {
  for (const bool first_ready : {false, true}) {
    Command& compare = receive(first(), zeroes_);
    Command& write = receive(second(), new_);
    if (first_ready) deliver(compare);
    host_->io->give_up(write, kDigestError);
    EXPECT_EQ(write.status(), kDigestError);
    if (!first_ready) deliver(compare);
    EXPECT_EQ(compare.status(), kFailedFused);
  }
  EXPECT_TRUE(device_->log.empty());
}

TEST_F(FusedCommandTest, AbortByTheHost) {
  const auto abort = [&](const Command& command) {
    const runtime::Reactor::Scope scope(host_->io->reactor());
    return host_->io->queue_pair().abort(command.command.cid);
  };
  {
    Command& compare = send(first(), zeroes_);  // has its data, waits for the second
    EXPECT_TRUE(abort(compare));
    EXPECT_EQ(compare.status(), kAborted);
    EXPECT_EQ(receive(second(), new_).status(), kFailedFused);
  }
  {
    Command& compare = send(first(), zeroes_);
    Command& write = receive(second(), new_);
    EXPECT_TRUE(abort(write));
    EXPECT_EQ(write.status(), kAborted);
    EXPECT_EQ(compare.status(), kFailedFused);
  }
  {
    device_->hold = true;
    Command& compare = send(first(), zeroes_);
    Command& write = send(second(), new_);
    EXPECT_FALSE(abort(compare)) << "both execute";
    EXPECT_FALSE(abort(write));
    device_->release();
    EXPECT_EQ(compare.status(), kSuccess);
    EXPECT_EQ(write.status(), kSuccess);
  }
}

TEST_F(FusedCommandTest, ConnectionEnds) {
  enum class Point { kFirstWaits, kFirstReady, kPairWaits, kFirstReadySecondWaits, kSecondReadyFirstWaits, kExecuting };
  uint8_t number = 2;
  for (const Point point : {Point::kFirstWaits, Point::kFirstReady, Point::kPairWaits, Point::kFirstReadySecondWaits,
                            Point::kSecondReadyFirstWaits, Point::kExecuting}) {
    SCOPED_TRACE(static_cast<int>(point));
    host_ = &connect(number++);
    device_->hold = true;
    Command& compare = receive(first(), zeroes_);
    Command* write = nullptr;
    if (point >= Point::kPairWaits) write = &receive(second(), new_);
    if (point == Point::kFirstReady || point == Point::kFirstReadySecondWaits || point == Point::kExecuting) {
      deliver(compare);
    }
    if (point == Point::kSecondReadyFirstWaits || point == Point::kExecuting) deliver(*write);
    {
      const runtime::Reactor::Scope scope(host_->io->reactor());
      host_->io->disconnect();
    }
    settle();
    if (point == Point::kExecuting) {
      EXPECT_FALSE(host_->io->closed());
      device_->release();
      settle();
    }
    EXPECT_TRUE(compare.completed);
    EXPECT_TRUE(write == nullptr || write->completed);
    EXPECT_TRUE(host_->io->closed());
  }
}

// ---- Reservations ----

TEST_F(FusedCommandTest, AccessLostWhileTheDataIsAwaited) {
  Host& other = connect(2);
  ASSERT_EQ(register_key(other).status(), kSuccess);
  struct Row {
    nvme::ReservationType type;
    Status compare, write;
  };
  const Status conflict = Status::generic(GenericStatus::kReservationConflict);
  for (const Row& row : {Row{nvme::ReservationType::kWriteExclusive, kFailedFused, conflict},
                         Row{nvme::ReservationType::kExclusiveAccess, conflict, kFailedFused}}) {
    device_->clear();
    Command& compare = receive(first(), zeroes_);
    Command& write = receive(second(), new_);
    deliver(compare);
    Command& acquired = send_acquire(other, row.type);
    settle();
    ASSERT_EQ(acquired.status(), kSuccess) << "a half that waits is not executing";
    deliver(write);
    EXPECT_EQ(compare.status(), row.compare);
    EXPECT_EQ(write.status(), row.write);
    EXPECT_TRUE(device_->log.empty());
    ASSERT_EQ(release(other, row.type).status(), kSuccess);
  }
}

}  // namespace
}  // namespace cairn::nvmf::target
