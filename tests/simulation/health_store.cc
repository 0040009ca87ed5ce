#include "simulation/health_store.h"

namespace cairn::simulation {

Task<Result<bool>> HealthStoreServer::put(std::string key, HealthRecord record) {
  if (delay_ > Duration{}) static_cast<void>(co_await runtime::sleep_for(delay_));
  if (content_.sealed.contains(key)) {
    ++content_.num_refused;
    co_return fail(Code::kFailedPrecondition, fmt::format("record {} is sealed", key));
  }
  ++content_.num_saves;
  content_.on_saved(key, record);
  content_.records[std::move(key)] = std::move(record);
  co_return true;
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
  auto saved = co_await call<bool>(here_, store_, kTimeout, [&store = store_, key, record] {
    return store.program<HealthStoreServer>().put(key, record);
  });
  if (!saved) co_return fail(std::move(saved.error()));
  co_return Result<>{};
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
