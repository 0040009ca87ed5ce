// Faults that belong together: each scene is a place where a storage system of this kind may go wrong, and which faults
// that are drawn one by one reach once in many thousand runs.
#pragma once

#include <string_view>
#include <vector>

#include "runtime/random.h"
#include "simulation/fault_plan.h"

namespace cairn::simulation {

std::vector<std::string_view> scene_names();

// One scene from `at` on: that of options.scene, or any.
std::vector<Fault> draw_scene(Duration at, const PlanOptions& options, runtime::Random& random);

}  // namespace cairn::simulation
