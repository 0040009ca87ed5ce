// What outlives a nexus: which of its children hold all acknowledged data. Whoever makes the next nexus reads it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/task.h"

namespace cairn::nexus {

// Reference nexus.md, section 11.
struct HealthRecord {
  struct Child {
    std::string uuid;  // of the child's URI
    bool healthy = false;
    bool operator==(const Child&) const = default;
  };
  bool clean_shutdown = false;
  std::vector<Child> children;
  bool operator==(const HealthRecord&) const = default;
};

// {"clean_shutdown":false,"children":[{"uuid":"...","healthy":true}]}
std::string to_json(const HealthRecord& record);
// DATA_LOSS naming what is wrong.
Result<HealthRecord> parse_health_record(std::string_view json);

// Where records are kept: a file, etcd. A nexus saves from its home reactor, one record at a time, and acknowledges
// nothing meanwhile that the record in the store would contradict.
class ChildHealthStore {
 public:
  virtual ~ChildHealthStore() = default;
  // Replaces the record; stable when it returns. Bounded in time: a nexus tries again by itself.
  virtual runtime::Task<Result<>> save(std::string key, HealthRecord record) = 0;
};

}  // namespace cairn::nexus
