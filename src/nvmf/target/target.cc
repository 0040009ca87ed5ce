#include "nvmf/target/target.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/abandonment.h"
#include "base/log.h"
#include "nvme/fabrics.h"
#include "nvme/identify_controller.h"
#include "nvme/nqn.h"
#include "nvmf/target/controller.h"
#include "nvmf/target/tcp_group.h"
#include "nvmf/target/tcp_listener.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::target {

namespace {

bool is_ascii_string(std::string_view text, size_t max_size) {
  return text.size() <= max_size && std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

Result<> check_subsystem(const SubsystemOptions& options) {
  if (const auto checked = nvme::check_nqn(options.nqn); !checked) {
    return fail(Code::kInvalidArgument,
                fmt::format("subsystem NQN \"{}\": {}", options.nqn, nvme::nqn_error_text(checked.error())));
  }
  nvme::IdentifyController id;
  if (!is_ascii_string(options.serial_number, sizeof(id.sn))) {
    return fail(Code::kInvalidArgument, fmt::format("serial number \"{}\": at most {} printable ASCII characters",
                                                    options.serial_number, sizeof(id.sn)));
  }
  if (!is_ascii_string(options.model_number, sizeof(id.mn))) {
    return fail(Code::kInvalidArgument, fmt::format("model number \"{}\": at most {} printable ASCII characters",
                                                    options.model_number, sizeof(id.mn)));
  }
  if (options.min_cntlid < 1 || options.min_cntlid > options.max_cntlid ||
      options.max_cntlid > nvme::kMaxControllerId) {
    return fail(Code::kInvalidArgument, fmt::format("controller identifiers {} to {}: the range lies within 1 to {}",
                                                    options.min_cntlid, options.max_cntlid, nvme::kMaxControllerId));
  }
  return {};
}

}  // namespace

Target::Target(Options options, std::vector<runtime::Reactor*> reactors)
    : options_(std::move(options)), reactors_(std::move(reactors)), started_at_(primary().now()) {
  CAIRN_CHECK(check_options(options_).has_value());
  CAIRN_CHECK(&primary() == &runtime::Reactor::current());
  for (runtime::Reactor* reactor : reactors_) tcp_groups_.push_back(std::make_unique<TcpGroup>(*this, *reactor));
}

Target::~Target() {
  CAIRN_CHECK((subsystems_.empty() && discovery_controllers_.empty() && listeners_.empty()) || abandoning());
}

Result<runtime::SocketAddress> Target::listen_tcp(const runtime::SocketAddress& address, bool advertise) {
  std::vector<TcpGroup*> groups;
  for (const auto& group : tcp_groups_) groups.push_back(group.get());
  auto listener = TcpListener::open(*this, std::move(groups), address);
  if (!listener) return fail(std::move(listener.error()));
  const runtime::SocketAddress bound = (*listener)->address();
  listeners_.push_back(std::move(*listener));
  if (advertise) this->advertise(bound);
  return bound;
}

void Target::advertise(const runtime::SocketAddress& address) {
  advertised_.push_back({address, static_cast<uint16_t>(advertised_.size())});
  discovery_log_changed();
}

// ---- Subsystems ----

Result<Subsystem*> Target::add_subsystem(SubsystemOptions options) {
  if (auto checked = check_subsystem(options); !checked) return fail(std::move(checked.error()));
  if (options.nqn == nvme::kDiscoveryNqn || subsystems_.contains(options.nqn)) {
    return fail(Code::kAlreadyExists, fmt::format("there is a subsystem {}", options.nqn));
  }
  if (subsystems_.size() >= options_.max_subsystems) {
    return fail(Code::kResourceExhausted, fmt::format("the target has its {} subsystems", options_.max_subsystems));
  }
  std::string nqn = options.nqn;
  auto [added, is_new] = subsystems_.emplace(nqn, std::make_unique<Subsystem>(*this, std::move(options)));
  CAIRN_CHECK(is_new);
  discovery_log_changed();
  return added->second.get();
}

Subsystem* Target::find_subsystem(const std::string& nqn) {
  const auto found = subsystems_.find(nqn);
  return found == subsystems_.end() ? nullptr : found->second.get();
}

runtime::Task<Result<>> Target::remove_subsystem(std::string nqn, std::function<runtime::Task<>()> when_disconnected) {
  Subsystem* removed = find_subsystem(nqn);
  if (removed == nullptr || removed->stopping()) {
    co_return fail(Code::kNotFound, fmt::format("there is no subsystem {}", nqn));
  }
  co_await removed->stop(std::move(when_disconnected));
  subsystems_.erase(nqn);
  subsystem_removed_.pulse();
  co_return Result<>();
}

std::optional<uint16_t> Target::allocate_discovery_cntlid() {
  for (unsigned tried = 0; tried < nvme::kMaxControllerId; ++tried) {
    const uint16_t candidate = next_discovery_cntlid_;
    next_discovery_cntlid_ = candidate == nvme::kMaxControllerId ? uint16_t{1} : static_cast<uint16_t>(candidate + 1);
    if (!discovery_controllers_.contains(candidate)) return candidate;
  }
  return std::nullopt;
}

// ---- The end ----

runtime::Task<> Target::stop() {
  stopping_ = true;
  listeners_.clear();
  for (const auto& group : tcp_groups_) {
    co_await runtime::call_on(group->reactor(), [&group] { return group->stop(); });
  }
  while (!discovery_controllers_.empty()) {
    const std::shared_ptr<Controller> controller = discovery_controllers_.begin()->second;
    for (const auto& [cntlid, each] : discovery_controllers_) each->terminate("the target stops");
    co_await controller->gone().wait_uninterrupted();
  }
  while (!subsystems_.empty()) {
    Subsystem& subsystem = *subsystems_.begin()->second;
    if (subsystem.stopping()) {
      co_await subsystem_removed_.wait_uninterrupted();
      continue;
    }
    const std::string nqn = subsystem.nqn();
    co_await subsystem.stop();
    subsystems_.erase(nqn);
  }
}

}  // namespace cairn::nvmf::target
