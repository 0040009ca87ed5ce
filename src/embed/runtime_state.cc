#include "embed/runtime_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <ranges>

#include "base/check.h"
#include "base/log.h"
#include "block/file_device.h"
#include "block/malloc_device.h"
#include "block/null_device.h"
#include "nvmf/host/nvmf_scheme.h"

namespace cairn::embed {

using runtime::Task;

namespace {

// How long close() waits for I/O before it makes what hangs fail.
constexpr std::chrono::seconds kDrainLimit{10};
constexpr uint32_t kMaxInFlight = 65535;

log::Level to_internal(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return log::Level::kTrace;
    case LogLevel::kDebug:
      return log::Level::kDebug;
    case LogLevel::kInfo:
      return log::Level::kInfo;
    case LogLevel::kWarn:
      return log::Level::kWarn;
    case LogLevel::kError:
      return log::Level::kError;
    case LogLevel::kOff:
      return log::Level::kOff;
  }
  return log::Level::kOff;
}

// machine-id(5): with it, a file is the same device whenever it is opened. A container may have none.
std::string machine_id() {
  std::ifstream file("/etc/machine-id");
  std::string id;
  std::getline(file, id);
  return id;
}

// Without a store, the children themselves know who has missed what, and they know each other by their UUIDs. One alone
// has to have one, too: others may be added to it.
cairn::Result<> check_identity(const std::string& uri) {
  auto parsed = block::Uri::parse(uri);
  if (!parsed || (parsed->scheme() != "aio" && parsed->scheme() != "uring")) return {};
  if (std::ranges::any_of(parsed->query(), [](const auto& each) { return each.first == "uuid"; })) return {};
  return fail(
      cairn::Code::kInvalidArgument,
      fmt::format("child \"{}\" needs a \"uuid=\" in its URI, always the same: by it the volume knows the child "
                  "when it is opened again",
                  uri));
}

cairn::Result<nexus::NexusRequest> to_request(const NexusOptions& options, runtime::Random& random) {
  auto invalid = [&options](std::string why) {
    return fail(cairn::Code::kInvalidArgument, fmt::format("nexus \"{}\": {}", options.name, why));
  };
  if (options.name.empty()) return invalid("it needs a name");
  if (options.size_bytes == 0) return invalid("size_bytes is 0");
  if (options.children.empty()) return invalid("it has no children");
  if (options.max_in_flight == 0 || options.max_in_flight > kMaxInFlight) {
    return invalid(fmt::format("max_in_flight is {}, not 1 to {}", options.max_in_flight, kMaxInFlight));
  }
  nexus::NexusRequest request;
  request.name = options.name;
  request.size_bytes = options.size_bytes;
  request.children = options.children;
  if (options.uuid.empty()) {
    request.uuid = random.uuid();
  } else {
    const auto uuid = Uuid::parse(options.uuid);
    if (!uuid) return invalid(fmt::format("\"{}\" is no UUID", options.uuid));
    request.uuid = *uuid;
    for (const std::string& child : options.children) {
      if (auto known = check_identity(child); !known) return fail(std::move(known.error()));
    }
  }
  return request;
}

// Signals are the application's: none of our threads takes one. A thread has the mask of the one that made it.
cairn::Result<std::unique_ptr<runtime::ReactorGroup>> start_without_signals(
    const runtime::ReactorGroupOptions& options) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  auto group = runtime::ReactorGroup::start(options);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return group;
}

}  // namespace

Error to_public(const cairn::Error& error) {
  return {.code = static_cast<Code>(error.code()), .message = error.to_string()};
}

Result<> check_may_wait(std::string_view call) {
  if (runtime::Reactor::current_or_null() == nullptr) return {};
  return std::unexpected(
      Error{Code::kFailedPrecondition, fmt::format("{} in a completion, which must not wait", call)});
}

cairn::Result<std::shared_ptr<RuntimeState>> RuntimeState::start(const RuntimeOptions& options) {
  static std::once_flag log_configured;  // other runtimes may be logging
  std::call_once(log_configured, [] { log::configure({.level = log::Level::kWarn, .host = {}}); });
  log::set_level(to_internal(options.log_level));
  runtime::ReactorGroupOptions reactors;
  reactors.cores = options.cores;
  reactors.spin_budget = options.spin_budget;
  auto group = start_without_signals(reactors);
  if (!group) return fail(cairn::Error(group.error().code(), "cannot start the reactors", group.error()));
  std::shared_ptr<RuntimeState> state(new RuntimeState);
  state->reactors_ = std::move(*group);
  state->on_primary([&state = *state, &options]() -> Task<> {
    state.devices_ = std::make_unique<block::Registry>();
    state.devices_->set_node_identity(machine_id());
    block::add_malloc_scheme(*state.devices_);
    block::add_null_scheme(*state.devices_);
    block::add_aio_scheme(*state.devices_);
    block::add_uring_scheme(*state.devices_);
    nvmf::host::ConnectionOptions initiator;
    initiator.host = nvmf::host::make_host_identity(options.host_nqn, {});
    nvmf::host::add_nvmf_schemes(*state.devices_, initiator);
    nexus::NexusOptions nexus_options;
    nexus_options.reactors = state.reactors_->reactors();
    state.nexuses_ = std::make_unique<nexus::NexusRegistry>(*state.devices_, std::move(nexus_options));
    co_return;
  });
  return state;
}

RuntimeState::~RuntimeState() {
  stop();
}

cairn::Result<std::shared_ptr<NexusState>> RuntimeState::create_nexus(const NexusOptions& options) {
  const std::lock_guard turn(turns_);
  if (reactors_ == nullptr) return fail(cairn::Code::kFailedPrecondition, "the runtime has been stopped");
  auto make = [this, &options]() -> Task<cairn::Result<std::shared_ptr<NexusState>>> {
    auto request = to_request(options, reactors_->primary().random());
    if (!request) co_return fail(std::move(request.error()));
    const Uuid uuid = request->uuid;
    auto state = std::make_shared<NexusState>(options, uuid);
    std::optional<cairn::Error> problem;
    {
      auto made = co_await nexuses_->create(std::move(*request));
      if (!made) co_return fail(std::move(made.error()));
      auto opened = co_await state->open_channels(std::move(*made), reactors_->reactors());
      if (opened) co_return state;
      problem = std::move(opened.error());
    }
    co_await state->close_channels();
    if (auto destroyed = co_await nexuses_->destroy(uuid); !destroyed) log::error("{}", destroyed.error().to_string());
    co_return fail(std::move(*problem));
  };
  auto state = on_primary(std::move(make));
  if (state) open_.push_back(*state);
  return state;
}

cairn::Result<> RuntimeState::add_child(const NexusState& state, const std::string& uri) {
  return with_nexus(state, [&state, &uri](std::shared_ptr<nexus::Nexus> nexus) -> Task<cairn::Result<>> {
    if (!state.has_random_uuid()) {
      if (auto known = check_identity(uri); !known) co_return known;
    }
    co_return co_await nexus->add_child(uri, true);
  });
}

cairn::Result<> RuntimeState::close_nexus(const std::shared_ptr<NexusState>& nexus) {
  const std::lock_guard turn(turns_);
  return close_in_turn(*nexus);
}

cairn::Result<> RuntimeState::close_in_turn(NexusState& nexus) {
  const auto found = std::ranges::find(open_, &nexus, &std::shared_ptr<NexusState>::get);
  if (found == open_.end()) return {};
  nexus.refuse_new();
  const bool drained = nexus.wait_until_drained(kDrainLimit);
  on_primary([this, &nexus]() -> Task<> {
    if (auto device = nexuses_->find(nexus.uuid()); device != nullptr) co_await device->close();
  });
  if (!drained) nexus.wait_until_drained();  // what the close has made fail
  auto closed = on_primary([this, &nexus]() -> Task<cairn::Result<>> {
    co_await nexus.close_channels();
    co_return co_await nexuses_->destroy(nexus.uuid());
  });
  if (closed) open_.erase(found);
  return closed;
}

void RuntimeState::stop() {
  CAIRN_CHECK(runtime::Reactor::current_or_null() == nullptr);  // before it waits for itself
  const std::lock_guard turn(turns_);
  if (reactors_ == nullptr) return;
  // The last one first: it may be made of others. What it holds is free then.
  for (const auto& nexus : std::vector(open_.rbegin(), open_.rend())) {
    if (auto closed = close_in_turn(*nexus); !closed) log::error("{}", closed.error().to_string());
  }
  open_.clear();
  on_primary([this]() -> Task<> {
    co_await nexuses_->destroy_all();
    nexuses_.reset();
    co_await devices_->remove_all();
    devices_.reset();
  });
  reactors_->stop();
  reactors_.reset();
}

}  // namespace cairn::embed
