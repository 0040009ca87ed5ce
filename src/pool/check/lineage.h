// Ancestors, names and identities of the blobs of a pool.
#pragma once

#include "pool/check/pool_report.h"

namespace cairn::pool::check {

// Appends what is wrong between blobs: parents, unfinished snapshots and removals, names and uuids, sources of clones.
void check_lineage(PoolReport& report);

// Fills identity and the lvols' attributes, appends what is missing.
void check_attributes(PoolReport& report);

}  // namespace cairn::pool::check
