#include "nvmf/target/options.h"

#include <fmt/format.h>

#include <bit>

namespace cairn::nvmf::target {

namespace {

Result<> check_range(std::string_view name, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return fail(Code::kInvalidArgument, fmt::format("{} is {}, it has to be {} to {}", name, value, least, most));
}

}  // namespace

Result<> check_options(const Options& options) {
  constexpr uint32_t kMaxInCapsule = 128u << 10;
  constexpr size_t kFirmwareRevisionSize = 8;
  for (const Result<>& checked : {
           check_range("max_queue_depth", options.max_queue_depth, 2, 1024),
           check_range("max_admin_queue_depth", options.max_admin_queue_depth, 2, 1024),
           check_range("max_queue_pairs", options.max_queue_pairs, 2, 1024),
           check_range("max_io_size", options.max_io_size, 4096, 1u << 20),
           check_range("in_capsule_data_size", options.in_capsule_data_size, 0, kMaxInCapsule),
           check_range("max_subsystems", options.max_subsystems, 1, UINT16_MAX),
           check_range("max_async_events", options.max_async_events, 1, 255),
           check_range("the length of firmware_revision", options.firmware_revision.size(), 1, kFirmwareRevisionSize),
       }) {
    if (!checked) return checked;
  }
  if (!std::has_single_bit(options.max_io_size)) {
    return fail(Code::kInvalidArgument,
                fmt::format("max_io_size is {}, it has to be a power of two", options.max_io_size));
  }
  if (options.in_capsule_data_size % 16 != 0) {
    return fail(Code::kInvalidArgument,
                fmt::format("in_capsule_data_size is {}, it has to be a multiple of 16", options.in_capsule_data_size));
  }
  const auto granularity = options.keep_alive_granularity;
  if (granularity < std::chrono::milliseconds(100) || granularity > std::chrono::minutes(60) ||
      granularity % std::chrono::milliseconds(100) != Duration::zero()) {
    return fail(Code::kInvalidArgument,
                fmt::format("keep_alive_granularity is {} ns, it has to be a multiple of 100 ms "
                            "of at most an hour",
                            granularity.count()));
  }
  return {};
}

}  // namespace cairn::nvmf::target
