// All block devices of the process by name, alias and UUID, and how URIs become devices.
//
// Lives on the primary reactor. A driver adds its schemes at start-up; devices that are not made from a URI (replicas,
// nexuses) are added by their makers.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/duration.h"
#include "base/error.h"
#include "base/uuid.h"
#include "block/device.h"
#include "block/uri.h"
#include "runtime/task.h"

namespace cairn::block {

// What a URI asks a driver for, parsed and checked.
class DeviceRequest {
 public:
  explicit DeviceRequest(std::string name) : name_(std::move(name)) {}
  virtual ~DeviceRequest() = default;

  const std::string& name() const { return name_; }

  // Makes the device; the registry adds it. The error is the final one (device_error::create_failed ...).
  virtual runtime::Task<Result<std::shared_ptr<Device>>> create() = 0;
  // A device of that name exists already. By default BdevExists; a driver may take the request as a change of the
  // device.
  virtual runtime::Task<Result<>> apply_to_existing(Device& device);

 private:
  std::string name_;
};

// One URI scheme of a driver.
struct Scheme {
  std::string driver_name;  // Device::driver_name() of what it makes
  // Pure: INVALID_ARGUMENT (device_error) for what the driver does not take.
  std::function<Result<std::unique_ptr<DeviceRequest>>(const Uri&)> parse;
};

class Registry {
 public:
  // How long a removal waits for the users of a device.
  static constexpr Duration kRemovalTimeout = std::chrono::seconds(10);

  Registry();  // knows bdev:// and loopback://, which name devices that exist
  ~Registry();
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // What tells this node from all others for as long as it lives (a machine id); empty: not known. With it, a file or
  // disk is the same namespace whenever it is opened, without a UUID in its URI.
  void set_node_identity(std::string identity) { node_identity_ = std::move(identity); }
  const std::string& node_identity() const { return node_identity_; }

  void add_scheme(std::string scheme, Scheme description);

  // Makes the device that `uri` describes, or changes or aliases an existing one where the scheme says so. The URI
  // becomes an alias. One that was removed, but not for good, is removed first.
  runtime::Task<Result<std::shared_ptr<Device>>> create(std::string uri);
  // Undoes create(): NOT_FOUND when there is no such device of that driver. See remove().
  runtime::Task<Result<>> destroy(std::string uri);
  runtime::Task<Result<>> destroy_by_name(std::string name);

  // A device from elsewhere. INTERNAL (BdevExists) when its name is taken, ALREADY_EXISTS when its UUID is.
  Result<> add(std::shared_ptr<Device> device);
  // Announces the removal, waits until nobody else holds the device (kRemovalTimeout, then INTERNAL: new I/O stays
  // refused, the name stays taken, and the removal may be asked for again), then stops and forgets it.
  runtime::Task<Result<>> remove(std::string name);
  // For shutdown: removes every device; what cannot be removed is logged and stays.
  runtime::Task<> remove_all();
  Result<> add_alias(Device& device, std::string alias);
  void remove_alias(Device& device, const std::string& alias);

  // Injects a fault into the device of that name, from now on if it is there, else from when it is made (and made
  // again). INVALID_ARGUMENT: fault_injection.h.
  Result<> inject_fault(std::string_view uri);
  // Takes back what was injected with that text; not there: nothing to do. INVALID_ARGUMENT: it is no such URI.
  Result<> remove_fault(std::string_view uri);
  const FaultInjectionList& faults() const { return faults_; }

  // By name, else alias, else UUID; nullptr when there is none or it is being removed.
  std::shared_ptr<Device> find(std::string_view key) const;
  std::shared_ptr<Device> find(const Uuid& uuid) const;
  std::vector<std::shared_ptr<Device>> list() const;  // by name
  bool empty() const { return devices_.empty(); }     // nothing made, being made or being removed

  // The name a URI stands for, whether the device exists or not.
  Result<std::string> device_name(std::string_view uri) const;
  // The URI of a device as clients see it: the first alias that is a URI of the device's driver and name, its UUID
  // added as a parameter when it has none. BdevNoMatchingUri when there is none.
  Result<std::string> device_uri(const Device& device) const;

 private:
  struct Entry {
    std::shared_ptr<Device> device;  // nullptr: a name taken by a create() under way
    bool removing = false;           // by a remove() under way
  };
  struct Parsed {
    Uri uri;
    const Scheme* scheme;  // nullptr: names an existing device
    std::string name;
    std::unique_ptr<DeviceRequest> request;  // nullptr: names an existing device
    std::optional<Uuid> uuid;                // of a URI that names an existing device
  };
  class NameReservation;

  Result<Parsed> parse(std::string_view text) const;
  Result<Parsed> parse_existing(Uri uri) const;
  Result<std::shared_ptr<Device>> create_alias(const Parsed& parsed);
  void destroy_alias(const Parsed& parsed);
  Result<> insert(std::shared_ptr<Device> device);
  void forget(const std::string& name);
  void update_faults(Device& device);

  std::string node_identity_;
  std::map<std::string, Scheme, std::less<>> schemes_;
  std::map<std::string, Entry, std::less<>> devices_;
  std::map<std::string, Device*, std::less<>> aliases_;
  std::unordered_map<Uuid, Device*> uuids_;
  FaultInjectionList faults_;
};

}  // namespace cairn::block
