// NVMe Qualified Names (NVMe Base 2.0, section 4.5).
#pragma once

#include <expected>
#include <span>
#include <string_view>

namespace cairn::nvme {

inline constexpr std::string_view kDiscoveryNqn = "nqn.2014-08.org.nvmexpress.discovery";
inline constexpr std::string_view kUuidNqnPrefix = "nqn.2014-08.org.nvmexpress:uuid:";

inline constexpr size_t kMaxNqnSize = 223;  // bytes, without the NUL
inline constexpr size_t kNqnFieldSize = 256;

enum class NqnError {
  kEmpty,
  kNotTerminated,  // no NUL in the field
  kTooLong,        // more than 223 bytes
  kNotUtf8,
  kNoPrefix,   // does not start with "nqn."
  kBadDate,    // no "yyyy-mm." after it
  kBadDomain,  // no reverse domain name after it
  kBadUuid,    // the UUID form without a UUID
};
std::string_view nqn_error_text(NqnError error);

// The name in a 256-byte field of a wire structure: NUL-terminated, 1 to 223 bytes of UTF-8. What follows the NUL is
// ignored, and the form is not judged: hosts in the field use names that are not "nqn.…". The view lies in `field`.
std::expected<std::string_view, NqnError> nqn_from_field(std::span<const char, kNqnFieldSize> field);

// Whether a name has one of the forms of the specification: "nqn.yyyy-mm.reverse.domain", optionally ":" and anything,
// or kUuidNqnPrefix and a UUID. For names that we make or that a user gives us.
std::expected<void, NqnError> check_nqn(std::string_view nqn);

}  // namespace cairn::nvme
