// What is behind a Runtime and the handles of its nexuses.
#pragma once

#include <cairn/runtime.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/registry.h"
#include "embed/nexus_state.h"
#include "nexus/nexus_registry.h"
#include "runtime/external_call.h"
#include "runtime/reactor_group.h"

namespace cairn::embed {

Error to_public(const cairn::Error& error);
template <typename T>
Result<T> to_public(cairn::Result<T> result) {
  if (!result) return std::unexpected(to_public(result.error()));
  if constexpr (std::is_void_v<T>) {
    return {};
  } else {
    return std::move(*result);
  }
}

// For a call that waits: UNEXPECTED on a thread that others wait for.
Result<> check_may_wait(std::string_view call);

class RuntimeState {
 public:
  static cairn::Result<std::shared_ptr<RuntimeState>> start(const RuntimeOptions& options);
  ~RuntimeState();  // stopped

  // Any thread but a reactor's; one after the other.
  cairn::Result<std::shared_ptr<NexusState>> create_nexus(const NexusOptions& options);
  cairn::Result<> add_child(const NexusState& state, const std::string& uri);
  cairn::Result<> close_nexus(const std::shared_ptr<NexusState>& nexus);
  // Runs `call(nexus)`, a task, on the primary reactor. FAILED_PRECONDITION: it has been closed.
  template <typename Call>
  auto with_nexus(const NexusState& state, Call call)
      -> decltype(call(std::shared_ptr<nexus::Nexus>()).operator co_await().await_resume()) {
    const std::lock_guard turn(turns_);
    if (state.closed() || reactors_ == nullptr) return fail(NexusState::closed_error(state.name()));
    return runtime::run_on(reactors_->primary(), "library call",
                           [this, &state, &call] { return call(nexuses_->find(state.uuid())); })
        .get();
  }
  void stop();

 private:
  RuntimeState() = default;
  cairn::Result<> close_in_turn(NexusState& nexus);
  template <typename MakeTask>
  auto on_primary(MakeTask make_task) {
    return runtime::run_on(reactors_->primary(), "library call", std::move(make_task)).get();
  }

  std::mutex turns_;
  std::unique_ptr<runtime::ReactorGroup> reactors_;  // nullptr: stopped
  // Of the primary reactor.
  std::unique_ptr<block::Registry> devices_;
  std::unique_ptr<nexus::NexusRegistry> nexuses_;

  std::vector<std::shared_ptr<NexusState>> open_;  // in the order of their making
};

}  // namespace cairn::embed
