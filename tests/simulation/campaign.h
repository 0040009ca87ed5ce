// Many runs, in processes of their own, so that one that aborts is a failing seed like any other.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cairn::simulation {

struct CampaignOptions {
  uint64_t first_seed = 1;
  uint64_t num_seeds = 20;
  std::vector<uint64_t> seeds;  // these instead, if there are any
  unsigned jobs = 2;
  uint64_t time_limit_s = 0;
  uint64_t trouble_s = 60;
  std::string scene;         // see PlanOptions
  uint64_t excluded = 0;     // kinds of faults
  std::vector<size_t> only;  // by their place in the plan; empty: all
  bool trace = false;
  bool print_plan = false;
  bool shrink = false;
  bool keep_going = false;
  bool quiet = false;
};

// Exit statuses: 0 no failure, 1 a failure.
int run_one(const CampaignOptions& options);
int run_campaign(const CampaignOptions& options);

// Virtual time and reactor, for the log of the run under way.
std::string log_stamp();

}  // namespace cairn::simulation
