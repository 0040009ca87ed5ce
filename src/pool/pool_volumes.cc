// Making, removing and resizing volumes.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"
#include "pool/cluster_reservation.h"
#include "pool/metadata_change.h"
#include "pool/pool.h"
#include "pool/pool_disk.h"
#include "pool/pool_error.h"

namespace cairn::pool {

using runtime::Task;

namespace {

// The original writes zeroes over the beginning of every new replica, so this much of a thin one is allocated.
constexpr uint64_t kZeroedHeadBytes = uint64_t{8} << 20;

std::vector<uint64_t> all_extent_pages(uint64_t num_clusters) {
  std::vector<uint64_t> numbers(format::extent_pages_for(num_clusters));
  for (uint64_t i = 0; i < numbers.size(); ++i) numbers[i] = i;
  return numbers;
}

}  // namespace

format::BlobMetadata Pool::new_metadata(bool thin) const {
  format::BlobMetadata metadata;
  metadata.flags.invalid = format::BlobFlags::kExtentTable | (thin ? format::BlobFlags::kThin : 0);
  metadata.set_clear_method(device_->supports(block::IoType::kUnmap) ? format::ClearMethod::kUnmap
                                                                     : format::ClearMethod::kNone);
  return metadata;
}

// Order: the clusters read as zeroes, stable; extent pages and further pages of the chain, stable; the root. Until then
// the volume does not exist.
Task<Result<Volume*>> Pool::make_volume(format::BlobMetadata metadata, uint64_t num_clusters, uint64_t num_allocated,
                                        ClusterReservation& reserved) {
  MetadataChange change(space_, *store_);
  auto root = change.take_root_page();
  if (!root) co_return fail(std::move(root.error()));
  metadata.id = format::blob_id_of(*root);
  auto volume = std::make_unique<Volume>();
  volume->metadata.id = metadata.id;
  volume->map = std::make_shared<ClusterMap>(num_clusters);
  for (uint64_t index = 0; index < num_allocated; ++index) volume->map->set(index, reserved.hand_out(change));
  const auto extent_pages = all_extent_pages(num_allocated);
  metadata.num_clusters = num_clusters;
  auto chain = put_volume(change, *volume, metadata, {*volume->map, num_clusters, {}}, extent_pages, true);
  if (!chain) co_return fail(std::move(chain.error()));
  if (auto done = co_await change.commit(); !done) co_return fail(std::move(done.error()));

  auto attributes = format::decode_lvol_attributes(metadata.xattrs);
  if (!attributes) co_return fail(std::move(attributes.error()));
  volume->attributes = std::move(*attributes);
  volume->metadata = std::move(metadata);
  volume->chain_pages = std::move(*chain);
  if (const auto link = volume->metadata.link(format::kParentLink); link && *link) {
    volume->parent = volumes_.at(**link).get();
    volume->parent->children.push_back(volume.get());
  }
  Volume* made = volume.get();
  volumes_.emplace(made->id(), std::move(volume));
  index_volume(*made);
  co_return made;
}

Result<Pool::SizeInClusters> Pool::check_new_replica(const CreateReplicaRequest& request, uint64_t reserved) const {
  if (closing_) return fail(pool_error::pool_not_found(name_));
  auto refuse = [&](Error cause) { return fail(pool_error::replica_create_failed(request.name, std::move(cause))); };
  if (request.uuid.is_nil()) return refuse(Error::from_errno(EINVAL, "a replica needs a UUID"));
  if (devices_.find(request.uuid) != nullptr || find_volume(request.uuid.to_string()) != nullptr) {
    return fail(pool_error::replica_exists(request.uuid.to_string()));
  }
  if (auto named = check_new_name(request.name); !named) {
    if (named.error().errno_value() == EEXIST) return fail(pool_error::replica_exists(request.name));
    return refuse(std::move(named.error()));
  }
  if (request.size_bytes == 0) return refuse(Error::from_errno(EINVAL, "a replica cannot have 0 bytes"));
  const uint64_t free_bytes = (space_.free_clusters() + reserved) * layout_.cluster_size;
  if (free_bytes < kZeroedHeadBytes) {
    return refuse(
        Error::from_errno(ENOSPC, fmt::format("{} bytes are free, {} are needed", free_bytes, kZeroedHeadBytes)));
  }
  if (request.size_bytes > layout_.capacity_bytes()) {
    return refuse(Error::from_errno(
        EOVERFLOW, fmt::format("{} bytes, the pool has {}", request.size_bytes, layout_.capacity_bytes())));
  }
  const uint64_t all = format::divide_up(request.size_bytes, layout_.cluster_size);
  const uint64_t head =
      std::min(all, format::divide_up(std::min(request.size_bytes, kZeroedHeadBytes), layout_.cluster_size));
  return SizeInClusters{all, request.thin ? head : all};
}

Task<Result<std::shared_ptr<Replica>>> Pool::create_replica(CreateReplicaRequest request) {
  const Use use(*this);
  auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  auto refuse = [&](Error cause) { return fail(pool_error::replica_create_failed(request.name, std::move(cause))); };
  ClusterReservation reserved(space_);
  SizeInClusters size;
  for (bool ready = false; !ready;) {
    const auto checked = check_new_replica(request, reserved.size());
    if (!checked) co_return fail(Error(checked.error()));
    size = *checked;
    const auto done = co_await reserve_clusters(reserved, size.allocated, *turn);
    if (!done) co_return refuse(Error(done.error()));
    ready = *done;
  }
  format::BlobMetadata metadata = new_metadata(request.thin);
  auto set = format::set_lvol_identity(metadata.xattrs, request.name, request.uuid);
  if (set && request.entity_id) set = format::set_entity_id(metadata.xattrs, *request.entity_id);
  if (!set) co_return refuse(std::move(set.error()));
  auto volume = co_await make_volume(std::move(metadata), size.all, size.allocated, reserved);
  if (!volume) co_return refuse(std::move(volume.error()));
  auto replica = add_replica(**volume);
  if (!replica) {
    // Somebody took the name in the meantime.
    if (auto deleted = co_await delete_volume(**volume); !deleted) log::error("{}", deleted.error().to_string());
    co_return refuse(std::move(replica.error()));
  }
  log::info("pool '{}': created replica '{}' ({} bytes, {})", name_, request.name, (*replica)->size_bytes(),
            request.thin ? "thin" : "thick");
  co_return std::move(*replica);
}

// Order: the root is erased, stable: the volume does not exist any more; then its other pages, then its data is
// cleared; then all of it is free.
Task<Result<>> Pool::delete_volume(Volume& volume) {
  CAIRN_CHECK(volume.replica == nullptr && volume.children.empty());
  if (volume.parent != nullptr) {
    if (auto unmarked = co_await remove_marks(*volume.parent); !unmarked) co_return unmarked;
  }
  MetadataChange change(space_, *store_);
  change.erase_root(volume.root_page());
  for (const uint32_t page : volume.chain_pages) change.erase_page(page);
  for (const uint32_t page : volume.metadata.extent_table) {
    if (page != format::kNoExtentPage) change.erase_page(page);
  }
  if (auto done = co_await change.commit(); !done) co_return done;
  std::vector<uint32_t> clusters;
  for (uint64_t index = 0; index < volume.num_clusters(); ++index) {
    if (const uint32_t cluster = volume.map->at(index); cluster != 0) clusters.push_back(cluster);
  }
  forget_volume(volume);
  co_await discard_clusters(std::move(clusters));
  co_return Result<>{};
}

Result<> Pool::check_removable(const Volume& volume) const {
  if (volume.children.size() <= 1) return {};
  return fail(Error::from_errno(EBUSY, fmt::format("{} volumes were made of it", volume.children.size())));
}

Task<Result<>> Pool::remove_volume(Volume& volume, runtime::Mutex::Guard& turn) {
  ClusterReservation reserved(space_);
  for (bool ready = false; !ready;) {
    if (auto removable = check_removable(volume); !removable) co_return removable;
    if (volume.children.empty()) co_return co_await delete_volume(volume);
    auto done = co_await reserve_clusters(reserved, hidden_by(volume).size(), turn);
    if (!done) co_return fail(std::move(done.error()));
    ready = *done;
  }
  co_return co_await merge_into_child(volume, reserved);
}

Task<Result<>> Pool::destroy_replica(std::shared_ptr<Replica> replica) {
  const Use use(*this);
  Volume& volume = replica->volume_;
  const std::string name = replica->name();
  const std::string reservations = replica->reservation_file();
  if (volume.removing || closing_ || volume.is_snapshot()) co_return fail(pool_error::replica_not_found(name));
  // Snapshots that other tools have made lack the attributes of one.
  if (auto removable = check_removable(volume); !removable) {
    co_return fail(pool_error::replica_destroy_failed(name, std::move(removable.error())));
  }
  volume.removing = true;
  replica.reset();
  if (auto removed = co_await remove_replica(volume); !removed) {
    volume.removing = false;
    co_return fail(pool_error::replica_destroy_failed(name, std::move(removed.error())));
  }
  std::optional<format::CloneAttributes> clone;
  {
    auto turn = co_await changing_.lock();
    if (!turn) {
      volume.removing = false;
      co_return fail(turn.error());
    }
    clone = volume.attributes.clone;
    const bool was_uncertain = store_->uncertain();
    if (auto deleted = co_await remove_volume(volume, *turn); !deleted) {
      volume.removing = false;
      // It is back, unless the disk may not have it any more: what is written to it could be lost.
      if (was_uncertain || !store_->uncertain()) {
        if (auto added = add_replica(volume); !added) log::error("pool '{}': {}", name_, added.error().to_string());
      }
      co_return fail(pool_error::replica_destroy_failed(name, std::move(deleted.error())));
    }
  }
  if (options_.exports.forget) options_.exports.forget(reservations);
  log::info("pool '{}': destroyed replica '{}'", name_, name);
  if (!clone) co_return Result<>{};
  Volume* snapshot = find_volume(clone->source_uuid);
  if (snapshot == nullptr || !is_forsaken(*snapshot)) co_return Result<>{};
  if (auto deleted = co_await delete_snapshot(*snapshot); !deleted) {
    log::error("pool '{}': discarded snapshot '{}' stays until the next import: {}", name_, clone->source_uuid,
               deleted.error().to_string());
  }
  co_return Result<>{};
}

// Order of growing: new clusters, the last extent page anew and further ones, the root. Of shrinking: I/O beyond the
// new end ends; the last extent page anew, the root; what was cut off is cleared and free.
Task<Result<>> Pool::resize_replica(std::shared_ptr<Replica> replica, uint64_t size_bytes) {
  const Use use(*this);
  auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& volume = replica->volume_;
  auto refuse = [&](Error cause) { return fail(pool_error::replica_resize_failed(replica->name(), std::move(cause))); };
  const uint64_t after = format::divide_up(size_bytes, layout_.cluster_size);
  // What a clone grows by again after it has shrunk must not show what its snapshot holds there.
  const auto needs_cluster = [&](uint64_t index) { return !volume.thin() || volume.inherited(index) != 0; };
  ClusterReservation reserved(space_);
  for (bool ready = false; !ready;) {
    if (volume.removing || closing_) co_return fail(pool_error::replica_not_found(replica->name()));
    if (volume.read_only()) co_return refuse(Error::from_errno(EPERM, "snapshots keep their size"));
    if (size_bytes == 0) co_return refuse(Error::from_errno(EINVAL, "a replica cannot have 0 bytes"));
    if (size_bytes > layout_.capacity_bytes()) {
      co_return refuse(
          Error::from_errno(EOVERFLOW, fmt::format("{} bytes, the pool has {}", size_bytes, layout_.capacity_bytes())));
    }
    uint64_t needed = 0;
    if (!volume.thin()) {
      needed = after - std::min(after, volume.num_clusters());
    } else if (volume.parent != nullptr) {
      for (uint64_t index = volume.num_clusters(); index < after; ++index) needed += needs_cluster(index) ? 1 : 0;
    }
    const auto done = co_await reserve_clusters(reserved, needed, *turn);
    if (!done) co_return refuse(Error(done.error()));
    ready = *done;
  }
  const uint64_t before = volume.num_clusters();
  if (before == after) co_return Result<>{};
  const uint64_t blocks_per_cluster = layout_.cluster_size / device_->block_size();

  MetadataChange change(space_, *store_);
  auto map = std::make_shared<ClusterMap>(after);
  for (uint64_t index = 0; index < std::min(before, after); ++index) map->set(index, volume.map->at(index));
  for (uint64_t index = before; index < after; ++index) {
    if (needs_cluster(index)) map->set(index, reserved.hand_out(change));
  }
  // Extent pages from the one that holds the smaller end are written anew, in new places: the root alone decides.
  const uint64_t smaller = std::min(before, after);
  const uint64_t first_changed = smaller / format::kClustersPerExtentPage;
  format::BlobMetadata metadata = volume.metadata;
  std::vector<uint64_t> extent_pages;
  if (metadata.flags.uses_extent_table()) {
    for (uint64_t number = first_changed; number < metadata.extent_table.size(); ++number) {
      uint32_t& md_page = metadata.extent_table[number];
      if (md_page != format::kNoExtentPage) change.erase_page(md_page);
      md_page = format::kNoExtentPage;
    }
    for (uint64_t number = first_changed; number < format::extent_pages_for(after); ++number)
      extent_pages.push_back(number);
  }
  auto chain = put_volume(change, volume, metadata, {*map, after, {}}, extent_pages, true);
  if (!chain) co_return refuse(std::move(chain.error()));

  if (after < before) {
    replica->set_num_blocks(after * blocks_per_cluster);
    auto shorter = std::make_shared<MapChain>(*volume.make_chain());
    shorter->own = map;
    co_await replica->publish(shorter);
  }
  if (auto done = co_await change.commit(); !done) {
    if (after < before && change.may_show()) {
      volume.map = std::move(map);  // what is written beyond the new end could be lost
    } else if (after < before) {
      co_await replica->publish(volume.make_chain());
      replica->set_num_blocks(before * blocks_per_cluster);
    }
    co_return refuse(std::move(done.error()));
  }
  std::vector<uint32_t> cut_off;
  for (uint64_t index = after; index < before; ++index) {
    if (const uint32_t cluster = volume.map->at(index); cluster != 0) cut_off.push_back(cluster);
  }
  volume.map = std::move(map);
  volume.metadata = std::move(metadata);
  volume.chain_pages = std::move(*chain);
  if (after > before) {
    co_await replica->publish(volume.make_chain());
    replica->set_num_blocks(after * blocks_per_cluster);
  }
  co_await discard_clusters(std::move(cut_off));
  log::info("pool '{}': replica '{}' has {} bytes now", name_, replica->name(), replica->size_bytes());
  co_return Result<>{};
}

}  // namespace cairn::pool
