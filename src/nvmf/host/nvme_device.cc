#include "nvmf/host/nvme_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "nvmf/host/nvme_channel.h"
#include "runtime/reactor.h"
#include "runtime/task_waits.h"

namespace cairn::nvmf::host {

using block::IoType;
using nvme::AnaState;
using runtime::call_on;
using runtime::Task;

namespace {

constexpr Duration kFirstBackOff = std::chrono::milliseconds(100);
constexpr Duration kLongestBackOff = std::chrono::seconds(5);
constexpr Duration kLongestRefusalBackOff = std::chrono::milliseconds(500);  // within the refusal window
// How often the state of a path is asked for that is not usable, should an event have been missed.
constexpr Duration kAnaPollPeriod = std::chrono::seconds(1);

bool usable(AnaState state) {
  return state == AnaState::kOptimized || state == AnaState::kNonOptimized;
}

block::Geometry geometry_of(const NamespaceInfo& ns) {
  return {.block_size = ns.block_size,
          .physical_block_size = ns.physical_block_size,
          .optimal_io_boundary = ns.optimal_io_boundary,
          .num_blocks = ns.num_blocks};
}

// Whether a node said no, at once: nobody listens there, or who does will not have us. Silence, a way that is cut, or
// something that is short here says nothing about the one at its end.
bool is_refusal(const Error& error) {
  if (error.code() == Code::kDeadlineExceeded || error.code() == Code::kCancelled) return false;
  for (const Error* cause = &error; cause != nullptr; cause = cause->cause()) {
    const int number = cause->errno_value();
    const bool says_nothing = number != 0 && number != ECONNREFUSED && number != ECONNRESET && number != EPIPE;
    if (says_nothing) return false;
  }
  return true;
}

// Between half of `duration` and all of it, so that hosts do not come back all at once.
Duration with_jitter(Duration duration) {
  const auto half = static_cast<uint64_t>(duration.count() / 2);
  return Duration(half + runtime::Reactor::current().random().below(half + 1));
}

}  // namespace

// Returned by lock_lanes(); unlocks.
class NvmeDevice::LanesGuard {
 public:
  explicit LanesGuard(NvmeDevice& device) : device_(&device) {}
  LanesGuard(LanesGuard&& other) noexcept : device_(std::exchange(other.device_, nullptr)) {}
  LanesGuard& operator=(LanesGuard&&) = delete;
  ~LanesGuard() {
    if (device_ == nullptr || abandoning()) return;
    device_->lanes_locked_ = false;
    device_->lanes_unlocked_.pulse();
  }

 private:
  NvmeDevice* device_;
};

Task<NvmeDevice::LanesGuard> NvmeDevice::lock_lanes() {
  while (lanes_locked_) static_cast<void>(co_await lanes_unlocked_.wait_uninterrupted());
  lanes_locked_ = true;
  co_return LanesGuard(*this);
}

// ---- Life ----

Task<Result<std::shared_ptr<NvmeDevice>>> NvmeDevice::open(ConnectionOptions options) {
  auto kept = std::make_unique<const ConnectionOptions>(std::move(options));
  std::vector<std::unique_ptr<Controller>> controllers;
  for (const PathAddress& path : kept->paths) controllers.push_back(std::make_unique<Controller>(*kept, path));
  Error failure(Code::kUnavailable, "no path");
  for (size_t i = 0; i < controllers.size(); ++i) {
    auto connected = co_await controllers[i]->connect();
    if (connected) co_return std::make_shared<NvmeDevice>(std::move(kept), std::move(controllers), i);
    if (i == 0) failure = std::move(connected.error());
  }
  co_return fail(std::move(failure));
}

NvmeDevice::NvmeDevice(std::unique_ptr<const ConnectionOptions> options,
                       std::vector<std::unique_ptr<Controller>> controllers, size_t connected)
    : Device({.name = options->device_name,
              .uuid = controllers[connected]->namespace_info().uuid,
              .product_name = "NVMe disk",
              .driver_name = "nvme"},
             geometry_of(controllers[connected]->namespace_info())),
      options_(std::move(options)),
      namespace_(controllers[connected]->namespace_info()),
      volatile_cache_(namespace_.volatile_cache),
      boot_looked_at_(controllers[connected]->info().boot_id) {
  if (options_->uuid && *options_->uuid != uuid()) {
    log::warn("{}: the namespace has the UUID {}, the URI says {}", name(), uuid().to_string(),
              options_->uuid->to_string());
  }
  for (auto& controller : controllers) {
    auto path = std::make_unique<Path>();
    path->index = paths_.size();
    path->controller = std::move(controller);
    path->controller->set_listener(*this);
    paths_.push_back(std::move(path));
  }
  paths_[connected]->connected = paths_[connected]->was_connected = true;
  paths_[connected]->lost = !paths_[connected]->controller->connected();  // before anybody listened
  paths_[connected]->ana_changed = true;
  for (auto& path : paths_) path->task = home().spawn("nvmf host path", run_path(*path));
}

NvmeDevice::~NvmeDevice() = default;

Task<> NvmeDevice::stop() {
  co_await end(false);
}

Task<> NvmeDevice::abort_io() {
  CAIRN_CHECK(removed());
  co_await end(true);
}

Task<> NvmeDevice::end(bool settle) {
  stopping_ = true;
  for (auto& path : paths_) {
    path->task.cancel();
    path->changed.set();  // look() is not cancelled itself
  }
  for (auto& path : paths_) static_cast<void>(co_await path->ended.wait_uninterrupted());
  const auto guard = co_await lock_lanes();
  for (auto& lane : lanes_) {
    co_await call_on(lane->reactor(), [&lane] { return lane->stop(); });
  }
  for (auto& path : paths_) {
    if (settle && !co_await path->controller->settle()) {
      log::warn("{}: {} may still execute what it was sent", name(), path->controller->path().to_string());
    }
    co_await path->controller->disconnect(true);
  }
  lanes_.clear();
}

// ---- Channels ----

bool NvmeDevice::supports_natively(IoType type) const {
  switch (type) {
    case IoType::kRead:
    case IoType::kWrite:
    case IoType::kFlush:
    case IoType::kReset:
      return true;
    case IoType::kUnmap:
      return namespace_.unmap;
    case IoType::kWriteZeroes:
      return namespace_.max_write_zeroes_blocks > 0;
    case IoType::kCompare:
      return namespace_.compare;
    case IoType::kCompareAndWrite:
      return namespace_.max_fused_blocks > 0;
    case IoType::kCopy:
      return namespace_.max_copy_blocks > 0;
  }
  return false;
}

Task<Result<std::unique_ptr<block::Channel>>> NvmeDevice::make_channel() {
  auto self = std::static_pointer_cast<NvmeDevice>(shared_from_this());
  runtime::Reactor& reactor = runtime::Reactor::current();
  const auto lane = co_await call_on(home(), [this, &reactor] { return lane_on(reactor); });
  if (!lane) co_return fail(lane.error());
  co_return std::make_unique<NvmeChannel>(std::move(self), **lane);
}

Task<Result<Lane*>> NvmeDevice::lane_on(runtime::Reactor& reactor) {
  const auto guard = co_await lock_lanes();
  if (stopping_) co_return fail(Code::kUnavailable, fmt::format("bdev '{}' is being removed", name()));
  const auto found = std::ranges::find(lanes_, &reactor, [](const auto& lane) { return &lane->reactor(); });
  if (found != lanes_.end()) co_return found->get();
  Lane::Home& lane_home = *this;
  lanes_.push_back(std::make_unique<Lane>(lane_home, reactor, *options_, namespace_,
                                          static_cast<uint16_t>(lanes_.size() + 1), paths_.size()));
  Lane& lane = *lanes_.back();
  bool any = false, tried = false;
  Error failure(Code::kUnavailable, "no path");
  for (auto& path : paths_) {
    if (!path->connected || path->lost) continue;
    tried = true;
    auto connected = co_await connect_lane(lane, *path);
    any |= connected.has_value();
    if (!connected) failure = std::move(connected.error());
  }
  if (any || !tried) co_return &lane;  // without any path I/O waits for one
  co_await call_on(reactor, [&lane] { return lane.stop(); });
  lanes_.pop_back();
  co_return fail(Error(Code::kUnavailable, fmt::format("cannot open an I/O queue of {}", name()), std::move(failure)));
}

Task<Result<>> NvmeDevice::connect_lane(Lane& lane, Path& path) {
  const Controller& controller = *path.controller;
  const PathConnection connection{.address = controller.address(),
                                  .connect_data = controller.connect_data(),
                                  .entries = controller.info().max_queue_entries,
                                  .max_capsule_data = controller.info().max_capsule_data,
                                  .ana = path.gone ? AnaState::kPersistentLoss : path.ana};
  co_return co_await call_on(lane.reactor(),
                             [&lane, &path, &connection] { return lane.connect(path.index, connection); });
}

// ---- Paths ----

NvmeDevice::Path& NvmeDevice::path_of(const Controller& controller) {
  return **std::ranges::find(paths_, &controller, [](const auto& path) { return path->controller.get(); });
}

void NvmeDevice::on_queue_lost(size_t path) {
  paths_[path]->lost = true;
  paths_[path]->changed.set();
}

void NvmeDevice::on_controller_lost(Controller& controller, const Error& reason) {
  if (!stopping_) {
    log::warn("{}: lost the controller at {}: {}", name(), controller.path().to_string(), reason.to_string());
  }
  on_queue_lost(path_of(controller).index);
}

void NvmeDevice::on_ana_doubt(size_t path) {
  paths_[path]->ana_changed = true;
  paths_[path]->changed.set();
}

void NvmeDevice::on_ana_changed(Controller& controller) {
  on_ana_doubt(path_of(controller).index);
}

void NvmeDevice::on_namespace_changed(Controller& controller) {
  Path& path = path_of(controller);
  path.rescan = true;
  path.changed.set();
}

void NvmeDevice::on_slow_command(size_t path, uint16_t qid, uint16_t cid) {
  constexpr size_t kMaxAborts = 16;  // what is not aborted ends with the connection
  if (paths_[path]->to_abort.size() < kMaxAborts) paths_[path]->to_abort.emplace_back(qid, cid);
  paths_[path]->changed.set();
}

Task<> NvmeDevice::run_path(Path& path) {
  Duration back_off = kFirstBackOff;
  bool complained = false;
  while (!stopping_) {
    if (path.connected) {
      co_await serve_path(path);
      if (stopping_) break;
      co_await give_up(path);
      back_off = kFirstBackOff;
      complained = false;
    }
    auto connected = co_await connect_path(path);
    if (connected) continue;
    if (stopping_) break;
    if (!std::exchange(complained, true)) {
      log::warn("{}: {}; trying again", name(), connected.error().to_string());
    }
    note_refusal(path, connected.error());
    if (!co_await runtime::sleep_for(pause_before_retry(path, back_off))) break;
    back_off = std::min(2 * back_off, kLongestBackOff);
  }
  path.ended.set();
}

void NvmeDevice::note_refusal(Path& path, const Error& error) {
  if (!is_refusal(error)) {
    path.refused_since.reset();
    return;
  }
  const TimePoint now = home().now();
  if (!path.refused_since) path.refused_since = now;
  const bool everywhere = std::ranges::all_of(
      paths_, [&](const auto& p) { return p->refused_since && now - *p->refused_since >= options_->refusal_window; });
  if (!everywhere || unreachable()) return;
  log::warn("{}: unreachable, connections are refused", name());
  set_unreachable(true);
}

// The refusal window ends with an attempt.
Duration NvmeDevice::pause_before_retry(const Path& path, Duration back_off) const {
  if (!path.refused_since || unreachable()) return with_jitter(back_off);
  const Duration left = *path.refused_since + options_->refusal_window - home().now();
  if (left <= Duration{}) return with_jitter(back_off);  // another path is in use
  return std::min(with_jitter(std::min(back_off, kLongestRefusalBackOff)), left);
}

Task<> NvmeDevice::abort_slow(Path& path) {
  while (!path.to_abort.empty() && !path.lost) {
    const auto [qid, cid] = path.to_abort.back();
    path.to_abort.pop_back();
    co_await path.controller->abort(qid, cid);
  }
}

// Until the controller is lost or the device stops.
Task<> NvmeDevice::serve_path(Path& path) {
  while (!stopping_ && !path.lost) {
    path.changed.reset();
    if (std::exchange(path.ana_changed, false)) co_await refresh_ana(path);
    if (std::exchange(path.rescan, false)) co_await refresh_namespace(path);
    co_await abort_slow(path);
    if (path.lost || stopping_ || path.changed.is_set()) continue;
    if (usable(path.ana)) {
      if (!co_await path.changed.wait()) co_return;
    } else {
      const runtime::Deadline deadline(co_await runtime::current_context(), kAnaPollPeriod);
      const auto waited = co_await path.changed.wait();
      if (!waited && !deadline.fired()) co_return;
      path.ana_changed = true;
    }
  }
}

Task<Result<>> NvmeDevice::connect_path(Path& path) {
  path.lost = false;
  path.to_abort.clear();
  auto connected = co_await path.controller->connect();
  if (connected) connected = check_same(path.controller->namespace_info());
  if (connected) connected = co_await bring_into_use(path);
  if (!connected) {
    path.connected = false;
    const bool elsewhere = std::ranges::any_of(paths_, [](const auto& p) { return p->gone; });
    if (path.controller->namespace_missing() && elsewhere) note_gone(path);
    co_await give_up(path);
    co_return connected;
  }
  log::info("{}: connected to {}, controller {}", name(), path.controller->path().to_string(),
            path.controller->info().cntlid);
  set_num_blocks(path.controller->namespace_info().num_blocks);
  co_return Result<>{};
}

Task<Result<>> NvmeDevice::bring_into_use(Path& path) {
  auto state = co_await path.controller->read_ana_state();
  if (!state) co_return fail(std::move(state.error()));
  path.gone = false;
  const Uuid boot_id = path.controller->info().boot_id;
  // Also a way that is new: while no other one is in use, nobody knows what has become of the namespace; nor when the
  // others do not know yet that the node has been started anew.
  const Path* const other = connected_path();
  const bool anew = std::exchange(path.was_connected, true) || other == nullptr || !usable(other->ana) ||
                    (!boot_id.is_nil() && boot_id != boot_looked_at_);
  const bool look_first = anew && reconnect_hook_ != nullptr;
  path.ana = look_first ? AnaState::kChange : *state;
  {
    const auto guard = co_await lock_lanes();
    for (auto& lane : lanes_) {
      if (auto connected = co_await connect_lane(*lane, path); !connected) co_return connected;
    }
    path.connected = true;
  }
  path.refused_since.reset();
  set_unreachable(false);
  if (!look_first) co_return Result<>{};
  if (auto looked = co_await look(path, boot_id); !looked) co_return looked;
  path.ana = *state;
  co_await tell_lanes(path);
  co_return Result<>{};
}

// Serves the path as far as the hook needs it.
Task<Result<>> NvmeDevice::look(Path& path, Uuid boot_id) {
  struct Look {
    std::optional<Result<>> result;
    runtime::Event& changed;
  };
  const auto look = std::make_shared<Look>(std::nullopt, path.changed);
  runtime::TaskHandle task =
      home().spawn("look at reconnected", [](NvmeDevice& device, Uuid boot_id, std::shared_ptr<Look> its) -> Task<> {
        its->result = co_await device.run_hook(boot_id);
        its->changed.set();
      }(*this, boot_id, look));
  while (!look->result) {
    path.changed.reset();
    if (path.lost || stopping_) task.cancel();
    co_await abort_slow(path);
    if (look->result || path.changed.is_set()) continue;
    static_cast<void>(co_await path.changed.wait_uninterrupted());
  }
  if (*look->result && path.lost) co_return fail(Code::kUnavailable, "the connection was lost again");
  co_return *look->result;
}

Task<Result<>> NvmeDevice::run_hook(Uuid boot_id) {
  const auto guard = co_await looking_.lock();
  if (!guard) co_return fail(guard.error());
  const ReconnectHook hook = reconnect_hook_;
  if (hook == nullptr) co_return Result<>{};
  auto looked = co_await hook(boot_id.is_nil() || boot_id != boot_looked_at_);
  if (looked) boot_looked_at_ = boot_id;
  co_return looked;
}

// Closes everything of a controller and waits until what was sent to it is over.
Task<> NvmeDevice::give_up(Path& path) {
  path.connected = false;
  {
    const auto guard = co_await lock_lanes();
    for (auto& lane : lanes_) {
      co_await call_on(lane->reactor(), [&lane, &path] { return lane->disconnect(path.index); });
    }
  }
  const bool settled = co_await path.controller->settle();
  co_await path.controller->disconnect(false);
  const auto guard = co_await lock_lanes();
  for (auto& lane : lanes_) {
    co_await call_on(lane->reactor(), [&lane, &path, settled]() -> Task<> {
      if (settled) {
        lane->settle(path.index);
      } else {
        lane->fail_held(path.index);
      }
      co_return;
    });
  }
}

Result<> NvmeDevice::check_same(const NamespaceInfo& found) {
  if (found.uuid != namespace_.uuid || found.nsid != namespace_.nsid || found.block_size != namespace_.block_size) {
    return fail(Code::kFailedPrecondition,
                fmt::format("another namespace: {} with UUID {} and blocks of {} bytes, not {} with {} and {}",
                            found.nsid, found.uuid.to_string(), found.block_size, namespace_.nsid,
                            namespace_.uuid.to_string(), namespace_.block_size));
  }
  const bool less = found.max_transfer_blocks < namespace_.max_transfer_blocks ||
                    found.max_write_zeroes_blocks < namespace_.max_write_zeroes_blocks ||
                    found.max_copy_blocks < namespace_.max_copy_blocks ||
                    found.max_fused_blocks < namespace_.max_fused_blocks || (namespace_.compare && !found.compare) ||
                    (namespace_.unmap && !found.unmap) ||
                    (namespace_.write_zeroes_may_deallocate && !found.write_zeroes_may_deallocate);
  if (less) return fail(Code::kFailedPrecondition, "the controller can do less than the one before");
  if (found.volatile_cache) volatile_cache_.store(true, std::memory_order_release);
  return {};
}

Task<> NvmeDevice::refresh_ana(Path& path) {
  const auto state = co_await path.controller->read_ana_state();
  if (!state) {
    // serve_path asks again.
    if (path.ana != AnaState::kChange) log::warn("{}: {}", name(), state.error().to_string());
    path.ana = AnaState::kChange;
    co_return;
  }
  if (*state != path.ana) {
    log::info("{}: path {} is in ANA state {:#x} now", name(), path.controller->path().to_string(),
              static_cast<unsigned>(*state));
  }
  path.ana = *state;
  co_await tell_lanes(path);
}

Task<> NvmeDevice::tell_lanes(Path& path) {
  const auto guard = co_await lock_lanes();
  if (path.lost) co_return;
  for (auto& lane : lanes_) {
    co_await call_on(lane->reactor(), [&lane, &path]() -> Task<> {
      lane->set_ana_state(path.index, path.gone ? AnaState::kPersistentLoss : path.ana);
      co_return;
    });
  }
}

Task<> NvmeDevice::refresh_namespace(Path& path) {
  const auto found = co_await path.controller->identify_namespace();
  if (found) {
    const bool was_gone = std::exchange(path.gone, false);
    if (const auto same = check_same(*found); !same) {
      log::error("{}: {}", name(), same.error().to_string());
      on_queue_lost(path.index);
      co_return;
    }
    if (num_blocks() != found->num_blocks) {
      log::info("{}: size changed from {} to {} blocks", name(), num_blocks(), found->num_blocks);
    }
    set_num_blocks(found->num_blocks);
    if (was_gone) co_await tell_lanes(path);
    co_return;
  }
  if (found.error().code() != Code::kNotFound) {
    log::warn("{}: {}", name(), found.error().to_string());
    co_return;
  }
  note_gone(path);
  if (!removed()) co_await tell_lanes(path);
}

// A path that is merely disconnected may have the namespace yet.
void NvmeDevice::note_gone(Path& path) {
  path.gone = true;
  const bool everywhere = std::ranges::all_of(paths_, [](const auto& p) { return p->gone; });
  if (!everywhere || removed()) return;
  log::warn("{}: the namespace is gone", name());
  announce_removal();
}

Task<Result<>> NvmeDevice::rescan() {
  Path* path = connected_path();
  if (path == nullptr) co_return fail(Code::kUnavailable, fmt::format("{}: no path", name()));
  const auto found = co_await path->controller->identify_namespace();
  if (!found) co_return fail(found.error());
  if (auto same = check_same(*found); !same) co_return same;
  set_num_blocks(found->num_blocks);
  co_return Result<>{};
}

NvmeDevice::Path* NvmeDevice::connected_path() {
  Path* best = nullptr;
  for (auto& path : paths_) {
    if (!path->connected || path->lost || !path->controller->connected()) continue;
    if (best == nullptr || ((best->gone || !usable(best->ana)) && !path->gone && usable(path->ana))) best = path.get();
  }
  return best;
}

bool NvmeDevice::is_connected() const {
  return std::ranges::any_of(
      paths_, [](const auto& path) { return path->connected && !path->lost && !path->gone && usable(path->ana); });
}

std::vector<NvmeDevice::PathState> NvmeDevice::paths() const {
  std::vector<PathState> states;
  for (const auto& path : paths_) {
    states.push_back({.address = path->controller->path().to_string(),
                      .connected = path->connected && !path->lost,
                      .ana = path->ana,
                      .cntlid = path->controller->info().cntlid});
  }
  return states;
}

}  // namespace cairn::nvmf::host
