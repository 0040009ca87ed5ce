#include <cairn/nexus.h>
#include <fmt/format.h>

#include "base/log.h"
#include "embed/runtime_state.h"

namespace cairn::embed {

using block::IoType;
using runtime::Task;

namespace {

using NexusPointer = std::shared_ptr<nexus::Nexus>;

const std::string kNothing;

std::string state_text(const nexus::ChildInfo& child) {
  const std::string_view state = nexus::to_text(child.state);
  if (child.state != nexus::ChildState::kFaulted) return std::string(state);
  return fmt::format("{} ({})", state, nexus::to_text(child.reason));
}

NexusInfo describe(const nexus::Nexus& nexus) {
  NexusInfo info{.state = std::string(nexus::to_text(nexus.status())), .children = {}};
  for (const nexus::ChildInfo& child : nexus.children()) {
    info.children.push_back({.uri = child.uri,
                             .state = state_text(child),
                             .healthy = child.state == nexus::ChildState::kOpen && child.in_sync,
                             .rebuilding = child.rebuild_progress.has_value()});
  }
  return info;
}

template <typename Start>
std::future<Result<>> as_future(Start start) {
  std::promise<Result<>> promise;
  auto future = promise.get_future();
  start([promise = std::move(promise)](Result<> result) mutable { promise.set_value(std::move(result)); });
  return future;
}

}  // namespace

Nexus::Nexus(std::shared_ptr<RuntimeState> runtime, std::shared_ptr<NexusState> state)
    : runtime_(std::move(runtime)), state_(std::move(state)) {}

Nexus::Nexus(Nexus&&) noexcept = default;

Nexus& Nexus::operator=(Nexus&& other) noexcept {
  std::swap(runtime_, other.runtime_);
  std::swap(state_, other.state_);
  return *this;
}

Nexus::~Nexus() {
  if (auto closed = close(); !closed) log::error("{}", closed.error().message);
}

const std::string& Nexus::name() const {
  return state_ != nullptr ? state_->name() : kNothing;
}
const std::string& Nexus::uuid() const {
  return state_ != nullptr ? state_->uuid_text() : kNothing;
}
uint64_t Nexus::size_bytes() const {
  return state_ != nullptr ? state_->size_bytes() : 0;
}
uint32_t Nexus::block_size() const {
  return state_ != nullptr ? state_->block_size() : 0;
}

void Nexus::read(uint64_t offset, std::span<std::byte> into, Completion done) {
  if (state_ == nullptr) return done(std::unexpected(to_public(NexusState::closed_error(""))));
  state_->start(IoType::kRead, offset, into, std::move(done));
}

void Nexus::write(uint64_t offset, std::span<const std::byte> from, Completion done) {
  if (state_ == nullptr) return done(std::unexpected(to_public(NexusState::closed_error(""))));
  // A write only reads it.
  state_->start(IoType::kWrite, offset, {const_cast<std::byte*>(from.data()), from.size()}, std::move(done));
}

void Nexus::flush(Completion done) {
  if (state_ == nullptr) return done(std::unexpected(to_public(NexusState::closed_error(""))));
  state_->start(IoType::kFlush, 0, {}, std::move(done));
}

std::future<Result<>> Nexus::read(uint64_t offset, std::span<std::byte> into) {
  return as_future([&](Completion done) { read(offset, into, std::move(done)); });
}

std::future<Result<>> Nexus::write(uint64_t offset, std::span<const std::byte> from) {
  return as_future([&](Completion done) { write(offset, from, std::move(done)); });
}

std::future<Result<>> Nexus::flush() {
  return as_future([&](Completion done) { flush(std::move(done)); });
}

Result<NexusInfo> Nexus::info() const {
  if (auto allowed = check_may_wait("info"); !allowed) return std::unexpected(std::move(allowed.error()));
  if (state_ == nullptr) return std::unexpected(to_public(NexusState::closed_error("")));
  return to_public(runtime_->with_nexus(
      *state_, [](NexusPointer nexus) -> Task<cairn::Result<NexusInfo>> { co_return describe(*nexus); }));
}

Result<> Nexus::add_child(const std::string& uri) {
  if (auto allowed = check_may_wait("add_child"); !allowed) return allowed;
  if (state_ == nullptr) return std::unexpected(to_public(NexusState::closed_error("")));
  return to_public(runtime_->add_child(*state_, uri));
}

Result<> Nexus::online_child(const std::string& uri) {
  if (auto allowed = check_may_wait("online_child"); !allowed) return allowed;
  if (state_ == nullptr) return std::unexpected(to_public(NexusState::closed_error("")));
  return to_public(runtime_->with_nexus(*state_, [&uri](NexusPointer nexus) { return nexus->online_child(uri); }));
}

Result<> Nexus::remove_child(const std::string& uri) {
  if (auto allowed = check_may_wait("remove_child"); !allowed) return allowed;
  if (state_ == nullptr) return std::unexpected(to_public(NexusState::closed_error("")));
  return to_public(runtime_->with_nexus(*state_, [&uri](NexusPointer nexus) { return nexus->remove_child(uri); }));
}

Result<> Nexus::close() {
  if (state_ == nullptr) return {};
  if (auto allowed = check_may_wait("close"); !allowed) return allowed;
  return to_public(runtime_->close_nexus(state_));
}

}  // namespace cairn::embed
