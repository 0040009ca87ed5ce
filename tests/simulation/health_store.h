// The simulated etcd: a node that keeps health records, and the engine's way to it. What it has acknowledged is never
// lost (a quorum has it), but it can be away, slow, or unreachable, and an answer can be lost.
//
// A record is sealed by the control plane when a volume moves on: from then on it cannot be replaced, so an old nexus
// that still lives can no longer take a child out of it and go on without.
#pragma once

#include <map>
#include <set>
#include <string>

#include "nexus/child_health.h"
#include "simulation/rpc.h"

namespace cairn::simulation {

using nexus::HealthRecord;

// The content; survives every crash.
struct StoreContent {
  std::map<std::string, HealthRecord> records;
  std::set<std::string> sealed;
  uint64_t num_saves = 0;
  uint64_t num_refused = 0;  // because sealed
  std::function<void(const std::string& key, const HealthRecord&)> on_saved;
};

class HealthStoreServer final : public sim::NodeProgram {
 public:
  HealthStoreServer(StoreContent& content, const Duration& delay) : content_(content), delay_(delay) {}

  Task<Result<bool>> put(std::string key, HealthRecord record);
  // Nothing: no such record.
  Task<Result<std::optional<HealthRecord>>> get(std::string key);
  // Nobody replaces the record any more. Gives it.
  Task<Result<std::optional<HealthRecord>>> seal(std::string key);

 private:
  StoreContent& content_;
  const Duration& delay_;  // of every operation, at present
};

class HealthStoreClient final : public nexus::ChildHealthStore {
 public:
  static constexpr Duration kTimeout = std::chrono::seconds(2);
  HealthStoreClient(sim::Node& here, sim::Node& store) : here_(here), store_(store) {}

  Task<Result<>> save(std::string key, HealthRecord record) override;
  Task<Result<std::optional<HealthRecord>>> load(std::string key);
  Task<Result<std::optional<HealthRecord>>> seal(std::string key);

 private:
  sim::Node& here_;
  sim::Node& store_;
};

}  // namespace cairn::simulation
