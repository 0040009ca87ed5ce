// cairn-sim: runs simulated clusters, one for each seed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "base/log_stamp.h"
#include "base/seeded_bug.h"
#include "simulation/campaign.h"
#include "simulation/fault_plan.h"
#include "simulation/fault_scenes.h"

namespace {

// Numbers up to a '#', line by line.
std::vector<uint64_t> read_seeds(const std::string& path) {
  std::ifstream file(path);
  std::vector<uint64_t> seeds;
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line.substr(0, line.find('#')));
    for (uint64_t seed = 0; numbers >> seed;) seeds.push_back(seed);
  }
  return seeds;
}

bool switch_on(std::string_view bug) {
#ifdef CAIRN_SEEDED_BUGS
  for (size_t i = 1; i < cairn::kSeededBugNames.size(); ++i) {
    if (bug == "list") fmt::print("{}\n", cairn::kSeededBugNames[i]);
    if (bug != cairn::kSeededBugNames[i]) continue;
    cairn::active_seeded_bug = static_cast<cairn::SeededBug>(i);
    return true;
  }
#endif
  if (bug != "list") fmt::print(stderr, "no bug is called '{}'\n", bug);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace cairn;
  CLI::App app("Simulates clusters under faults: a seed decides everything that happens.");
  simulation::CampaignOptions options;
  uint64_t seed = 0;
  std::vector<std::string> excluded;
  bool logs = false;
  std::string seeds_of;
  std::string bug;
  app.add_option("--seed", seed, "Run this seed only");
  app.add_option("--seeds", options.num_seeds, "Run so many seeds")->capture_default_str();
  app.add_option("--first", options.first_seed, "The first of them")->capture_default_str();
  app.add_option("--seeds-of", seeds_of, "Run the seeds in this file");
  app.add_option("--jobs", options.jobs, "Processes at a time")->capture_default_str();
  app.add_option("--seconds", options.time_limit_s, "Begin no further seed after so long; 0: no limit");
  app.add_option("--trouble", options.trouble_s, "Virtual seconds of faults in a run")->capture_default_str();
  app.add_option("--without", excluded, "Kinds of faults to leave out");
  app.add_option("--scene", options.scene, "No faults but this scene, again and again")
      ->check(CLI::IsMember(simulation::scene_names()));
  app.add_option("--only", options.only, "Of the faults, only those in these places (with --seed)")->delimiter(',');
  app.add_flag("--trace", options.trace, "Print every event of the world (with --seed)");
  app.add_flag("--plan", options.print_plan, "Print the faults of the run (with --seed)");
  app.add_flag("--shrink", options.shrink, "Reduce a failing run to a short list of faults (with --seed)");
  app.add_flag("--keep-going", options.keep_going, "Do not stop at the first failure");
  app.add_flag("--quiet", options.quiet, "No coverage in the summary");
  app.add_flag("--log", logs, "Let the engines log");
#ifdef CAIRN_SEEDED_BUGS
  app.add_option("--bug", bug, "Switch this bug on; 'list' names all");
#endif
  CLI11_PARSE(app, argc, argv);
  if (!bug.empty() && !switch_on(bug)) return bug == "list" ? 0 : 2;
  for (const std::string& name : excluded) {
    bool known = false;
    for (size_t i = 0; i < simulation::kNumFaultKinds; ++i) {
      if (to_text(static_cast<simulation::FaultKind>(i)) != name) continue;
      options.excluded |= uint64_t{1} << i;
      known = true;
    }
    if (!known) {
      fmt::print(stderr, "no kind of fault is called '{}'\n", name);
      return 2;
    }
  }
  log::set_stamp(simulation::log_stamp);
  log::set_level(logs ? log::Level::kDebug : log::Level::kOff);
  if (!seeds_of.empty()) {
    options.seeds = read_seeds(seeds_of);
    if (options.seeds.empty()) {
      fmt::print(stderr, "no seeds in {}\n", seeds_of);
      return 2;
    }
  }
  if (seed != 0) {
    options.first_seed = seed;
    return simulation::run_one(options);
  }
  return simulation::run_campaign(options);
}
