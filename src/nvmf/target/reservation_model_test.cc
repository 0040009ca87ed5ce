// Random commands of a few hosts against a second statement of the specification's rules: slow, without shared code,
// and with another picture of the state: the set of all holders is written down instead of derived.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <tuple>
#include <vector>

#include "nvme/nvm_command.h"
#include "nvmf/target/reservation.h"

namespace cairn::nvmf::target {
namespace {

enum class Answer { kOk, kInvalid, kConflict };

struct Model {
  std::map<int, uint64_t> keys;  // of the registered hosts
  std::set<int> holders;
  int type = 0;
  bool persist = false;
  uint32_t generation = 0;
  std::vector<std::pair<int, int>> notices;  // host, notification type
  std::vector<int> aborted;

  bool shared() const { return type == 5 || type == 6; }
  bool registrants_only() const { return type == 3 || type == 4; }

  void drop(int host) {
    keys.erase(host);
    holders.erase(host);
    if (holders.empty()) type = 0;
  }
  void join(int host, uint64_t key) {
    keys[host] = key;
    if (shared()) holders.insert(host);
  }
  void own(int host, int new_type) {
    type = new_type;
    holders.clear();
    if (shared()) {
      for (const auto& [other, key] : keys) holders.insert(other);
    } else {
      holders.insert(host);
    }
  }

  Answer reg(int host, int action, bool iekey, int cptpl, uint64_t crkey, uint64_t nrkey) {
    if (action > 2 || cptpl == 1) return Answer::kInvalid;
    const bool known = keys.contains(host);
    if (action == 0) {
      if (nrkey == 0) return Answer::kInvalid;
      if (known && keys[host] != nrkey) return Answer::kConflict;
      join(host, nrkey);
    }
    if (action == 1) {
      if (!known) return Answer::kConflict;
      if (!iekey && keys[host] != crkey) return Answer::kConflict;
      const bool tell = registrants_only() && holders.contains(host);
      drop(host);
      if (tell) {
        for (const auto& [other, key] : keys) notices.emplace_back(other, 2);
      }
    }
    if (action == 2) {
      if (nrkey == 0) return Answer::kInvalid;
      if (!known && !iekey) return Answer::kConflict;
      if (known && !iekey && keys[host] != crkey) return Answer::kConflict;
      join(host, nrkey);
    }
    if (cptpl == 2) persist = false;
    if (cptpl == 3) persist = true;
    ++generation;
    return Answer::kOk;
  }

  Answer acquire(int host, int action, bool iekey, int new_type, uint64_t crkey, uint64_t prkey) {
    if (action > 2 || iekey || new_type < 1 || new_type > 6) return Answer::kInvalid;
    if (!keys.contains(host) || keys[host] != crkey) return Answer::kConflict;
    if (action == 0) {
      if (holders.empty()) {
        own(host, new_type);
        return Answer::kOk;
      }
      return holders.contains(host) && type == new_type ? Answer::kOk : Answer::kConflict;
    }
    const std::map<int, uint64_t> before = keys;
    const std::set<int> held_by = holders;
    const int held_type = type;
    bool replaced = false;
    if (!holders.empty() && shared() && prkey == 0) {
      for (const auto& [other, key] : before) {
        if (other != host) drop(other);
      }
      own(host, new_type);
    } else if (!holders.empty() && !shared() && keys[*holders.begin()] == prkey) {
      const bool itself = holders.contains(host);
      for (const auto& [other, key] : before) {
        if (!itself && other != host && key == prkey) drop(other);
      }
      own(host, new_type);
      replaced = held_type != type || held_by != holders;
    } else {
      if (prkey == 0) return holders.empty() ? Answer::kConflict : Answer::kInvalid;
      bool any = false;
      for (const auto& [other, key] : before) {
        if (key != prkey) continue;
        any = true;
        drop(other);
      }
      if (!any) return Answer::kConflict;
    }
    for (const auto& [other, key] : before) {
      if (other == host) continue;
      if (!keys.contains(other)) {
        notices.emplace_back(other, 1);
        if (action == 2) aborted.push_back(other);
      } else if (replaced) {
        notices.emplace_back(other, 2);
      }
    }
    ++generation;
    return Answer::kOk;
  }

  Answer release(int host, int action, bool iekey, int old_type, uint64_t crkey) {
    if (action > 1 || iekey) return Answer::kInvalid;
    if (!keys.contains(host) || keys[host] != crkey) return Answer::kConflict;
    if (action == 1) {
      for (const auto& [other, key] : keys) {
        if (other != host) notices.emplace_back(other, 3);
      }
      keys.clear();
      holders.clear();
      type = 0;
      ++generation;
      return Answer::kOk;
    }
    if (holders.empty()) return Answer::kOk;
    if (type != old_type) return Answer::kInvalid;
    if (!holders.contains(host)) return Answer::kOk;
    if (type >= 3) {
      for (const auto& [other, key] : keys) {
        if (other != host) notices.emplace_back(other, 2);
      }
    }
    holders.clear();
    type = 0;
    return Answer::kOk;
  }

  bool may_read(int host) const {
    if (holders.empty() || holders.contains(host)) return true;
    if (registrants_only() && keys.contains(host)) return true;
    return type % 2 == 1;
  }
  bool may_write(int host) const {
    if (holders.empty() || holders.contains(host)) return true;
    return registrants_only() && keys.contains(host);
  }
};

HostId host_id(int number) {
  HostId id{};
  id[3] = static_cast<uint8_t>(number);
  return id;
}

Answer answer(nvme::Status status) {
  if (status.is_success()) return Answer::kOk;
  return status.is(nvme::GenericStatus::kReservationConflict) ? Answer::kConflict : Answer::kInvalid;
}

void compare(const Model& model, const Reservation& reservation, const Reservation::Outcome& outcome) {
  const auto& state = reservation.state();
  std::map<HostId, uint64_t> keys;
  for (const auto& [id, registrant] : state.registrants) keys[id] = registrant.key;
  std::map<HostId, uint64_t> expected_keys;
  for (const auto& [number, key] : model.keys) expected_keys[host_id(number)] = key;
  ASSERT_EQ(keys, expected_keys);
  ASSERT_EQ(static_cast<int>(state.type), model.type);
  ASSERT_EQ(state.persist, model.persist);
  ASSERT_EQ(state.generation, model.generation);
  ASSERT_EQ(state.holder.has_value(), !model.holders.empty());
  if (state.holder) {
    ASSERT_EQ(state.holder_key, keys.at(*state.holder));
  }

  std::vector<std::pair<HostId, int>> notices;
  for (const auto& notice : outcome.notifications) notices.emplace_back(notice.host, static_cast<int>(notice.type));
  std::vector<std::pair<HostId, int>> expected_notices;
  for (const auto& [number, type] : model.notices) expected_notices.emplace_back(host_id(number), type);
  std::ranges::sort(notices);
  std::ranges::sort(expected_notices);
  ASSERT_EQ(notices, expected_notices);
  std::vector<HostId> aborted;
  for (const int number : model.aborted) aborted.push_back(host_id(number));
  ASSERT_EQ(outcome.preempted, aborted);

  // What the hosts see: access and report.
  const AccessTable table = reservation.access();
  std::vector<std::byte> report(64 + 64 * keys.size());
  nvme::Sqe sqe;
  nvme::ReservationReport{.size_bytes = report.size(), .extended = true}.encode(sqe);
  ASSERT_TRUE(reservation.report_command(sqe, report).is_success());
  size_t entry = 64;
  for (const auto& [number, key] : model.keys) {
    ASSERT_EQ(report[entry + 2], std::byte{model.holders.contains(number)});
    entry += 64;
  }
  for (int number = 0; number < 6; ++number) {
    ASSERT_EQ(table.rights_of(host_id(number)).read, model.may_read(number)) << number;
    ASSERT_EQ(table.rights_of(host_id(number)).write, model.may_write(number)) << number;
  }
}

class ReservationModel : public testing::TestWithParam<unsigned> {};

TEST_P(ReservationModel, RandomCommands) {
  std::mt19937 random(GetParam());
  const auto below = [&](unsigned limit) { return static_cast<int>(random() % limit); };
  Reservation reservation(true);
  Model model;
  int changes = 0;
  for (int step = 0; step < 20'000; ++step) {
    const int host = below(5);
    // Mostly the host's own key and valid fields, so that the walk goes far.
    const uint64_t own = model.keys.contains(host) ? model.keys[host] : 0;
    const uint64_t crkey = below(8) != 0 ? own : static_cast<uint64_t>(below(4));
    const uint64_t other_key = static_cast<uint64_t>(below(4));
    const bool iekey = below(12) == 0;
    const int type = below(20) != 0 ? 1 + below(6) : below(9);
    const int action = below(20) != 0 ? below(3) : below(8);
    model.notices.clear();
    model.aborted.clear();
    nvme::Sqe sqe;
    Reservation::Outcome outcome;
    Answer expected{};
    const auto before = reservation.state();
    switch (below(5)) {
      case 0:
      case 1: {
        const int cptpl = below(10) == 0 ? below(4) : 0;
        nvme::ReservationRegister{.action = static_cast<nvme::RegisterAction>(action),
                                  .ignore_existing_key = iekey,
                                  .change_ptpl = static_cast<nvme::ChangePtpl>(cptpl)}
            .encode(sqe);
        const nvme::ReservationRegisterData data{.crkey = crkey, .nrkey = other_key};
        outcome = reservation.register_command(host_id(host), sqe, nvme::bytes_of(data));
        expected = model.reg(host, action, iekey, cptpl, crkey, other_key);
        break;
      }
      case 2:
      case 3: {
        nvme::ReservationAcquire{.action = static_cast<nvme::AcquireAction>(action),
                                 .ignore_existing_key = iekey,
                                 .type = static_cast<nvme::ReservationType>(type)}
            .encode(sqe);
        const nvme::ReservationAcquireData data{.crkey = crkey, .prkey = other_key};
        outcome = reservation.acquire_command(host_id(host), sqe, nvme::bytes_of(data));
        expected = model.acquire(host, action, iekey, type, crkey, other_key);
        break;
      }
      default: {
        const int release_action = below(6) == 0 ? action : 0;
        const int release_type = below(3) != 0 ? model.type : type;
        nvme::ReservationRelease{.action = static_cast<nvme::ReleaseAction>(release_action),
                                 .ignore_existing_key = iekey,
                                 .type = static_cast<nvme::ReservationType>(release_type)}
            .encode(sqe);
        const nvme::ReservationReleaseData data{.crkey = crkey};
        outcome = reservation.release_command(host_id(host), sqe, nvme::bytes_of(data));
        expected = model.release(host, release_action, iekey, release_type, crkey);
      }
    }
    ASSERT_EQ(answer(outcome.status), expected) << "step " << step;
    auto without_generation = reservation.state();
    without_generation.generation = before.generation;
    ASSERT_EQ(outcome.changed, without_generation != before);
    if (outcome.changed) ++changes;
    ASSERT_NO_FATAL_FAILURE(compare(model, reservation, outcome)) << "step " << step;
  }
  EXPECT_GT(changes, 2'000);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReservationModel, testing::Range(1u, 9u));

}  // namespace
}  // namespace cairn::nvmf::target
