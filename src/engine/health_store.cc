#include "engine/health_store.h"

#include "engine/child_health_etcd.h"
#include "nexus/child_health_file.h"
#include "runtime/backend.h"
#include "runtime/reactor.h"

namespace cairn::engine {

runtime::Task<Result<std::unique_ptr<nexus::ChildHealthStore>>> make_health_store(const EngineOptions& options) {
  if (!options.child_health_dir.empty()) {
    auto made = co_await runtime::Reactor::current().backend().make_directories(options.child_health_dir);
    if (!made)
      co_return fail(Error(made.error().code(), "cannot use the directory of --child-health-dir", made.error()));
    co_return std::make_unique<nexus::ChildHealthFile>(options.child_health_dir);
  }
  if (!options.etcd.endpoints.empty()) co_return std::make_unique<ChildHealthEtcd>(options.etcd);
  co_return std::unique_ptr<nexus::ChildHealthStore>();
}

}  // namespace cairn::engine
