// The errors of nexus operations: codes and texts that clients know (reference nexus.md, section 18; grpc-v1.md, 15).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"

namespace cairn::nexus::nexus_error {

// INVALID_ARGUMENT
Error invalid_arguments(std::string_view nexus, std::string_view why);
Error invalid_uuid(std::string_view uuid);
Error invalid_cntlid_range(std::string_view nexus, uint32_t min, uint32_t max);
Error invalid_key();
Error invalid_share_protocol(std::string_view nexus, int protocol);
Error not_shared_nvmf(std::string_view nexus);
Error create_child(std::string_view nexus, Error cause);
Error mixed_block_sizes(std::string_view nexus);
Error child_geometry(std::string_view nexus, std::string_view child);
Error child_too_small(std::string_view nexus, std::string_view child, uint64_t num_blocks, uint32_t block_size,
                      uint64_t required_blocks);
Error open_child(std::string_view nexus, std::string_view child, Error cause);
// FAILED_PRECONDITION
Error operation_not_allowed(std::string_view why);
Error remove_last_child(std::string_view nexus, std::string_view child);
Error remove_last_healthy_child(std::string_view nexus, std::string_view child);
Error resize(std::string_view nexus, std::string_view why);
Error permanently_faulted();
// NOT_FOUND
Error not_found(std::string_view nexus);
Error child_not_found(std::string_view nexus, std::string_view child);
Error rebuild_not_found(std::string_view nexus, std::string_view child);
// ALREADY_EXISTS
Error child_already_exists(std::string_view nexus, std::string_view child);
Error name_exists(std::string_view nexus);
// INTERNAL
Error uuid_exists(std::string_view uuid, std::string_view nexus);
Error create(std::string_view nexus, std::string_view why);
Error destroy(std::string_view nexus, Error cause);
Error online_child(std::string_view nexus, std::string_view child, Error cause);
Error child_not_degraded(std::string_view nexus, std::string_view child, std::string_view state);
Error rebuild_exists(std::string_view nexus, std::string_view child);
Error no_rebuild_source(std::string_view nexus);
Error rebuild_operation(std::string_view nexus, std::string_view child, std::string_view why);
Error create_snapshot(std::string_view nexus, std::string_view why);
Error invalid_ana_state(std::string_view nexus, int state);
Error reserve_child(std::string_view nexus, std::string_view child, Error cause);
Error save_state(std::string_view nexus, Error cause);

}  // namespace cairn::nexus::nexus_error
