#include "pool/pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "pool/metadata_change.h"
#include "pool/pool_disk.h"
#include "pool/pool_error.h"
#include "pool/replica_channel.h"

namespace cairn::pool {

using runtime::Task;

Pool::Pool(block::Registry& devices, const PoolOptions& options, std::string disk_uri)
    : devices_(devices), options_(options), disk_uri_(std::move(disk_uri)), home_(runtime::Reactor::current()) {}

Pool::~Pool() {
  CAIRN_CHECK(disk_ == nullptr || abandoning());
}

Pool::Use::~Use() {
  if (!abandoning() && --pool_->uses_ == 0) pool_->unused_.pulse();
}

block::Device& Pool::disk() const {
  return *device_;
}

PoolInfo Pool::info() const {
  PoolInfo info;
  info.name = name_;
  info.uuid = uuid_;
  info.disk_uri = disk_uri_;
  info.capacity = layout_.capacity_bytes();
  info.used = info.capacity - uint64_t{space_.free_clusters()} * layout_.cluster_size;
  for (const auto& [id, volume] : volumes_) {
    info.committed +=
        (volume->is_snapshot() ? volume->allocated_clusters() : volume->num_clusters()) * layout_.cluster_size;
  }
  info.disk_capacity = device_->size_bytes();
  info.cluster_size = layout_.cluster_size;
  info.md_pages = layout_.md_len;
  info.md_used_pages = space_.used_md_pages();
  info.needs_import = store_->uncertain();
  return info;
}

block::Device::Statistics Pool::statistics() const {
  return device_->statistics();
}

std::vector<std::shared_ptr<Replica>> Pool::volumes() const {
  std::vector<std::shared_ptr<Replica>> result;
  for (const auto& [id, volume] : volumes_) {
    if (volume->replica == nullptr || volume->removing) continue;
    result.push_back(std::static_pointer_cast<Replica>(volume->replica->shared_from_this()));
  }
  return result;
}

// ---- The volumes by their names ----

void Pool::index_volume(Volume& volume) {
  if (!volume.attributes.uuid.is_nil()) by_uuid_[volume.attributes.uuid.to_string()] = &volume;
  if (volume.attributes.clone) ++clones_of_[volume.attributes.clone->source_uuid];
}

// Takes the volume out of everything that names it, and destroys it.
void Pool::forget_volume(Volume& volume) {
  if (const auto found = by_uuid_.find(volume.attributes.uuid.to_string());
      found != by_uuid_.end() && found->second == &volume) {
    by_uuid_.erase(found);
  }
  if (volume.attributes.clone) {
    const auto count = clones_of_.find(volume.attributes.clone->source_uuid);
    if (--count->second == 0) clones_of_.erase(count);
  }
  if (volume.parent != nullptr) std::erase(volume.parent->children, &volume);
  CAIRN_CHECK(volume.children.empty());
  volumes_.erase(volume.id());
}

Volume* Pool::find_volume(std::string_view uuid) const {
  const auto found = by_uuid_.find(std::string(uuid));
  return found == by_uuid_.end() ? nullptr : found->second;
}

uint32_t Pool::num_clones(const Volume& volume) const {
  const auto count = clones_of_.find(volume.attributes.uuid.to_string());
  return count == clones_of_.end() ? 0 : count->second;
}

Result<> Pool::check_new_name(std::string_view name) const {
  if (name.empty() || name.size() > format::kMaxNameLength || name.find('\0') != std::string_view::npos) {
    return fail(Error::from_errno(EINVAL, fmt::format("the name '{}' has {} bytes (accepted: 1 to {}, without NUL)",
                                                      name, name.size(), format::kMaxNameLength)));
  }
  for (const auto& [id, volume] : volumes_) {
    if (volume->attributes.name == name) {
      return fail(Error::from_errno(EEXIST, fmt::format("the pool has a volume named '{}'", name)));
    }
  }
  if (devices_.find(name) != nullptr) {
    return fail(Error::from_errno(EEXIST, fmt::format("a device named '{}' exists", name)));
  }
  return {};
}

Result<std::shared_ptr<Replica>> Pool::add_replica(Volume& volume) {
  const uint32_t block_size = device_->block_size();
  const uint32_t blocks_per_cluster = layout_.cluster_size / block_size;
  const block::Geometry geometry{.block_size = block_size,
                                 .physical_block_size = device_->physical_block_size(),
                                 .optimal_io_boundary = blocks_per_cluster,
                                 .num_blocks = volume.num_clusters() * blocks_per_cluster};
  auto replica = std::make_shared<Replica>(
      *this, volume, block::DeviceIdentity{volume.attributes.name, volume.attributes.uuid, "Logical Volume", "lvol"},
      geometry);
  if (auto added = devices_.add(replica); !added) return fail(std::move(added.error()));
  if (auto aliased = devices_.add_alias(*replica, fmt::format("{}/{}", name_, volume.attributes.name)); !aliased) {
    log::warn("pool '{}': {}", name_, aliased.error().to_string());
  }
  volume.replica = replica.get();
  return replica;
}

Task<Result<>> Pool::remove_replica(Volume& volume) {
  if (volume.replica == nullptr) co_return Result<>{};
  const std::string name = volume.attributes.name;
  if (options_.exports.unshare) co_await options_.exports.unshare(name);
  if (auto removed = co_await devices_.remove(name); !removed) co_return removed;
  volume.replica = nullptr;
  co_return Result<>{};
}

// ---- Attributes ----

Task<Result<>> Pool::persist_metadata(Volume& volume, format::BlobMetadata metadata) {
  MetadataChange change(space_, *store_);
  auto chain = change.put_chain(metadata, volume.chain_pages);
  if (!chain) co_return fail(std::move(chain.error()));
  if (auto done = co_await change.commit(); !done) co_return done;
  volume.metadata = std::move(metadata);
  volume.chain_pages = std::move(*chain);
  if (auto attributes = format::decode_lvol_attributes(volume.metadata.xattrs)) {
    volume.attributes = std::move(*attributes);
  }
  co_return Result<>{};
}

Task<Result<>> Pool::set_attribute(std::shared_ptr<Replica> replica, std::string name, std::string value) {
  const Use use(*this);
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& volume = replica->volume_;
  if (volume.removing) co_return fail(pool_error::replica_not_found(replica->name()));
  if (name == format::kNameXattr || name == format::kUuidXattr || name == format::kCloneSourceXattr) {
    co_return fail(pool_error::invalid(fmt::format("attribute '{}' cannot be changed", name)));
  }
  format::BlobMetadata metadata = volume.metadata;
  if (auto set = metadata.xattrs.set(name, value); !set) co_return set;
  auto done = co_await persist_metadata(volume, std::move(metadata));
  if (!done) co_return fail(pool_error::set_property_failed(name, replica->name(), std::move(done.error())));
  co_return Result<>{};
}

Task<Result<>> Pool::set_entity_id(std::shared_ptr<Replica> replica, std::string entity_id) {
  const Use use(*this);
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& volume = replica->volume_;
  if (volume.removing) co_return fail(pool_error::replica_not_found(replica->name()));
  format::BlobMetadata metadata = volume.metadata;
  if (auto set = format::set_entity_id(metadata.xattrs, entity_id); !set) co_return set;
  if (metadata.xattrs == volume.metadata.xattrs) co_return Result<>{};
  auto done = co_await persist_metadata(volume, std::move(metadata));
  if (!done) {
    co_return fail(pool_error::set_property_failed(format::kEntityIdXattr, replica->name(), std::move(done.error())));
  }
  co_return Result<>{};
}

Task<Result<>> Pool::share(std::shared_ptr<Replica> replica, std::vector<std::string> allowed_hosts) {
  const Use use(*this);
  if (options_.exports.share) {
    if (auto shared = co_await options_.exports.share(replica, allowed_hosts); !shared) {
      co_return fail(pool_error::share_failed(replica->name(), std::move(shared.error())));
    }
  }
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& volume = replica->volume_;
  if (volume.removing) co_return fail(pool_error::replica_not_found(replica->name()));
  if (volume.is_snapshot()) co_return Result<>{};
  format::BlobMetadata metadata = volume.metadata;
  auto set = format::set_shared(metadata.xattrs, true);
  if (set) set = format::set_allowed_hosts(metadata.xattrs, allowed_hosts);
  if (!set) co_return fail(pool_error::share_failed(replica->name(), std::move(set.error())));
  if (metadata.xattrs == volume.metadata.xattrs) co_return Result<>{};
  auto done = co_await persist_metadata(volume, std::move(metadata));
  if (!done) co_return fail(pool_error::share_failed(replica->name(), std::move(done.error())));
  co_return Result<>{};
}

Task<Result<>> Pool::unshare(std::shared_ptr<Replica> replica) {
  const Use use(*this);
  if (options_.exports.unshare) co_await options_.exports.unshare(replica->name());
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& volume = replica->volume_;
  if (volume.removing || volume.is_snapshot() || !volume.attributes.shared.value_or(false)) co_return Result<>{};
  format::BlobMetadata metadata = volume.metadata;
  if (auto set = format::set_shared(metadata.xattrs, false); !set) co_return set;
  auto done = co_await persist_metadata(volume, std::move(metadata));
  if (!done) {
    co_return fail(pool_error::set_property_failed(format::kSharedXattr, replica->name(), std::move(done.error())));
  }
  co_return Result<>{};
}

Task<> Pool::publish(Volume& volume) {
  if (volume.replica != nullptr) {
    const auto held = volume.replica->shared_from_this();  // it may be removed meanwhile
    co_await volume.replica->publish(volume.make_chain());
  }
  for (Volume* child : std::vector<Volume*>(volume.children)) co_await publish(*child);
}

// ---- Growing ----

Task<Result<>> Pool::grow() {
  const Use use(*this);
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  if (closing_) co_return fail(pool_error::pool_not_found(name_));
  if (auto scanned = co_await device_->rescan(); !scanned) {
    co_return fail(pool_error::grow_failed(name_, std::move(scanned.error())));
  }
  auto grown = format::grow_layout(layout_, device_->size_bytes());
  if (!grown) co_return fail(pool_error::grow_failed(name_, std::move(grown.error())));
  if (*grown == layout_) co_return Result<>{};
  if (auto done = co_await store_->grow(*grown); !done) {
    co_return fail(pool_error::grow_failed(name_, std::move(done.error())));
  }
  layout_ = *grown;
  space_.grow(layout_.total_clusters);
  log::info("pool '{}' has grown to {} bytes", name_, layout_.capacity_bytes());
  co_return Result<>{};
}

// ---- The end ----

Task<> Pool::wait_until_unused() {
  while (uses_ > 0) static_cast<void>(co_await unused_.wait_uninterrupted());
}

Task<Result<>> Pool::remove_all_replicas() {
  std::vector<format::BlobId> ids;
  for (const auto& [id, volume] : volumes_) ids.push_back(id);
  for (const format::BlobId id : ids) {
    const auto found = volumes_.find(id);
    if (found == volumes_.end()) continue;
    if (auto removed = co_await remove_replica(*found->second); !removed) co_return removed;
  }
  co_return Result<>{};
}

Task<Result<>> Pool::begin_closing() {
  closing_ = true;
  co_await wait_until_unused();
  auto removed = co_await remove_all_replicas();
  if (!removed) closing_ = false;
  co_return removed;
}

Task<Result<>> Pool::export_pool() {
  const auto turn = co_await ending_.lock();
  if (!turn) co_return fail(turn.error());
  if (disk_ == nullptr) co_return fail(pool_error::pool_not_found(name_));
  if (auto idle = co_await begin_closing(); !idle) {
    co_return fail(pool_error::export_failed(name_, std::move(idle.error())));
  }
  auto closed = co_await close(true);
  if (!closed) co_return fail(pool_error::export_failed(name_, std::move(closed.error())));
  co_return Result<>{};
}

Task<Result<>> Pool::destroy() {
  const auto turn = co_await ending_.lock();
  if (!turn) co_return fail(turn.error());
  if (disk_ == nullptr) co_return fail(pool_error::pool_not_found(name_));
  if (auto idle = co_await begin_closing(); !idle) {
    co_return fail(pool_error::destroy_failed(name_, std::move(idle.error())));
  }
  Result<> done = co_await store_->erase();
  if (done) {
    // Nothing points to the data any more: what it occupies goes back to what lies beneath the disk.
    std::vector<uint32_t> clusters;
    for (uint32_t cluster = layout_.md_clusters; cluster < layout_.total_clusters; ++cluster) {
      if (space_.is_taken(cluster)) clusters.push_back(cluster);
    }
    co_await discard_clusters(std::move(clusters));
    if (options_.exports.forget) {
      for (const auto& [id, volume] : volumes_) {
        options_.exports.forget(
            fmt::format("pool/{}/replica/{}.json", uuid_.to_string(), volume->attributes.uuid.to_string()));
      }
    }
  }
  static_cast<void>(co_await close(false));
  if (!done) co_return fail(pool_error::destroy_failed(name_, std::move(done.error())));
  co_return Result<>{};
}

Task<> Pool::abandon() {
  const auto turn = co_await ending_.lock();
  if (!turn || disk_ == nullptr) co_return;
  closing_ = true;
  // Replicas that do not let go stay refused; they are asked again.
  while (true) {
    auto removed = co_await remove_all_replicas();
    if (removed) break;
    log::error("pool '{}' has lost its disk: {}", name_, removed.error().to_string());
    if (!co_await runtime::sleep_for(std::chrono::seconds(1))) co_return;
  }
  co_await wait_until_unused();
  static_cast<void>(co_await close(false));
}

Task<Result<>> Pool::close(bool clean) {
  co_await wait_until_unused();
  Result<> done;
  if (clean && store_->uncertain()) {
    log::warn("pool '{}' is not closed cleanly: its next import finds out what was written", name_);
  } else if (clean) {
    // Counted anew: what a failed write left behind belongs to nobody.
    done = count_space();
    Bitmap blob_ids(layout_.md_len);
    blob_ids.set(super_volume_.root_page());
    for (const auto& [id, volume] : volumes_) blob_ids.set(volume->root_page());
    if (done) done = co_await store_->close_clean(space_.pages(), space_.clusters(), blob_ids);
  }
  volumes_.clear();
  by_uuid_.clear();
  clones_of_.clear();
  store_.reset();
  home_port_ = nullptr;
  co_await disk_->close();
  disk_.reset();
  device_->release_claim();
  device_.reset();
  co_return done;
}

}  // namespace cairn::pool
