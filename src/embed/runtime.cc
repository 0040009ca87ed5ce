#include <cairn/runtime.h>

#include "embed/runtime_state.h"

namespace cairn::embed {

std::string_view code_name(Code code) {
  return cairn::code_name(static_cast<cairn::Code>(code));
}

Result<Runtime> Runtime::start(const RuntimeOptions& options) {
  if (auto allowed = check_may_wait("start"); !allowed) return std::unexpected(std::move(allowed.error()));
  auto state = RuntimeState::start(options);
  if (!state) return std::unexpected(to_public(state.error()));
  return Runtime(std::move(*state));
}

Runtime::Runtime(std::shared_ptr<RuntimeState> state) : state_(std::move(state)) {}

Runtime::Runtime(Runtime&&) noexcept = default;

Runtime& Runtime::operator=(Runtime&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Runtime::~Runtime() {
  stop();
}

Result<Nexus> Runtime::create_nexus(const NexusOptions& options) {
  if (auto allowed = check_may_wait("create_nexus"); !allowed) return std::unexpected(std::move(allowed.error()));
  if (state_ == nullptr) return std::unexpected(Error{Code::kFailedPrecondition, "the runtime has been moved from"});
  auto state = state_->create_nexus(options);
  if (!state) return std::unexpected(to_public(state.error()));
  return Nexus(state_, std::move(*state));
}

void Runtime::stop() {
  if (state_ != nullptr) state_->stop();
}

}  // namespace cairn::embed
