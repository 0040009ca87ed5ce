// What a crash has torn and the engine's next import mends: from the page journal, or because a CRC belongs to the
// other value of the clean flag (format/page_journal.h).
#pragma once

#include "pool/check/overlay_device.h"
#include "pool/check/pool_report.h"

namespace cairn::pool::check {

// What page 0 becomes. Returns whether it was torn and is mended (and not clean).
bool mend_super_block(DeviceReader& device, format::PageSpan page);

// Lays the copies of torn metadata pages over the device and notes them. To be called for pools that are not clean.
void mend_metadata_pages(OverlayDevice& device, const format::Layout& layout, std::vector<Finding>& findings);

}  // namespace cairn::pool::check
