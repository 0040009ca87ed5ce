#include "engine/shares.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/log.h"
#include "engine/snapshot_command.h"
#include "nexus/nexus.h"
#include "nvme/nqn.h"
#include "runtime/backend.h"

namespace cairn::engine {

namespace {

// The retry delay that hosts know of replicas; and what is full is told as NVMe tells it.
nvme::Status replica_status(nvme::Status status) {
  constexpr uint8_t kReplicaRetryDelay = 3;
  return status.retry_delay() == 1 ? status.with_retry_delay(kReplicaRetryDelay) : status;
}

// What a nexus answers is told with the first delay, but for these two.
nvme::Status nexus_status(nvme::Status status) {
  constexpr uint8_t kOtherRetryDelay = 2;
  const bool other =
      status.is(nvme::GenericStatus::kReservationConflict) || status.is(nvme::GenericStatus::kCapacityExceeded);
  return other && status.retry_delay() == 1 ? status.with_retry_delay(kOtherRetryDelay) : status;
}

}  // namespace

Result<> Shares::check_hosts(const std::vector<std::string>& hosts) {
  for (const std::string& host : hosts) {
    if (auto checked = nvme::check_nqn(host); !checked) {
      return fail(Code::kInvalidArgument,
                  fmt::format("allowed host '{}': {}", host, nvme::nqn_error_text(checked.error())));
    }
  }
  return {};
}

runtime::Task<Result<>> Shares::share(std::shared_ptr<block::Device> device, std::vector<std::string> allowed_hosts) {
  if (auto checked = check_hosts(allowed_hosts); !checked) co_return checked;
  nvmf::target::SubsystemOptions options;
  options.allow_any_host = allowed_hosts.empty();
  options.allowed_hosts = std::move(allowed_hosts);
  if (!options_.ptpl_dir.empty())
    options.ptpl_path = fmt::format("{}/bdev/{}.json", options_.ptpl_dir, device->uuid().to_string());
  co_return co_await add(std::move(device), std::move(options));
}

runtime::Task<Result<>> Shares::share_replica(std::shared_ptr<pool::Replica> replica,
                                              std::vector<std::string> allowed_hosts) {
  if (auto checked = check_hosts(allowed_hosts); !checked) co_return checked;
  if (auto* subsystem = target_.find_subsystem(nqn_of(replica->name())); subsystem != nullptr) {
    const bool any = allowed_hosts.empty();
    subsystem->set_allowed_hosts(any, std::move(allowed_hosts));
    co_return Result<>{};
  }
  nvmf::target::SubsystemOptions options;
  options.allow_any_host = allowed_hosts.empty();
  options.allowed_hosts = std::move(allowed_hosts);
  options.rewrite_status = replica_status;
  options.vendor_command = snapshot_command();
  if (!options_.ptpl_dir.empty()) {
    const std::string path = fmt::format("{}/{}", options_.ptpl_dir, replica->reservation_file());
    const auto folder = path.substr(0, path.rfind('/'));
    if (auto made = co_await runtime::Reactor::current().backend().make_directories(folder); !made)
      co_return fail(Error(made.error().code(), fmt::format("cannot make '{}'", folder), made.error()));
    options.ptpl_path = path;
  }
  co_return co_await add(std::move(replica), std::move(options));
}

runtime::Task<Result<>> Shares::share_nexus(std::shared_ptr<nexus::Nexus> nexus,
                                            std::vector<std::string> allowed_hosts) {
  if (auto checked = check_hosts(allowed_hosts); !checked) co_return checked;
  if (auto* subsystem = find(nexus->name()); subsystem != nullptr) {
    const bool any = allowed_hosts.empty();
    subsystem->set_allowed_hosts(any, std::move(allowed_hosts));
    co_return Result<>{};
  }
  nvmf::target::SubsystemOptions options;
  options.allow_any_host = allowed_hosts.empty();
  options.allowed_hosts = std::move(allowed_hosts);
  options.ana_reporting = options_.ana_reporting;
  options.min_cntlid = nexus->nvme_parameters().min_cntlid;
  options.max_cntlid = nexus->nvme_parameters().max_cntlid;
  options.rewrite_status = nexus_status;
  if (!options_.ptpl_dir.empty())
    options.ptpl_path = fmt::format("{}/{}", options_.ptpl_dir, reservation_file(nexus->nexus_uuid()));
  co_return co_await add(std::move(nexus), std::move(options));
}

runtime::Task<Result<>> Shares::add(std::shared_ptr<block::Device> device, nvmf::target::SubsystemOptions options) {
  if (device->claimed_by()) {
    co_return fail(Code::kInternal,
                   fmt::format("failed to share: bdev '{}' is already shared or in use (claimed by {})", device->name(),
                               *device->claimed_by()));
  }
  options.nqn = nqn_of(device->name());
  auto subsystem = target_.add_subsystem(std::move(options));
  if (!subsystem) co_return fail(Error(subsystem.error().code(), "failed to share", subsystem.error()));
  if (auto added = co_await (*subsystem)->add_namespace(device); !added) {
    auto removed = co_await target_.remove_subsystem(nqn_of(device->name()));
    if (!removed)
      log::error("cannot remove the subsystem of '{}' again: {}", device->name(), removed.error().to_string());
    co_return fail(Error(Code::kInternal, "failed to share", added.error()));
  }
  log::info("bdev '{}' is shared as {}", device->name(), share_uri(*device));
  co_return Result<>{};
}

std::string Shares::reservation_file(const Uuid& nexus_uuid) {
  return fmt::format("nexus/{}.json", nexus_uuid.to_string());
}

void Shares::forget_reservations(const std::string& reservation_file) {
  if (options_.ptpl_dir.empty()) return;
  std::error_code error;
  std::filesystem::remove(std::filesystem::path(options_.ptpl_dir) / reservation_file, error);
  if (error) log::warn("cannot remove the reservations' file '{}': {}", reservation_file, error.message());
}

runtime::Task<> Shares::unshare(std::string device_name, std::function<runtime::Task<>()> when_disconnected) {
  if (!is_shared(device_name)) co_return;
  if (auto removed = co_await target_.remove_subsystem(nqn_of(device_name), std::move(when_disconnected)); !removed) {
    // Only NOT_FOUND: somebody else unshared it in the meantime, which is what was wanted.
    log::debug("unshare of '{}': {}", device_name, removed.error().to_string());
    co_return;
  }
  log::info("bdev '{}' is no longer shared", device_name);
}

runtime::Task<> Shares::unshare_nexus(std::shared_ptr<nexus::Nexus> nexus) {
  co_await unshare(nexus->name(), [&nexus] { return nexus->set_waiting_fails(true); });
  co_await nexus->set_waiting_fails(false);
}

bool Shares::is_shared(const std::string& device_name) const {
  return find(device_name) != nullptr;
}

nvmf::target::Subsystem* Shares::find(const std::string& device_name) const {
  return target_.find_subsystem(nqn_of(device_name));
}

std::string Shares::share_uri(const block::Device& device) const {
  if (!is_shared(device.name())) return "bdev:///" + device.name();
  return fmt::format("nvmf+tcp://{}/{}", options_.address.to_string(), nqn_of(device.name()));
}

}  // namespace cairn::engine
