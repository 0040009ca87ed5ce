#include "engine/child_health_etcd.h"

#include <fmt/format.h>

namespace cairn::engine {

runtime::Task<Result<>> ChildHealthEtcd::save(std::string key, nexus::HealthRecord record) {
  const std::string value = to_json(record);
  const auto known = revisions_.find(key);
  int64_t revision = known == revisions_.end() ? 0 : known->second;
  for (unsigned round = 0; round < kMaxRounds; ++round) {
    auto put = co_await client_.put_if(key, value, revision);
    if (!put) co_return fail(std::move(put.error()));
    revision = put->revision;
    if (!put->done && put->value != value) continue;
    if (record.clean_shutdown) {
      revisions_.erase(key);
    } else {
      revisions_[key] = revision;
    }
    co_return Result<>{};
  }
  co_return fail(Code::kAborted, fmt::format("etcd: somebody else writes the key '{}' again and again", key));
}

}  // namespace cairn::engine
