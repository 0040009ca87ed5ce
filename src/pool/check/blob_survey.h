// One blob as its metadata pages have it.
#pragma once

#include <vector>

#include "pool/check/metadata_area.h"
#include "pool/check/pool_report.h"

namespace cairn::pool::check {

// Reads chain and extent pages of the blob whose root is at `root`, and appends what is wrong with them to `findings`.
// Lineage and attributes are filled as far as they can be read; whether they make sense is for others to say.
BlobReport survey_blob(const MetadataArea& area, const format::Layout& layout, uint32_t root,
                       std::vector<Finding>& findings);

// Clusters that an extent page names behind the end of its blob, an interrupted growth.
std::vector<uint32_t> clusters_beyond_end(const MetadataArea& area, const BlobReport& blob);

}  // namespace cairn::pool::check
