// What an error of the system on a file or disk means to who does I/O to it.
#pragma once

#include "block/io.h"
#include "nvme/status.h"

namespace cairn::block {

// `errno_value` > 0. The table is in docs/block-devices.md. "Do not retry" is set where the same I/O would fail again.
nvme::Status status_of_errno(int errno_value, IoType type);

}  // namespace cairn::block
