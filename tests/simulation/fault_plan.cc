#include "simulation/fault_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/random.h"

namespace cairn::simulation {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::string_view kNames[kNumFaultKinds] = {
    "kill_process", "power_loss", "kill_client", "power_loss_client", "kill_control", "store_down",
    "store_slow",   "pause",      "clock_jump",  "write_errors",      "some_errors",  "bad_blocks",
    "disk_hangs",   "disk_slow",  "disk_full",   "cut_link",          "cut_one_way",  "isolate",
    "partition",    "loss",       "slow_link",   "reset_connections", "move_volume",  "fault_child",
};

// How often a kind is drawn, relative to the others.
constexpr unsigned kWeights[kNumFaultKinds] = {6, 6, 2, 1, 2, 3, 2, 3, 2, 3, 4, 3, 3, 3, 2, 4, 4, 3, 2, 3, 3, 4, 4, 4};

Duration lasting_of(FaultKind kind, runtime::Random& random) {
  switch (kind) {
    case FaultKind::kPause:
      return milliseconds(random.one_in(3) ? random.below(25000) : random.below(3000));
    case FaultKind::kResetConnections:
    case FaultKind::kMoveVolume:
    case FaultKind::kFaultChild:
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

std::string Fault::to_string() const {
  return fmt::format("{:8.3f} s  {:<17} node {} other {} for {:.3f} s, parameter {}",
                     std::chrono::duration<double>(at).count(), to_text(kind), node, other,
                     std::chrono::duration<double>(lasting).count(), parameter);
}

std::vector<Fault> make_plan(const PlanOptions& options) {
  runtime::Random random(runtime::Random(options.seed).next());
  // Calm and wild runs; some with few kinds of faults, which then meet each other more often.
  const uint64_t mean_gap_ms = 500 + random.below(8000);
  uint64_t allowed = ~options.excluded;
  if (random.one_in(3)) {
    uint64_t some = 0;
    for (int i = 0; i < 5; ++i) some |= uint64_t{1} << random.below(kNumFaultKinds);
    if ((allowed & some) != 0) allowed &= some;
  }
  unsigned total = 0;
  for (size_t i = 0; i < kNumFaultKinds; ++i) total += (allowed >> i & 1) != 0 ? kWeights[i] : 0;
  std::vector<Fault> plan;
  for (Duration at{}; total > 0;) {
    at += milliseconds(random.below(2 * mean_gap_ms));
    if (at >= options.trouble) break;
    uint64_t ticket = random.below(total);
    size_t kind = 0;
    for (;; ++kind) {
      const unsigned weight = (allowed >> kind & 1) != 0 ? kWeights[kind] : 0;
      if (ticket < weight) break;
      ticket -= weight;
    }
    Fault fault{.at = at, .kind = static_cast<FaultKind>(kind), .node = random.below(options.num_storage)};
    do {
      fault.other = random.below(options.num_nodes);
    } while (fault.other == fault.node);
    fault.lasting = lasting_of(fault.kind, random);
    fault.parameter = random.next() >> 1;
    fault.place = plan.size();
    plan.push_back(fault);
  }
  return plan;
}

}  // namespace cairn::simulation
