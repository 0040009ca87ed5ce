#include "runtime/cycle_clock.h"

#include <fstream>
#include <string>

namespace cairn::runtime {

bool CycleClock::usable() {
#if defined(__x86_64__)
  static const bool trusted = [] {
    std::ifstream file("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    std::string source;
    return std::getline(file, source) && source == "tsc";
  }();
  return trusted;
#else
  return false;
#endif
}

void CycleClock::rate(TimePoint now, uint64_t cycles) {
  const uint64_t passed = cycles - first_cycles_;
  rate_ = static_cast<uint64_t>((static_cast<unsigned __int128>((now - first_).count()) << kRateBits) / passed);
  next_rating_ = 2 * passed;
}

}  // namespace cairn::runtime
