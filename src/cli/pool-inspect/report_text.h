// Reports for people.
#pragma once

#include <string>

#include "pool/check/pool_report.h"

namespace cairn::cli {

// Pool, layout, masks and a table of the blobs; lines with their ends.
std::string report_text(const pool::check::PoolReport& report);
// All that is known of one blob.
std::string blob_text(const pool::check::PoolReport& report, const pool::check::BlobReport& blob);
// "2 errors, 1 warning, 0 notes".
std::string findings_summary(std::span<const pool::check::Finding> findings);

}  // namespace cairn::cli
