#include "pool/pool_registry.h"

#include <fmt/format.h>

#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "pool/metadata_store.h"
#include "pool/pool_error.h"
#include "pool/signature/device_signature.h"

namespace cairn::pool {

using runtime::Task;

namespace {

constexpr std::string_view kClaim = "lvs";  // who claims the disk, as the original's module is called
constexpr uint32_t kClusterSizeUnit = 1u << 20;
constexpr uint32_t kMaxClusterSize = 1u << 30;

}  // namespace

// Hears of it when a pool's disk goes away.
class PoolRegistry::DiskWatch final : public block::DeviceListener {
 public:
  DiskWatch(PoolRegistry& pools, std::string pool) : pools_(pools), pool_(std::move(pool)) {}
  ~DiskWatch() { unlink(); }
  void on_removed(block::Device&) override {
    unlink();
    pools_.disk_vanished(pool_);
  }

 private:
  PoolRegistry& pools_;
  const std::string pool_;
};

// Keeps everybody else from the disk from before it is looked at until a pool has it.
class PoolRegistry::DiskClaim {
 public:
  explicit DiskClaim(block::Device& disk) : disk_(disk), taken_(disk.claim(std::string(kClaim))) {}
  DiskClaim(const DiskClaim&) = delete;
  DiskClaim& operator=(const DiskClaim&) = delete;
  ~DiskClaim() {
    if (taken_ && !handed_over_ && !abandoning()) disk_.release_claim();
  }
  Result<> check() const { return taken_; }
  void hand_over() { handed_over_ = true; }

 private:
  block::Device& disk_;
  const Result<> taken_;
  bool handed_over_ = false;
};

// One operation at a time makes or ends a pool of a name.
class PoolRegistry::NameLock {
 public:
  NameLock(PoolRegistry& pools, std::string name) : pools_(pools), name_(std::move(name)) {
    held_ = pools_.busy_.insert(name_).second;
  }
  NameLock(const NameLock&) = delete;
  NameLock& operator=(const NameLock&) = delete;
  ~NameLock() {
    if (held_ && !abandoning()) pools_.busy_.erase(name_);
  }
  Result<> check() const {
    if (held_) return {};
    return fail(Code::kAborted, fmt::format("Failed to acquire lock for the resource: {}, lock already held", name_));
  }

 private:
  PoolRegistry& pools_;
  const std::string name_;
  bool held_;
};

PoolRegistry::PoolRegistry(block::Registry& devices, PoolOptions options)
    : devices_(devices), options_(std::move(options)) {}

PoolRegistry::~PoolRegistry() {
  CAIRN_CHECK(pools_.empty() || abandoning());
}

Result<std::string> PoolRegistry::disk_uri(const std::vector<std::string>& disks) {
  if (disks.size() != 1) {
    return fail(
        pool_error::invalid(fmt::format("invalid number {} of devices [{}]", disks.size(), fmt::join(disks, ", "))));
  }
  const std::string& disk = disks.front();
  return disk.find("://") == std::string::npos ? "aio://" + disk : disk;
}

Task<Result<PoolRegistry::Disk>> PoolRegistry::open_disk(std::string uri) {
  auto name = devices_.device_name(uri);
  if (!name) co_return fail(std::move(name.error()));
  if (auto device = devices_.find(*name)) co_return Disk{std::move(device), false};
  auto device = co_await devices_.create(uri);
  if (!device) co_return fail(std::move(device.error()));
  co_return Disk{std::move(*device), true};
}

Task<> PoolRegistry::drop_disk(Disk disk) {
  if (!disk.made) co_return;
  const std::string name = disk.device->name();
  disk.device.reset();
  if (auto removed = co_await devices_.remove(name); !removed) log::warn("{}", removed.error().to_string());
}

Task<Result<std::optional<std::string>>> PoolRegistry::foreign_data(block::Device& disk) {
  auto channel = co_await disk.open_channel();
  if (!channel) co_return fail(std::move(channel.error()));
  const auto finding = co_await MetadataStore::find_super_block(**channel);
  if (finding.disk_error) co_return fail(Error(*finding.disk_error));
  if (finding.found) co_return std::optional<std::string>("a pool");
  if (finding.fault->kind != format::SuperBlockFault::Kind::kNoSignature && !finding.transient) {
    co_return std::optional<std::string>(fmt::format("a pool that cannot be used ({})", finding.fault->message));
  }
  auto signatures = co_await find_signatures(**channel);
  if (!signatures) co_return fail(std::move(signatures.error()));
  if (finding.transient) {
    std::erase_if(*signatures, [](const Signature& found) {
      return found.kind == Signature::Kind::kPoolRemains || found.kind == Signature::Kind::kDamagedPool;
    });
  }
  if (!signatures->empty()) co_return std::optional<std::string>(describe(*signatures));
  if (!finding.blank && !finding.transient) {
    co_return std::optional<std::string>("unknown data in its first 4096 bytes");
  }
  co_return std::optional<std::string>();
}

Task<Result<std::shared_ptr<Pool>>> PoolRegistry::load(Disk& disk, DiskClaim& claim, const std::string& name,
                                                       const std::optional<Uuid>& uuid, bool fresh) {
  const auto uri = devices_.device_uri(*disk.device);
  const std::shared_ptr<Pool> pool(new Pool(devices_, options_, uri ? *uri : disk.device->name()));
  claim.hand_over();
  auto loaded = co_await pool->load(disk.device, fresh);
  Result<> accepted;
  if (!loaded) {
    accepted = fail(pool_error::import_failed(name, std::move(loaded.error())));
  } else if (pool->name() != name) {
    accepted = fail(pool_error::import_failed(
        name, Code::kInvalidArgument, fmt::format(": existing pool disk has different name: {}", pool->name())));
  } else if (uuid && pool->uuid() != *uuid) {
    accepted = fail(pool_error::import_failed(
        name, Code::kInvalidArgument, fmt::format(": existing pool has different uuid: {}", pool->uuid().to_string())));
  }
  if (!accepted) {
    static_cast<void>(co_await pool->close(false));
    co_return fail(std::move(accepted.error()));
  }
  for (auto& [id, volume] : pool->volumes_) {
    if (auto added = pool->add_replica(*volume); !added) {
      log::error("pool '{}': volume '{}' is not available: {}", name, volume->attributes.name,
                 added.error().to_string());
    }
  }
  auto watch = std::make_unique<DiskWatch>(*this, name);
  disk.device->add_listener(*watch);
  pools_.emplace(name, Loaded{pool, std::move(watch)});
  co_return pool;
}

Task<> PoolRegistry::share_again(Pool& pool) {
  if (!options_.exports.share) co_return;
  for (auto& replica : pool.volumes()) {
    if (!replica->share_wanted()) continue;
    const std::string name = replica->name();
    auto hosts = replica->allowed_hosts();
    if (auto shared = co_await options_.exports.share(std::move(replica), std::move(hosts)); !shared) {
      log::error("pool '{}': sharing '{}' again: {}", pool.name(), name, shared.error().to_string());
    }
  }
}

Task<Result<PoolRegistry::Created>> PoolRegistry::create(CreatePoolRequest request) {
  const NameLock lock(*this, request.name);
  if (auto locked = lock.check(); !locked) co_return fail(std::move(locked.error()));
  const auto uri = disk_uri(request.disks);
  if (!uri) co_return fail(Error(uri.error()));
  auto refuse = [&](std::string_view reason) {
    return fail(pool_error::create_failed(request.name, Code::kInvalidArgument, reason));
  };
  if (request.name.empty() || request.name.size() > format::kMaxNameLength ||
      request.name.find('\0') != std::string::npos) {
    co_return refuse(fmt::format(": the name has {} bytes (accepted: 1 to {}, without NUL)", request.name.size(),
                                 format::kMaxNameLength));
  }
  const uint32_t cluster_size = request.cluster_size.value_or(format::kDefaultClusterSize);
  if (cluster_size == 0 || cluster_size % kClusterSizeUnit != 0) {
    co_return fail(
        pool_error::invalid_cluster_size(request.name, fmt::format("{}, not multiple of 1MiB", cluster_size)));
  }
  if (cluster_size > kMaxClusterSize) {
    co_return fail(pool_error::invalid_cluster_size(
        request.name, fmt::format("{}, larger than max limit {}", cluster_size, kMaxClusterSize)));
  }
  uint32_t ratio = 0;
  if (request.md_resv_ratio) {
    constexpr float kMaxRatio = 1e6;
    if (!(*request.md_resv_ratio > 0) || *request.md_resv_ratio > kMaxRatio) {
      co_return fail(pool_error::invalid_metadata_ratio(request.name, *request.md_resv_ratio));
    }
    ratio = static_cast<uint32_t>(*request.md_resv_ratio * 100);
  }
  const auto disk_name = devices_.device_name(*uri);
  if (!disk_name) co_return fail(pool_error::create_failed(request.name, Error(disk_name.error())));
  if (const auto existing = pools_.find(request.name); existing != pools_.end()) {
    if (existing->second.pool->disk().name() == *disk_name) {
      co_return fail(pool_error::create_failed(request.name, Code::kAlreadyExists, ": volume already exists"));
    }
    co_return refuse(": another pool already exists with this name: " + request.name);
  }
  auto disk = co_await open_disk(*uri);
  if (!disk) co_return fail(std::move(disk.error()));

  Result<Created> outcome = co_await [](PoolRegistry& self, CreatePoolRequest& request, Disk& disk,
                                        uint32_t cluster_size, uint32_t ratio) -> Task<Result<Created>> {
    block::Device& device = *disk.device;
    if (device.claimed_by()) {
      co_return fail(pool_error::create_failed(
          request.name, Code::kInvalidArgument,
          fmt::format(": volume is busy: bdev '{}' is claimed by '{}'", device.name(), *device.claimed_by())));
    }
    DiskClaim claim(device);
    if (auto claimed = claim.check(); !claimed) co_return fail(std::move(claimed.error()));
    auto found = co_await self.foreign_data(device);
    if (!found) co_return fail(pool_error::create_failed(request.name, std::move(found.error())));
    const bool has_pool = *found && **found == "a pool";
    if (*found && !has_pool && !request.overwrite) {
      co_return fail(
          pool_error::create_failed(request.name, Code::kInvalidArgument,
                                    fmt::format(": the disk '{}' is not blank, it has {}; it has not been changed "
                                                "(`pool create --overwrite` makes a pool all the same)",
                                                device.name(), **found)));
    }
    if (!has_pool) {
      auto channel = co_await device.open_channel();
      if (!channel) co_return fail(pool_error::create_failed(request.name, std::move(channel.error())));
      const Uuid uuid = request.uuid ? *request.uuid : runtime::Reactor::current().random().uuid();
      auto formatted = co_await Pool::format_disk(**channel, {request.name, uuid, cluster_size, ratio});
      if (!formatted) co_return fail(pool_error::create_failed(request.name, std::move(formatted.error())));
      log::info("created pool '{}' on '{}'", request.name, device.name());
    }
    auto pool = co_await self.load(disk, claim, request.name, request.uuid, !has_pool);
    if (!pool) co_return fail(std::move(pool.error()));
    co_return Created{std::move(*pool), has_pool};
  }(*this, request, *disk, cluster_size, ratio);
  if (!outcome) {
    co_await drop_disk(std::move(*disk));
    co_return outcome;
  }
  if (outcome->imported) {
    co_await share_again(*outcome->pool);
    co_await outcome->pool->delete_forsaken_snapshots();
  }
  co_return outcome;
}

Task<Result<std::shared_ptr<Pool>>> PoolRegistry::import(ImportPoolRequest request) {
  const NameLock lock(*this, request.name);
  if (auto locked = lock.check(); !locked) co_return fail(std::move(locked.error()));
  const auto uri = disk_uri(request.disks);
  if (!uri) co_return fail(Error(uri.error()));
  const auto disk_name = devices_.device_name(*uri);
  if (!disk_name) co_return fail(pool_error::import_failed(request.name, Error(disk_name.error())));
  if (const auto existing = pools_.find(request.name); existing != pools_.end()) {
    if (existing->second.pool->disk().name() == *disk_name) {
      co_return fail(pool_error::import_failed(request.name, Code::kAlreadyExists, ": volume already exists"));
    }
    co_return fail(pool_error::import_failed(request.name, Code::kInvalidArgument,
                                             ": another pool already exists with this name: " + request.name));
  }
  auto disk = co_await open_disk(*uri);
  if (!disk) co_return fail(std::move(disk.error()));
  auto pool = co_await
      [](PoolRegistry& self, const ImportPoolRequest& request, Disk& disk) -> Task<Result<std::shared_ptr<Pool>>> {
    DiskClaim claim(*disk.device);
    if (auto claimed = claim.check(); !claimed) {
      co_return fail(pool_error::import_failed(request.name, std::move(claimed.error())));
    }
    co_return co_await self.load(disk, claim, request.name, request.uuid, false);
  }(*this, request, *disk);
  if (!pool) {
    co_await drop_disk(std::move(*disk));
    co_return fail(std::move(pool.error()));
  }
  log::info("imported pool '{}'", request.name);
  co_await share_again(**pool);
  co_await (*pool)->delete_forsaken_snapshots();
  co_return std::move(*pool);
}

Task<Result<>> PoolRegistry::end(std::string name, bool destroy) {
  const NameLock lock(*this, name);
  if (auto locked = lock.check(); !locked) co_return locked;
  const auto found = pools_.find(name);
  if (found == pools_.end()) co_return fail(pool_error::pool_not_found(name));
  const std::shared_ptr<Pool> pool = found->second.pool;
  const std::string disk = pool->disk().name();
  auto ended = destroy ? co_await pool->destroy() : co_await pool->export_pool();
  if (!ended && pool->device_ != nullptr) co_return ended;  // still loaded
  pools_.erase(name);
  if (auto removed = co_await devices_.remove(disk); !removed) log::error("{}", removed.error().to_string());
  if (ended) log::info("{} pool '{}'", destroy ? "destroyed" : "exported", name);
  co_return ended;
}

Task<Result<>> PoolRegistry::export_pool(std::string name) {
  co_return co_await end(std::move(name), false);
}
Task<Result<>> PoolRegistry::destroy(std::string name) {
  co_return co_await end(std::move(name), true);
}

Task<Result<GrowOutcome>> PoolRegistry::grow(std::string name) {
  const NameLock lock(*this, name);
  if (auto locked = lock.check(); !locked) co_return fail(std::move(locked.error()));
  const auto pool = find(name);
  if (pool == nullptr) co_return fail(pool_error::pool_not_found(name));
  GrowOutcome outcome;
  outcome.before = pool->info();
  if (auto grown = co_await pool->grow(); !grown) co_return fail(std::move(grown.error()));
  outcome.after = pool->info();
  co_return outcome;
}

Task<> PoolRegistry::export_all() {
  for (const auto& pool : list()) {
    if (auto exported = co_await export_pool(pool->name()); !exported) log::error("{}", exported.error().to_string());
  }
}

void PoolRegistry::disk_vanished(const std::string& name) {
  const auto found = pools_.find(name);
  if (found == pools_.end()) return;
  log::error("pool '{}' has lost its disk", name);
  const std::shared_ptr<Pool> pool = found->second.pool;
  pools_.erase(found);
  runtime::Reactor::current().spawn("pool without its disk",
                                    [](std::shared_ptr<Pool> pool) -> Task<> { co_await pool->abandon(); }(pool));
}

std::shared_ptr<Pool> PoolRegistry::find(std::string_view name) const {
  const auto found = pools_.find(name);
  return found == pools_.end() ? nullptr : found->second.pool;
}

std::shared_ptr<Pool> PoolRegistry::find(const Uuid& uuid) const {
  for (const auto& [name, loaded] : pools_) {
    if (loaded.pool->uuid() == uuid) return loaded.pool;
  }
  return nullptr;
}

std::vector<std::shared_ptr<Pool>> PoolRegistry::list() const {
  std::vector<std::shared_ptr<Pool>> result;
  for (const auto& [name, loaded] : pools_) result.push_back(loaded.pool);
  return result;
}

std::shared_ptr<Replica> PoolRegistry::find_volume(std::string_view name) const {
  return std::dynamic_pointer_cast<Replica>(devices_.find(name));
}
std::shared_ptr<Replica> PoolRegistry::find_volume(const Uuid& uuid) const {
  return std::dynamic_pointer_cast<Replica>(devices_.find(uuid));
}

std::vector<std::shared_ptr<Replica>> PoolRegistry::volumes() const {
  std::vector<std::shared_ptr<Replica>> result;
  for (const auto& [name, loaded] : pools_) {
    for (auto& volume : loaded.pool->volumes()) result.push_back(std::move(volume));
  }
  return result;
}

}  // namespace cairn::pool
