// Devices exported over NVMe-oF: one subsystem a device (shared reference: bdev.md section 3). Primary reactor.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/device.h"
#include "nvmf/target/target.h"
#include "pool/replica.h"
#include "runtime/task.h"

namespace cairn::nexus {
class Nexus;
}

namespace cairn::engine {

struct ShareOptions {
  runtime::SocketAddress address;  // stands in the URIs that clients are given
  std::string ptpl_dir;            // empty: reservations do not persist
  bool ana_reporting = false;      // of nexuses
};

class Shares {
 public:
  Shares(nvmf::target::Target& target, ShareOptions options) : target_(target), options_(std::move(options)) {}

  // Exports the device to the hosts given by NQN, to all when the list is empty. INTERNAL when it is shared or claimed
  // otherwise ("already shared"), INVALID_ARGUMENT for a malformed host NQN.
  runtime::Task<Result<>> share(std::shared_ptr<block::Device> device, std::vector<std::string> allowed_hosts);
  // The same of a replica; when it is shared already, only the list of hosts is replaced.
  runtime::Task<Result<>> share_replica(std::shared_ptr<pool::Replica> replica, std::vector<std::string> allowed_hosts);
  // The same of a nexus, with its range of controller identifiers.
  runtime::Task<Result<>> share_nexus(std::shared_ptr<nexus::Nexus> nexus, std::vector<std::string> allowed_hosts);
  // Removes the file in which the reservations of a replica or nexus that is gone were kept, if there is one.
  void forget_reservations(const std::string& reservation_file);
  static std::string reservation_file(const Uuid& nexus_uuid);
  // Ends the export; hosts are disconnected. Does nothing when the device is not shared. I/O under way is waited for;
  // `when_disconnected` runs before that, when the hosts get no answers any more.
  runtime::Task<> unshare(std::string device_name, std::function<runtime::Task<>()> when_disconnected = {});
  // The same of a nexus, whose I/O may be waiting for good: it fails when no host can see that any more.
  runtime::Task<> unshare_nexus(std::shared_ptr<nexus::Nexus> nexus);
  bool is_shared(const std::string& device_name) const;
  // The export of the device; nullptr when it has none.
  nvmf::target::Subsystem* find(const std::string& device_name) const;

  // "nvmf+tcp://<ip>:<port>/<nqn>" when shared, else "bdev:///<name>".
  std::string share_uri(const block::Device& device) const;

  static std::string nqn_of(const std::string& device_name) { return "nqn.2019-05.io.openebs:" + device_name; }

 private:
  static Result<> check_hosts(const std::vector<std::string>& hosts);
  // Makes a subsystem of these options with the device as its namespace.
  runtime::Task<Result<>> add(std::shared_ptr<block::Device> device, nvmf::target::SubsystemOptions options);

  nvmf::target::Target& target_;
  const ShareOptions options_;
};

}  // namespace cairn::engine
