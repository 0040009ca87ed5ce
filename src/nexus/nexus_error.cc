#include "nexus/nexus_error.h"

#include <fmt/format.h>

namespace cairn::nexus::nexus_error {

using fmt::format;
using std::string_view;

Error invalid_arguments(string_view nexus, string_view why) {
  return {Code::kInvalidArgument, format("Invalid arguments for nexus {}: {}", nexus, why)};
}
Error invalid_uuid(string_view uuid) {
  return {Code::kInvalidArgument, format("Invalid nexus uuid \"{}\"", uuid)};
}
Error invalid_cntlid_range(string_view nexus, uint32_t min, uint32_t max) {
  return invalid_arguments(nexus, format("invalid NVMe controller ID range [{:x}h, {:x}h]", min, max));
}
Error invalid_key() {
  return {Code::kInvalidArgument, "Invalid encryption key: expected none or 16 bytes"};
}
Error invalid_share_protocol(string_view nexus, int protocol) {
  return {Code::kInvalidArgument,
          format("Invalid share protocol {} for nexus {}: only NVMF (1) is supported", protocol, nexus)};
}
Error not_shared_nvmf(string_view nexus) {
  return {Code::kInvalidArgument, format("The nexus {} has not been shared over NVMf", nexus)};
}
Error create_child(string_view nexus, Error cause) {
  return {Code::kInvalidArgument, format("Failed to create child of nexus {}", nexus), std::move(cause)};
}
Error mixed_block_sizes(string_view nexus) {
  return {Code::kInvalidArgument, format("Children of nexus {} have mixed block sizes", nexus)};
}
Error child_geometry(string_view nexus, string_view child) {
  return {Code::kInvalidArgument, format("Child {} of nexus {} has incompatible size or block size", child, nexus)};
}
Error child_too_small(string_view nexus, string_view child, uint64_t num_blocks, uint32_t block_size,
                      uint64_t required_blocks) {
  return {Code::kInvalidArgument, format("Child {} of nexus {} is too small: size = {} x {}, required = {} x {}", child,
                                         nexus, num_blocks, block_size, required_blocks, block_size)};
}
Error open_child(string_view nexus, string_view child, Error cause) {
  return {Code::kInvalidArgument, format("Failed to open child {} of nexus {}", child, nexus), std::move(cause)};
}
Error operation_not_allowed(string_view why) {
  return {Code::kFailedPrecondition, std::string(why)};
}
Error remove_last_child(string_view nexus, string_view child) {
  return {Code::kFailedPrecondition, format("Cannot delete the last child {} of nexus {}", child, nexus)};
}
Error remove_last_healthy_child(string_view nexus, string_view child) {
  return {Code::kFailedPrecondition, format("Cannot remove or offline the last child {} of nexus {}", child, nexus)};
}
Error resize(string_view nexus, string_view why) {
  return {Code::kFailedPrecondition, format("Failed to resize nexus {}: {}", nexus, why)};
}
Error permanently_faulted() {
  return {Code::kInternal, "Child is permanently faulted"};
}
Error not_found(string_view nexus) {
  return {Code::kNotFound, format("Nexus {} does not exist", nexus)};
}
Error child_not_found(string_view nexus, string_view child) {
  return {Code::kNotFound, format("Child {} of nexus {} not found", child, nexus)};
}
Error rebuild_not_found(string_view nexus, string_view child) {
  return {Code::kNotFound, format("Rebuild job not found for child {} of nexus {}", child, nexus)};
}
Error child_already_exists(string_view nexus, string_view child) {
  return {Code::kAlreadyExists, format("Child {} of nexus {} already exists", child, nexus)};
}
Error name_exists(string_view nexus) {
  return {Code::kAlreadyExists, format("Nexus with name \"{}\" already exists", nexus)};
}
Error uuid_exists(string_view uuid, string_view nexus) {
  return {Code::kInternal, format("Nexus uuid \"{}\" already exists for nexus \"{}\"", uuid, nexus)};
}
Error create(string_view nexus, string_view why) {
  return {Code::kInternal, format("Failed to create nexus {} because {}", nexus, why)};
}
Error destroy(string_view nexus, Error cause) {
  return {Code::kInternal, format("Failed to destroy nexus {}", nexus), std::move(cause)};
}
Error online_child(string_view nexus, string_view child, Error cause) {
  return {Code::kInternal, format("Failed to online child {} of nexus {}", child, nexus), std::move(cause)};
}
Error child_not_degraded(string_view nexus, string_view child, string_view state) {
  return {Code::kInternal, format("Child {} of nexus {} is not degraded but {}", child, nexus, state)};
}
Error rebuild_exists(string_view nexus, string_view child) {
  return {Code::kInternal, format("Rebuild job already exists for child {} of nexus {}", child, nexus)};
}
Error no_rebuild_source(string_view nexus) {
  return {Code::kInternal, format("Suitable rebuild source for nexus {} not found", nexus)};
}
Error rebuild_operation(string_view nexus, string_view child, string_view why) {
  return {Code::kInternal, format("Failed to execute rebuild operation on job {} of nexus {}: {}", child, nexus, why)};
}
Error create_snapshot(string_view nexus, string_view why) {
  return {Code::kInternal, format("Failed to create snapshot on nexus {}: {}", nexus, why)};
}
Error invalid_ana_state(string_view nexus, int state) {
  return {Code::kInternal,
          format("Invalid ANA state {} for nexus {}: expected 1 (optimized), 2 (non-optimized) or 3 (inaccessible)",
                 state, nexus)};
}
Error reserve_child(string_view nexus, string_view child, Error cause) {
  return {Code::kInternal,
          format("Failed to acquire write exclusive reservation on child {} of nexus {}", child, nexus),
          std::move(cause)};
}
Error save_state(string_view nexus, Error cause) {
  return {Code::kInternal, format("Failed to save the state of nexus {}", nexus), std::move(cause)};
}

}  // namespace cairn::nexus::nexus_error
