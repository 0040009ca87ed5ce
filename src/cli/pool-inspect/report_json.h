// Reports as JSON (docs/pool-format.md, "pool-inspect").
#pragma once

#include <nlohmann/json.hpp>

#include "pool/check/pool_report.h"
#include "pool/check/repair.h"

namespace cairn::cli {

// "super", "snapshot", "clone" or "replica".
std::string_view blob_kind(const pool::check::PoolReport& report, const pool::check::BlobReport& blob);

nlohmann::ordered_json finding_json(const pool::check::Finding& finding);
nlohmann::ordered_json blob_json(const pool::check::PoolReport& report, const pool::check::BlobReport& blob);
// Everything: super_block, layout, identity, masks, usage, blobs, findings; null for what is not known.
nlohmann::ordered_json report_json(const pool::check::PoolReport& report);
nlohmann::ordered_json plan_json(const pool::check::RepairPlan& plan);

}  // namespace cairn::cli
