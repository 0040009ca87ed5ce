#include "block/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "base/abandonment.h"
#include "base/check.h"
#include "base/log.h"
#include "block/device_error.h"
#include "runtime/task_waits.h"

namespace cairn::block {

using runtime::Task;

namespace {
constexpr Duration kFirstReferenceCheck = std::chrono::milliseconds(1);
constexpr Duration kSlowestReferenceCheck = std::chrono::milliseconds(32);

bool names_existing(std::string_view scheme) {
  return scheme == "bdev" || scheme == "loopback";
}
}  // namespace

Task<Result<>> DeviceRequest::apply_to_existing(Device& device) {
  co_return fail(device_error::exists(device.name()));
}

// Holds a name while its device is being made, so that nobody else makes one of the same name.
class Registry::NameReservation {
 public:
  NameReservation(Registry& registry, std::string name) : registry_(registry), name_(std::move(name)) {
    registry_.devices_.emplace(name_, Entry{});
  }
  NameReservation(const NameReservation&) = delete;
  NameReservation& operator=(const NameReservation&) = delete;
  ~NameReservation() {
    const auto entry = registry_.devices_.find(name_);
    if (entry != registry_.devices_.end() && entry->second.device == nullptr) registry_.devices_.erase(entry);
  }

 private:
  Registry& registry_;
  std::string name_;
};

Registry::Registry() = default;
Registry::~Registry() {
  if (!abandoning()) return;
  // Messages that would let go of the devices do not arrive any more.
  for (auto& [name, entry] : devices_) {
    if (entry.device != nullptr) entry.device->media_errors_self_.reset();
  }
}

void Registry::add_scheme(std::string scheme, Scheme description) {
  CAIRN_CHECK(!names_existing(scheme));
  CAIRN_CHECK(schemes_.emplace(std::move(scheme), std::move(description)).second);
}

Result<Registry::Parsed> Registry::parse(std::string_view text) const {
  auto uri = Uri::parse(text);
  if (!uri) return fail(std::move(uri.error()));
  if (names_existing(uri->scheme())) return parse_existing(std::move(*uri));
  const auto scheme = schemes_.find(uri->scheme());
  if (scheme == schemes_.end()) return fail(device_error::uri_scheme_unsupported(uri->scheme()));
  auto request = scheme->second.parse(*uri);
  if (!request) return fail(std::move(request.error()));
  std::string name = (*request)->name();
  return Parsed{std::move(*uri), &scheme->second, std::move(name), std::move(*request), std::nullopt};
}

Result<Registry::Parsed> Registry::parse_existing(Uri uri) const {
  const auto segments = uri.segments();
  if (segments.empty()) return fail(device_error::invalid_uri(uri.text(), "empty path"));
  UriParameters parameters(uri);
  auto uuid = parameters.take_uuid();
  if (!uuid) return fail(std::move(uuid.error()));
  if (auto rest = parameters.finish(); !rest) return fail(std::move(rest.error()));
  std::string name = uri.decoded_name();
  return Parsed{std::move(uri), nullptr, std::move(name), nullptr, *uuid};
}

Task<Result<std::shared_ptr<Device>>> Registry::create(std::string uri) {
  auto parsed = parse(uri);
  if (!parsed) co_return fail(std::move(parsed.error()));
  if (parsed->request == nullptr) co_return create_alias(*parsed);

  // Of one whose removal took too long, or that has removed itself: whoever used it may have let go since.
  if (const auto left = devices_.find(parsed->name);
      left != devices_.end() && left->second.device != nullptr && left->second.device->removed() &&
      !left->second.removing && left->second.device->driver_name() == parsed->scheme->driver_name) {
    if (auto gone = co_await remove(parsed->name); !gone) log::warn("{}", gone.error().to_string());
  }
  if (const auto existing = devices_.find(parsed->name); existing != devices_.end()) {
    const std::shared_ptr<Device> device = existing->second.device;
    if (device == nullptr || existing->second.removing || device->removed() ||
        device->driver_name() != parsed->scheme->driver_name) {
      co_return fail(device_error::exists(parsed->name));
    }
    if (auto applied = co_await parsed->request->apply_to_existing(*device); !applied) {
      co_return fail(std::move(applied.error()));
    }
    co_return device;
  }

  const NameReservation reservation(*this, parsed->name);
  auto device = co_await parsed->request->create();
  if (!device) co_return fail(std::move(device.error()));
  CAIRN_CHECK((*device)->name() == parsed->name);
  if (auto inserted = insert(*device); !inserted) {
    co_await (*device)->stop();
    co_return fail(std::move(inserted.error()));
  }
  if (auto aliased = add_alias(**device, uri); !aliased) {
    log::warn("bdev '{}': {}", parsed->name, aliased.error().to_string());
  }
  co_return std::move(device);
}

Result<std::shared_ptr<Device>> Registry::create_alias(const Parsed& parsed) {
  auto device = find(parsed.name);
  if (device == nullptr) return fail(device_error::not_found(parsed.name));
  if (parsed.uuid && *parsed.uuid != device->uuid()) return fail(device_error::wrong_uuid(parsed.name, device->uuid()));
  if (auto aliased = add_alias(*device, parsed.uri.text()); !aliased) {
    return fail(device_error::create_failed(parsed.name, std::move(aliased.error())));
  }
  return device;
}

Result<> Registry::insert(std::shared_ptr<Device> device) {
  const bool found_by_uuid = !device->uuid().is_nil() && !device->is_remote();
  if (found_by_uuid && uuids_.contains(device->uuid())) {
    return fail(device_error::create_failed(
        device->name(), EEXIST,
        fmt::format("UUID {} is used by bdev '{}'", device->uuid().to_string(), uuids_.at(device->uuid())->name())));
  }
  if (found_by_uuid) uuids_.emplace(device->uuid(), device.get());
  Entry& entry = devices_[device->name()];
  CAIRN_CHECK(entry.device == nullptr);
  entry.device = std::move(device);
  if (!faults_.empty()) update_faults(*entry.device);
  return {};
}

Result<> Registry::inject_fault(std::string_view uri) {
  auto fault = FaultInjection::parse(uri);
  if (!fault) return fail(std::move(fault.error()));
  log::warn("bdev '{}': fault injected: {}", (*fault)->device_name(), uri);
  faults_.push_back(*fault);
  if (const auto device = devices_.find((*fault)->device_name()); device != devices_.end() && device->second.device) {
    update_faults(*device->second.device);
  }
  return {};
}

Result<> Registry::remove_fault(std::string_view uri) {
  const auto fault = FaultInjection::parse(uri);
  if (!fault) return fail(fault.error());
  std::erase_if(faults_, [&](const auto& each) { return each->uri() == uri; });
  if (const auto device = devices_.find((*fault)->device_name()); device != devices_.end() && device->second.device) {
    update_faults(*device->second.device);
  }
  return {};
}

void Registry::update_faults(Device& device) {
  FaultInjectionList its;
  for (const auto& fault : faults_) {
    if (fault->device_name() == device.name()) its.push_back(fault);
  }
  device.set_fault_injections(std::move(its));
}

Result<> Registry::add(std::shared_ptr<Device> device) {
  if (devices_.contains(device->name())) return fail(device_error::exists(device->name()));
  return insert(std::move(device));
}

Result<> Registry::add_alias(Device& device, std::string alias) {
  const auto [position, added] = aliases_.emplace(alias, &device);
  if (!added && position->second != &device) {
    return fail(
        Error::from_errno(EEXIST, fmt::format("alias '{}' belongs to bdev '{}'", alias, position->second->name())));
  }
  if (added) device.aliases_.push_back(std::move(alias));
  return {};
}

void Registry::remove_alias(Device& device, const std::string& alias) {
  if (std::erase(device.aliases_, alias) > 0) aliases_.erase(alias);
}

Task<Result<>> Registry::destroy(std::string uri) {
  auto parsed = parse(uri);
  if (!parsed) co_return fail(std::move(parsed.error()));
  if (parsed->request == nullptr) {
    destroy_alias(*parsed);
    co_return Result<>{};
  }
  const auto entry = devices_.find(parsed->name);
  if (entry == devices_.end() || entry->second.device == nullptr ||
      entry->second.device->driver_name() != parsed->scheme->driver_name) {
    co_return fail(device_error::not_found(parsed->name));
  }
  co_return co_await remove(parsed->name);
}

void Registry::destroy_alias(const Parsed& parsed) {
  const auto device = find(parsed.name);
  if (device == nullptr) {
    log::warn("bdev '{}' of '{}' does not exist: nothing to destroy", parsed.name, parsed.uri.text());
    return;
  }
  remove_alias(*device, parsed.uri.text());
  device->announce_alias_removal(parsed.uri.text());
}

Task<Result<>> Registry::destroy_by_name(std::string name) {
  co_return co_await remove(std::move(name));
}

Task<Result<>> Registry::remove(std::string name) {
  const auto found = devices_.find(name);
  if (found == devices_.end() || found->second.device == nullptr) co_return fail(device_error::not_found(name));
  if (found->second.removing) co_return fail(device_error::destroy_failed(name, "it is being destroyed already"));
  found->second.removing = true;
  std::shared_ptr<Device> device = found->second.device;  // the second of two references that are ours
  device->announce_removal();

  const TimePoint give_up_at = device->home().now() + kRemovalTimeout;
  Duration pause = kFirstReferenceCheck;
  while (device.use_count() > 2) {
    std::string problem;
    if (auto slept = co_await runtime::sleep_for(pause); !slept) {
      problem = slept.error().to_string();
    } else if (device->home().now() >= give_up_at) {
      problem = fmt::format("still in use{}{} after {} s", device->claimed_by() ? " by " : "",
                            device->claimed_by().value_or(""),
                            std::chrono::duration_cast<std::chrono::seconds>(kRemovalTimeout).count());
    }
    if (!problem.empty()) {
      devices_.find(name)->second.removing = false;
      co_return fail(device_error::destroy_failed(name, problem));
    }
    pause = std::min(pause * 2, kSlowestReferenceCheck);
  }
  co_await device->stop();
  forget(name);
  co_return Result<>{};
}

Task<> Registry::remove_all() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : devices_) names.push_back(name);
  for (const std::string& name : names) {
    if (auto removed = co_await remove(name); !removed) log::error("{}", removed.error().to_string());
  }
}

void Registry::forget(const std::string& name) {
  const auto entry = devices_.find(name);
  const Device& device = *entry->second.device;
  std::erase_if(aliases_, [&](const auto& alias) { return alias.second == &device; });
  if (!device.is_remote()) uuids_.erase(device.uuid());
  devices_.erase(entry);
}

std::shared_ptr<Device> Registry::find(std::string_view key) const {
  auto usable = [](const std::shared_ptr<Device>& device) {
    return device != nullptr && !device->removed() ? device : nullptr;
  };
  if (const auto entry = devices_.find(key); entry != devices_.end()) return usable(entry->second.device);
  if (const auto alias = aliases_.find(key); alias != aliases_.end()) return usable(alias->second->shared_from_this());
  if (const auto uuid = Uuid::parse(key)) return find(*uuid);
  return nullptr;
}

std::shared_ptr<Device> Registry::find(const Uuid& uuid) const {
  const auto found = uuids_.find(uuid);
  if (found == uuids_.end() || found->second->removed()) return nullptr;
  return found->second->shared_from_this();
}

std::vector<std::shared_ptr<Device>> Registry::list() const {
  std::vector<std::shared_ptr<Device>> devices;
  for (const auto& [name, entry] : devices_) {
    if (entry.device != nullptr && !entry.device->removed()) devices.push_back(entry.device);
  }
  return devices;
}

Result<std::string> Registry::device_name(std::string_view uri) const {
  auto parsed = parse(uri);
  if (!parsed) return fail(std::move(parsed.error()));
  return std::move(parsed->name);
}

Result<std::string> Registry::device_uri(const Device& device) const {
  for (const std::string& alias : device.aliases()) {
    const auto parsed = parse(alias);
    if (!parsed || parsed->scheme == nullptr || parsed->name != device.name() ||
        parsed->scheme->driver_name != device.driver_name()) {
      continue;
    }
    const auto& query = parsed->uri.query();
    const bool has_uuid = std::ranges::any_of(query, [](const auto& pair) { return pair.first == "uuid"; });
    if (has_uuid || device.uuid().is_nil()) return alias;
    return fmt::format("{}{}uuid={}", alias, parsed->uri.has_query() ? '&' : '?', device.uuid().to_string());
  }
  return fail(device_error::no_matching_uri(device.name(), device.aliases()));
}

}  // namespace cairn::block
