// What the log prints in front of each message: for a simulated world, in which the time of day means nothing.
#pragma once

#include <string>

namespace cairn::log {

// nullptr: nothing. Call before other threads log.
void set_stamp(std::string (*stamp)());

}  // namespace cairn::log
