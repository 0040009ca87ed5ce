// Identifiers of protobuf files in the spellings that the JSON and debug output use.
#pragma once

#include <string>
#include <string_view>

namespace cairn::cli {

std::string snake_case(std::string_view identifier);   // "minCntlId" -> "min_cntl_id"
std::string pascal_case(std::string_view identifier);  // "pool_name", "WRITE_ZEROES" -> "PoolName", "WriteZeroes"

}  // namespace cairn::cli
