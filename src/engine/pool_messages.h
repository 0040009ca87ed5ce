// Pools and replicas as the v1 API shows them, and how its requests name them. Primary reactor.
#pragma once

#include <pool.pb.h>
#include <replica.pb.h>

#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "pool/pool_registry.h"

namespace cairn::engine {

class Engine;

void fill_pool(const pool::PoolInfo& info, mayastor::v1::Pool& out);
void fill_replica(Engine& engine, const pool::Replica& replica, mayastor::v1::Replica& out);

// INVALID_ARGUMENT for what is no UUID.
Result<std::optional<Uuid>> parse_optional_uuid(bool present, const std::string& text);
// FAILED_PRECONDITION for Lvm, which this version does not have; INVALID_ARGUMENT for what is no type.
Result<> check_pool_type(mayastor::v1::PoolType type);

// The volume of that UUID: replica, clone or snapshot. NOT_FOUND.
Result<std::shared_ptr<pool::Replica>> find_volume(Engine& engine, const std::string& uuid);

// The `pool` member of requests that name a volume and may name its pool too. FAILED_PRECONDITION: there is no such
// pool. nullptr: not named.
template <typename Request>
Result<std::shared_ptr<pool::Pool>> named_pool(Engine& engine, const Request& request);
Result<std::shared_ptr<pool::Pool>> pool_by_name(Engine& engine, const std::string& name);
Result<std::shared_ptr<pool::Pool>> pool_by_uuid(Engine& engine, const std::string& uuid);
// ABORTED when the volume lies on another pool than the one that was named.
Result<> check_on_pool(const pool::Replica& volume, const pool::Pool* named);

template <typename Request>
Result<std::shared_ptr<pool::Pool>> named_pool(Engine& engine, const Request& request) {
  switch (request.pool_case()) {
    case Request::kPoolName:
      return pool_by_name(engine, request.pool_name());
    case Request::kPoolUuid:
      return pool_by_uuid(engine, request.pool_uuid());
    default:
      return std::shared_ptr<pool::Pool>();
  }
}

}  // namespace cairn::engine
