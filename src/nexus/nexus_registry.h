// All nexuses of the process, by name and UUID. Primary reactor.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nexus/nexus.h"

namespace cairn::nexus {

class NexusRegistry {
 public:
  NexusRegistry(block::Registry& devices, NexusOptions options);
  ~NexusRegistry();  // none is left
  NexusRegistry(const NexusRegistry&) = delete;
  NexusRegistry& operator=(const NexusRegistry&) = delete;

  // As Nexus::create, and known to the block registry afterwards.
  //   ALREADY_EXISTS  the name is taken (also by one that is being made)
  //   INTERNAL        the UUID is
  runtime::Task<Result<std::shared_ptr<Nexus>>> create(NexusRequest request);
  // NOT_FOUND; INTERNAL when its device is in use by others: then it serves nothing any more, and may be destroyed
  // again.
  runtime::Task<Result<>> destroy(Uuid uuid);
  // For shutdown: what cannot be destroyed is logged.
  runtime::Task<> destroy_all();

  std::shared_ptr<Nexus> find(const Uuid& uuid) const;  // nullptr
  std::shared_ptr<Nexus> find(std::string_view name) const;
  std::vector<std::shared_ptr<Nexus>> list() const;  // by name, without those that are being made

 private:
  struct Destruction {
    runtime::Event ended;
    Result<> result;
  };
  runtime::Task<Result<>> destroy_now(Uuid uuid);

  block::Registry& devices_;
  const NexusOptions options_;
  std::map<std::string, std::shared_ptr<Nexus>, std::less<>> nexuses_;  // nullptr: being made
  std::set<Uuid> uuids_;
  std::map<Uuid, std::shared_ptr<Destruction>> destructions_;  // under way
};

}  // namespace cairn::nexus
