// Health records of nexuses in etcd, under the keys and in the form that the control plane reads.
//
// A save whose answer did not come may still be done, much later. So each write names the revision it follows: what
// comes late, behind a newer record, changes nothing. Whatever somebody else wrote in the meantime is replaced.
#pragma once

#include <map>

#include "etcd/etcd_client.h"
#include "nexus/child_health.h"

namespace cairn::engine {

class ChildHealthEtcd final : public nexus::ChildHealthStore {
 public:
  explicit ChildHealthEtcd(etcd::ClientOptions options) : client_(std::move(options)) {}

  // Errors as etcd::Client; ABORTED when others write the key all the time. One operation of the client; one more for
  // the first record of a nexus and for each write of others, up to kMaxRounds.
  runtime::Task<Result<>> save(std::string key, nexus::HealthRecord record) override;

 private:
  static constexpr unsigned kMaxRounds = 5;
  etcd::Client client_;
  std::map<std::string, int64_t> revisions_;  // of the keys of nexuses that were saved and are not shut down
};

}  // namespace cairn::engine
