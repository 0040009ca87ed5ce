// Devices exported over NVMe-oF: one subsystem a device (shared reference: bdev.md section 3). Primary reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/device.h"
#include "nvmf/target/target.h"
#include "pool/replica.h"
#include "runtime/task.h"

namespace cairn::engine {

class Shares {
 public:
  // `address` and port stand in the URIs that clients are given.
  Shares(nvmf::target::Target& target, runtime::SocketAddress address, std::string ptpl_dir)
      : target_(target), address_(std::move(address)), ptpl_dir_(std::move(ptpl_dir)) {}

  // Exports the device to the hosts given by NQN, to all when the list is empty. INTERNAL when it is shared or claimed
  // otherwise ("already shared"), INVALID_ARGUMENT for a malformed host NQN.
  runtime::Task<Result<>> share(std::shared_ptr<block::Device> device, std::vector<std::string> allowed_hosts);
  // The same of a replica; when it is shared already, only the list of hosts is replaced.
  runtime::Task<Result<>> share_replica(std::shared_ptr<pool::Replica> replica, std::vector<std::string> allowed_hosts);
  // Removes the file in which the reservations of a replica that is gone were kept, if there is one.
  void forget_reservations(const std::string& reservation_file);
  // Ends the export; hosts are disconnected. Does nothing when the device is not shared.
  runtime::Task<> unshare(std::string device_name);
  bool is_shared(const std::string& device_name) const;

  // "nvmf+tcp://<ip>:<port>/<nqn>" when shared, else "bdev:///<name>".
  std::string share_uri(const block::Device& device) const;

  static std::string nqn_of(const std::string& device_name) { return "nqn.2019-05.io.openebs:" + device_name; }

 private:
  static Result<> check_hosts(const std::vector<std::string>& hosts);
  // Makes a subsystem of these options with the device as its namespace.
  runtime::Task<Result<>> add(std::shared_ptr<block::Device> device, nvmf::target::SubsystemOptions options);

  nvmf::target::Target& target_;
  runtime::SocketAddress address_;
  std::string ptpl_dir_;
};

}  // namespace cairn::engine
