#include "engine/shares.h"

#include <fmt/format.h>

#include "base/log.h"
#include "nvme/nqn.h"

namespace cairn::engine {

runtime::Task<Result<>> Shares::share(std::shared_ptr<block::Device> device, std::vector<std::string> allowed_hosts) {
  for (const std::string& host : allowed_hosts) {
    if (auto checked = nvme::check_nqn(host); !checked) {
      co_return fail(Code::kInvalidArgument,
                     fmt::format("allowed host '{}': {}", host, nvme::nqn_error_text(checked.error())));
    }
  }
  if (device->claimed_by()) {
    co_return fail(Code::kInternal,
                   fmt::format("failed to share: bdev '{}' is already shared or in use (claimed by {})", device->name(),
                               *device->claimed_by()));
  }
  nvmf::target::SubsystemOptions options;
  options.nqn = nqn_of(device->name());
  options.allow_any_host = allowed_hosts.empty();
  options.allowed_hosts = std::move(allowed_hosts);
  if (!ptpl_dir_.empty()) options.ptpl_path = fmt::format("{}/bdev/{}.json", ptpl_dir_, device->uuid().to_string());
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

runtime::Task<> Shares::unshare(std::string device_name) {
  if (!is_shared(device_name)) co_return;
  if (auto removed = co_await target_.remove_subsystem(nqn_of(device_name)); !removed) {
    // Only NOT_FOUND: somebody else unshared it in the meantime, which is what was wanted.
    log::debug("unshare of '{}': {}", device_name, removed.error().to_string());
    co_return;
  }
  log::info("bdev '{}' is no longer shared", device_name);
}

bool Shares::is_shared(const std::string& device_name) const {
  return target_.find_subsystem(nqn_of(device_name)) != nullptr;
}

std::string Shares::share_uri(const block::Device& device) const {
  if (!is_shared(device.name())) return "bdev:///" + device.name();
  return fmt::format("nvmf+tcp://{}/{}", address_.to_string(), nqn_of(device.name()));
}

}  // namespace cairn::engine
