#include "pool/replica.h"

#include <fmt/format.h>

#include "base/abandonment.h"
#include "base/check.h"
#include "pool/pool.h"
#include "pool/replica_channel.h"
#include "runtime/reactor.h"

namespace cairn::pool {

using runtime::Task;

Replica::Replica(Pool& pool, Volume& volume, block::DeviceIdentity identity, const block::Geometry& geometry)
    : Device(std::move(identity), geometry),
      pool_(pool),
      volume_(volume),
      read_only_(volume.read_only()),
      chain_(volume.make_chain()) {}

Replica::~Replica() = default;

bool Replica::thin() const {
  return volume_.thin();
}
bool Replica::read_only() const {
  return read_only_;
}
bool Replica::is_snapshot() const {
  return volume_.is_snapshot();
}
bool Replica::is_clone() const {
  return volume_.attributes.clone && pool_.find_volume(volume_.attributes.clone->source_uuid) != nullptr;
}

SpaceUsage Replica::usage() const {
  const uint64_t cluster_size = pool_.layout().cluster_size;
  SpaceUsage usage;
  usage.cluster_size = cluster_size;
  usage.num_clusters = volume_.num_clusters();
  usage.capacity_bytes = usage.num_clusters * cluster_size;
  usage.num_allocated_clusters = volume_.allocated_clusters();
  usage.allocated_bytes = usage.num_allocated_clusters * cluster_size;
  const std::string own_uuid = uuid().to_string();
  uint64_t own_snapshots = 0;
  for (const Volume* ancestor = volume_.parent; ancestor != nullptr; ancestor = ancestor->parent) {
    usage.num_allocated_clusters_snapshots += ancestor->allocated_clusters();
    if (ancestor->is_snapshot() && ancestor->attributes.snapshot->parent_id == own_uuid) {
      own_snapshots += ancestor->allocated_clusters();
    }
  }
  usage.allocated_bytes_snapshots = usage.num_allocated_clusters_snapshots * cluster_size;
  if (is_clone()) {
    usage.allocated_bytes_snapshot_from_clone = own_snapshots * cluster_size;
  } else if (volume_.is_snapshot()) {
    const Volume* source = pool_.find_volume(volume_.attributes.snapshot->parent_id);
    if (source == nullptr || !source->attributes.clone) return usage;
    const Volume* origin = pool_.find_volume(source->attributes.clone->source_uuid);
    if (origin == nullptr) return usage;
    // What lies above the snapshot that the clone was made of.
    uint64_t above = 0;
    const Volume* ancestor = volume_.parent;
    for (; ancestor != nullptr && ancestor != origin; ancestor = ancestor->parent)
      above += ancestor->allocated_clusters();
    if (ancestor == origin) usage.allocated_bytes_snapshot_from_clone = above * cluster_size;
  }
  return usage;
}

std::optional<std::string> Replica::entity_id() const {
  return volume_.attributes.entity_id;
}
bool Replica::share_wanted() const {
  return !volume_.is_snapshot() && volume_.attributes.shared.value_or(false);
}
std::vector<std::string> Replica::allowed_hosts() const {
  return volume_.attributes.allowed_hosts;
}

SnapshotAttributes Replica::snapshot_attributes() const {
  SnapshotAttributes result;
  if (const auto& stored = volume_.attributes.snapshot) {
    result.entity_id = stored->entity_id;
    result.txn_id = stored->tx_id;
    result.parent_id = stored->parent_id;
    result.create_time = stored->create_time;
    result.discarded = stored->discarded;
    result.valid = stored->complete;
  }
  return result;
}

uint32_t Replica::num_clones() const {
  return pool_.num_clones(volume_);
}

std::string Replica::source_uuid() const {
  if (!volume_.is_snapshot()) return {};
  const std::string& parent = volume_.attributes.snapshot->parent_id;
  return pool_.find_volume(parent) != nullptr ? parent : std::string();
}

std::optional<std::string> Replica::source_snapshot_uuid() const {
  if (!is_clone()) return std::nullopt;
  return volume_.attributes.clone->source_uuid;
}

std::optional<std::string> Replica::attribute(std::string_view name) const {
  const auto text = format::text_of(volume_.metadata.xattrs, name);
  if (!text) return std::nullopt;
  return std::string(*text);
}

std::string Replica::reservation_file() const {
  return fmt::format("pool/{}/replica/{}.json", pool_.uuid().to_string(), uuid().to_string());
}

bool Replica::has_volatile_cache() const {
  return pool_.disk().has_volatile_cache();
}

Task<> Replica::stop() {
  co_return;
}

bool Replica::supports_natively(block::IoType type) const {
  switch (type) {
    case block::IoType::kRead:
    case block::IoType::kFlush:
    case block::IoType::kReset:
      return true;
    case block::IoType::kWrite:
    case block::IoType::kUnmap:
    case block::IoType::kWriteZeroes:
      return true;  // a snapshot refuses them with a status of its own
    case block::IoType::kCompare:
    case block::IoType::kCompareAndWrite:
    case block::IoType::kCopy:
      return false;
  }
  return false;
}

Task<Result<std::unique_ptr<block::Channel>>> Replica::make_channel() {
  auto self = shared_from_this();
  auto port = co_await port_here();
  if (!port) co_return fail(std::move(port.error()));
  co_return std::make_unique<ReplicaChannel>(std::move(self), **port);
}

Task<Result<ReplicaPort*>> Replica::port_here() {
  runtime::Reactor& here = runtime::Reactor::current();
  auto disk_port = co_await pool_.disk_->port_here();
  if (!disk_port) co_return fail(std::move(disk_port.error()));
  const std::lock_guard lock(ports_mutex_);
  for (const auto& port : ports_) {
    if (&port->reactor() == &here) co_return port.get();
  }
  ports_.push_back(std::make_unique<ReplicaPort>(*this, **disk_port, chain_));
  co_return ports_.back().get();
}

// One port's turn of a publication: there and back.
class Replica::Publication {
 public:
  Publication(ReplicaPort& port, const std::shared_ptr<const MapChain>& chain, runtime::Reactor& home, size_t& left,
              runtime::Event& done)
      : port_(port), home_(home), there_([this, chain] { port_.adopt(chain, back_, home_); }), back_([&left, &done] {
          if (--left == 0) done.set();
        }) {}
  void start() { port_.reactor().post(there_); }

 private:
  ReplicaPort& port_;
  runtime::Reactor& home_;
  runtime::Message there_;
  runtime::Message back_;
};

Task<> Replica::publish(std::shared_ptr<const MapChain> chain) {
  std::vector<std::unique_ptr<Publication>> turns;
  size_t left = 0;
  runtime::Event done;
  {
    const std::lock_guard lock(ports_mutex_);
    if (chain != nullptr) chain_ = chain;
    for (const auto& port : ports_) turns.push_back(std::make_unique<Publication>(*port, chain, home(), left, done));
  }
  left = turns.size();
  if (left == 0) co_return;
  for (const auto& turn : turns) turn->start();
  static_cast<void>(co_await done.wait_uninterrupted());
}

}  // namespace cairn::pool
