#include "simulation/fault_scenes.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::simulation {

namespace {

using runtime::Random;
using std::chrono::milliseconds;

Duration between(Random& random, uint64_t min_ms, uint64_t max_ms) {
  return milliseconds(min_ms + random.below(max_ms - min_ms + 1));
}

class Scene {
 public:
  Scene(Duration at, const PlanOptions& options, Random& random)
      : random(random),
        store(options.num_storage),
        control(options.num_storage + 1),
        client(options.num_nodes - 1),
        at_(at),
        node_(random.below(options.num_storage)),
        num_storage_(options.num_storage) {}

  // Later than what was added last.
  void wait(uint64_t min_ms, uint64_t max_ms) { at_ += between(random, min_ms, max_ms); }
  Fault& add(FaultKind kind, Aim aim, Duration lasting = {}) {
    faults.push_back({.at = at_,
                      .kind = kind,
                      .node = node_,
                      .other = (node_ + 1) % num_storage_,
                      .lasting = lasting,
                      .parameter = random.next() >> 1,
                      .aim = aim});
    return faults.back();
  }
  // Between the nexus and one of its remote children.
  Fault& add_between(FaultKind kind, Duration lasting = {}) {
    Fault& fault = add(kind, Aim::kNexus, lasting);
    fault.other_aim = Aim::kOther;
    return fault;
  }
  Fault& add_on(Cue cue, uint64_t max_lag_ms, FaultKind kind, Aim aim, Duration lasting = {}) {
    Fault& fault = add(kind, aim, lasting);
    fault.cue = cue;
    fault.lag = between(random, 0, max_lag_ms);
    return fault;
  }
  // Of a node, long enough for a new nexus elsewhere or too short.
  Duration absence() { return between(random, 200, random.one_in(2) ? 1500 : 12000); }

  Random& random;
  // Behind the storage nodes.
  const size_t store;
  const size_t control;
  const size_t client;
  std::vector<Fault> faults;

 private:
  Duration at_;
  size_t node_;
  size_t num_storage_;
};

// A child leaves, the store takes its time, and the nexus dies meanwhile.
void leave_and_die(Scene& scene) {
  scene.add(scene.random.one_in(3) ? FaultKind::kStoreDown : FaultKind::kStoreSlow, Aim::kNode,
            between(scene.random, 1500, 5000));
  scene.wait(0, 300);
  if (scene.random.one_in(2)) {
    scene.add(FaultKind::kFaultChild, Aim::kOther);
  } else {
    scene.add(FaultKind::kKillProcess, Aim::kOther, between(scene.random, 300, 3000));
  }
  scene.wait(200, 2500);
  scene.add(FaultKind::kKillProcess, Aim::kNexus, scene.absence());
}

// Nobody repeats what was under way: some children have it and others do not, until the write-intent log is looked at.
void die_with_client(Scene& scene) {
  scene.add(FaultKind::kDiskStalls, scene.random.one_in(2) ? Aim::kNexus : Aim::kOther,
            between(scene.random, 1000, 4000));
  scene.wait(200, 1000);
  scene.add(scene.random.one_in(2) ? FaultKind::kKillClient : FaultKind::kPowerLossClient, Aim::kNexus,
            scene.absence());
  scene.wait(0, 20);
  scene.add(FaultKind::kKillProcess, Aim::kNexus, scene.absence());
}

// The nexus dies as soon as the store knows, and before it does itself.
void die_when_saved(Scene& scene) {
  scene.add_on(Cue::kRecordSaved, 3, FaultKind::kKillProcess, Aim::kNexus, scene.absence());
  scene.add(FaultKind::kFaultChild, Aim::kOther);
}

void rebuild_and_die(Scene& scene) {
  scene.add(FaultKind::kFaultChild, Aim::kOther);
  scene.add_on(Cue::kRebuildBegins, 1500, scene.random.one_in(2) ? FaultKind::kKillProcess : FaultKind::kPowerLoss,
               scene.random.one_in(3) ? Aim::kCued : Aim::kNexus, scene.absence());
}

// What was just copied is in a cache.
void rebuild_and_lose_power(Scene& scene) {
  scene.add(scene.random.one_in(2) ? FaultKind::kKillProcess : FaultKind::kFaultChild, Aim::kOther, scene.absence());
  scene.add_on(Cue::kRebuildEnds, 500, FaultKind::kPowerLoss, Aim::kCued, scene.absence());
}

// What the old nexus has sent to a child arrives after the new one has begun.
void late_writes(Scene& scene) {
  scene.add_between(FaultKind::kCutLink, between(scene.random, 1500, 8000));
  scene.wait(50, 1500);
  const auto fate = scene.random.below(3);
  if (fate == 0) {
    scene.add(FaultKind::kMoveVolume, Aim::kOther);
  } else {
    scene.add(fate == 1 ? FaultKind::kKillProcess : FaultKind::kPowerLoss, Aim::kNexus, scene.absence());
  }
}

// Commands are still under way when their connection is lost and another one is made.
void reset_while_slow(Scene& scene) {
  Fault& stalls = scene.add(FaultKind::kDiskStalls, scene.random.one_in(3) ? Aim::kNexus : Aim::kOther,
                            between(scene.random, 3000, 10000));
  if (scene.random.one_in(2)) stalls.parameter = 500000 + scene.random.below(20);  // often, and for seconds
  for (int i = 0; i < 4; ++i) {
    scene.wait(200, 2000);
    Fault& reset = scene.add_between(FaultKind::kResetConnections);
    if (scene.random.one_in(3)) {
      reset.other_aim = Aim::kNode;
      reset.other = scene.client;
    }
  }
}

// One child does not answer while another one leaves and comes back.
void two_leave(Scene& scene) {
  scene.add(scene.random.one_in(2) ? FaultKind::kDiskHangs : FaultKind::kDiskStalls, Aim::kNexus,
            between(scene.random, 2000, 9000));
  if (scene.random.one_in(2)) scene.faults.back().kind = FaultKind::kDiskHangs;
  for (int i = 0; i < 2; ++i) {
    scene.wait(100, 1000);
    scene.add(FaultKind::kFaultChild, Aim::kOther);
    scene.wait(20, 1500);
    scene.add(FaultKind::kOnlineChild, Aim::kOther);
  }
}

// A child leaves, the store takes its time, and somebody brings the child back meanwhile.
void return_while_leaving(Scene& scene) {
  scene.add(FaultKind::kStoreSlow, Aim::kNode, between(scene.random, 2000, 8000));
  if (scene.random.one_in(2)) scene.add(FaultKind::kDiskStalls, Aim::kOther, between(scene.random, 2000, 6000));
  for (int i = 0; i < 3; ++i) {
    scene.wait(0, 500);
    const auto why = scene.random.below(4);
    const Aim whom = scene.random.one_in(3) ? Aim::kNexus : Aim::kOther;
    if (why == 0) {
      scene.add(FaultKind::kFaultChild, whom);
    } else if (why == 1) {
      scene.add(FaultKind::kKillProcess, Aim::kOther, between(scene.random, 50, 500));
    } else {
      scene.add(FaultKind::kWriteErrors, whom, between(scene.random, 50, 400));
    }
    for (int j = 0; j < 3; ++j) {
      scene.wait(20, 900);
      scene.add(FaultKind::kOnlineChild, whom);
    }
  }
}

// The last healthy child is a remote one, and stays away for longer than its I/O waits.
void lose_last(Scene& scene) {
  scene.add(FaultKind::kFaultChild, Aim::kNexus);
  scene.add(FaultKind::kFaultChild, Aim::kOther);
  scene.wait(0, 400);
  const Duration away = between(scene.random, 15000, 40000);
  if (scene.random.one_in(3)) {
    scene.add_between(FaultKind::kCutLink, away).other += 1;
  } else {
    scene.add(scene.random.one_in(2) ? FaultKind::kKillProcess : FaultKind::kPowerLoss, Aim::kOther, away).node += 1;
  }
}

// The only child that others can be rebuilt from has blocks that cannot be read.
void bad_source(Scene& scene) {
  scene.add(FaultKind::kFaultChild, Aim::kOther);
  scene.add(FaultKind::kFaultChild, Aim::kOther).node += 1;
  scene.wait(300, 2000);
  for (int i = 0; i < 20; ++i) scene.add(FaultKind::kBadBlocks, Aim::kNexus);
}

// Everything is off at once, when something has just changed.
void dark_site(Scene& scene) {
  const Cue cue = static_cast<Cue>(scene.random.below(kNumCues));
  scene.add_on(cue, 2000, FaultKind::kPowerLossAll, Aim::kNode, scene.absence());
  if (cue != Cue::kNone) scene.add(FaultKind::kFaultChild, Aim::kOther);
}

// Clusters are allocated on all nodes when they lose power.
void dark_while_allocating(Scene& scene) {
  for (size_t i = 0; i < 3; ++i) scene.add(FaultKind::kSnapshot, Aim::kNode, between(scene.random, 0, 5000)).node = i;
  scene.wait(0, 150);
  if (scene.random.one_in(2)) {
    scene.add(FaultKind::kPowerLossAll, Aim::kNode, scene.absence());
  } else {
    scene.add(FaultKind::kPowerLoss, Aim::kOther, scene.absence());
  }
}

// Power is lost while a pool writes its metadata, several times.
void dark_while_changing(Scene& scene) {
  for (int i = 0; i < 8; ++i) {
    Fault& fault =
        scene.add_on(Cue::kPoolChanges, 0, FaultKind::kPowerLoss, Aim::kCued, between(scene.random, 200, 1000));
    // Most changes are over within a millisecond.
    fault.lag = std::chrono::microseconds(scene.random.below(scene.random.one_in(4) ? 5000 : 1000));
    scene.wait(1000, 8000);
  }
}

// A child has no room for what is written.
void no_space(Scene& scene) {
  scene.add(FaultKind::kDiskFull, Aim::kOther, between(scene.random, 500, 6000));
  scene.wait(0, 300);
  scene.add(FaultKind::kSnapshot, Aim::kOther, between(scene.random, 0, 5000));
}

// The control plane does not reach the nexus, which is at work, and replaces it while it lives on.
void left_alone(Scene& scene) {
  const Duration away = between(scene.random, 26000, 40000);
  if (scene.random.one_in(4)) {
    scene.add(FaultKind::kIsolate, Aim::kNexus, away);
  } else {
    scene.add(FaultKind::kCutLink, Aim::kNexus, away).other = scene.control;
    if (scene.random.one_in(2)) scene.add(FaultKind::kCutLink, Aim::kNexus, away).other = scene.store;
  }
  scene.wait(10000, 23000);
  if (scene.random.one_in(2)) {
    scene.add(FaultKind::kFaultChild, Aim::kOther);
    scene.wait(0, 1500);
    scene.add(FaultKind::kOnlineChild, Aim::kOther);
  } else {
    scene.add_between(FaultKind::kSlowLink, between(scene.random, 8000, 16000));
  }
  scene.add(FaultKind::kDiskStalls, scene.random.one_in(2) ? Aim::kNexus : Aim::kOther,
            between(scene.random, 8000, 16000));
  scene.add_on(Cue::kNexusBegins, 3000, FaultKind::kKillProcess, scene.random.one_in(2) ? Aim::kNexus : Aim::kOther,
               scene.absence());
}

struct KnownScene {
  std::string_view name;
  void (*draw)(Scene&);
};
constexpr KnownScene kScenes[] = {
    {"leave_and_die", leave_and_die},
    {"die_with_client", die_with_client},
    {"die_when_saved", die_when_saved},
    {"rebuild_and_die", rebuild_and_die},
    {"rebuild_and_lose_power", rebuild_and_lose_power},
    {"late_writes", late_writes},
    {"reset_while_slow", reset_while_slow},
    {"two_leave", two_leave},
    {"return_while_leaving", return_while_leaving},
    {"lose_last", lose_last},
    {"bad_source", bad_source},
    {"dark_site", dark_site},
    {"dark_while_changing", dark_while_changing},
    {"dark_while_allocating", dark_while_allocating},
    {"no_space", no_space},
    {"left_alone", left_alone},
};

}  // namespace

std::vector<std::string_view> scene_names() {
  std::vector<std::string_view> names;
  for (const KnownScene& scene : kScenes) names.push_back(scene.name);
  return names;
}

std::vector<Fault> draw_scene(Duration at, const PlanOptions& options, Random& random) {
  Scene scene(at, options, random);
  const auto* drawn = &kScenes[random.below(std::size(kScenes))];
  if (!options.scene.empty()) drawn = std::ranges::find(kScenes, options.scene, &KnownScene::name);
  CAIRN_CHECK(drawn != std::end(kScenes));
  drawn->draw(scene);
  for (Fault& fault : scene.faults) fault.scene = drawn->name;
  return std::move(scene.faults);
}

}  // namespace cairn::simulation
