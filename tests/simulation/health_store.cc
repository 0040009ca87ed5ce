#include "simulation/health_store.h"

namespace cairn::simulation {

Task<Result<HealthStoreServer::PutAnswer>> HealthStoreServer::put_if(std::string key, HealthRecord record,
                                                                     uint64_t revision) {
  if (delay_ > Duration{}) static_cast<void>(co_await runtime::sleep_for(delay_));
  if (content_.sealed.contains(key)) {
    if (!content_.refuses_sealed) {
      ++content_.num_ignored;
      co_return PutAnswer{.done = true, .revision = revision};
    }
    ++content_.num_refused;
    co_return fail(Code::kFailedPrecondition, fmt::format("record {} is sealed", key));
  }
  uint64_t& present = content_.revisions[key];
  if (present != revision) {
    ++content_.num_outdated;
    co_return PutAnswer{.done = false, .revision = present};
  }
  ++present;
  ++content_.num_saves;
  content_.on_saved(key, record);
  const PutAnswer answer{.done = true, .revision = present};
  content_.records[std::move(key)] = std::move(record);
  co_return answer;
}

Task<Result<std::optional<HealthRecord>>> HealthStoreServer::get(std::string key) {
  if (delay_ > Duration{}) static_cast<void>(co_await runtime::sleep_for(delay_));
  const auto found = content_.records.find(key);
  if (found == content_.records.end()) co_return std::nullopt;
  co_return found->second;
}

Task<Result<std::optional<HealthRecord>>> HealthStoreServer::seal(std::string key) {
  if (delay_ > Duration{}) static_cast<void>(co_await runtime::sleep_for(delay_));
  content_.sealed.insert(key);
  co_return co_await get(std::move(key));
}

Task<Result<>> HealthStoreClient::save(std::string key, HealthRecord record) {
  for (unsigned round = 0; round < kMaxRounds; ++round) {
    auto put = co_await call<HealthStoreServer::PutAnswer>(
        here_, store_, kTimeout, [&store = store_, key, record, revision = revisions_[key]] {
          return store.program<HealthStoreServer>().put_if(key, record, revision);
        });
    if (!put) co_return fail(std::move(put.error()));
    revisions_[key] = put->revision;
    if (put->done) co_return Result<>{};
  }
  co_return fail(Code::kAborted, fmt::format("somebody else writes the record {} again and again", key));
}

Task<Result<std::optional<HealthRecord>>> HealthStoreClient::load(std::string key) {
  return call<std::optional<HealthRecord>>(
      here_, store_, kTimeout, [&store = store_, key] { return store.program<HealthStoreServer>().get(key); });
}

Task<Result<std::optional<HealthRecord>>> HealthStoreClient::seal(std::string key) {
  return call<std::optional<HealthRecord>>(
      here_, store_, kTimeout, [&store = store_, key] { return store.program<HealthStoreServer>().seal(key); });
}

}  // namespace cairn::simulation
