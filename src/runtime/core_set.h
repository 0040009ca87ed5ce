// Which processor cores to use, as people write it.
#pragma once

#include <string_view>
#include <vector>

#include "base/error.h"

namespace cairn::runtime {

inline constexpr unsigned kMaxCores = 1024;  // of the kernel's plain affinity calls

// "0x3", "f", "0xff00ff": bit n stands for core n. At least one core. INVALID_ARGUMENT otherwise.
Result<std::vector<unsigned>> parse_core_mask(std::string_view mask);
// "1,2,10-20": numbers and ranges, each core once; the order is kept, the first is the primary. INVALID_ARGUMENT
// otherwise.
Result<std::vector<unsigned>> parse_core_list(std::string_view list);
// What this process may run on, ascending.
std::vector<unsigned> allowed_cores();
std::string to_string(const std::vector<unsigned>& cores);  // "0-2,5"

}  // namespace cairn::runtime
