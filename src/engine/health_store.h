// Where nexuses keep the health of their children: by the options of the engine.
#pragma once

#include <memory>

#include "base/error.h"
#include "engine/options.h"
#include "nexus/child_health.h"
#include "runtime/task.h"

namespace cairn::engine {

// nullptr: nowhere, which nothing was said about. Does not wait for etcd. On the primary reactor.
runtime::Task<Result<std::unique_ptr<nexus::ChildHealthStore>>> make_health_store(const EngineOptions& options);

}  // namespace cairn::engine
