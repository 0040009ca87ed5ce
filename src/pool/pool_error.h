// The errors of pools and volumes: codes and texts that clients know (reference pool-replica.md, section 2, and
// grpc-v1.md, section 15). Each takes what went wrong beneath as its cause.
#pragma once

#include <string_view>

#include "base/error.h"

namespace cairn::pool::pool_error {

// "<why>, failed to import pool N<reason>"; `reason` like ": another pool already exists with this name: X".
Error import_failed(std::string_view pool, Code code, std::string_view reason);
Error import_failed(std::string_view pool, Error cause);  // INVALID_ARGUMENT
Error create_failed(std::string_view pool, Code code, std::string_view reason);
Error create_failed(std::string_view pool, Error cause);   // by the cause's errno: EINVAL, EEXIST; otherwise INTERNAL
Error export_failed(std::string_view pool, Error cause);   // INTERNAL
Error destroy_failed(std::string_view pool, Error cause);  // INTERNAL
Error grow_failed(std::string_view pool, Error cause);     // INTERNAL; RESOURCE_EXHAUSTED stays
Error pool_not_found(std::string_view pool);               // NOT_FOUND
Error invalid(std::string_view message);                   // INVALID_ARGUMENT
Error invalid_cluster_size(std::string_view pool, std::string_view why);  // INTERNAL
Error invalid_metadata_ratio(std::string_view pool, float ratio);         // INTERNAL

Error replica_exists(std::string_view name);  // ALREADY_EXISTS
Error replica_create_failed(std::string_view name,
                            Error cause);  // ENOSPC: RESOURCE_EXHAUSTED; otherwise INVALID_ARGUMENT
Error replica_destroy_failed(std::string_view name, Error cause);  // ENOENT: NOT_FOUND; otherwise INTERNAL
Error replica_resize_failed(std::string_view name, Error cause);
Error replica_not_found(std::string_view name);          // NOT_FOUND
Error share_failed(std::string_view name, Error cause);  // INTERNAL; INVALID_ARGUMENT stays
Error set_property_failed(std::string_view property, std::string_view name, Error cause);  // DATA_LOSS
Error snapshot_parameters(std::string_view replica, std::string_view why, Code code);
Error snapshot_create_failed(std::string_view name, Error cause);  // INTERNAL
Error clone_parameters(std::string_view snapshot, std::string_view why, Code code);
Error clone_create_failed(std::string_view name, Error cause);  // INTERNAL

}  // namespace cairn::pool::pool_error
