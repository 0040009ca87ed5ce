// CAIRN_CHECK: a condition that holds unless the program itself is wrong. Stays on in release builds. Never used on input
// from outside, which is validated and refused with an error.
#pragma once

namespace cairn::internal {
[[noreturn]] void check_failed(const char* condition, const char* file, int line) noexcept;
}

#define CAIRN_CHECK(condition) \
  (__builtin_expect(!(condition), 0) ? ::cairn::internal::check_failed(#condition, __FILE__, __LINE__) : (void)0)
