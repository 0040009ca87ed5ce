#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace cairn::internal {

// Writes straight to stderr: the logger may be what failed.
void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, condition);
  std::fflush(stderr);
  std::abort();
}

}  // namespace cairn::internal
