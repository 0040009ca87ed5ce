// The check of a pool on a device that nobody uses. Reads only.
//
// Of a clean pool (exported) everything must fit: masks, chains, owners. Of one that was not, the masks are void, and
// what a crash leaves and the next import repairs is reported as notes: unfinished snapshots and removals (whose
// clusters both blobs may name), pages that nobody uses. After any crash of a correct engine a check finds no error;
// after an export, neither error nor warning.
#pragma once

#include <functional>

#include "pool/check/device_reader.h"
#include "pool/check/metadata_area.h"
#include "pool/check/pool_report.h"

namespace cairn::pool::check {

// Never fails: what cannot be read becomes a finding.
PoolReport check_pool(DeviceReader& device);

// The same with a super block that the caller believes in, instead of the one on the device.
PoolReport check_pool(DeviceReader& device, const format::SuperBlock& super);

// Who uses what, derived from the live blobs; for repairs. Both are masks as in format/mask.h.
struct Usage {
  std::vector<uint64_t> pages;     // chains and extent pages
  std::vector<uint64_t> clusters;  // the metadata's own ones included
  std::vector<uint64_t> blobids;
};

// A check with everything it has read.
struct PoolSurvey {
  PoolReport report;
  std::optional<MetadataArea> area;  // when there is a layout
  Usage usage;
};
PoolSurvey survey_pool(DeviceReader& device);
PoolSurvey survey_pool(DeviceReader& device, const format::SuperBlock& super);

}  // namespace cairn::pool::check
