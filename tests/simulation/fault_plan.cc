#include "simulation/fault_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/random.h"
#include "simulation/fault_scenes.h"

namespace cairn::simulation {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kNames[kNumFaultKinds] = {
    "kill_process", "power_loss",  "power_loss_all", "kill_client", "power_loss_client",
    "kill_control", "store_down",  "store_slow",     "pause",       "clock_jump",
    "write_errors", "some_errors", "bad_blocks",     "disk_hangs",  "disk_slow",
    "disk_stalls",  "disk_full",   "snapshot",       "cut_link",    "cut_one_way",
    "isolate",      "partition",   "loss",           "slow_link",   "reset_connections",
    "move_volume",  "fault_child", "online_child",
};
constexpr std::string_view kCueNames[kNumCues] = {
    "", "nexus_begins", "record_saved", "rebuild_begins", "rebuild_ends", "pool_changes"};
constexpr std::string_view kAimNames[] = {"", "nexus", "other", "cued"};

// How often a kind is drawn, relative to the others.
constexpr unsigned kWeights[kNumFaultKinds] = {6, 6, 1, 2, 1, 2, 3, 2, 3, 2, 3, 4, 3, 3,
                                               3, 3, 2, 3, 4, 4, 3, 2, 3, 3, 4, 4, 4, 2};

Duration lasting_of(FaultKind kind, runtime::Random& random) {
  switch (kind) {
    case FaultKind::kPause:
      return milliseconds(random.one_in(3) ? random.below(25000) : random.below(3000));
    case FaultKind::kResetConnections:
    case FaultKind::kMoveVolume:
    case FaultKind::kFaultChild:
    case FaultKind::kOnlineChild:
    case FaultKind::kBadBlocks:
    case FaultKind::kClockJump:
      return {};
    default:
      // Shorter and longer than the time-outs of nexus, initiator and target.
      return milliseconds(random.one_in(3) ? random.below(40000) : random.below(4000));
  }
}

}  // namespace

std::string_view to_text(FaultKind kind) {
  return kNames[static_cast<size_t>(kind)];
}

std::string_view to_text(Cue cue) {
  return kCueNames[static_cast<size_t>(cue)];
}

std::string_view to_text(Aim aim) {
  return kAimNames[static_cast<size_t>(aim)];
}

std::string Fault::to_string() const {
  auto whom = [](Aim aimed, size_t drawn) {
    return aimed == Aim::kNode ? fmt::format("{}", drawn) : fmt::format("{}({})", to_text(aimed), drawn);
  };
  std::string text = fmt::format("{:8.3f} s  {:<17} node {} other {} for {:.3f} s, parameter {}",
                                 std::chrono::duration<double>(at).count(), to_text(kind), whom(aim, node),
                                 whom(other_aim, other), std::chrono::duration<double>(lasting).count(), parameter);
  if (cue != Cue::kNone) {
    text += fmt::format(", {:.6f} s after {}", std::chrono::duration<double>(lag).count(), to_text(cue));
  }
  if (!scene.empty()) text += fmt::format(" ({})", scene);
  return text;
}

namespace {

class Plan {
 public:
  explicit Plan(const PlanOptions& options) : options_(options) {
    // Some runs with few kinds of faults, which then meet each other more often.
    allowed_ = ~options.excluded;
    if (random_.one_in(3)) {
      uint64_t some = 0;
      for (int i = 0; i < 5; ++i) some |= uint64_t{1} << random_.below(kNumFaultKinds);
      if ((allowed_ & some) != 0) allowed_ &= some;
    }
  }

  // Calm and wild runs.
  void add_single_faults() {
    const uint64_t mean_gap_ms = 500 + random_.below(8000);
    unsigned total = 0;
    for (size_t i = 0; i < kNumFaultKinds; ++i) total += weight(i);
    for (Duration at{}; total > 0;) {
      at += milliseconds(random_.below(2 * mean_gap_ms));
      if (at >= options_.trouble) break;
      faults.push_back(draw(at, total));
    }
  }

  void add_scenes() {
    for (uint64_t left = 1 + random_.below(4); left > 0; --left) {
      const Duration at = milliseconds(random_.below(static_cast<uint64_t>(options_.trouble / milliseconds(1))));
      for (const Fault& fault : draw_scene(at, options_, random_)) {
        if ((options_.excluded >> static_cast<size_t>(fault.kind) & 1) == 0) faults.push_back(fault);
      }
    }
  }

  bool one_in(uint64_t number) { return random_.one_in(number); }

  std::vector<Fault> faults;

 private:
  unsigned weight(size_t kind) const { return (allowed_ >> kind & 1) != 0 ? kWeights[kind] : 0; }

  Fault draw(Duration at, unsigned total) {
    uint64_t ticket = random_.below(total);
    size_t kind = 0;
    for (; ticket >= weight(kind); ++kind) ticket -= weight(kind);
    Fault fault{.at = at, .kind = static_cast<FaultKind>(kind), .node = random_.below(options_.num_storage)};
    do {
      fault.other = random_.below(options_.num_nodes);
    } while (fault.other == fault.node);
    fault.lasting = lasting_of(fault.kind, random_);
    fault.parameter = random_.next() >> 1;
    return fault;
  }

  const PlanOptions& options_;
  runtime::Random random_{runtime::Random(options_.seed).next()};
  uint64_t allowed_ = 0;
};

}  // namespace

std::vector<Fault> make_plan(const PlanOptions& options) {
  Plan plan(options);
  // Both kinds, or one of them.
  const bool scenes = plan.one_in(2) || !options.scene.empty();
  if (!scenes || (plan.one_in(2) && options.scene.empty())) plan.add_single_faults();
  if (scenes) plan.add_scenes();
  for (size_t i = 0; i < plan.faults.size(); ++i) plan.faults[i].place = i;
  std::ranges::sort(plan.faults, {}, [](const Fault& fault) { return std::pair(fault.at, fault.place); });
  for (size_t i = 0; i < plan.faults.size(); ++i) plan.faults[i].place = i;
  return std::move(plan.faults);
}

}  // namespace cairn::simulation
