// Snapshots and clones.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"
#include "pool/cluster_reservation.h"
#include "pool/metadata_change.h"
#include "pool/pool.h"
#include "pool/pool_disk.h"
#include "pool/pool_error.h"

namespace cairn::pool {

using runtime::Task;

// Order: the new snapshot with all that its origin has, marked as in the making (SNAPTMP); the origin, now empty and on
// top of it; the snapshot without the mark and read-only. Each stable before the next. Writes wait meanwhile: in the
// new map of the origin nothing is allocated, and allocations have to wait for this change.
Task<Result<std::shared_ptr<Replica>>> Pool::create_snapshot(std::shared_ptr<Replica> source,
                                                             CreateSnapshotRequest request) {
  const Use use(*this);
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& origin = source->volume_;
  if (origin.removing || closing_) co_return fail(pool_error::replica_not_found(source->name()));
  auto refuse = [&](Error cause) { return fail(pool_error::snapshot_create_failed(request.name, std::move(cause))); };
  if (request.uuid.empty()) {
    co_return fail(pool_error::snapshot_parameters(source->name(), "snapshot_uuid not provided", Code::kInternal));
  }
  for (const auto& [what, value] :
       {std::pair("snapshot name", &request.name), std::pair("entity id", &request.entity_id),
        std::pair("transaction id", &request.txn_id), std::pair("creation time", &request.create_time)}) {
    if (value->find_first_not_of('\0') != std::string::npos) continue;
    co_return fail(
        pool_error::snapshot_parameters(source->name(), fmt::format("{} not provided", what), Code::kInvalidArgument));
  }
  const auto uuid = Uuid::parse(request.uuid);
  if (!uuid)
    co_return fail(pool_error::snapshot_parameters(source->name(), uuid.error().message(), Code::kInvalidArgument));
  if (devices_.find(*uuid) != nullptr || find_volume(uuid->to_string()) != nullptr) {
    co_return fail(Code::kAlreadyExists, fmt::format("Snapshot {} already exist in the system", request.uuid));
  }
  if (auto named = check_new_name(request.name); !named) co_return refuse(std::move(named.error()));
  if (origin.read_only()) co_return refuse(Error::from_errno(EINVAL, "a snapshot cannot be taken of a snapshot"));

  if (origin.parent != nullptr) {
    if (auto unmarked = co_await remove_marks(*origin.parent); !unmarked) co_return refuse(std::move(unmarked.error()));
  }

  auto snapshot = std::make_unique<Volume>();
  snapshot->map = origin.map;
  format::BlobMetadata making = origin.metadata;
  making.xattrs = {};
  making.unknown = {};
  making.internal_xattrs = {};
  auto set = format::set_lvol_identity(making.xattrs, request.name, *uuid);
  if (set) {
    set = format::set_snapshot_attributes(making.xattrs, {.tx_id = request.txn_id,
                                                          .entity_id = request.entity_id,
                                                          .parent_id = source->uuid().to_string(),
                                                          .create_time = request.create_time});
  }
  if (!set) co_return refuse(std::move(set.error()));

  MetadataChange first(space_, *store_);
  const auto root = first.take_root_page();
  if (!root) co_return refuse(Error(root.error()));
  making.id = format::blob_id_of(*root);
  if (origin.parent != nullptr) making.set_link(format::kParentLink, origin.parent->id());
  making.set_link(format::kSnapshotInProgressLink, origin.id());
  auto snapshot_chain = first.put_chain(making, {});
  if (!snapshot_chain) co_return refuse(std::move(snapshot_chain.error()));

  // From here on nothing is written into what the snapshot will hold.
  auto empty = std::make_shared<ClusterMap>(origin.num_clusters());
  auto chain = std::make_shared<MapChain>();
  chain->own = empty;
  chain->thin = true;
  chain->ancestors.push_back(origin.map);
  for (const Volume* ancestor = origin.parent; ancestor != nullptr; ancestor = ancestor->parent) {
    chain->ancestors.push_back(ancestor->map);
  }
  co_await source->publish(chain);
  if (auto done = co_await first.commit(); !done) {
    co_await source->publish(origin.make_chain());
    co_return refuse(std::move(done.error()));
  }

  format::BlobMetadata above = origin.metadata;
  above.flags.invalid |= format::BlobFlags::kThin;
  above.set_link(format::kParentLink, making.id);
  std::ranges::fill(above.extent_table, format::kNoExtentPage);
  if (!above.flags.uses_extent_table()) {
    above.runs.clear();
    if (above.num_clusters > 0) above.runs.push_back({format::kNoCluster, static_cast<uint32_t>(above.num_clusters)});
  }
  {
    MetadataChange second(space_, *store_);
    auto origin_chain = second.put_chain(above, origin.chain_pages);
    Result<> done;
    if (!origin_chain) {
      done = fail(std::move(origin_chain.error()));
    } else {
      done = co_await second.commit();
    }
    if (!done) {
      // The disk must not say that the origin lies on a snapshot that is not there. In doubt the next import decides.
      if (!second.may_show()) {
        MetadataChange undo(space_, *store_);
        undo.erase_root(format::root_page_of(making.id));
        for (const uint32_t page : *snapshot_chain) undo.erase_page(page);
        if (auto undone = co_await undo.commit(); !undone) {
          log::warn("pool '{}': {}", name_, undone.error().to_string());
          store_->set_uncertain();
        }
      }
      co_await source->publish(origin.make_chain());
      co_return refuse(std::move(done.error()));
    }
    origin.metadata = std::move(above);
    origin.chain_pages = std::move(*origin_chain);
  }

  // It exists now: if the last step fails, the next import completes it.
  origin.map = std::move(empty);
  snapshot->parent = origin.parent;
  if (origin.parent != nullptr) std::ranges::replace(origin.parent->children, &origin, snapshot.get());
  snapshot->children.push_back(&origin);
  origin.parent = snapshot.get();
  snapshot->metadata = making;
  snapshot->chain_pages = std::move(*snapshot_chain);
  if (auto attributes = format::decode_lvol_attributes(making.xattrs)) snapshot->attributes = std::move(*attributes);
  Volume& made = *snapshot;
  volumes_.emplace(made.id(), std::move(snapshot));
  index_volume(made);
  made.metadata.flags.data_ro |= format::BlobFlags::kReadOnly;
  if (auto done = co_await remove_marks(made); !done) {
    log::warn("pool '{}': snapshot '{}': {}", name_, request.name, done.error().to_string());
  }
  auto replica = add_replica(made);
  if (!replica) co_return refuse(std::move(replica.error()));
  log::info("pool '{}': created snapshot '{}' of '{}'", name_, request.name, source->name());
  co_return std::move(*replica);
}

Task<Result<std::shared_ptr<Replica>>> Pool::create_clone(std::shared_ptr<Replica> snapshot,
                                                          CreateCloneRequest request) {
  const Use use(*this);
  const auto turn = co_await changing_.lock();
  if (!turn) co_return fail(turn.error());
  Volume& source = snapshot->volume_;
  auto refuse = [&](Error cause) { return fail(pool_error::clone_create_failed(request.name, std::move(cause))); };
  if (source.removing || closing_ || !source.is_snapshot()) {
    co_return fail(Code::kNotFound, fmt::format("Snapshot {} not found", snapshot->uuid().to_string()));
  }
  if (source.attributes.snapshot->discarded) {
    co_return fail(Code::kNotFound, fmt::format("Snapshot {} is marked to be deleted", snapshot->uuid().to_string()));
  }
  for (const auto& [what, value] : {std::pair("clone_name", &request.name), std::pair("clone_uuid", &request.uuid)}) {
    if (!value->empty()) continue;
    co_return fail(
        pool_error::clone_parameters(snapshot->name(), fmt::format("{} not provided", what), Code::kInvalidArgument));
  }
  const auto uuid = Uuid::parse(request.uuid);
  if (!uuid)
    co_return fail(pool_error::clone_parameters(snapshot->name(), uuid.error().message(), Code::kInvalidArgument));
  if (devices_.find(*uuid) != nullptr || find_volume(uuid->to_string()) != nullptr) {
    co_return fail(Code::kAlreadyExists, fmt::format("clone uuid {} already exist", request.uuid));
  }
  if (auto named = check_new_name(request.name); !named) co_return refuse(std::move(named.error()));
  format::BlobMetadata metadata = new_metadata(true);
  auto set = format::set_lvol_identity(metadata.xattrs, request.name, *uuid);
  if (set) {
    set = format::set_clone_attributes(
        metadata.xattrs, {.source_uuid = snapshot->uuid().to_string(), .create_time = request.create_time});
  }
  if (!set) co_return refuse(std::move(set.error()));
  metadata.set_link(format::kParentLink, source.id());
  ClusterReservation none(space_);
  auto volume = co_await make_volume(std::move(metadata), source.num_clusters(), 0, none);
  if (!volume) co_return refuse(std::move(volume.error()));
  auto replica = add_replica(**volume);
  if (!replica) {
    if (auto deleted = co_await delete_volume(**volume); !deleted) log::error("{}", deleted.error().to_string());
    co_return refuse(std::move(replica.error()));
  }
  log::info("pool '{}': created clone '{}' of '{}'", name_, request.name, snapshot->name());
  co_return std::move(*replica);
}

// Marks are true only as long as the volume that they name lies directly on the snapshot.
Task<Result<>> Pool::remove_marks(Volume& snapshot) {
  format::BlobMetadata metadata = snapshot.metadata;
  metadata.remove_link(format::kSnapshotInProgressLink);
  metadata.remove_link(format::kSnapshotRemovalLink);
  if (metadata.internal_xattrs == snapshot.metadata.internal_xattrs) co_return Result<>{};
  co_return co_await persist_metadata(snapshot, std::move(metadata));
}

std::vector<uint64_t> Pool::hidden_by(const Volume& volume) const {
  std::vector<uint64_t> indices;
  const Volume& child = *volume.children.front();
  for (uint64_t index = volume.num_clusters(); volume.parent != nullptr && index < child.num_clusters(); ++index) {
    if (child.map->at(index) == 0 && volume.parent->visible(index) != 0) indices.push_back(index);
  }
  return indices;
}

// Order: the snapshot marked as being removed (SNAPRM); its child with all that it saw through the snapshot, on top of
// the snapshot's parent; the snapshot's root erased. The child's extent pages are written in new places, so that its
// root alone decides whom a cluster belongs to.
Task<Result<>> Pool::merge_into_child(Volume& volume, ClusterReservation& reserved) {
  CAIRN_CHECK(volume.replica == nullptr && volume.children.size() == 1);
  Volume& child = *volume.children.front();
  {
    format::BlobMetadata marked = volume.metadata;
    marked.remove_link(format::kSnapshotInProgressLink);
    marked.set_link(format::kSnapshotRemovalLink, child.id());
    if (auto done = co_await persist_metadata(volume, std::move(marked)); !done) co_return done;
  }

  MetadataChange change(space_, *store_);
  format::BlobMetadata metadata = child.metadata;
  std::map<uint64_t, uint32_t> inherited;
  for (const uint64_t index : hidden_by(volume)) inherited.emplace(index, reserved.hand_out(change));
  const uint64_t common = std::min(volume.num_clusters(), child.num_clusters());
  for (uint64_t index = 0; index < common; ++index) {
    const uint32_t cluster = volume.map->at(index);
    if (cluster != 0 && child.map->at(index) == 0) inherited.emplace(index, cluster);
  }
  std::unordered_set<uint32_t> adopted_pages;
  std::vector<uint64_t> merged_pages;
  if (metadata.flags.uses_extent_table()) {
    uint64_t last = ~uint64_t{0};
    for (const auto& [index, cluster] : inherited) {
      const uint64_t number = index / format::kClustersPerExtentPage;
      if (number == last) continue;
      last = number;
      uint32_t& md_page = metadata.extent_table[number];
      const uint32_t theirs =
          number < volume.metadata.extent_table.size() ? volume.metadata.extent_table[number] : format::kNoExtentPage;
      const bool same_size = format::clusters_in_extent_page(child.num_clusters(), number) ==
                             format::clusters_in_extent_page(volume.num_clusters(), number);
      if (md_page == format::kNoExtentPage && theirs != format::kNoExtentPage && same_size) {
        md_page = theirs;
        adopted_pages.insert(theirs);
        continue;
      }
      if (md_page != format::kNoExtentPage) change.erase_page(md_page);
      md_page = format::kNoExtentPage;
      merged_pages.push_back(number);
    }
  }
  if (volume.parent != nullptr) {
    metadata.set_link(format::kParentLink, volume.parent->id());
  } else {
    metadata.remove_link(format::kParentLink);
  }
  auto chain = put_volume(change, child, metadata, {*child.map, child.num_clusters(), inherited}, merged_pages, true);
  Result<> done;
  if (!chain) {
    done = fail(std::move(chain.error()));
  } else {
    done = co_await change.commit();
  }
  if (!done) {
    // The snapshot stays, and its mark goes, unless the child may have taken its place already: the import decides.
    if (!change.may_show()) {
      if (auto unmarked = co_await remove_marks(volume); !unmarked) {
        log::error("pool '{}': {}", name_, unmarked.error().to_string());
      }
    }
    co_return done;
  }

  child.metadata = std::move(metadata);
  child.chain_pages = std::move(*chain);
  for (const auto& [index, cluster] : inherited) child.map->set(index, cluster);
  volume.children.clear();
  child.parent = volume.parent;
  if (volume.parent != nullptr) std::ranges::replace(volume.parent->children, &volume, &child);
  volume.parent = nullptr;
  co_await publish(child);

  MetadataChange removal(space_, *store_);
  removal.erase_root(volume.root_page());
  for (const uint32_t page : volume.chain_pages) removal.erase_page(page);
  for (const uint32_t page : volume.metadata.extent_table) {
    if (page != format::kNoExtentPage && !adopted_pages.contains(page)) removal.erase_page(page);
  }
  auto removed = co_await removal.commit();
  std::vector<uint32_t> clusters;
  for (uint64_t index = 0; index < volume.num_clusters(); ++index) {
    const uint32_t cluster = volume.map->at(index);
    if (cluster != 0 && !inherited.contains(index)) clusters.push_back(cluster);
  }
  forget_volume(volume);
  if (!removed) {
    // The next import sees to it; until then its space stays taken.
    log::error("pool '{}': {}", name_, removed.error().to_string());
    store_->set_uncertain();
    co_return Result<>{};
  }
  co_await discard_clusters(std::move(clusters));
  co_return Result<>{};
}

bool Pool::is_forsaken(const Volume& volume) const {
  return volume.is_snapshot() && volume.attributes.snapshot->discarded && num_clones(volume) == 0 && !volume.removing;
}

Task<> Pool::delete_forsaken_snapshots() {
  const Use use(*this);
  std::vector<format::BlobId> ids;
  for (const auto& [id, volume] : volumes_) {
    if (is_forsaken(*volume)) ids.push_back(id);
  }
  for (const format::BlobId id : ids) {
    const auto found = volumes_.find(id);
    if (found == volumes_.end()) continue;
    const std::string name = found->second->attributes.name;
    if (auto deleted = co_await delete_snapshot(*found->second); !deleted) {
      log::error("pool '{}': discarded snapshot '{}': {}", name_, name, deleted.error().to_string());
    }
  }
}

Task<Result<>> Pool::delete_snapshot(Volume& volume) {
  if (auto removable = check_removable(volume); !removable) co_return removable;
  volume.removing = true;
  const std::string name = volume.attributes.name;
  if (auto removed = co_await remove_replica(volume); !removed) {
    volume.removing = false;
    co_return removed;
  }
  auto turn = co_await changing_.lock();
  Result<> done;
  if (!turn) {
    done = fail(turn.error());
  } else if (num_clones(volume) > 0) {
    done = fail(Error::from_errno(EBUSY, "a clone was made of it in the meantime"));
  } else {
    done = co_await remove_volume(volume, *turn);
  }
  if (done) {
    log::info("pool '{}': destroyed snapshot '{}'", name_, name);
    co_return Result<>{};
  }
  volume.removing = false;
  if (auto added = add_replica(volume); !added) log::error("pool '{}': {}", name_, added.error().to_string());
  co_return done;
}

Task<Result<>> Pool::destroy_snapshot(std::shared_ptr<Replica> snapshot) {
  const Use use(*this);
  Volume& volume = snapshot->volume_;
  const std::string name = snapshot->name();
  if (volume.removing || closing_ || !volume.is_snapshot()) co_return fail(pool_error::replica_not_found(name));
  if (num_clones(volume) == 0) {
    snapshot.reset();
    auto deleted = co_await delete_snapshot(volume);
    if (deleted) co_return Result<>{};
    if (num_clones(volume) == 0 || volume.replica == nullptr) {
      co_return fail(pool_error::replica_destroy_failed(name, std::move(deleted.error())));
    }
    snapshot = std::static_pointer_cast<Replica>(volume.replica->shared_from_this());
  }
  {
    const auto turn = co_await changing_.lock();
    if (!turn) co_return fail(turn.error());
    if (volume.removing) co_return fail(pool_error::replica_not_found(name));
    format::BlobMetadata metadata = volume.metadata;
    if (auto set = format::set_discarded(metadata.xattrs, true); !set) co_return set;
    auto done = co_await persist_metadata(volume, std::move(metadata));
    if (!done) {
      co_return fail(pool_error::set_property_failed(format::kSnapshotDiscardedXattr, name, std::move(done.error())));
    }
  }
  snapshot.reset();
  if (!is_forsaken(volume)) co_return Result<>{};
  // The last clone went while this waited for its turn.
  if (auto deleted = co_await delete_snapshot(volume); !deleted) {
    log::error("pool '{}': discarded snapshot '{}' stays until the next import: {}", name_, name,
               deleted.error().to_string());
  }
  co_return Result<>{};
}

}  // namespace cairn::pool
