// Devices exported over NVMe-oF: one subsystem a device (shared reference: bdev.md section 3). Primary reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "block/device.h"
#include "nvmf/target/target.h"
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
  // Ends the export; hosts are disconnected. Does nothing when the device is not shared.
  runtime::Task<> unshare(std::string device_name);
  bool is_shared(const std::string& device_name) const;

  // "nvmf+tcp://<ip>:<port>/<nqn>" when shared, else "bdev:///<name>".
  std::string share_uri(const block::Device& device) const;

  static std::string nqn_of(const std::string& device_name) { return "nqn.2019-05.io.openebs:" + device_name; }

 private:
  nvmf::target::Target& target_;
  runtime::SocketAddress address_;
  std::string ptpl_dir_;
};

}  // namespace cairn::engine
