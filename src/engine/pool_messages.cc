#include "engine/pool_messages.h"

#include <fmt/format.h>

#include "engine/engine.h"

namespace cairn::engine {

namespace api = mayastor::v1;

void fill_pool(const pool::PoolInfo& info, api::Pool& out) {
  out.set_uuid(info.uuid.to_string());
  out.set_name(info.name);
  out.add_disks(info.disk_uri);
  out.set_state(info.needs_import ? api::POOL_DEGRADED : api::POOL_ONLINE);
  out.set_capacity(info.capacity);
  out.set_used(info.used);
  out.set_pooltype(api::Lvs);
  out.set_committed(info.committed);
  out.set_cluster_size(info.cluster_size);
  out.set_page_size(info.page_size);
  out.set_disk_capacity(info.disk_capacity);
  api::PoolMetadataInfo& metadata = *out.mutable_md_info();
  metadata.set_md_page_size(info.md_page_size);
  metadata.set_md_pages(info.md_pages);
  metadata.set_md_used_pages(info.md_used_pages);
}

void fill_replica(Engine& engine, const pool::Replica& replica, api::Replica& out) {
  const std::string uuid = replica.uuid().to_string();
  out.set_name(replica.name());
  out.set_uuid(uuid);
  out.set_pooluuid(replica.pool().uuid().to_string());
  out.set_size(replica.size_bytes());
  out.set_thin(replica.thin());
  out.set_share(engine.shares().is_shared(replica.name()) ? api::NVMF : api::NONE);
  out.set_uri(fmt::format("{}?uuid={}", engine.shares().share_uri(replica), uuid));
  out.set_poolname(replica.pool().name());
  for (const std::string& host : replica.allowed_hosts()) out.add_allowed_hosts(host);
  out.set_is_snapshot(replica.is_snapshot());
  out.set_is_clone(replica.is_clone());
  if (const auto snapshot = replica.source_snapshot_uuid(); snapshot && replica.is_clone())
    out.set_snapshot_uuid(*snapshot);
  if (const auto entity_id = replica.entity_id()) out.set_entity_id(*entity_id);
  out.set_pooltype(api::Lvs);

  const pool::SpaceUsage usage = replica.usage();
  api::ReplicaSpaceUsage& space = *out.mutable_usage();
  space.set_capacity_bytes(usage.capacity_bytes);
  space.set_allocated_bytes(usage.allocated_bytes);
  space.set_cluster_size(usage.cluster_size);
  space.set_num_clusters(usage.num_clusters);
  space.set_num_allocated_clusters(usage.num_allocated_clusters);
  space.set_allocated_bytes_snapshots(usage.allocated_bytes_snapshots);
  space.set_num_allocated_clusters_snapshots(usage.num_allocated_clusters_snapshots);
  if (usage.allocated_bytes_snapshot_from_clone)
    space.set_allocated_bytes_snapshot_from_clone(*usage.allocated_bytes_snapshot_from_clone);
}

Result<std::optional<Uuid>> parse_optional_uuid(bool present, const std::string& text) {
  if (!present) return std::optional<Uuid>();
  auto uuid = Uuid::parse(text);
  if (!uuid) return fail(std::move(uuid.error()));
  return std::optional<Uuid>(*uuid);
}

Result<> check_pool_type(api::PoolType type) {
  if (type == api::Lvs) return {};
  if (type == api::Lvm) return fail(Code::kFailedPrecondition, "lvm support not enabled");
  return fail(Code::kInvalidArgument,
              fmt::format("pool type {} is none: Lvs (0) and Lvm (1) are", static_cast<int>(type)));
}

Result<std::shared_ptr<pool::Replica>> find_volume(Engine& engine, const std::string& uuid) {
  if (const auto parsed = Uuid::parse(uuid)) {
    if (auto volume = engine.pools().find_volume(*parsed)) return volume;
  }
  return fail(Code::kNotFound, fmt::format("Replica '{}' not found", uuid));
}

Result<std::shared_ptr<pool::Pool>> pool_by_name(Engine& engine, const std::string& name) {
  if (auto found = engine.pools().find(name)) return found;
  return fail(Code::kFailedPrecondition, fmt::format("Pool '{}' not found", name));
}

Result<std::shared_ptr<pool::Pool>> pool_by_uuid(Engine& engine, const std::string& uuid) {
  if (const auto parsed = Uuid::parse(uuid)) {
    if (auto found = engine.pools().find(*parsed)) return found;
  }
  return fail(Code::kFailedPrecondition, fmt::format("Pool '{}' not found", uuid));
}

Result<> check_on_pool(const pool::Replica& volume, const pool::Pool* named) {
  if (named == nullptr || &volume.pool() == named) return {};
  return fail(Code::kAborted,
              fmt::format("'{}' lies on pool '{}', not on '{}'", volume.name(), volume.pool().name(), named->name()));
}

}  // namespace cairn::engine
