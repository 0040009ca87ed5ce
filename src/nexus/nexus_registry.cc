#include "nexus/nexus_registry.h"

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "nexus/nexus_error.h"

namespace cairn::nexus {

using runtime::Task;

NexusRegistry::NexusRegistry(block::Registry& devices, NexusOptions options)
    : devices_(devices), options_(std::move(options)) {
  CAIRN_CHECK(!options_.reactors.empty());
}

NexusRegistry::~NexusRegistry() {
  CAIRN_CHECK(nexuses_.empty() || abandoning());
}

Task<Result<std::shared_ptr<Nexus>>> NexusRegistry::create(NexusRequest request) {
  if (nexuses_.contains(request.name)) co_return fail(nexus_error::name_exists(request.name));
  if (uuids_.contains(request.uuid)) {
    const auto other = find(request.uuid);
    co_return fail(nexus_error::uuid_exists(request.uuid.to_string(), other != nullptr ? other->name() : request.name));
  }
  const std::string name = request.name;
  const Uuid uuid = request.uuid;
  nexuses_.emplace(name, nullptr);
  uuids_.insert(uuid);
  auto nexus = co_await Nexus::create(devices_, options_, std::move(request));
  std::optional<Error> problem;
  if (!nexus) {
    problem = std::move(nexus.error());
  } else if (auto added = devices_.add(*nexus); !added) {
    problem = nexus_error::create(name, added.error().to_string());
    co_await (*nexus)->close();
  }
  if (problem) {
    nexuses_.erase(name);
    uuids_.erase(uuid);
    co_return fail(std::move(*problem));
  }
  nexuses_[name] = *nexus;
  co_return std::move(*nexus);
}

// Callers repeat their calls: whoever asks for what is under way gets what comes of it.
Task<Result<>> NexusRegistry::destroy(Uuid uuid) {
  if (const auto running = destructions_.find(uuid); running != destructions_.end()) {
    const std::shared_ptr<Destruction> other = running->second;
    if (auto waited = co_await other->ended.wait(); !waited) co_return waited;
    co_return other->result;
  }
  const auto mine = destructions_.emplace(uuid, std::make_shared<Destruction>()).first->second;
  mine->result = co_await destroy_now(uuid);
  destructions_.erase(uuid);
  mine->ended.set();
  co_return mine->result;
}

Task<Result<>> NexusRegistry::destroy_now(Uuid uuid) {
  std::shared_ptr<Nexus> found = find(uuid);
  if (found == nullptr) co_return fail(nexus_error::not_found(uuid.to_string()));
  const std::string name = found->name();
  co_await found->close();
  std::weak_ptr<Nexus> gone = found;
  // The registry waits until nobody else has it.
  nexuses_[name] = nullptr;
  found.reset();
  if (auto removed = co_await devices_.remove(name); !removed) {
    nexuses_[name] = gone.lock();
    co_return fail(nexus_error::destroy(name, std::move(removed.error())));
  }
  nexuses_.erase(name);
  uuids_.erase(uuid);
  co_return Result<>{};
}

Task<> NexusRegistry::destroy_all() {
  std::vector<Uuid> all;
  for (const auto& nexus : list()) all.push_back(nexus->nexus_uuid());
  for (const Uuid& uuid : all) {
    if (auto destroyed = co_await destroy(uuid); !destroyed) log::error("{}", destroyed.error().to_string());
  }
}

std::shared_ptr<Nexus> NexusRegistry::find(const Uuid& uuid) const {
  for (const auto& [name, nexus] : nexuses_) {
    if (nexus != nullptr && nexus->nexus_uuid() == uuid) return nexus;
  }
  return nullptr;
}

std::shared_ptr<Nexus> NexusRegistry::find(std::string_view name) const {
  const auto found = nexuses_.find(name);
  return found == nexuses_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<Nexus>> NexusRegistry::list() const {
  std::vector<std::shared_ptr<Nexus>> nexuses;
  for (const auto& [name, nexus] : nexuses_) {
    if (nexus != nullptr) nexuses.push_back(nexus);
  }
  return nexuses;
}

}  // namespace cairn::nexus
