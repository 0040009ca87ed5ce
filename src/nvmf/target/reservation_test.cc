#include "nvmf/target/reservation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "nvme/nvm_command.h"

namespace cairn::nvmf::target {
namespace {

using nvme::AcquireAction;
using nvme::ChangePtpl;
using nvme::GenericStatus;
using nvme::RegisterAction;
using nvme::ReleaseAction;
using nvme::ReservationNotificationType;
using nvme::ReservationType;
using nvme::Status;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr Status kSuccess = Status::success();
constexpr Status kInvalidField = Status::generic(GenericStatus::kInvalidField, nvme::Dnr::kYes);
constexpr Status kConflict = Status::generic(GenericStatus::kReservationConflict);
constexpr std::array kAllTypes = {ReservationType::kWriteExclusive,
                                  ReservationType::kExclusiveAccess,
                                  ReservationType::kWriteExclusiveRegistrantsOnly,
                                  ReservationType::kExclusiveAccessRegistrantsOnly,
                                  ReservationType::kWriteExclusiveAllRegistrants,
                                  ReservationType::kExclusiveAccessAllRegistrants};

HostId host(uint8_t number) {
  HostId id{};
  id[15] = number;
  return id;
}
const HostId kA = host(1);
const HostId kB = host(2);
const HostId kC = host(3);
const HostId kD = host(4);

using Notice = std::pair<HostId, ReservationNotificationType>;
std::vector<Notice> notices(const Reservation::Outcome& outcome) {
  std::vector<Notice> all;
  for (const auto& notification : outcome.notifications) all.emplace_back(notification.host, notification.type);
  return all;
}
Notice preempted_registration(const HostId& id) {
  return {id, ReservationNotificationType::kRegistrationPreempted};
}
Notice released(const HostId& id) {
  return {id, ReservationNotificationType::kReservationReleased};
}
Notice preempted_reservation(const HostId& id) {
  return {id, ReservationNotificationType::kReservationPreempted};
}

struct RegisterArguments {
  RegisterAction action = RegisterAction::kRegister;
  uint64_t crkey = 0;
  uint64_t nrkey = 0;
  bool iekey = false;
  ChangePtpl cptpl = ChangePtpl::kNoChange;
};
struct AcquireArguments {
  AcquireAction action = AcquireAction::kAcquire;
  ReservationType type = ReservationType::kWriteExclusive;
  uint64_t crkey = 0;
  uint64_t prkey = 0;
  bool iekey = false;
};
struct ReleaseArguments {
  ReleaseAction action = ReleaseAction::kRelease;
  ReservationType type = ReservationType::kWriteExclusive;
  uint64_t crkey = 0;
  bool iekey = false;
};

class Commands {
 public:
  explicit Commands(bool can_persist = true) : reservation(can_persist) {}

  Reservation::Outcome send(const HostId& from, const RegisterArguments& arguments) {
    nvme::Sqe sqe;
    nvme::ReservationRegister{
        .action = arguments.action, .ignore_existing_key = arguments.iekey, .change_ptpl = arguments.cptpl}
        .encode(sqe);
    const nvme::ReservationRegisterData data{.crkey = arguments.crkey, .nrkey = arguments.nrkey};
    return reservation.register_command(from, sqe, nvme::bytes_of(data));
  }
  Reservation::Outcome send(const HostId& from, const AcquireArguments& arguments) {
    nvme::Sqe sqe;
    nvme::ReservationAcquire{.action = arguments.action, .ignore_existing_key = arguments.iekey, .type = arguments.type}
        .encode(sqe);
    const nvme::ReservationAcquireData data{.crkey = arguments.crkey, .prkey = arguments.prkey};
    return reservation.acquire_command(from, sqe, nvme::bytes_of(data));
  }
  Reservation::Outcome send(const HostId& from, const ReleaseArguments& arguments) {
    nvme::Sqe sqe;
    nvme::ReservationRelease{.action = arguments.action, .ignore_existing_key = arguments.iekey, .type = arguments.type}
        .encode(sqe);
    const nvme::ReservationReleaseData data{.crkey = arguments.crkey};
    return reservation.release_command(from, sqe, nvme::bytes_of(data));
  }

  // For set-up: must succeed.
  void add(const HostId& from, uint64_t key) {
    ASSERT_TRUE(send(from, RegisterArguments{.nrkey = key}).status.is_success());
  }
  void take(const HostId& from, uint64_t key, ReservationType type) {
    ASSERT_TRUE(send(from, AcquireArguments{.type = type, .crkey = key}).status.is_success());
  }

  const Reservation::State& state() const { return reservation.state(); }
  std::vector<HostId> hosts() const {
    std::vector<HostId> all;
    for (const auto& [id, registrant] : state().registrants) all.push_back(id);
    return all;
  }

  Reservation reservation;
};

// ---- Register ----

// A is registered with key 1, B is not. Each row is one command on a fresh state.
TEST(ReservationRegister, Rules) {
  struct Row {
    const char* what;
    HostId from;
    RegisterArguments command;
    Status status;
    std::map<HostId, uint64_t> registered;
  };
  const auto reg = RegisterAction::kRegister;
  const auto unreg = RegisterAction::kUnregister;
  const auto replace = RegisterAction::kReplace;
  const std::map<HostId, uint64_t> unchanged = {{kA, 1}};
  const std::vector<Row> rows = {
      {"a new host", kB, {.action = reg, .nrkey = 2}, kSuccess, {{kA, 1}, {kB, 2}}},
      {"a new host with a key that is in use", kB, {.action = reg, .nrkey = 1}, kSuccess, {{kA, 1}, {kB, 1}}},
      {"CRKEY does not matter", kB, {.action = reg, .crkey = 9, .nrkey = 2}, kSuccess, {{kA, 1}, {kB, 2}}},
      {"key 0", kB, {.action = reg, .nrkey = 0}, kInvalidField, unchanged},
      {"again with the same key", kA, {.action = reg, .nrkey = 1}, kSuccess, unchanged},
      {"again with another key", kA, {.action = reg, .nrkey = 2}, kConflict, unchanged},
      {"again with another key and IEKEY", kA, {.action = reg, .nrkey = 2, .iekey = true}, kConflict, unchanged},
      {"unregister", kA, {.action = unreg, .crkey = 1}, kSuccess, {}},
      {"unregister, wrong key", kA, {.action = unreg, .crkey = 2}, kConflict, unchanged},
      {"unregister, wrong key, IEKEY", kA, {.action = unreg, .crkey = 2, .iekey = true}, kSuccess, {}},
      {"unregister, not registered", kB, {.action = unreg, .crkey = 1}, kConflict, unchanged},
      {"unregister, not registered, IEKEY", kB, {.action = unreg, .iekey = true}, kConflict, unchanged},
      {"replace", kA, {.action = replace, .crkey = 1, .nrkey = 2}, kSuccess, {{kA, 2}}},
      {"replace, wrong key", kA, {.action = replace, .crkey = 3, .nrkey = 2}, kConflict, unchanged},
      {"replace, wrong key, IEKEY",
       kA,
       {.action = replace, .crkey = 3, .nrkey = 2, .iekey = true},
       kSuccess,
       {{kA, 2}}},
      {"replace with 0", kA, {.action = replace, .crkey = 1, .nrkey = 0}, kInvalidField, unchanged},
      {"replace, not registered", kB, {.action = replace, .nrkey = 2}, kConflict, unchanged},
      {"replace, not registered, IEKEY",
       kB,
       {.action = replace, .nrkey = 2, .iekey = true},
       kSuccess,
       {{kA, 1}, {kB, 2}}},
      {"reserved action 3",
       kA,
       {.action = static_cast<RegisterAction>(3), .crkey = 1, .nrkey = 1},
       kInvalidField,
       unchanged},
      {"reserved action 7",
       kA,
       {.action = static_cast<RegisterAction>(7), .crkey = 1, .nrkey = 1},
       kInvalidField,
       unchanged},
      {"reserved CPTPL", kA, {.action = reg, .nrkey = 1, .cptpl = ChangePtpl::kReserved}, kInvalidField, unchanged},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Commands commands;
    commands.add(kA, 1);
    const auto before = commands.state();
    const auto outcome = commands.send(row.from, row.command);
    EXPECT_EQ(outcome.status.to_string(), row.status.to_string());
    std::map<HostId, uint64_t> registered;
    for (const auto& [id, registrant] : commands.state().registrants) registered[id] = registrant.key;
    EXPECT_EQ(registered, row.registered);
    EXPECT_EQ(outcome.changed, row.registered != unchanged);
    EXPECT_THAT(outcome.notifications, IsEmpty());
    EXPECT_EQ(commands.state().generation, before.generation + (row.status.is_success() ? 1 : 0));
  }
}

TEST(ReservationRegister, PersistenceFlag) {
  struct Row {
    bool can_persist;
    bool before;
    ChangePtpl change;
    Status status;
    bool after;
  };
  const std::vector<Row> rows = {
      {true, false, ChangePtpl::kSet, kSuccess, true},        {true, true, ChangePtpl::kSet, kSuccess, true},
      {true, true, ChangePtpl::kClear, kSuccess, false},      {true, false, ChangePtpl::kClear, kSuccess, false},
      {true, true, ChangePtpl::kNoChange, kSuccess, true},    {true, false, ChangePtpl::kNoChange, kSuccess, false},
      {false, false, ChangePtpl::kSet, kInvalidField, false}, {false, false, ChangePtpl::kClear, kSuccess, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message() << row.can_persist << row.before << static_cast<int>(row.change));
    Commands commands(row.can_persist);
    commands.add(kA, 1);
    ASSERT_EQ(commands.reservation.set_persist(row.before).status, kSuccess);
    const auto outcome = commands.send(kA, RegisterArguments{.nrkey = 1, .cptpl = row.change});
    EXPECT_EQ(outcome.status, row.status);
    EXPECT_EQ(commands.state().persist, row.after);
    EXPECT_EQ(outcome.changed, row.before != row.after);
  }
}

TEST(ReservationRegister, RefusedCommandLeavesPersistenceAlone) {
  Commands commands;
  commands.add(kA, 1);
  EXPECT_EQ(commands.send(kA, RegisterArguments{.nrkey = 2, .cptpl = ChangePtpl::kSet}).status, kConflict);
  EXPECT_FALSE(commands.state().persist);
}

TEST(ReservationRegister, SetFeatures) {
  Reservation cannot(false);
  EXPECT_EQ(cannot.set_persist(true).status, kInvalidField);
  EXPECT_EQ(cannot.set_persist(false).status, kSuccess);
  Reservation can(true);
  EXPECT_TRUE(can.set_persist(true).changed);
  EXPECT_FALSE(can.set_persist(true).changed);
  EXPECT_EQ(can.state().generation, 0u);
}

TEST(ReservationRegister, Limit) {
  Commands commands;
  for (size_t i = 0; i < Reservation::kMaxRegistrants; ++i) {
    HostId id{};
    id[0] = static_cast<uint8_t>(i);
    id[1] = 1;
    commands.add(id, 7);
  }
  const Status full = Status::generic(GenericStatus::kInternalError);
  EXPECT_EQ(commands.send(kA, RegisterArguments{.nrkey = 7}).status, full);
  EXPECT_EQ(commands.send(kA, RegisterArguments{.action = RegisterAction::kReplace, .nrkey = 7, .iekey = true}).status,
            full);
  EXPECT_EQ(commands.state().registrants.size(), Reservation::kMaxRegistrants);
}

// A holds; B is registered, too. A unregisters.
TEST(ReservationRegister, UnregisteringTheHolder) {
  for (const ReservationType type : kAllTypes) {
    SCOPED_TRACE(static_cast<int>(type));
    Commands commands;
    commands.add(kA, 1);
    commands.add(kB, 2);
    commands.take(kA, 1, type);
    const auto outcome = commands.send(kA, RegisterArguments{.action = RegisterAction::kUnregister, .crkey = 1});
    EXPECT_EQ(outcome.status, kSuccess);
    EXPECT_TRUE(outcome.changed);
    EXPECT_THAT(commands.hosts(), ElementsAre(kB));
    switch (type) {
      case ReservationType::kWriteExclusiveRegistrantsOnly:
      case ReservationType::kExclusiveAccessRegistrantsOnly:
        EXPECT_THAT(notices(outcome), ElementsAre(released(kB)));
        EXPECT_EQ(commands.state().holder, std::nullopt);
        break;
      case ReservationType::kWriteExclusiveAllRegistrants:
      case ReservationType::kExclusiveAccessAllRegistrants: {
        EXPECT_THAT(notices(outcome), IsEmpty());
        EXPECT_EQ(commands.state().holder, kB);
        EXPECT_EQ(commands.state().holder_key, 2u);
        EXPECT_EQ(commands.state().type, type);
        const auto last = commands.send(kB, RegisterArguments{.action = RegisterAction::kUnregister, .crkey = 2});
        EXPECT_EQ(last.status, kSuccess);
        EXPECT_EQ(commands.state().holder, std::nullopt);
        EXPECT_EQ(commands.state().type, ReservationType::kNone);
        break;
      }
      default:
        EXPECT_THAT(notices(outcome), IsEmpty());
        EXPECT_EQ(commands.state().holder, std::nullopt);
    }
    if (!commands.state().holder) {
      EXPECT_EQ(commands.state().type, ReservationType::kNone);
      EXPECT_EQ(commands.state().holder_key, 0u);
    }
  }
}

TEST(ReservationRegister, UnregisteringAnotherRegistrantKeepsTheReservation) {
  for (const ReservationType type : kAllTypes) {
    Commands commands;
    commands.add(kA, 1);
    commands.add(kB, 2);
    commands.take(kA, 1, type);
    const auto outcome = commands.send(kB, RegisterArguments{.action = RegisterAction::kUnregister, .crkey = 2});
    EXPECT_EQ(outcome.status, kSuccess);
    EXPECT_EQ(commands.state().holder, kA);
    EXPECT_EQ(commands.state().type, type);
    EXPECT_THAT(notices(outcome), IsEmpty());
  }
}

TEST(ReservationRegister, ReplacingTheHoldersKey) {
  Commands commands;
  commands.add(kA, 1);
  commands.take(kA, 1, ReservationType::kWriteExclusive);
  EXPECT_EQ(commands.send(kA, RegisterArguments{.action = RegisterAction::kReplace, .crkey = 1, .nrkey = 5}).status,
            kSuccess);
  EXPECT_EQ(commands.state().holder_key, 5u);
}

// ---- Acquire ----

TEST(ReservationAcquire, RefusedFields) {
  struct Row {
    const char* what;
    AcquireArguments command;
    Status status;
  };
  const std::vector<Row> rows = {
      {"IEKEY", {.crkey = 1, .iekey = true}, kInvalidField},
      {"type 0", {.type = ReservationType::kNone, .crkey = 1}, kInvalidField},
      {"type 7", {.type = static_cast<ReservationType>(7), .crkey = 1}, kInvalidField},
      {"type 255", {.type = static_cast<ReservationType>(255), .crkey = 1}, kInvalidField},
      {"action 3", {.action = static_cast<AcquireAction>(3), .crkey = 1}, kInvalidField},
      {"action 7", {.action = static_cast<AcquireAction>(7), .crkey = 1}, kInvalidField},
      {"wrong key", {.crkey = 2}, kConflict},
      {"preempt, wrong key", {.action = AcquireAction::kPreempt, .crkey = 2, .prkey = 1}, kConflict},
      {"preempt and abort, wrong key", {.action = AcquireAction::kPreemptAndAbort, .crkey = 2, .prkey = 1}, kConflict},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.what);
    Commands commands;
    commands.add(kA, 1);
    const auto before = commands.state();
    const auto outcome = commands.send(kA, row.command);
    EXPECT_EQ(outcome.status.to_string(), row.status.to_string());
    EXPECT_FALSE(outcome.changed);
    EXPECT_EQ(commands.state(), before);
  }
  Commands commands;
  EXPECT_EQ(commands.send(kA, AcquireArguments{}).status, kConflict) << "not registered, key 0";
}

TEST(ReservationAcquire, EachTypeAgainstEachHeldType) {
  for (const ReservationType held : kAllTypes) {
    for (const ReservationType wanted : kAllTypes) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(held) << " " << static_cast<int>(wanted));
      Commands commands;
      commands.add(kA, 1);
      commands.add(kB, 2);
      const auto first = commands.send(kA, AcquireArguments{.type = held, .crkey = 1});
      EXPECT_EQ(first.status, kSuccess);
      EXPECT_TRUE(first.changed);
      const auto before = commands.state();
      const bool shared = held >= ReservationType::kWriteExclusiveAllRegistrants;
      EXPECT_EQ(commands.send(kA, AcquireArguments{.type = wanted, .crkey = 1}).status,
                held == wanted ? kSuccess : kConflict);
      EXPECT_EQ(commands.send(kB, AcquireArguments{.type = wanted, .crkey = 2}).status,
                held == wanted && shared ? kSuccess : kConflict);
      EXPECT_EQ(commands.state(), before) << "Acquire does not count and does not take what is held";
    }
  }
}

// ---- Preempt ----

// A holds with key 1; B, C, D are registered with the keys 2, 3, 3. B preempts.
class ReservationPreempt : public testing::TestWithParam<AcquireAction> {
 protected:
  static Commands four(ReservationType type) {
    Commands commands;
    commands.add(kA, 1);
    commands.add(kB, 2);
    commands.add(kC, 3);
    commands.add(kD, 3);
    if (type != ReservationType::kNone) commands.take(kA, 1, type);
    return commands;
  }
  std::vector<HostId> only_when_aborting(std::vector<HostId> hosts) const {
    return GetParam() == AcquireAction::kPreemptAndAbort ? hosts : std::vector<HostId>{};
  }
  AcquireArguments preempt(uint64_t crkey, uint64_t prkey,
                           ReservationType type = ReservationType::kExclusiveAccess) const {
    return {.action = GetParam(), .type = type, .crkey = crkey, .prkey = prkey};
  }
};

TEST_P(ReservationPreempt, WithoutReservationRemovesRegistrants) {
  Commands commands = four(ReservationType::kNone);
  const uint32_t generation = commands.state().generation;
  const auto outcome = commands.send(kB, preempt(2, 3));
  EXPECT_EQ(outcome.status, kSuccess);
  EXPECT_THAT(commands.hosts(), ElementsAre(kA, kB));
  EXPECT_EQ(commands.state().holder, std::nullopt) << "nothing to take over";
  EXPECT_THAT(notices(outcome), UnorderedElementsAre(preempted_registration(kC), preempted_registration(kD)));
  EXPECT_EQ(outcome.preempted, only_when_aborting({kC, kD}));
  EXPECT_EQ(commands.state().generation, generation + 1);
  EXPECT_EQ(commands.send(kB, preempt(2, 9)).status, kConflict);
  EXPECT_EQ(commands.send(kB, preempt(2, 0)).status, kConflict);
  EXPECT_EQ(commands.state().generation, generation + 1);
}

TEST_P(ReservationPreempt, OwnKeyWithoutReservationUnregistersTheSender) {
  Commands commands = four(ReservationType::kNone);
  const auto outcome = commands.send(kC, preempt(3, 3));
  EXPECT_EQ(outcome.status, kSuccess);
  EXPECT_THAT(commands.hosts(), ElementsAre(kA, kB));
  EXPECT_THAT(notices(outcome), ElementsAre(preempted_registration(kD))) << "the sender knows";
}

TEST_P(ReservationPreempt, TakesASingleHoldersReservation) {
  for (const ReservationType held : kAllTypes) {
    if (held >= ReservationType::kWriteExclusiveAllRegistrants) continue;
    for (const ReservationType wanted : kAllTypes) {
      SCOPED_TRACE(testing::Message() << static_cast<int>(held) << " " << static_cast<int>(wanted));
      Commands commands = four(held);
      const auto outcome = commands.send(kB, preempt(2, 1, wanted));
      EXPECT_EQ(outcome.status, kSuccess);
      EXPECT_TRUE(outcome.changed);
      EXPECT_THAT(commands.hosts(), ElementsAre(kB, kC, kD));
      EXPECT_EQ(commands.state().holder, kB);
      EXPECT_EQ(commands.state().holder_key, 2u);
      EXPECT_EQ(commands.state().type, wanted);
      EXPECT_THAT(notices(outcome), UnorderedElementsAre(preempted_registration(kA), released(kC), released(kD)));
      EXPECT_EQ(outcome.preempted, only_when_aborting({kA}));
    }
  }
}

TEST_P(ReservationPreempt, HoldersKeyIsSharedWithTheSender) {
  Commands commands;
  commands.add(kA, 1);
  commands.add(kB, 1);
  commands.add(kC, 1);
  commands.take(kA, 1, ReservationType::kWriteExclusive);
  const auto outcome = commands.send(kB, preempt(1, 1));
  EXPECT_EQ(outcome.status, kSuccess);
  EXPECT_THAT(commands.hosts(), ElementsAre(kB));
  EXPECT_EQ(commands.state().holder, kB);
  EXPECT_THAT(notices(outcome), UnorderedElementsAre(preempted_registration(kA), preempted_registration(kC)));
}

TEST_P(ReservationPreempt, HolderChangesItsType) {
  Commands commands = four(ReservationType::kWriteExclusive);
  const auto outcome = commands.send(kA, preempt(1, 1, ReservationType::kExclusiveAccessRegistrantsOnly));
  EXPECT_EQ(outcome.status, kSuccess);
  EXPECT_THAT(commands.hosts(), ElementsAre(kA, kB, kC, kD));
  EXPECT_EQ(commands.state().type, ReservationType::kExclusiveAccessRegistrantsOnly);
  EXPECT_EQ(commands.state().holder, kA);
  EXPECT_THAT(notices(outcome), UnorderedElementsAre(released(kB), released(kC), released(kD)));
  EXPECT_THAT(outcome.preempted, IsEmpty());
  const auto same = commands.send(kA, preempt(1, 1, ReservationType::kExclusiveAccessRegistrantsOnly));
  EXPECT_EQ(same.status, kSuccess);
  EXPECT_FALSE(same.changed);
  EXPECT_THAT(notices(same), IsEmpty());
}

TEST_P(ReservationPreempt, OtherKeysThanTheHolders) {
  for (const ReservationType held : kAllTypes) {
    SCOPED_TRACE(static_cast<int>(held));
    Commands commands = four(held);
    const auto outcome = commands.send(kB, preempt(2, 3));
    EXPECT_EQ(outcome.status, kSuccess);
    EXPECT_THAT(commands.hosts(), ElementsAre(kA, kB));
    EXPECT_EQ(commands.state().type, held) << "only registrations go";
    EXPECT_EQ(commands.state().holder, kA);
    EXPECT_THAT(notices(outcome), UnorderedElementsAre(preempted_registration(kC), preempted_registration(kD)));
    EXPECT_EQ(outcome.preempted, only_when_aborting({kC, kD}));
    const auto before = commands.state();
    EXPECT_EQ(commands.send(kB, preempt(2, 9)).status, kConflict);
    EXPECT_EQ(commands.state(), before);
  }
}

TEST_P(ReservationPreempt, KeyZero) {
  for (const ReservationType held : kAllTypes) {
    SCOPED_TRACE(static_cast<int>(held));
    Commands commands = four(held);
    const auto before = commands.state();
    const auto outcome = commands.send(kB, preempt(2, 0, ReservationType::kWriteExclusive));
    if (held < ReservationType::kWriteExclusiveAllRegistrants) {
      EXPECT_EQ(outcome.status, kInvalidField);
      EXPECT_EQ(commands.state(), before);
      continue;
    }
    EXPECT_EQ(outcome.status, kSuccess);
    EXPECT_THAT(commands.hosts(), ElementsAre(kB));
    EXPECT_EQ(commands.state().holder, kB);
    EXPECT_EQ(commands.state().type, ReservationType::kWriteExclusive);
    EXPECT_THAT(notices(outcome), UnorderedElementsAre(preempted_registration(kA), preempted_registration(kC),
                                                       preempted_registration(kD)));
    EXPECT_EQ(outcome.preempted, only_when_aborting({kA, kC, kD}));
  }
}

TEST_P(ReservationPreempt, AllRegistrantsByTheFirstHoldersKey) {
  Commands commands = four(ReservationType::kWriteExclusiveAllRegistrants);
  EXPECT_EQ(commands.send(kB, preempt(2, 1)).status, kSuccess);
  EXPECT_THAT(commands.hosts(), ElementsAre(kB, kC, kD));
  EXPECT_EQ(commands.state().type, ReservationType::kWriteExclusiveAllRegistrants);
  EXPECT_EQ(commands.state().holder, kB);
}

TEST_P(ReservationPreempt, AllRegistrantsRemoveThemselves) {
  Commands commands;
  commands.add(kA, 1);
  commands.add(kB, 1);
  commands.take(kA, 1, ReservationType::kExclusiveAccessAllRegistrants);
  EXPECT_EQ(commands.send(kB, preempt(1, 1)).status, kSuccess);
  EXPECT_THAT(commands.hosts(), IsEmpty());
  EXPECT_EQ(commands.state().holder, std::nullopt);
  EXPECT_EQ(commands.state().type, ReservationType::kNone);
}

INSTANTIATE_TEST_SUITE_P(Actions, ReservationPreempt,
                         testing::Values(AcquireAction::kPreempt, AcquireAction::kPreemptAndAbort));

// ---- Release and Clear ----

TEST(ReservationRelease, Rules) {
  for (const ReservationType held : kAllTypes) {
    SCOPED_TRACE(static_cast<int>(held));
    const bool all = held >= ReservationType::kWriteExclusiveAllRegistrants;
    const bool notifies = held >= ReservationType::kWriteExclusiveRegistrantsOnly;
    const auto make = [held] {
      Commands commands;
      commands.add(kA, 1);
      commands.add(kB, 2);
      commands.take(kA, 1, held);
      return commands;
    };
    {
      Commands commands = make();
      const uint32_t generation = commands.state().generation;
      const auto outcome = commands.send(kA, ReleaseArguments{.type = held, .crkey = 1});
      EXPECT_EQ(outcome.status, kSuccess);
      EXPECT_TRUE(outcome.changed);
      EXPECT_EQ(commands.state().holder, std::nullopt);
      EXPECT_THAT(commands.hosts(), ElementsAre(kA, kB)) << "registrations stay";
      EXPECT_EQ(notices(outcome), notifies ? std::vector{released(kB)} : std::vector<Notice>{});
      EXPECT_EQ(commands.state().generation, generation) << "Release does not count";
    }
    {
      Commands commands = make();
      const auto before = commands.state();
      const auto outcome = commands.send(kB, ReleaseArguments{.type = held, .crkey = 2});
      EXPECT_EQ(outcome.status, kSuccess);
      EXPECT_EQ(outcome.changed, all);
      if (!all) EXPECT_EQ(commands.state(), before) << "not the holder: no effect";
    }
    struct Refused {
      const char* what;
      HostId from;
      ReleaseArguments command;
      Status status;
    };
    const ReservationType other =
        held == ReservationType::kWriteExclusive ? ReservationType::kExclusiveAccess : ReservationType::kWriteExclusive;
    const std::vector<Refused> rows = {
        {"another type", kA, {.type = other, .crkey = 1}, kInvalidField},
        {"another type, not the holder", kB, {.type = other, .crkey = 2}, kInvalidField},
        {"wrong key", kA, {.type = held, .crkey = 2}, kConflict},
        {"not registered", kC, {.type = held, .crkey = 1}, kConflict},
        {"IEKEY", kA, {.type = held, .crkey = 1, .iekey = true}, kInvalidField},
        {"reserved action", kA, {.action = static_cast<ReleaseAction>(2), .type = held, .crkey = 1}, kInvalidField},
        {"clear, wrong key", kA, {.action = ReleaseAction::kClear, .crkey = 2}, kConflict},
        {"clear, not registered", kC, {.action = ReleaseAction::kClear, .crkey = 1}, kConflict},
    };
    for (const Refused& row : rows) {
      SCOPED_TRACE(row.what);
      Commands commands = make();
      const auto before = commands.state();
      EXPECT_EQ(commands.send(row.from, row.command).status.to_string(), row.status.to_string());
      EXPECT_EQ(commands.state(), before);
    }
    {
      Commands commands = make();
      const uint32_t generation = commands.state().generation;
      const auto outcome = commands.send(kB, ReleaseArguments{.action = ReleaseAction::kClear, .crkey = 2});
      EXPECT_EQ(outcome.status, kSuccess);
      EXPECT_THAT(commands.hosts(), IsEmpty());
      EXPECT_EQ(commands.state().holder, std::nullopt);
      EXPECT_THAT(notices(outcome), ElementsAre(preempted_reservation(kA)));
      EXPECT_EQ(commands.state().generation, generation + 1);
    }
  }
}

TEST(ReservationRelease, NothingHeld) {
  Commands commands;
  commands.add(kA, 1);
  const auto outcome = commands.send(kA, ReleaseArguments{.type = ReservationType::kNone, .crkey = 1});
  EXPECT_EQ(outcome.status, kSuccess);
  EXPECT_FALSE(outcome.changed);
}

TEST(Reservation, ShortPayloads) {
  Reservation reservation(true);
  const std::array<std::byte, 15> data{};
  nvme::Sqe sqe;
  EXPECT_EQ(reservation.register_command(kA, sqe, data).status, kInvalidField);
  EXPECT_EQ(reservation.acquire_command(kA, sqe, data).status, kInvalidField);
  EXPECT_EQ(reservation.release_command(kA, sqe, std::span(data).first(7)).status, kInvalidField);
  EXPECT_EQ(reservation.release_command(kA, sqe, std::span(data).first(8)).status, kConflict);
}

// ---- Access ----

// nvmf-target.md, section 6: rows read and write, columns by type; each of holder, registrant, other.
TEST(ReservationAccess, Table) {
  struct Row {
    ReservationType type;
    AccessTable::Rights holder, registrant, other;
  };
  const AccessTable::Rights all{true, true};
  const AccessTable::Rights read_only{true, false};
  const AccessTable::Rights none{false, false};
  const std::vector<Row> rows = {
      {ReservationType::kWriteExclusive, all, read_only, read_only},
      {ReservationType::kExclusiveAccess, all, none, none},
      {ReservationType::kWriteExclusiveRegistrantsOnly, all, all, read_only},
      {ReservationType::kExclusiveAccessRegistrantsOnly, all, all, none},
      {ReservationType::kWriteExclusiveAllRegistrants, all, all, read_only},
      {ReservationType::kExclusiveAccessAllRegistrants, all, all, none},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(static_cast<int>(row.type));
    Commands commands;
    commands.add(kA, 1);
    commands.add(kB, 2);
    commands.take(kA, 1, row.type);
    const AccessTable table = commands.reservation.access();
    const auto expect = [&](const HostId& id, const AccessTable::Rights& rights) {
      EXPECT_EQ(table.rights_of(id).read, rights.read);
      EXPECT_EQ(table.rights_of(id).write, rights.write);
    };
    expect(kA, row.holder);
    expect(kB, row.registrant);
    expect(kC, row.other);
  }
}

TEST(ReservationAccess, NoReservationNoLimits) {
  Commands commands;
  commands.add(kA, 1);
  EXPECT_FALSE(commands.reservation.access().reserved);
  EXPECT_TRUE(commands.reservation.access().rights_of(kC).write);
}

// ---- Report ----

TEST(ReservationReport, Extended) {
  Commands commands;
  commands.add(kA, 0x1122334455667788);
  commands.add(kB, 2);
  commands.take(kB, 2, ReservationType::kExclusiveAccessRegistrantsOnly);
  commands.reservation.set_persist(true);
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = 256, .extended = true}.encode(sqe);
  std::vector<std::byte> data(256, std::byte{0xee});
  EXPECT_EQ(commands.reservation.report_command(sqe, data), kSuccess);

  const auto byte = [&](size_t offset) { return std::to_integer<unsigned>(data[offset]); };
  EXPECT_EQ(byte(0), 2u);  // GEN: two registrations
  EXPECT_EQ(byte(4), 4u);  // RTYPE
  EXPECT_EQ(byte(5), 2u);  // REGSTRNT
  EXPECT_EQ(byte(6), 0u);
  EXPECT_EQ(byte(9), 1u);  // PTPLS
  EXPECT_EQ(byte(10), 0u);
  EXPECT_EQ(byte(64), 0xffu);  // CNTLID
  EXPECT_EQ(byte(65), 0xffu);
  EXPECT_EQ(byte(66), 0u);     // RCSTS of A
  EXPECT_EQ(byte(72), 0x88u);  // RKEY of A
  EXPECT_EQ(byte(79), 0x11u);
  EXPECT_EQ(byte(80 + 15), 1u);  // HOSTID of A
  EXPECT_EQ(byte(128 + 2), 1u);  // RCSTS of B
  EXPECT_EQ(byte(128 + 8), 2u);
  EXPECT_EQ(byte(128 + 16 + 15), 2u);
  for (size_t i = 192; i < 256; ++i) EXPECT_EQ(byte(i), 0u);
}

TEST(ReservationReport, ShortBuffersGetTheBeginning) {
  Commands commands;
  for (uint8_t i = 1; i <= 3; ++i) commands.add(host(i), i);
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = 256, .extended = true}.encode(sqe);
  std::vector<std::byte> whole(256);
  ASSERT_EQ(commands.reservation.report_command(sqe, whole), kSuccess);
  for (const size_t size : {size_t{4}, size_t{60}, size_t{64}, size_t{68}, size_t{130}}) {
    std::vector<std::byte> part(size);
    EXPECT_EQ(commands.reservation.report_command(sqe, part), kSuccess);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), whole.begin())) << size;
  }
}

TEST(ReservationReport, AllRegistrantsHold) {
  Commands commands;
  commands.add(kA, 1);
  commands.add(kB, 2);
  commands.take(kB, 2, ReservationType::kWriteExclusiveAllRegistrants);
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = 192, .extended = true}.encode(sqe);
  std::vector<std::byte> data(192);
  ASSERT_EQ(commands.reservation.report_command(sqe, data), kSuccess);
  EXPECT_EQ(data[66], std::byte{1});
  EXPECT_EQ(data[130], std::byte{1});
}

TEST(ReservationReport, NotExtended) {
  Reservation reservation(false);
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = 64, .extended = false}.encode(sqe);
  std::array<std::byte, 64> data{};
  EXPECT_TRUE(reservation.report_command(sqe, data).is(GenericStatus::kHostIdInconsistentFormat));
}

}  // namespace
}  // namespace cairn::nvmf::target
