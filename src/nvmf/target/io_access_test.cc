// Who may execute which command: reservations, ANA states, removal; and when a change of that takes effect.
#include <gmock/gmock.h>

#include <functional>

#include "nvmf/target/io_test.h"

namespace cairn::nvmf::target {
namespace {

using nvme::AcquireAction;
using nvme::Dnr;
using nvme::GenericStatus;
using nvme::NvmOpcode;
using nvme::PathStatus;
using nvme::ReservationType;
using nvme::Status;

constexpr Status kSuccess = Status::success();
constexpr Status kConflict = Status::generic(GenericStatus::kReservationConflict);
constexpr Status kInvalidNamespace = Status::generic(GenericStatus::kInvalidNamespaceOrFormat, Dnr::kYes);

class IoAccessTest : public IoTest {
 protected:
  struct Example {
    const char* name;
    nvme::Sqe sqe;
    std::vector<std::byte> data;
    char group;  // 'r'ead, 'w'rite
  };
  // One of every command that a reservation concerns; each succeeds when it is let.
  std::vector<Example> examples() {
    const std::vector zeroes(512, std::byte{0});
    return {{"Read", range_sqe(NvmOpcode::kRead, 0, 1), {}, 'r'},
            {"Compare", range_sqe(NvmOpcode::kCompare, 9, 1), zeroes, 'r'},
            {"Flush", io_sqe(NvmOpcode::kFlush), {}, 'w'},
            {"Write", range_sqe(NvmOpcode::kWrite, 0, 1), zeroes, 'w'},
            {"Write Zeroes", range_sqe(NvmOpcode::kWriteZeroes, 0, 1), {}, 'w'},
            {"Dataset Management", deallocate_sqe(1), bytes(std::vector<nvme::DatasetRange>{{.num_blocks = 1}}), 'w'},
            {"Copy", copy_sqe(4, 1), bytes(std::vector<nvme::CopyRange>{{}}), 'w'}};
  }
  void expect_all(Host& host, Status expected) {
    for (const Example& example : examples()) {
      EXPECT_EQ(finish(host, example.sqe, example.data).status().to_string(), expected.to_string()) << example.name;
    }
  }
  template <typename Change>
  void change_namespace(Change change) {
    const runtime::Reactor::Scope scope(primary());
    run(change(*subsystem_->find_namespace(1)));
  }
};

// nvmf-target.md, section 6: the table of types and commands, Copy as what it does.
TEST_F(IoAccessTest, EachTypeEachCommandEachHost) {
  build();
  Host& holder = connect(1);
  Host& registrant = connect(2);
  Host& other = connect(3);
  register_key(holder);
  register_key(registrant);
  struct Row {
    ReservationType type;
    // May the registrant, may the other host: read, write.
    bool registrant_reads, registrant_writes, other_reads, other_writes;
  };
  const std::vector<Row> rows = {
      {ReservationType::kWriteExclusive, true, false, true, false},
      {ReservationType::kExclusiveAccess, false, false, false, false},
      {ReservationType::kWriteExclusiveRegistrantsOnly, true, true, true, false},
      {ReservationType::kExclusiveAccessRegistrantsOnly, true, true, false, false},
      {ReservationType::kWriteExclusiveAllRegistrants, true, true, true, false},
      {ReservationType::kExclusiveAccessAllRegistrants, true, true, false, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(static_cast<int>(row.type));
    Command& acquired = send_acquire(holder, row.type);
    settle();
    ASSERT_EQ(acquired.status(), kSuccess);
    for (const Example& example : examples()) {
      SCOPED_TRACE(example.name);
      const bool reads = example.group == 'r';
      const auto expected = [](bool may) { return may ? kSuccess : kConflict; };
      EXPECT_EQ(finish(holder, example.sqe, example.data).status(), kSuccess);
      EXPECT_EQ(finish(registrant, example.sqe, example.data).status(),
                expected(reads ? row.registrant_reads : row.registrant_writes));
      EXPECT_EQ(finish(other, example.sqe, example.data).status(),
                expected(reads ? row.other_reads : row.other_writes));
    }
    ASSERT_EQ(release(holder, row.type).status(), kSuccess);
    expect_all(other, kSuccess);
  }
}

TEST_F(IoAccessTest, RefusedBeforeAnyDataMoves) {
  build();
  Host& holder = connect(1);
  Host& other = connect(2);
  register_key(holder);
  send_acquire(holder, ReservationType::kWriteExclusive);
  settle();
  device_->clear();
  Command& write = other.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  EXPECT_EQ(write.status(), kConflict) << "no data was asked for";
  EXPECT_TRUE(device_->log.empty());
}

TEST_F(IoAccessTest, LostWhileDataIsAwaited) {
  build();
  Host& holder = connect(1);
  Host& other = connect(2);
  register_key(holder);
  Command& write = other.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  Command& acquired = send_acquire(holder, ReservationType::kWriteExclusive);
  settle();
  EXPECT_EQ(acquired.status(), kSuccess) << "data that is awaited does not delay the reservation";
  device_->clear();
  other.io->deliver(write);
  EXPECT_EQ(write.status(), kConflict);
  EXPECT_TRUE(device_->log.empty());
}

TEST_F(IoAccessTest, GainedWhileDataIsAwaited) {
  build();
  Host& holder = connect(1);
  Host& other = connect(2);
  register_key(holder);
  send_acquire(holder, ReservationType::kWriteExclusive);
  settle();
  Command& write = holder.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  ASSERT_EQ(release(holder, ReservationType::kWriteExclusive).status(), kSuccess);
  holder.io->deliver(write);
  EXPECT_EQ(write.status(), kSuccess);
  expect_all(other, kSuccess);
}

// A reservation is answered when no I/O that was admitted before it is left.
TEST_F(IoAccessTest, ReservationWaitsForOlderIo) {
  build();
  Host& holder = connect(1);
  Host& other = connect(2);
  register_key(holder);
  device_->hold = true;
  Command& old_write = other.io->send(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  Command& acquired = send_acquire(holder, ReservationType::kWriteExclusive);
  settle();
  EXPECT_FALSE(acquired.completed);
  EXPECT_EQ(other.io->send(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1)).status(), kConflict)
      << "but decides about new I/O already";
  Command& own_write = holder.io->send(range_sqe(NvmOpcode::kWrite, 1, 1), blocks(1, 2));
  device_->release();
  EXPECT_EQ(old_write.status(), kSuccess);
  settle();
  EXPECT_EQ(acquired.status(), kSuccess);
  EXPECT_FALSE(own_write.completed) << "newer I/O does not delay it";
  device_->release();
  EXPECT_EQ(own_write.status(), kSuccess);
}

// A command of several steps holds its admission until the last of them.
TEST_F(IoAccessTest, ReservationWaitsForAllRanges) {
  build();
  Host& holder = connect(1);
  Host& other = connect(2);
  register_key(holder);
  device_->hold = true;
  Command& unmap =
      other.io->send(deallocate_sqe(3), bytes(std::vector<nvme::DatasetRange>(3, {.num_blocks = 1, .slba = 1})));
  Command& acquired = send_acquire(holder, ReservationType::kExclusiveAccess);
  for (int i = 0; i < 3; ++i) {
    settle();
    EXPECT_FALSE(acquired.completed);
    device_->release();
  }
  settle();
  EXPECT_EQ(unmap.status(), kSuccess);
  EXPECT_EQ(acquired.status(), kSuccess);
}

TEST_F(IoAccessTest, PreemptAndAbort) {
  build();
  Host& victim = connect(1);
  Host& preemptor = connect(2);
  register_key(victim);
  register_key(preemptor);
  send_acquire(victim, ReservationType::kWriteExclusive);
  settle();
  device_->hold = true;
  Command& executing = victim.io->send(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  Command& awaiting = victim.io->receive(range_sqe(NvmOpcode::kWrite, 1, 1), blocks(1, 1));
  Command& preempted =
      send_acquire(preemptor, ReservationType::kWriteExclusive, AcquireAction::kPreemptAndAbort, victim.number);
  settle();
  EXPECT_FALSE(preempted.completed);
  device_->release();
  settle();
  EXPECT_TRUE(executing.completed);
  EXPECT_EQ(preempted.status(), kSuccess);
  device_->clear();
  victim.io->deliver(awaiting);
  EXPECT_EQ(awaiting.status(), kConflict);
  EXPECT_TRUE(device_->log.empty()) << "the preempted host writes nothing more";
}

// Two reservation commands and I/O of three hosts at once: none blocks another for ever.
TEST_F(IoAccessTest, ReservationCommandsDoNotWaitForEachOther) {
  build();
  Host& a = connect(1);
  Host& b = connect(2);
  register_key(a);
  register_key(b);
  device_->hold = true;
  Command& read = b.io->send(range_sqe(NvmOpcode::kRead, 0, 1));
  Command& first = send_acquire(a, ReservationType::kWriteExclusive);
  Command& second = send_acquire(b, ReservationType::kWriteExclusive);
  settle();
  EXPECT_FALSE(first.completed);
  EXPECT_FALSE(second.completed);
  device_->release();
  settle();
  EXPECT_TRUE(read.completed);
  EXPECT_EQ(first.status(), kSuccess);
  EXPECT_EQ(second.status(), kConflict);
}

// ---- ANA ----

TEST_F(IoAccessTest, AnaStates) {
  build();
  Host& host = connect(1);
  struct Row {
    AnaState state;
    Status status;
  };
  for (const Row& row :
       {Row{AnaState::kInaccessible, Status::path(PathStatus::kAnaInaccessible)},
        Row{AnaState::kNonOptimized, kSuccess},
        Row{AnaState::kPersistentLoss, Status::path(PathStatus::kAnaPersistentLoss)},
        Row{AnaState::kChange, Status::path(PathStatus::kAnaTransition)}, Row{AnaState::kOptimized, kSuccess}}) {
    SCOPED_TRACE(static_cast<int>(row.state));
    change_namespace([&](Namespace& ns) { return ns.set_ana_state(row.state); });
    device_->clear();
    expect_all(host, row.status);
    EXPECT_EQ(device_->log.empty(), !row.status.is_success());
    nvme::Sqe report = io_sqe(NvmOpcode::kReservationReport, 64);
    nvme::ReservationReport{.size_bytes = 64, .extended = true}.encode(report);
    EXPECT_EQ(finish(host, report).status(), row.status);
  }
}

TEST_F(IoAccessTest, AnaStateChangesWhileDataIsAwaited) {
  build();
  Host& host = connect(1);
  Command& write = host.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  change_namespace([](Namespace& ns) { return ns.set_ana_state(AnaState::kInaccessible); });
  host.io->deliver(write);
  EXPECT_EQ(write.status(), Status::path(PathStatus::kAnaInaccessible));
  EXPECT_TRUE(device_->log.empty());
}

// ---- The device ----

TEST_F(IoAccessTest, RemovalWaitsForIo) {
  build();
  Host& host = connect(1);
  device_->hold = true;
  Command& executing = host.io->send(range_sqe(NvmOpcode::kRead, 0, 1));
  Command& awaiting = host.io->receive(range_sqe(NvmOpcode::kWrite, 0, 1), blocks(1, 1));
  {
    const runtime::Reactor::Scope scope(primary());
    device_->announce_removal();
  }
  settle();
  EXPECT_EQ(host.io->send(range_sqe(NvmOpcode::kRead, 0, 1)).status(), kInvalidNamespace);
  EXPECT_FALSE(executing.completed);
  device_->release();
  EXPECT_TRUE(executing.completed);
  settle();
  host.io->deliver(awaiting);
  EXPECT_EQ(awaiting.status(), kInvalidNamespace);
  EXPECT_EQ(host.io->send(range_sqe(NvmOpcode::kRead, 0, 1)).status(), kInvalidNamespace);
}

TEST_F(IoAccessTest, DeviceShrinksWhileDataIsAwaited) {
  build();
  Host& host = connect(1);
  Command& write = host.io->receive(range_sqe(NvmOpcode::kWrite, kNumBlocks - 1, 1), blocks(1, 1));
  {
    const runtime::Reactor::Scope scope(primary());
    device_->resize(kNumBlocks / 2);
  }
  host.io->deliver(write);
  EXPECT_TRUE(write.status().is(GenericStatus::kLbaOutOfRange));
  EXPECT_TRUE(device_->log.empty());
  EXPECT_TRUE(finish(host, range_sqe(NvmOpcode::kRead, kNumBlocks / 2, 1)).status().is(GenericStatus::kLbaOutOfRange));
}

}  // namespace
}  // namespace cairn::nvmf::target
