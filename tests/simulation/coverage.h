// What a run, or many, have been through.
#pragma once

#include <array>
#include <map>
#include <set>
#include <string>

#include "simulation/fault_plan.h"

namespace cairn::simulation {

struct Coverage {
  std::map<std::string, uint64_t> counts;  // "fault power_loss", "nexus Online -> Degraded", ...

  void count(const std::string& what, uint64_t times = 1) {
    if (times > 0) counts[what] += times;
  }
  void add(const Coverage& other) {
    for (const auto& [what, times] : other.counts) counts[what] += times;
  }
  // What could have been counted and was not.
  std::set<std::string> missing() const;
};

}  // namespace cairn::simulation
