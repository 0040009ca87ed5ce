// The simulated etcd: a node that keeps health records, and the engine's way to it. What it has acknowledged is never
// lost (a quorum has it), but it can be away, slow, or unreachable, and an answer can be lost.
//
// A record is sealed by the control plane when a volume moves on: what an old nexus that still lives saves from then on
// counts for nothing, whether it is told so or not.
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
  std::map<std::string, uint64_t> revisions;  // of the records: how often each was written
  std::set<std::string> sealed;
  bool refuses_sealed = true;  // else it takes what comes, and nobody looks at it any more
  uint64_t num_saves = 0;
  uint64_t num_refused = 0;   // because sealed
  uint64_t num_ignored = 0;   // although sealed
  uint64_t num_outdated = 0;  // another save came before
  std::function<void(const std::string& key, const HealthRecord&)> on_saved;
};

class HealthStoreServer final : public sim::NodeProgram {
 public:
  HealthStoreServer(StoreContent& content, const Duration& delay) : content_(content), delay_(delay) {}

  struct PutAnswer {
    bool done = false;
    uint64_t revision = 0;  // afterwards
  };
  // Done when the record is of that revision (0: there is none).
  Task<Result<PutAnswer>> put_if(std::string key, HealthRecord record, uint64_t revision);
  // Nothing: no such record.
  Task<Result<std::optional<HealthRecord>>> get(std::string key);
  // Nobody replaces the record any more. Gives it.
  Task<Result<std::optional<HealthRecord>>> seal(std::string key);

 private:
  StoreContent& content_;
  const Duration& delay_;  // of every operation, at present
};

// A save whose answer did not come may be done much later: like the engine's client of etcd, each names the revision
// that it follows, and what comes behind a newer record changes nothing.
class HealthStoreClient final : public nexus::ChildHealthStore {
 public:
  static constexpr Duration kTimeout = std::chrono::seconds(2);
  static constexpr unsigned kMaxRounds = 5;
  HealthStoreClient(sim::Node& here, sim::Node& store) : here_(here), store_(store) {}

  Task<Result<>> save(std::string key, HealthRecord record) override;
  Task<Result<std::optional<HealthRecord>>> load(std::string key);
  Task<Result<std::optional<HealthRecord>>> seal(std::string key);

 private:
  sim::Node& here_;
  sim::Node& store_;
  std::map<std::string, uint64_t> revisions_;
};

}  // namespace cairn::simulation
